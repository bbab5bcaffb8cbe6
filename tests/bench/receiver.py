"""
The webhook receiver that measures: HTTP/1.1 on raw connections; it answers 204 at once.

It notes when the first byte of each request came, and whether each call's events came in order.
"""

import asyncio
import re
import time
from dataclasses import dataclass, field
from typing import cast

import msgspec

_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)
_ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"


class _Call(msgspec.Struct):
    id: str


class _Data(msgspec.Struct):
    call: _Call
    sequence: int | None = None
    text: str | None = None
    complete: bool | None = None


class _Event(msgspec.Struct):
    type: str
    data: _Data


_decode = msgspec.json.Decoder(_Event).decode


@dataclass
class Received:
    """
    What came.

    Attributes:
        finals: when the request of each began, by its text; monotonic seconds.
        types: how many events of each type.
        disordered: events that were not the next one of their call.
        incomplete: calls that ended without all of their audio having been heard.
        sequences: the last one of each call.
    """

    finals: dict[str, float] = field(default_factory=dict)
    types: dict[str, int] = field(default_factory=dict)
    disordered: int = 0
    incomplete: int = 0
    sequences: dict[str, int] = field(default_factory=dict)

    def take(self, body: bytes, at: float) -> None:
        """A request whose first byte came at a time."""
        event = _decode(body)
        self.types[event.type] = self.types.get(event.type, 0) + 1
        call, sequence = event.data.call.id, event.data.sequence
        if sequence is not None:
            self.disordered += sequence != self.sequences.get(call, 0) + 1
            self.sequences[call] = sequence
        if event.type == "transcript.final" and event.data.text is not None:
            self.finals.setdefault(event.data.text, at)
        if event.type == "call.ended":
            self.incomplete += event.data.complete is not True
            self.sequences.pop(call, None)


class HookSocket(asyncio.Protocol):
    """One connection, which is kept for further requests."""

    def __init__(self, received: Received) -> None:
        self._received = received
        self._held = b""
        self._at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one, but does not descend from it

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        if not self._held:
            self._at = now
        self._held += data
        while (request := self._whole_request()) is not None:
            self._transport.write(_ANSWER)
            self._received.take(request, self._at)
            self._at = now

    def _whole_request(self) -> bytes | None:
        """The body of the request that stands first, once all of it is there."""
        head_end = self._held.find(b"\r\n\r\n") + 4
        if head_end < 4:
            return None
        length = _LENGTH.search(self._held, 0, head_end)
        end = head_end + (int(length[1]) if length else 0)
        if len(self._held) < end:
            return None
        body, self._held = self._held[head_end:end], self._held[end:]
        return body
