"""A phone platform without manners: a media stream whose every octet, or their absence, is the test's decision."""

import asyncio
import base64
import json
import socket
import struct
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

from tests.support import phone, raw_websocket

DEADLINE_S = 60.0
CONNECTED = {"event": "connected", "protocol": "Call", "version": "1.0.0"}
STOP = {"event": "stop", "streamSid": "MZ1", "stop": {"accountSid": "AC1", "callSid": "CA1"}}


class RawPhone:
    """One upgraded connection. It answers nothing by itself: no ping, no close."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self._writer = writer
        self._frames = raw_websocket.FrameReader()

    async def say(self, *messages: dict[str, Any]) -> None:
        """All of these in one piece."""
        await self.write(b"".join(raw_websocket.message(json.dumps(each)) for each in messages))

    async def write(self, octets: bytes) -> None:
        self._writer.write(octets)
        await self._writer.drain()

    async def close_frame(self, code: int = 1000) -> None:
        await self.write(raw_websocket.close(code))

    def hang_up(self) -> None:
        """Close the connection; the gateway sees its end."""
        self._writer.close()

    def half_close(self) -> None:
        """Nothing more comes from here, but the connection stays open."""
        self._writer.write_eof()

    def reset(self) -> None:
        """As a crash on the far side does."""
        connection = self._writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def close_code(self) -> int:
        """The code of the gateway's close frame, once it comes; it is left unanswered."""
        async with asyncio.timeout(DEADLINE_S):
            while octets := await self.reader.read(65_536):
                for frame in self._frames.feed(octets):
                    if frame.opcode == raw_websocket.CLOSE:
                        return raw_websocket.close_code(frame.payload)
        raise ConnectionError("it ended without a close frame")

    async def until_end(self) -> None:
        """Read until the gateway has closed the connection."""
        async with asyncio.timeout(DEADLINE_S):
            with suppress(ConnectionError):
                while await self.reader.read(65_536):
                    pass


@asynccontextmanager
async def raw_phone(stream_url: str) -> AsyncIterator[RawPhone]:
    """A stream to a gateway, upgraded."""
    parts = urlsplit(stream_url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        writer.write(raw_websocket.upgrade(parts.path, host=parts.netloc))
        async with asyncio.timeout(DEADLINE_S):
            head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        yield RawPhone(reader, writer)
    finally:
        writer.transport.abort()


def start(*tracks: str, call_sid: str = "CA1") -> list[dict[str, Any]]:
    """What every stream begins with."""
    return [CONNECTED, phone.start_message(*tracks, call_sid=call_sid)]


def speech(values: Iterable[int], track: str = "inbound") -> list[dict[str, Any]]:
    """A frame of 20 ms for each of these octets, from the stream's beginning; 255 is silence."""
    messages = []
    for number, value in enumerate(values, start=1):
        payload = base64.b64encode(bytes([value]) * 160).decode()
        media = {"track": track, "chunk": str(number), "timestamp": str((number - 1) * 20), "payload": payload}
        messages.append({"event": "media", "streamSid": "MZ1", "media": media})
    return messages
