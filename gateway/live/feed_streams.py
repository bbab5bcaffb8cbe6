"""
The two ways in which the feed goes over the wire, and one loop that drives both.

A viewer is sent what it has to read in one piece. While it does not take that, its events wait up to their bound, and
nobody else waits at all; the hub drops it when that lasts too long.
"""

import asyncio
import socket
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from aiohttp import WSMsgType, web

from gateway import telemetry
from gateway.errors import CapacityError, StorageError
from gateway.live.feed_item import FINAL, Form, Item, alive, mark
from gateway.live.feed_viewer import Viewer

COMMENT_S = 15.0
"""
Proxies take a connection for dead on which nothing was sent for a minute, some for less. So often it is also asked
whether the viewer's token or session still holds.
"""
RETRY_MS = 2000
"""When a browser comes back after the connection was lost."""
SEND_BUFFER_BYTES = 256 * 1024
"""Of the system, per viewer: Linux would hold megabytes for somebody who does not read."""


class Stream(Protocol):
    """One connection to a viewer."""

    async def send(self, items: Sequence[Item]) -> None:
        """Send events; waits while the other end does not read."""

    async def stay_awake(self) -> None:
        """Nothing was sent for `COMMENT_S`."""


class EventStream:
    """
    Server-sent events.

    Args:
        response: prepared.
    """

    def __init__(self, response: web.StreamResponse) -> None:
        self._response = response

    async def begin(self, position: int | None) -> None:
        """Say when to come back, and from where on."""
        await self._response.write(b"retry: %d\n%s" % (RETRY_MS, b"\n" if position is None else mark(position)))

    async def send(self, items: Sequence[Item]) -> None:
        """Send events; waits while the other end does not read."""
        await self._response.write(b"".join([item.wire(Form.SSE) for item in items]))

    async def stay_awake(self) -> None:
        """Send a comment."""
        await self._response.write(b":\n\n")


class SocketStream:
    """
    WebSocket messages.

    Args:
        socket: prepared.
    """

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket

    async def send(self, items: Sequence[Item]) -> None:
        """Send events; waits while the other end does not read."""
        for item in items:
            await self._socket.send_frame(item.wire(Form.WEBSOCKET), WSMsgType.TEXT)

    async def stay_awake(self) -> None:
        """Say so: a browser's pings are out of its script's sight."""
        await self.send([alive()])


async def drive(
    viewer: Viewer,
    stream: Stream,
    *,
    transport: asyncio.Transport,
    may_go_on: Callable[[], bool],
    clock: Callable[[], float] = time.time,
) -> None:
    """
    Send a viewer what there is, until it leaves, is dropped or may not watch any more, or the feed is over.

    Args:
        transport: of its connection; aborted when it is dropped.
        may_go_on: whether its token or session still holds.
        clock: Unix seconds, the same as the outbox's.
    """
    viewer.cut = transport.abort
    loop = asyncio.get_running_loop()
    sent_at = asked_at = loop.time()
    while not transport.is_closing():
        try:
            items = await viewer.read()
        except (CapacityError, StorageError):
            return  # it comes back, and names what it had
        if items is None:
            return
        now = loop.time()
        if now - asked_at >= COMMENT_S:
            asked_at = now
            if not may_go_on():
                return
        viewer.sending_since = now
        if items:
            await stream.send(items)
            _measure(items, clock())
            sent_at = now
        elif now - sent_at >= COMMENT_S:
            await stream.stay_awake()
            sent_at = now
        viewer.sending_since = None


def hold_little(transport: asyncio.Transport) -> None:
    """Let the system keep little of what this connection does not read."""
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)


def _measure(items: Sequence[Item], now: float) -> None:
    for item in items:
        if item.type == FINAL and item.made_at is not None:
            telemetry.FEED_FINAL_SECONDS.observe(max(0.0, now - item.made_at))
