"""
The feed's routes: server-sent events of all calls or of one, and the same as WebSocket messages.

`Last-Event-ID`, which a browser's EventSource sends by itself when it comes back, is a position in the store.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Annotated, Protocol

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from gateway.errors import CapacityError, StorageError, UnavailableError
from gateway.live.access import Access, refusal
from gateway.live.feed import Feed
from gateway.live.feed_item import Item, begun
from gateway.live.feed_streams import EventStream, SocketStream, drive, hold_little
from gateway.live.feed_viewer import Viewer, Wish

HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx, and others that heed it, pass on what they get at once
    "X-Content-Type-Options": "nosniff",
}
RETRY_AFTER_S = "5"
HEARTBEAT_S = 15.0
FIRST_MESSAGE_S = 1.0
"""How long a WebSocket client may take to say what it wants, if its address does not."""
CLOSE_S = 1.0
"""How long the end waits for the answer to a close frame."""
MAX_MESSAGE_BYTES = 16 * 1024
_NOT_OURS = 2**62
_UPGRADE = {"Upgrade": "websocket"}
_PARAMETERS = ("last_event_id", "call", "types", "partials")


class Calls(Protocol):
    """Who knows which calls there are; `feed_past.StoredPast` does."""

    async def knows(self, call_id: str) -> bool:
        """Whether there is such a call."""


class Hello(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    What a WebSocket client may say first: go on behind the id `after`; only of this `call`, only of these `types`;
    `partials`: also what is being said.
    """

    after: Annotated[int, msgspec.Meta(ge=0)] | None = None
    call: str | None = None
    types: tuple[str, ...] | None = None
    partials: bool = True


class FeedRoutes:
    """
    The routes.

    Args:
        feed: what is shown.
        calls: which there are.
        access: who may watch.
    """

    def __init__(self, feed: Feed, calls: Calls, access: Access) -> None:
        self._feed = feed
        self._calls = calls
        self._access = access

    def add_to(self, app: web.Application) -> None:
        app.router.add_get("/api/events", self.all_events, allow_head=False)
        app.router.add_get("/api/calls/{call_id}/events", self.events_of_call, allow_head=False)
        app.router.add_get("/api/feed", self.messages, allow_head=False)
        app.on_shutdown.append(self._end)

    async def all_events(self, request: web.Request) -> web.StreamResponse:
        """All calls, from now on or after `Last-Event-ID`."""
        self._access.require(request)
        return await self._stream(request, _wish(request))

    async def events_of_call(self, request: web.Request) -> web.StreamResponse:
        """One call, from its first event on or after `Last-Event-ID`; it goes on when the call has ended."""
        self._access.require(request)
        call_id = request.match_info["call_id"]
        await self._require_call(call_id)
        return await self._stream(request, _wish(request, call_id))

    async def messages(self, request: web.Request) -> web.StreamResponse:
        """The same as WebSocket messages."""
        self._access.require(request)
        wish = _wish(request, request.query.get("call"))
        if wish.call_id is not None:
            await self._require_call(wish.call_id)
        socket = web.WebSocketResponse(
            heartbeat=HEARTBEAT_S, timeout=CLOSE_S, compress=False, max_msg_size=MAX_MESSAGE_BYTES
        )
        if not socket.can_prepare(request).ok:
            raise refusal(web.HTTPUpgradeRequired, "no_upgrade", "only WebSockets are served here", headers=_UPGRADE)
        transport = _transport(request)
        with _refusing(), self._feed.subscribe(wish) as viewer:
            first = await _begin(viewer)
            await socket.prepare(request)
            hold_little(transport)
            is_clear = any(name in request.query for name in _PARAMETERS)
            await self._converse(request, socket, viewer, first, is_clear=is_clear)
        return socket

    async def _stream(self, request: web.Request, wish: Wish) -> web.StreamResponse:
        transport = _transport(request)
        with _refusing(), self._feed.subscribe(wish) as viewer:
            position, first = await viewer.begin()
            response = web.StreamResponse(headers=HEADERS)
            response.force_close()
            with suppress(ConnectionResetError):  # it left
                await response.prepare(request)
                hold_little(transport)
                stream = EventStream(response)
                await stream.begin(position)
                if first is not None:
                    await stream.send([first])
                await self._drive(request, viewer, stream, transport)
        return response

    async def _converse(
        self, request: web.Request, socket: web.WebSocketResponse, viewer: Viewer, first: Item | None, *, is_clear: bool
    ) -> None:
        try:
            if not is_clear and (hello := await _hello(socket)) is not None:
                viewer.change(await self._heeded(hello))
                first = await _begin(viewer)
        except msgspec.MsgspecError:
            await _close(socket, WSCloseCode.POLICY_VIOLATION, "the first message is not as it should be")
        except (CapacityError, StorageError):
            await _close(socket, WSCloseCode.TRY_AGAIN_LATER, "the store cannot be read just now")
        if not socket.closed:
            await self._show(request, socket, viewer, first)

    async def _show(
        self, request: web.Request, socket: web.WebSocketResponse, viewer: Viewer, first: Item | None
    ) -> None:
        async with asyncio.TaskGroup() as tasks:
            listening = tasks.create_task(_listen(socket, viewer))
            with suppress(ConnectionResetError):  # it left
                stream = SocketStream(socket)
                if first is not None:
                    await stream.send([first])
                await self._drive(request, viewer, stream, _transport(request))
            listening.cancel()
        if viewer.fault is None:
            await _close(socket, WSCloseCode.GOING_AWAY, "")

    async def _heeded(self, hello: Hello) -> Wish:
        if hello.call is not None and not await self._calls.knows(hello.call):
            raise msgspec.ValidationError("there is no such call")
        types = frozenset(hello.types or ())
        return Wish(after=hello.after, call_id=hello.call, types=types or None, partials=hello.partials)

    async def _drive(
        self, request: web.Request, viewer: Viewer, stream: EventStream | SocketStream, transport: asyncio.Transport
    ) -> None:
        await drive(
            viewer,
            stream,
            transport=transport,
            may_go_on=lambda: self._access.kind_of(request) is not None,
        )

    async def _require_call(self, call_id: str) -> None:
        with _refusing():
            is_known = await self._calls.knows(call_id)
        if not is_known:
            raise refusal(web.HTTPNotFound, "no_such_call", "there is no call of this id, or none any more")

    async def _end(self, _app: web.Application) -> None:
        self._feed.close()


