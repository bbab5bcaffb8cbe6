"""What stands before the parser: whatever the octets and however they are cut, each message comes once and in order."""

import asyncio
import itertools
from random import Random

import pytest
from aiohttp import WSMsgType
from aiohttp._websocket.reader import WebSocketDataQueue, WebSocketReader
from aiohttp.base_protocol import BaseProtocol
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from gateway.frame_front import FrameFront

MAX_BYTES = 4096


class Ear:
    """Takes messages that all begin with a digit; `heard` has all in order, and what the parser gave, marked."""

    def __init__(self) -> None:
        loop = asyncio.new_event_loop()
        self.queue = WebSocketDataQueue(BaseProtocol(loop), 1 << 20, loop=loop)
        loop.close()
        self.front = FrameFront(
            WebSocketReader(self.queue, MAX_BYTES, compress=False, decode_text=False), self.queue, MAX_BYTES
        )
        self.front.take = self.take
        self.heard: list[tuple[str, bytes]] = []
        self.answers: list[tuple[bool, bytes]] = []

    def take(self, messages: list[bytes]) -> bool:
        if not all(message[:1].isdigit() for message in messages):
            return False
        self.heard += [("taken", message) for message in messages]
        return True

    def feed(self, octets: bytes, cuts: list[int] | None = None) -> None:
        edges = [0, *sorted(min(cut, len(octets)) for cut in cuts or []), len(octets)]
        for start, end in itertools.pairwise(edges):
            if start < end:
                self.answers.append(self.front.feed_data(octets[start:end]))
                self.receive()

    def receive(self) -> None:
        while self.queue._buffer:
            message, _ = self.queue._buffer.popleft()
            self.heard.append((WSMsgType(message.type).name, message.data))


def text(content: bytes) -> bytes:
    return Frame(Opcode.TEXT, content).serialize(mask=True)


LONG = st.integers(126, 700).flatmap(
    lambda size: st.sampled_from([b"1", b"x"]).map(lambda first: first + bytes(size - 1).replace(b"\0", b"y"))
)
SHORT = st.sampled_from([b"", b"1", b"x", b"{}"])
FRAMES = st.one_of(
    LONG.map(lambda content: (text(content), "text", content)),
    SHORT.map(lambda content: (text(content), "short", content)),
    LONG.map(lambda content: (Frame(Opcode.BINARY, content).serialize(mask=True), "BINARY", content)),
    SHORT.map(lambda content: (Frame(Opcode.PING, content).serialize(mask=True), "PING", content)),
    LONG.map(
        lambda content: (
            Frame(Opcode.TEXT, content[:50], fin=False).serialize(mask=True)
            + Frame(Opcode.CONT, content[50:]).serialize(mask=True),
            "short",
            content,
        )
    ),
)


@given(st.lists(FRAMES, max_size=12), st.lists(st.integers(0, 6000), max_size=12))
def test_every_message_comes_once_and_in_order_however_it_is_cut(
    frames: list[tuple[bytes, str, bytes]], cuts: list[int]
) -> None:
    ear = Ear()
    ear.feed(b"".join(octets for octets, _, _ in frames), cuts)
    assert [content for _, content in ear.heard] == [content for _, _, content in frames]
    for (how, content), (_, kind, _) in zip(ear.heard, frames, strict=True):
        if kind == "text" and content[:1] == b"1":
            assert how in ("taken", "TEXT")
        else:
            assert how == {"text": "TEXT", "short": "TEXT"}.get(kind, kind)
    assert all(answer == (False, b"") for answer in ear.answers)


def test_whole_messages_of_one_read_are_taken_together() -> None:
    ear = Ear()
    messages = [b"%03d" % number * 60 for number in range(5)]
    ear.feed(b"".join(map(text, messages)))
    assert ear.heard == [("taken", message) for message in messages]


def test_nothing_overtakes_a_message_that_waits() -> None:
    ear = Ear()
    first, second = b"x" * 200, b"1" * 200
    ear.front.feed_data(text(first))
    ear.front.feed_data(text(second))
    ear.receive()
    ear.front.feed_data(text(second))
    assert ear.heard == [("TEXT", first), ("TEXT", second), ("taken", second)]


def test_a_text_frame_between_fragments_is_the_protocol_error_that_it_is() -> None:
    ear = Ear()
    begun = Frame(Opcode.TEXT, b"1" * 10, fin=False).serialize(mask=True)
    ear.feed(begun + text(b"1" * 200))
    assert not ear.heard
    assert ear.answers[-1][0] or ear.queue.exception() is not None


@pytest.mark.parametrize("size", [MAX_BYTES + 1, 70_000, 1 << 40])
def test_a_message_over_the_limit_is_refused_by_its_head(size: int) -> None:
    ear = Ear()
    head = (
        bytes((0x81, 0xFE)) + size.to_bytes(2, "big")
        if size < 1 << 16
        else bytes((0x81, 0xFF)) + size.to_bytes(8, "big")
    )
    ear.feed(head + b"mask" + b"1" * 100)
    assert ear.answers[-1][0]
    assert ear.front.rest == b""


@pytest.mark.parametrize(
    "octets",
    [
        bytes((0xC1, 0xFE, 0, 200)) + bytes(204),  # a reserved bit
        bytes((0x83, 0xFE, 0, 200)) + bytes(204),  # a reserved opcode
    ],
)
def test_what_breaks_the_protocol_is_refused_by_the_parser(octets: bytes) -> None:
    ear = Ear()
    ear.feed(octets)
    assert ear.answers[-1][0]


@pytest.mark.parametrize(
    "head",
    [
        bytes((0xC1, 0xFE, 1, 0)),  # a reserved bit
        bytes((0x83, 0xFE, 1, 0)),  # a reserved opcode
        bytes((0x8B, 0xC5)),  # one for control
        bytes((0x89, 0xFE, 1, 0)),  # a ping that is too long
        bytes((0x09, 0xC5)),  # one in fragments
        b"GET / HTTP/1.1\r\n",
    ],
)
def test_what_breaks_the_protocol_is_refused_by_its_head(head: bytes) -> None:
    """Its rest may never come."""
    ear = Ear()
    ear.feed(text(b"1" * 200) + head + bytes(16))
    assert ear.heard == [("taken", b"1" * 200)]
    assert ear.answers[-1][0]


def test_what_take_raises_is_kept_and_nothing_more_is_offered() -> None:
    ear = Ear()

    def fail(_messages: list[bytes]) -> int:
        raise ZeroDivisionError

    ear.front.take = fail
    ear.feed(text(b"1" * 200) * 2)
    assert isinstance(ear.front.failure, ZeroDivisionError)
    assert [how for how, _ in ear.heard] == ["TEXT", "TEXT"]


def test_noise_is_never_held_beyond_the_limit() -> None:
    draw = Random(4)
    for _ in range(200):
        ear = Ear()
        for _ in range(20):
            ear.front.feed_data(draw.randbytes(500))
            assert len(ear.front.rest) <= MAX_BYTES + 14 + 500
