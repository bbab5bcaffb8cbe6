"""The feed's routes on loopback with a real store behind them, and a client of server-sent events."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway.config import LiveSettings
from gateway.events import CallEvent, TranscriptPartial
from gateway.live.access import Access, Kind
from gateway.live.feed import Feed, Spread
from gateway.live.feed_past import StoredPast
from gateway.live.feed_routes import FeedRoutes
from gateway.live.reading import StoreReader
from gateway.outbox import Outbox

TOKEN = "a-token-for-the-feed"
READ_TOKEN = "a-token-that-only-watches"
DEADLINE_S = 60.0


@dataclass
class Told:
    """One event of a stream, as a browser would see it."""

    type: str
    id: str
    data: Any


class EventSource:
    """
    Reads an answer as a browser reads server-sent events (whatwg.org, "HTML", 9.2.6).

    Attributes:
        last_event_id: what a browser would send when it comes back.
        retry_ms: when that would be.
        comments: lines that it would ignore.
    """

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.answer = answer
        self.last_event_id = ""
        self.retry_ms: int | None = None
        self.comments = 0

    async def next(self) -> Told | None:
        """The next event; None at the end of the stream."""
        type_, id_ = "message", self.last_event_id
        data: list[str] = []
        async with asyncio.timeout(DEADLINE_S):
            async for raw in self.answer.content:
                line = raw.decode().rstrip("\n")
                field, _, value = line.partition(":")
                value = value.removeprefix(" ")
                match field:
                    case "" if line:
                        self.comments += 1
                    case "":
                        self.last_event_id = id_
                        if data:
                            return Told(type_, id_, json.loads("\n".join(data)))
                        type_ = "message"
                    case "event":
                        type_ = value
                    case "data":
                        data.append(value)
                    case "id":
                        id_ = value
                    case "retry":
                        self.retry_ms = int(value)
                    case _:
                        pass  # which a browser ignores
        return None

    async def take(self, count: int) -> list[Told]:
        """So many events."""
        found = [await self.next() for _ in range(count)]
        return [each for each in found if each is not None]

    async def begun(self) -> None:
        """Wait until the stream has told from where on it is to be resumed; then it shows what happens."""
        async with asyncio.timeout(DEADLINE_S):
            while not self.last_event_id:
                line = (await self.answer.content.readline()).decode().rstrip("\n")
                if line.startswith("id: "):
                    self.last_event_id = line.removeprefix("id: ")
                elif line.startswith("retry: "):
                    self.retry_ms = int(line.removeprefix("retry: "))


class FeedHouse:
    """A store, a feed and its routes."""

    def __init__(self, outbox: Outbox, feed: Feed, server: TestServer, session: aiohttp.ClientSession) -> None:
        self.outbox = outbox
        self.feed = feed
        self.server = server
        self.session = session
        self._sink = Spread(outbox, feed)

    @property
    def socket_url(self) -> str:
        return str(self.server.make_url("/api/feed")).replace("http", "ws", 1)

    async def publish(self, *events: CallEvent) -> None:
        for event in events:
            await self._sink.publish(event)

    def offer(self, partial: TranscriptPartial) -> None:
        self._sink.offer(partial)

    def get(self, path: str, *, token: str | None = TOKEN, **headers: str) -> Any:
        shown = {"Authorization": f"Bearer {token}"} if token else {}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.session.get(self.server.make_url(path), headers=shown | named)

    @asynccontextmanager
    async def watch(self, path: str = "/api/events", **headers: str) -> AsyncIterator[EventSource]:
        """A stream that is open."""
        async with self.get(path, **headers) as answer:
            assert answer.status == 200, await answer.text()
            yield EventSource(answer)

    async def until_nobody_watches(self) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while self.feed.has_viewers:
                await self._turn()

    async def _turn(self) -> None:
        """Let the server have its turns: asking it something takes some."""
        async with self.session.get(self.server.make_url("/nothing")):
            pass


@asynccontextmanager
async def feed_house(
    folder: Path, *, clock: Callable[[], float] = time.monotonic, **live: Any
) -> AsyncIterator[FeedHouse]:
    """
    Serve the feed of a store in this folder.

    Args:
        clock: of the sessions.
        live: settings.
    """
    settings = LiveSettings(**live)
    async with AsyncExitStack() as stack:
        outbox = await stack.enter_async_context(Outbox(folder))
        past = StoredPast(await stack.enter_async_context(StoreReader(folder)))
        feed = Feed(past, max_viewers=settings.max_viewers, unread_s=settings.viewer_timeout_s)
        outbox.add_listener(feed.note)
        access = Access(TOKEN, READ_TOKEN, clock=clock)
        app = web.Application()
        FeedRoutes(feed, past, access).add_to(app)
        _Sessions(access).add_to(app)
        server = TestServer(app)
        await stack.enter_async_context(server)
        session = await stack.enter_async_context(
            aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))  # which knows addresses, too
        )
        yield FeedHouse(outbox, feed, server, session)


class _Sessions:
    """The shortest way to a cookie and back."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def add_to(self, app: web.Application) -> None:
        app.router.add_get("/in", self.log_in)
        app.router.add_get("/out", self.log_out)

    async def log_in(self, request: web.Request) -> web.Response:
        answer = web.Response()
        self._access.log_in(request, answer, Kind.READ)
        return answer

    async def log_out(self, request: web.Request) -> web.Response:
        answer = web.Response()
        self._access.log_out(request, answer)
        return answer
