"""
The WebSocket of a media stream: aiohttp's, made cheap to listen to.

Most of what a frame of audio costs is waking up for it: a turn of the event loop, a read, a switch to the task that
waits for the message. Here the transport of a stream that has begun is paused, and the kernel wakes us when a chunk of
audio is complete (`media.low_water`, `arrivals`); it is read at once, and its messages are offered to the call without
a task switch (`frame_front`); what the call declines waits for `receive` as ever.

Where bytes cannot be read past the transport (TLS, not Linux), it stays in charge, and only the second half applies.
"""

import asyncio
import os
from collections.abc import Callable
from socket import SO_RCVLOWAT, SOL_SOCKET

from aiohttp import WSMessage, web
from aiohttp._websocket.reader import WebSocketDataQueue, WebSocketReader
from aiohttp._websocket.writer import WebSocketWriter
from aiohttp.web_protocol import RequestHandler

from gateway.arrivals import IS_SUPPORTED, Arrivals
from gateway.frame_front import FrameFront, Take
from gateway.media.low_water import LowWater

READ_BYTES = 16384
SIGN_OF_LIFE_S = 1.0
"""How often what comes is noted as a sign of life; the heartbeat counts in tens of seconds."""
PAUSED_S = 0.02
OVERDUE_S = 0.05
"""So late a chunk is not waited for: whatever there is of it is read, and what else came."""
REST_READS = 16
"""At the end a quarter of a megabyte is read at most: ten seconds of one track, if the gateway was so far behind."""
_QUEUE_BYTES = 65536


class MediaSocket(web.WebSocketResponse):
    """
    A server's WebSocket for one media stream; text messages are given as bytes.

    Args:
        arrivals: of the process.
        heartbeat_s: interval of pings.
        max_message_bytes: largest message.
    """

    def __init__(self, arrivals: Arrivals, *, heartbeat_s: float, max_message_bytes: int) -> None:
        super().__init__(compress=False, decode_text=False, heartbeat=heartbeat_s, max_msg_size=max_message_bytes)
        self._arrivals = arrivals
        self._front: FrameFront | None = None
        self._http: RequestHandler | None = None
        self._chunks: _ChunkReader | None = None
        self._lived_at = float("-inf")

    def hand_over(self, take: Take, progress: Callable[[], tuple[float, float]]) -> None:
        """
        From now on offer text messages to `take` as they come.

        Args:
            take: tells whether it has taken them.
            progress: the audio that came since it was asked last, and the audio until the next chunk is complete, which
                is when to read; both in seconds.

        What `take` raises, `receive` raises.
        """
        assert self._front is not None, "only after prepare()"
        assert self._http is not None, "likewise"
        self._front.take = take
        if (descriptor := _readable(self._http)) is not None:
            signs = self._on_data_received
            self._chunks = _ChunkReader(self._arrivals, self._http, descriptor, self._front, signs, progress)

    def keep(self) -> None:
        """Offer what has come; from then on all messages wait for `receive`."""
        if self._chunks is not None:
            self._chunks.read_rest()
            self._chunks.stop()
            self._chunks = None
        if self._front is not None:
            self._front.take = None
        self._http = None

    async def receive(self, timeout: float | None = None) -> WSMessage:
        """As aiohttp's; raises what `take` raised."""
        message = await super().receive(timeout)
        if self._front is not None and self._front.failure is not None:
            raise self._front.failure
        return message

    def _post_start(self, request: web.BaseRequest, protocol: str | None, writer: WebSocketWriter) -> None:
        """As in aiohttp 3.14, but for the front before its parser."""
        assert self._loop is not None
        self._ws_protocol = protocol
        self._writer = writer
        self._reset_heartbeat()
        self._http = request.protocol
        self._reader = WebSocketDataQueue(request.protocol, _QUEUE_BYTES, loop=self._loop)
        self._parser = WebSocketReader(self._reader, self._max_msg_size, compress=False, decode_text=False)
        self._front = FrameFront(self._parser, self._reader, self._max_msg_size)
        request.protocol.set_parser(self._front, data_received_cb=self._on_data_received)  # type: ignore[arg-type]
        request.protocol.keep_alive(False)

    def _on_data_received(self) -> None:
        """
        Something came: a sign of life.

        aiohttp (3.14.0 to 3.14.5 at least, since its pull request 12030) also takes the peer's half of the closing for
        one and sets its heartbeat again: the timer would hold the socket, and 10 kB with it, for 30 s.
        """
        assert self._loop is not None
        now = self._loop.time()
        if now >= self._lived_at + SIGN_OF_LIFE_S and not self.closed:
            self._lived_at = now
            super()._on_data_received()


