"""The webhook's owner, simulated: verifies every delivery, shows it, and fails on request."""

import asyncio
import base64
import json
import random
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError
from standardwebhooks.webhooks import EmptyWebhookSecretError

from gateway.errors import ConfigError, UnavailableError

MAX_BODY_BYTES = 8 * 1024 * 1024


def new_secret() -> str:
    """A secret as receivers are given them: `whsec_` and base64 of 32 random bytes."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


@dataclass(slots=True)
class Tally:
    """What arrived: `events` by their order of arrival, each id once; `duplicates`, `forged`, `failed` on request."""

    events: list[dict[str, Any]] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    duplicates: int = 0
    forged: int = 0
    failed: int = 0

    def faults(self) -> list[str]:
        """What is wrong with what arrived: forged deliveries, holes or disorder in a call's sequence, no end."""
        faults = [f"{self.forged} deliveries had no valid signature"] if self.forged else []
        by_call: dict[str, list[dict[str, Any]]] = {}
        for event in self.events:
            if event["data"]["sequence"] is not None:
                by_call.setdefault(event["data"]["call"]["id"], []).append(event)
        for call_id, events in by_call.items():
            if [event["data"]["sequence"] for event in events] != list(range(1, len(events) + 1)):
                faults.append(f"{call_id}: events are missing or out of order")
            if events[-1]["type"] != "call.ended":
                faults.append(f"{call_id}: has not ended")
        return faults

    def calls_ended(self) -> int:
        """How many calls are over."""
        return sum(event["type"] == "call.ended" for event in self.events)


class Listener:
    """
    A webhook receiver.

    Args:
        secret: of Standard Webhooks, `whsec_…`.
        fail_rate: share of deliveries answered 500, 0 to 1.
        delay_s: wait before each answer.
        on_event: told of each new event.
        seed: makes the failures repeatable.

    Raises:
        ConfigError: the secret is none.
    """

    def __init__(
        self,
        secret: str,
        *,
        fail_rate: float = 0.0,
        delay_s: float = 0.0,
        on_event: Callable[[dict[str, Any]], None] | None = None,
        seed: int | None = None,
    ) -> None:
        try:
            self._webhook = Webhook(secret)
        except (ValueError, EmptyWebhookSecretError):
            raise ConfigError(["the secret is not one of Standard Webhooks: `whsec_` and base64"]) from None
        self._fail_rate = fail_rate
        self._delay_s = delay_s
        self._on_event = on_event
        self._random = random.Random(seed)  # noqa: S311 - decides which answers fail, guards nothing
        self._changed = asyncio.Condition()
        self.tally = Tally()

    @asynccontextmanager
    async def serve(self, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
        """
        Listen while the context lasts; yields the address to post to.

        Raises:
            UnavailableError: the port cannot be had.
        """
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_post("/{path:.*}", self._receive)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            site = web.TCPSite(runner, host, port)
            try:
                await site.start()
            except OSError as error:
                raise UnavailableError(f"cannot listen on {host}:{port}: {error.strerror}", code="port_taken") from None
            bound = runner.addresses[0][1]
            yield f"http://{host}:{bound}/events"
        finally:
            await runner.cleanup()

    async def wait_for_ends(self, count: int) -> None:
        """Wait until so many calls are over."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.tally.calls_ended() >= count)

    async def _receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        try:
            self._webhook.verify(body, {name.lower(): value for name, value in request.headers.items()})
        except WebhookVerificationError:
            self.tally.forged += 1
            return web.json_response({"error": "signature does not match"}, status=401)
        if self._delay_s:
            await asyncio.sleep(self._delay_s)
        if self._random.random() < self._fail_rate:
            self.tally.failed += 1
            return web.json_response({"error": "failing on request"}, status=500)
        event: dict[str, Any] = json.loads(body)
        if event["id"] in self.tally.ids:
            self.tally.duplicates += 1
            return web.Response(status=204)
        self.tally.ids.add(event["id"])
        self.tally.events.append(event)
        if self._on_event is not None:
            self._on_event(event)
        async with self._changed:
            self._changed.notify_all()
        return web.Response(status=204)