_HELLO = msgspec.json.Decoder(Hello)


async def _begin(viewer: Viewer) -> Item | None:
    """What a client is told first, if it does not know where it begins: what follows is resumed from there."""
    position, first = await viewer.begin()
    is_new = first is None and viewer.wish.after is None
    return begun(position) if is_new and position is not None else first


async def _hello(socket: web.WebSocketResponse) -> Hello | None:
    """The first message, if it comes soon."""
    try:
        async with asyncio.timeout(FIRST_MESSAGE_S):
            message = await socket.receive()
    except TimeoutError:
        return None
    if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
        return _HELLO.decode(message.data)
    return None


async def _listen(socket: web.WebSocketResponse, viewer: Viewer) -> None:
    """Answer pings, and notice when the client leaves; it has nothing more to say."""
    async for _message in socket:
        await _close(socket, WSCloseCode.POLICY_VIOLATION, "one message is expected at most, and at once")
    viewer.end()


async def _close(socket: web.WebSocketResponse, code: int, why: str) -> None:
    with suppress(ConnectionResetError):
        await socket.close(code=code, message=why.encode())


def _wish(request: web.Request, call_id: str | None = None) -> Wish:
    query = request.query
    types = frozenset(filter(None, query.get("types", "").split(",")))
    return Wish(
        after=_position(request.headers.get("Last-Event-ID") or query.get("last_event_id", "")),
        call_id=call_id,
        types=types or None,
        partials=query.get("partials") != "0",
    )


def _position(text: str) -> int | None:
    """What a client had seen; a text that no feed of ours gave it stands for a position that is not to be had."""
    if not text:
        return None
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else _NOT_OURS


def _transport(request: web.Request) -> asyncio.Transport:
    if request.transport is None:
        raise ConnectionResetError
    return request.transport


@contextmanager
def _refusing() -> Iterator[None]:
    """What cannot be had now is answered 503."""
    try:
        yield
    except (CapacityError, StorageError, UnavailableError) as error:
        raise refusal(
            web.HTTPServiceUnavailable, error.code, str(error), headers={"Retry-After": RETRY_AFTER_S}
        ) from None