class _ChunkReader:
    """
    Reads a socket in the place of its transport, when a chunk is complete.

    Args:
        arrivals: of the process.
        protocol: of the connection.
        descriptor: of the socket.
        front: gets what is read.
        show_sign: called about once a second while something comes.
        progress: see `MediaSocket.hand_over`.
    """

    def __init__(
        self,
        arrivals: Arrivals,
        protocol: RequestHandler,
        descriptor: int,
        front: FrameFront,
        show_sign: Callable[[], None],
        progress: Callable[[], tuple[float, float]],
    ) -> None:
        self._arrivals = arrivals
        self._protocol = protocol
        self._descriptor = descriptor
        self._front = front
        self._show_sign = show_sign
        self._progress = progress
        self._loop = asyncio.get_running_loop()
        self._low_water = LowWater()
        assert protocol.transport is not None
        self._transport = protocol.transport
        self._is_over = self._is_paused = False
        self._sign_at = 0.0
        self._overdue_at = 0.0
        self._is_timed = False
        progress()
        self._begin()

    def read_rest(self) -> None:
        """Read what has come since the last look, as far as that is within reason."""
        for _ in range(REST_READS):
            if self._is_over or self._transport.is_closing() or self._protocol._reading_paused:
                return
            try:
                data = os.read(self._descriptor, READ_BYTES)
            except OSError:
                return  # there is nothing more, or the transport will find out what it is
            if not data:
                return
            if self._front.feed_data(data)[0]:
                self._protocol.close()
                return

    def stop(self) -> None:
        """Let the transport read again."""
        self._is_over = True
        self._arrivals.forget(self._descriptor, self._look)
        if not self._transport.is_closing():
            self._wake_for_anything()
            self._transport.resume_reading()

    def _begin(self) -> None:
        if self._transport.is_reading():
            self._transport.pause_reading()
        self._wake_for_anything()
        self._arrivals.watch(self._descriptor, self._look)

    def _look(self) -> None:
        """Read what is there: as a rule a chunk, just now complete."""
        if self._transport.is_closing():
            self._arrivals.forget(self._descriptor, self._look)  # its number may soon be another socket's
            return
        if self._protocol._reading_paused:  # too much waits for `receive`
            self._is_paused = True
            self._arrivals.forget(self._descriptor, self._look)
            self._loop.call_later(PAUSED_S, self._go_on)
            return
        try:
            data = os.read(self._descriptor, READ_BYTES)
        except BlockingIOError:  # aiohttp let the transport read again, when too much had waited
            if self._transport.is_reading():
                self._transport.pause_reading()
            self._wake_for_anything()
            return
        except OSError:
            self.stop()  # the transport finds out what it is, and tells whoever needs to know
            return
        if not data:
            self.stop()
            return
        now = self._loop.time()
        if now >= self._sign_at:
            self._sign_at = now + SIGN_OF_LIFE_S
            self._show_sign()
        if self._front.feed_data(data)[0]:
            self._protocol.close()
            self.stop()
            return
        if len(data) == READ_BYTES:
            self._wake_for_anything()
            return
        came_s, missing_s = self._progress()
        if self._low_water.update(len(data), len(self._front.rest), came_s, missing_s):
            self._set_low_water()
        self._overdue_at = now + missing_s + OVERDUE_S
        if not self._is_timed:
            self._is_timed = True
            self._arrivals.at(self._overdue_at, self._check)

    def _wake_for_anything(self) -> None:
        if self._low_water.update(0, 0, 0.0, 0.0):
            self._set_low_water()

    def _set_low_water(self) -> None:
        self._transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_RCVLOWAT, self._low_water.mark)

    def _check(self) -> None:
        """If a chunk is overdue, let the kernel wake us for whatever is there of it; many may be overdue at once."""
        self._is_timed = False
        if self._is_over or self._is_paused or self._transport.is_closing():
            return
        if self._protocol._reading_paused or self._transport.is_reading():
            self._look()  # nobody is woken while too much waits, or while the transport reads again
        elif self._loop.time() >= self._overdue_at:
            self._wake_for_anything()
        else:
            self._is_timed = True
            self._arrivals.at(self._overdue_at, self._check)

    def _go_on(self) -> None:
        """Begin again, once there is room for what comes."""
        if self._is_over or self._transport.is_closing():
            return
        if self._protocol._reading_paused:
            self._loop.call_later(PAUSED_S, self._go_on)
        else:
            self._is_paused = False
            self._begin()


def _readable(protocol: RequestHandler) -> int | None:
    """The number of a socket whose bytes are the stream's; None: only the transport can read them."""
    transport = protocol.transport
    if not IS_SUPPORTED or transport is None or transport.is_closing():
        return None
    if transport.get_extra_info("sslcontext") is not None:
        return None
    number: int = transport.get_extra_info("socket").fileno()
    return number
