"""
The speech service that measures: Pulse's protocol on loopback, as cheap as Python can, on raw connections.

It hears pulses only (`pulses`), and notes when each came. It answers what must be answered: `finalize`, `close_stream`,
pings and closing. As long as it has nothing to say it sends an empty partial now and then: pulses sound like speech,
and a session that never says anything about that would count as dead, rightly. Or it says a final for each track at a
steady pace, and notes when.
"""

import asyncio
import base64
import hashlib
import json
import time
from array import array
from dataclasses import dataclass, field
from typing import cast

from websockets.frames import Opcode

from telephony_codecs.formats import AudioFormat
from tests.bench.frames import server_header
from tests.bench.pulses import FRAME_S, Detector

try:
    from websockets.speedups import apply_mask
except ImportError:  # built without a compiler
    from websockets.utils import apply_mask

_ACCEPT = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_GOLDEN = 0.618034
"""Multiples of it, modulo 1, spread evenly however many there are."""
_LIFE_S = 8.0
"""Between two empty partials."""
_MAX_HEAD_BYTES = 16_384


@dataclass
class Orders:
    """
    What the sink is told.

    Args:
        form: of the audio.
        finals_every_s: pause between finals of one track; 0: none is said.
        ignored_message: number of the message, from 1, that is not heard on the first track that comes so far; 0: none.
        notes_chunks: note each message of audio, and not pulses only.
    """

    form: AudioFormat
    finals_every_s: float = 0.0
    ignored_message: int = 0
    notes_chunks: bool = False


@dataclass
class Ear:
    """
    What came of one track, over all its connections.

    Attributes:
        sessions: connections.
        messages: of audio.
        chunks: if they are noted: for each of those, when it came, and then where it ended, in frames.
    """

    detector: Detector
    sessions: int = 0
    messages: int = 0
    chunks: "array[float]" = field(default_factory=lambda: array("d"))


@dataclass
class Heard:
    """Everything that came, by track; `finals`: when each was said, by its text; monotonic seconds."""

    ears: dict[str, Ear] = field(default_factory=dict)
    finals: dict[str, float] = field(default_factory=dict)


class SpeechSocket(asyncio.Protocol):
    """One session. The track's name is the path that it came to."""

    def __init__(self, orders: Orders, heard: Heard) -> None:
        self._orders = orders
        self._heard = heard
        self._held = b""
        self._ear: Ear | None = None
        self._name = ""
        self._timer: asyncio.TimerHandle | None = None
        self._finals = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one, but does not descend from it

    def connection_lost(self, _error: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        at = time.monotonic()
        data = self._held + data if self._held else data
        if self._ear is None:
            head, end, data = data.partition(b"\r\n\r\n")
            if not end:
                self._held = head
                if len(head) > _MAX_HEAD_BYTES:
                    self._transport.abort()
                return
            self._upgrade(head)
        self._held = self._take_frames(data, at)

    def _upgrade(self, head: bytes) -> None:
        request, *lines = head.split(b"\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        accept = base64.b64encode(hashlib.sha1(headers[b"sec-websocket-key"] + _ACCEPT).digest())  # noqa: S324
        self._transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        self._name = request.split(b" ")[1].partition(b"?")[0].rpartition(b"/")[2].decode()
        ear = self._heard.ears.get(self._name)
        if ear is None:
            ear = self._heard.ears[self._name] = Ear(Detector(self._orders.form))
        ear.sessions += 1
        self._ear = ear
        phase = len(self._heard.ears) * _GOLDEN % 1.0
        self._timer = asyncio.get_running_loop().call_later(phase * self._pause_s, self._speak)

    def _take_frames(self, data: bytes, at: float) -> bytes:
        """Take whole frames; returns what is left."""
        position, size = 0, len(data)
        while size - position >= 6:
            length, begin = data[position + 1] & 0x7F, position + 6
            if length == 126:
                begin += 2
                length = data[position + 2] << 8 | data[position + 3]
            elif length == 127:
                begin += 8
                length = int.from_bytes(data[position + 2 : position + 10], "big")
            if size < begin + length:
                break
            payload = apply_mask(data[begin : begin + length], data[begin - 4 : begin])
            opcode = data[position] & 0x0F
            position = begin + length
            if opcode == Opcode.BINARY:
                self._hear(payload, at)
            elif not self._obey(opcode, payload):
                return b""
        return data[position:]

    def _hear(self, audio: bytes, at: float) -> None:
        ear = self._ear
        assert ear is not None
        ear.messages += 1
        if ear.messages == self._orders.ignored_message:
            self._orders.ignored_message = 0
        else:
            ear.detector.feed(audio, at)
            if self._orders.notes_chunks:
                ear.chunks.extend((at, ear.detector.heard_frames))

    def _obey(self, opcode: int, payload: bytes) -> bool:
        """Answer what is not audio; whether there is more to come."""
        if opcode == Opcode.PING:
            self._write(Opcode.PONG, payload)
        elif opcode == Opcode.CLOSE:
            self._close(payload)
            return False
        elif b"close_stream" in payload:
            assert self._ear is not None
            self._ear.detector.end()
            self._say("", is_final=True, is_last=True)
            self._close(b"\x03\xe8")
            return False
        elif b"finalize" in payload:
            self._say("", is_final=True, from_finalize=True)
        return True

    @property
    def _pause_s(self) -> float:
        return self._orders.finals_every_s or _LIFE_S

    def _speak(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._pause_s, self._speak)
        assert self._ear is not None
        heard_s = self._ear.detector.heard_frames * FRAME_S
        if heard_s < 1.0:
            return
        if not self._orders.finals_every_s:
            self._say("", is_final=False)
            return
        self._finals += 1
        word = f"{self._name}-{self._finals}"
        self._heard.finals[word] = time.monotonic()
        times = {"start": heard_s - 0.6, "end": heard_s - 0.2, "confidence": 1.0}
        self._say(word, words=[{"word": word, **times}], is_final=True)

    def _say(self, transcript: str, **more: object) -> None:
        message = {"type": "transcription", "status": "success", "transcript": transcript, "language": "en", **more}
        self._write(Opcode.TEXT, json.dumps(message).encode())

    def _close(self, payload: bytes) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self._transport.is_closing():
            self._write(Opcode.CLOSE, payload[:2])
            self._transport.close()

    def _write(self, opcode: int, payload: bytes) -> None:
        self._transport.write(server_header(opcode, len(payload)) + payload)
