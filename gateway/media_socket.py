"""
The WebSocket of a media stream: aiohttp's, made cheap to listen to.

Most of what a frame of audio costs is waking up for it: a turn of the event loop, a read, a switch to the task that
waits for the message. Here the transport of a stream that has begun is paused, and the socket is read once per chunk of
audio (`media.rhythm`), with one system call and no poll, and the messages are offered to the call on the spot, without
a task switch (`frame_front`); what the call declines waits for `receive` as ever.

Where bytes cannot be read past the transport (TLS, Windows), it stays in charge, and only the second half applies.
"""

import asyncio
import os
import sys
from collections.abc import Callable

from aiohttp import WSMessage, web
from aiohttp._websocket.reader import WebSocketDataQueue, WebSocketReader
from aiohttp._websocket.writer import WebSocketWriter
from aiohttp.web_protocol import RequestHandler

from gateway.frame_front import FrameFront, Take
from gateway.media.rhythm import Rhythm
from gateway.ticker import Ticker

READ_BYTES = 16384
SIGN_OF_LIFE_S = 1.0
"""How often what comes is noted as a sign of life; the heartbeat counts in tens of seconds."""
PAUSED_S = 0.02
REST_READS = 16
"""At the end a quarter of a megabyte is read at most: ten seconds of one track, if the gateway was so far behind."""
_QUEUE_BYTES = 65536


class MediaSocket(web.WebSocketResponse):
    """
    A server's WebSocket for one media stream; text messages are given as bytes.

    Args:
        ticker: of the process.
        heartbeat_s: interval of pings.
        max_message_bytes: largest message.
    """

    def __init__(self, ticker: Ticker, *, heartbeat_s: float, max_message_bytes: int) -> None:
        super().__init__(compress=False, decode_text=False, heartbeat=heartbeat_s, max_msg_size=max_message_bytes)
        self._ticker = ticker
        self._front: FrameFront | None = None
        self._http: RequestHandler | None = None
        self._polling: _Polling | None = None
        self._lived_at = float("-inf")

    def hand_over(self, take: Take, progress: Callable[[], tuple[bool, float]]) -> None:
        """
        From now on offer text messages to `take` as they come.

        Args:
            take: tells how many it has taken.
            progress: whether chunks of audio are complete since it was asked last, and the audio until the next one is,
                which is when to read.

        What `take` raises, `receive` raises.
        """
        assert self._front is not None, "only after prepare()"
        assert self._http is not None, "likewise"
        self._front.take = take
        if (descriptor := _readable(self._http)) is not None:
            signs = self._on_data_received
            self._polling = _Polling(self._ticker, self._http, descriptor, self._front, signs, progress)

    def keep(self) -> None:
        """Offer what has come; from then on all messages wait for `receive`."""
        if self._polling is not None:
            self._polling.read_rest()
            self._polling.stop()
            self._polling = None
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


class _Polling:
    """
    Reads a socket in the place of its transport, when a chunk is due.

    Args:
        ticker: of the process.
        protocol: of the connection.
        descriptor: of the socket.
        front: gets what is read.
        show_sign: called about once a second while something comes.
        progress: see `MediaSocket.hand_over`.
    """

    def __init__(
        self,
        ticker: Ticker,
        protocol: RequestHandler,
        descriptor: int,
        front: FrameFront,
        show_sign: Callable[[], None],
        progress: Callable[[], tuple[bool, float]],
    ) -> None:
        self._ticker = ticker
        self._protocol = protocol
        self._descriptor = descriptor
        self._front = front
        self._show_sign = show_sign
        self._progress = progress
        self._loop = asyncio.get_running_loop()
        self._rhythm = Rhythm(self._loop.time())
        assert protocol.transport is not None
        self._transport = protocol.transport
        self._transport.pause_reading()
        self._is_over = False
        self._sign_at = 0.0
        _, self._missing_s = progress()
        ticker.at(self._loop.time(), self._look)

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
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def _look(self) -> None:
        if self._is_over or self._transport.is_closing():
            return  # its number may soon be another socket's
        now = self._loop.time()
        if self._protocol._reading_paused:  # too much waits for `receive`
            self._ticker.at(now + PAUSED_S, self._look)
            return
        is_complete = False
        try:
            data = os.read(self._descriptor, READ_BYTES)
        except BlockingIOError:  # too early; or aiohttp let the transport read again, when too much had waited
            if self._transport.is_reading():
                self._transport.pause_reading()
        except OSError:
            self.stop()  # the transport finds out what it is, and tells whoever needs to know
            return
        else:
            if not data:
                self.stop()
                return
            if now >= self._sign_at:
                self._sign_at = now + SIGN_OF_LIFE_S
                self._show_sign()
            if self._front.feed_data(data)[0]:
                self._protocol.close()
                self.stop()
                return
            if len(data) == READ_BYTES:
                self._ticker.at(now, self._look)
                return
            is_complete, self._missing_s = self._progress()
        self._ticker.at(self._rhythm.next(now, self._missing_s, is_complete=is_complete), self._look)


def _readable(protocol: RequestHandler) -> int | None:
    """The number of a socket whose bytes are the stream's; None: only the transport can read them."""
    transport = protocol.transport
    if transport is None or transport.is_closing() or sys.platform == "win32":
        return None
    if transport.get_extra_info("sslcontext") is not None:
        return None
    number: int = transport.get_extra_info("socket").fileno()
    return number
