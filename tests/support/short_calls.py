"""
Short calls by hand, good and bad: ten frames on one or two tracks and a goodbye; or no goodbye, no start, an impossible
start, half a request, or a recogniser that is none.

`KINDS` has all of them, each with how often it comes and what the gateway must make of it.
"""

import base64
import json
import random
import socket
import struct
from asyncio import open_connection
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.support import raw_websocket
from tests.support.phone import start_message
from tests.support.raw_websocket import FrameReader, close, message, upgrade

FRAMES = 10
FRAME_BYTES = 160
STREAM_PATH = "/twilio/stream"

_MEDIA = tuple(base64.b64encode(bytes([number % 251]) * FRAME_BYTES).decode() for number in range(FRAMES))


class Refused(Exception):
    """The upgrade was; the text is the status."""


class Caller:
    """One connection to the gateway, by hand."""

    def __init__(self, port: int, call_sid: str, draw: random.Random) -> None:
        self.port = port
        self.call_sid = call_sid
        self.draw = draw
        self._said_goodbye = False

    async def connect(self) -> None:
        self.reader, self.writer = await open_connection("127.0.0.1", self.port)

    async def send(self, octets: bytes) -> None:
        self.writer.write(octets)
        await self.writer.drain()

    async def upgraded(self) -> None:
        await self.send(upgrade(STREAM_PATH))
        if (status := await self.status()) != "101":
            raise Refused(status)

    async def status(self) -> str:
        """Of the next answer."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        return head.split(b" ", 2)[1].decode()

    async def closed(self) -> str:
        """How the stream ended from the gateway's side: a close code, or `cut`."""
        frames, code = FrameReader(), "cut"
        while octets := await self.reader.read(65_536):
            for each in frames.feed(octets):
                if each.opcode == raw_websocket.CLOSE:
                    code = str(raw_websocket.close_code(each.payload))
                    if not self._said_goodbye:
                        self.writer.write(close())
        return code

    async def say_goodbye(self) -> None:
        """The close frame first, from this side."""
        self._said_goodbye = True
        await self.send(close())

    def abort(self) -> None:
        """Go without a word (RST instead of FIN for half of them)."""
        if self.draw.random() < 0.5:
            linger = struct.pack("ii", 1, 0)
            self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()

    def start(self, *tracks: str, **parameters: str) -> bytes:
        started = start_message(*tracks, call_sid=self.call_sid, **parameters)
        return message(json.dumps({"event": "connected"})) + message(json.dumps(started))

    def media(self, *tracks: str) -> bytes:
        return b"".join(_media(number, track) for number in range(FRAMES) for track in tracks or ("inbound",))

    def stop(self) -> bytes:
        return message(json.dumps({"event": "stop", "streamSid": "MZ1", "stop": {"callSid": self.call_sid}}))


def _media(number: int, track: str) -> bytes:
    media = {"track": track, "chunk": str(number + 1), "timestamp": str(number * 20), "payload": _MEDIA[number]}
    return message(json.dumps({"event": "media", "streamSid": "MZ1", "media": media}))


# ── Kinds of calls: each returns how the gateway answered ───────────────────────────────────────────────────────────


async def _good(caller: Caller, *tracks: str, **parameters: str) -> str:
    await caller.upgraded()
    await caller.send(caller.start(*tracks, **parameters) + caller.media(*tracks) + caller.stop())
    return await caller.closed()


async def _two_tracks(caller: Caller) -> str:
    return await _good(caller, "inbound", "outbound")


async def _faulty_recognizer(caller: Caller) -> str:
    return await _good(caller, gw_profile="faulty")


async def _without_stop(caller: Caller) -> str:
    await caller.upgraded()
    await caller.send(caller.start() + caller.media())
    await caller.say_goodbye()
    return await caller.closed()


async def _vanished(caller: Caller) -> str:
    await caller.upgraded()
    await caller.send(caller.start() + caller.media())
    caller.abort()
    return "gone"


async def _at_once(caller: Caller) -> str:
    await caller.upgraded()
    caller.abort()
    return "gone"


async def _bad_start(caller: Caller) -> str:
    await caller.upgraded()
    started = start_message(call_sid=caller.call_sid)
    started["start"]["mediaFormat"]["encoding"] = "audio/x-L16"
    await caller.send(message(json.dumps(started)) + caller.media())
    return await caller.closed()


async def _no_start(caller: Caller) -> str:
    await caller.upgraded()
    return await caller.closed()


async def _silent(caller: Caller) -> str:
    await caller.upgraded()
    await caller.send(caller.start() + caller.media())
    return await caller.closed()


async def _half_request(caller: Caller) -> str:
    await caller.send(upgrade(STREAM_PATH)[:-20])
    caller.abort()
    return "gone"


async def _refused(caller: Caller) -> str:
    await caller.send(upgrade(STREAM_PATH, Sec_WebSocket_Version="1", Connection="close, Upgrade"))
    return await caller.status()


@dataclass(frozen=True)
class Kind:
    """A kind of call: how often, how it is done, how it may be answered, and whether it has events."""

    weight: int
    play: Callable[[Caller], Awaitable[str]]
    answers: tuple[str, ...]
    has_events: bool = True
    heard_bytes: int | None = None


_ALL = FRAMES * FRAME_BYTES
KINDS = {
    "good": Kind(58, _good, ("1000",), heard_bytes=_ALL),
    "two tracks": Kind(10, _two_tracks, ("1000",), heard_bytes=2 * _ALL),
    "faulty recognizer": Kind(4, _faulty_recognizer, ("1000",)),
    "without stop": Kind(5, _without_stop, ("1000",), heard_bytes=_ALL),
    "vanished": Kind(6, _vanished, ("gone",)),
    "at once": Kind(4, _at_once, ("gone",), has_events=False),
    "bad start": Kind(4, _bad_start, ("1003",), has_events=False),
    "no start": Kind(1, _no_start, ("1008",), has_events=False),
    "silent": Kind(1, _silent, ("1008",), heard_bytes=_ALL),
    "half a request": Kind(3, _half_request, ("gone",), has_events=False),
    "refused": Kind(4, _refused, ("400", "426"), has_events=False),
}
