"""The console's doors by themselves: the log-in, the pages, and routes that look, change something, and talk."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway.live.access import Access
from gateway.live.login import Login
from gateway.live.pages import Pages
from tests.support.manual_clock import ManualClock

TOKEN = "a-token-that-allows-everything"
READ_TOKEN = "a-token-that-allows-to-look"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


class Door:
    """
    A browser, or a script, at the door.

    Attributes:
        origin: of the pages.
        session: keeps cookies as a browser does.
        clock: of the sessions.
        changes: methods of the requests that changed something.
    """

    def __init__(self, origin: str, session: aiohttp.ClientSession, clock: ManualClock, changes: Sequence[str]) -> None:
        self.origin = origin
        self.session = session
        self.clock = clock
        self.changes = changes

    @property
    def ours(self) -> dict[str, str]:
        """What a browser says of a request that one of our pages makes."""
        return {"Origin": self.origin, "Sec-Fetch-Site": "same-origin"}

    async def get(self, path: str, **headers: str) -> aiohttp.ClientResponse:
        return await self.request("GET", path, headers=headers)

    async def post(self, path: str, **options: Any) -> aiohttp.ClientResponse:
        return await self.request("POST", path, **options)

    async def request(self, method: str, path: str, **options: Any) -> aiohttp.ClientResponse:
        """The whole answer; redirects are not followed."""
        async with self.session.request(method, self.origin + path, allow_redirects=False, **options) as answer:
            await answer.read()
        return answer

    async def log_in(self, token: str = TOKEN, there: str = "/") -> aiohttp.ClientResponse:
        """By the form, as a page of ours posts it."""
        return await self.post("/login", data={"token": token, "next": there}, headers=self.ours)

    def cookies(self) -> list[str]:
        """`name=value` of what the browser keeps."""
        return [f"{each.key}={each.value}" for each in self.session.cookie_jar]


@asynccontextmanager
async def door(*, read_token: str = READ_TOKEN, **options: Any) -> AsyncIterator[Door]:
    """
    The doors on loopback.

    Args:
        read_token: may be empty.
        options: further ones of `Access`.
    """
    clock = ManualClock()
    app = web.Application()
    changes: list[str] = []
    _add_routes(app, Access(TOKEN, read_token, clock=clock, **options), changes)
    jar = aiohttp.CookieJar(unsafe=True)  # of hosts that are numbers, too
    async with TestServer(app, host="127.0.0.1") as server, aiohttp.ClientSession(cookie_jar=jar) as session:
        yield Door(str(server.make_url("/")).rstrip("/"), session, clock, changes)


def _add_routes(app: web.Application, access: Access, changes: list[str]) -> None:
    async def look(request: web.Request) -> web.Response:
        return web.json_response({"kind": access.require(request)})

    async def change(request: web.Request) -> web.Response:
        access.require(request, writes=True)
        changes.append(request.method)
        return web.json_response({})

    async def talk(request: web.Request) -> web.StreamResponse:
        access.require(request)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.close()
        return socket

    Login(access).add_to(app)
    Pages(access).add_to(app)
    app.router.add_get("/api/look", look)
    app.router.add_get("/calls/{call_id}/print", look)
    app.router.add_route("*", "/api/change", change)
    app.router.add_get("/api/talk", talk)
