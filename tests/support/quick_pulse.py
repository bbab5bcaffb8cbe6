"""
A Pulse live server for thousands of sessions: it counts the audio's bytes and keeps nothing.

It is no strict judge of its client, as `pulse_server` is: it is there so that gateways under load have somebody to talk
to who costs less than they do. `b<bytes>` is its only word: one final per second of audio, and one for the rest.
"""

import asyncio
import base64
import hashlib
import json
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias

from tests.support import raw_websocket
from tests.support.raw_websocket import Frame, FrameReader, frame

Act: TypeAlias = Literal["hear", "refuse", "busy", "cut", "garble", "ignore"]
"""hear; answer 503; answer 429; drop the connection at the first audio; talk nonsense; never answer the upgrade."""
KEY = "sk_test_key_of_pulse"
BYTES_PER_S = 8000
_ACCEPT_SUFFIX = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_REFUSALS = {"refuse": b"503 Service Unavailable", "busy": b"429 Too Many Requests\r\nRetry-After: 1"}


class QuickPulse:
    """
    The server; an async context manager.

    Args:
        act: asked at each connection what to do with it.

    Attributes:
        act: may be replaced at any time.
        open: connections that are open.
        accepted: connections so far.
    """

    def __init__(self, act: Callable[[], Act] = lambda: "hear") -> None:
        self.act = act
        self.open = 0
        self.accepted = 0

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Session(self), "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()

    @property
    def port(self) -> int:
        return int(self._server.sockets[0].getsockname()[1])

    def profile(self, **settings: Any) -> dict[str, Any]:
        """Settings of a profile that is this server."""
        url = f"ws://127.0.0.1:{self.port}/waves/v1/stt/live"
        return {"kind": "pulse-live", "url": url, "api_key": KEY, "connect_timeout_s": 2, **settings}


class _Session(asyncio.Protocol):
    def __init__(self, server: QuickPulse) -> None:
        self._server = server
        self._act: Act = "hear"
        self._head = b""
        self._frames: FrameReader | None = None
        self._said = self._heard = 0
        self._has_closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._act = self._server.act()
        self._server.open += 1
        self._server.accepted += 1

    def connection_lost(self, _error: Exception | None) -> None:
        self._server.open -= 1

    def data_received(self, octets: bytes) -> None:
        if self._frames is None:
            octets = self._admit(octets)
        if self._frames is not None:
            for each in self._frames.feed(octets):
                self._take(each)

    def _admit(self, octets: bytes) -> bytes:
        """Answer the upgrade once its head is whole; what follows it is returned."""
        head, end, rest = (self._head + octets).partition(b"\r\n\r\n")
        self._head = head
        if not end or self._act == "ignore":
            return b""
        if refusal := _REFUSALS.get(self._act):
            self._transport.write(b"HTTP/1.1 " + refusal + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            self._transport.close()
            return b""
        lines = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])
        keys = {name.lower(): value for name, value in lines.items()}
        digest = hashlib.sha1(keys[b"sec-websocket-key"] + _ACCEPT_SUFFIX).digest()  # noqa: S324 - the RFC's
        self._transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n"
        )
        self._frames = FrameReader()
        return rest

    def _take(self, each: Frame) -> None:
        match each.opcode:
            case _ if self._transport.is_closing():
                pass
            case raw_websocket.BINARY if self._act == "cut":
                self._transport.abort()
            case raw_websocket.BINARY if self._act == "garble":
                self._transport.write(frame(raw_websocket.TEXT, b'{"type":', masked=False))
            case raw_websocket.BINARY:
                self._hear(len(each.payload))
            case raw_websocket.TEXT:
                self._control(json.loads(each.payload)["type"])
            case raw_websocket.PING:
                self._transport.write(frame(raw_websocket.PONG, each.payload, masked=False))
            case raw_websocket.CLOSE:
                if not self._has_closed:
                    self._transport.write(frame(raw_websocket.CLOSE, each.payload, masked=False))
                self._transport.close()

    def _hear(self, size: int) -> None:
        self._heard += size
        while self._heard - self._said >= BYTES_PER_S:
            self._say_final(self._said + BYTES_PER_S)

    def _control(self, kind: str) -> None:
        match kind:
            case "keepalive":
                self._say(type="pong")
            case "finalize":
                self._say_final(self._heard, from_finalize=True)
            case _:
                self._say_final(self._heard, is_last=True)
                self._has_closed = True
                self._transport.write(frame(raw_websocket.CLOSE, b"\x03\xe8", masked=False))

    def _say_final(self, end: int, **flags: bool) -> None:
        begin, self._said = self._said, end
        times = {"start": begin / BYTES_PER_S, "end": end / BYTES_PER_S, "confidence": 0.9}
        words = [{"word": f"b{end - begin}", **times}] if end > begin else []
        text = " ".join(str(each["word"]) for each in words)
        self._say(type="transcription", status="success", transcript=text, is_final=True, words=words, **flags)

    def _say(self, **fields: Any) -> None:
        self._transport.write(frame(raw_websocket.TEXT, json.dumps(fields).encode(), masked=False))
