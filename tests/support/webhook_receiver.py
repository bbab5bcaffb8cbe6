"""A real HTTP receiver of webhooks on 127.0.0.1 that answers as it is told and keeps what it got."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeAlias

import msgspec
from aiohttp import web
from pydantic import SecretStr
from standardwebhooks import Webhook

from gateway.config import WebhookSettings

SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
DEADLINE_S = 60.0


@dataclass(frozen=True)
class Received:
    """One request: headers by lower-case name and the raw body."""

    headers: Mapping[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def event(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def call_id(self) -> str:
        return str(self.event["data"]["call"]["id"])

    @property
    def sequence(self) -> int:
        return int(self.event["data"]["sequence"])

    def verify(self, secret: str = SECRET) -> Any:
        """The decoded body, if the official library finds the signature right."""
        return Webhook(secret).verify(self.body, dict(self.headers))


Answer: TypeAlias = Callable[[Received], Awaitable[web.StreamResponse]]


def status(code: int, **headers: str) -> Answer:
    """Always answer with this status."""

    async def answer(_request: Received) -> web.StreamResponse:
        return web.Response(status=code, headers={name.replace("_", "-"): value for name, value in headers.items()})

    return answer


def settings_for(url: str, **changes: Any) -> WebhookSettings:
    """Settings of a gateway that sends to a receiver on this machine."""
    return WebhookSettings(**{"url": url, "secret": SecretStr(SECRET), "allow_private": True, **changes})


class Receiver:
    """Async context manager; `answer` may be replaced at any time. `hang` is an answer that comes when all is over."""

    def __init__(self, answer: Answer | None = None) -> None:
        self.answer = answer or status(204)
        self.requests: list[Received] = []
        self._arrived = asyncio.Condition()
        self._over = asyncio.Event()

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = int(self._runner.addresses[0][1])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?token=hidden"

    def settings(self, **changes: Any) -> WebhookSettings:
        """Settings of a gateway that sends here."""
        return settings_for(self.url, **changes)

    async def hang(self, _request: Received) -> web.StreamResponse:
        await self._over.wait()
        return web.Response(status=503)

    async def wait_for(self, count: int) -> list[Received]:
        """The first `count` requests, once there are so many."""
        async with asyncio.timeout(DEADLINE_S), self._arrived:
            await self._arrived.wait_for(lambda: len(self.requests) >= count)
        return self.requests[:count]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        received = Received({name.lower(): value for name, value in request.headers.items()}, await request.read())
        async with self._arrived:
            self.requests.append(received)
            self._arrived.notify_all()
        return await self.answer(received)
