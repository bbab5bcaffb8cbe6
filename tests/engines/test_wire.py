"""Messages between gateway and worker survive the way, however the byte stream is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.engines import wire
from gateway.events import (
    Final,
    Finished,
    Partial,
    RecognizerEvent,
    RecognizerRequest,
    SpeechEnded,
    SpeechStarted,
    Word,
)
from telephony_codecs.formats import AudioFormat

FORMAT = AudioFormat.parse("mulaw-8000")
WORD = Word(word="hello", start_s=0.1, end_s=0.4)
EVENTS: list[RecognizerEvent] = [
    SpeechStarted(at_s=0.1),
    Partial(text="hello", start_s=0.1, words=(WORD,)),
    SpeechEnded(at_s=0.4),
    Final(text="hello", start_s=0.1, end_s=0.4, words=(WORD,), language="en", from_finalize=True),
    Final(text=""),
    Finished(),
]
REQUESTS: list[wire.Request] = [
    wire.Open(1, RecognizerRequest(format=FORMAT, language="en", metadata={"a": "b"}, max_words=3, endpointing=False)),
    wire.Audio(1, bytes(range(256))),
    wire.Finalize(1),
    wire.End(1),
    wire.Close(1),
]


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda each: type(each).__name__)
def test_a_request_arrives_as_it_was_sent(request_: wire.Request) -> None:
    (body,) = wire.Unpacker().feed(wire.pack(request_))
    assert wire.unpack_request(body) == request_


@pytest.mark.parametrize("reply", [wire.Opened(1), wire.Failed(1, "ValueError", refused=True)])
def test_a_reply_arrives_as_it_was_sent(reply: wire.Reply) -> None:
    (body,) = wire.Unpacker().feed(wire.pack(reply))
    assert wire.unpack_reply(body) == reply


def test_events_arrive_as_they_were_said() -> None:
    (body,) = wire.Unpacker().feed(wire.pack(wire.Said.of(1, 320, EVENTS)))
    said = wire.unpack_reply(body)
    assert isinstance(said, wire.Said)
    assert (said.heard_bytes, said.events()) == (320, EVENTS)


@given(st.lists(st.integers(min_value=1, max_value=200)))
def test_cuts_do_not_matter(sizes: list[int]) -> None:
    stream = b"".join(map(wire.pack, REQUESTS))
    unpacker = wire.Unpacker()
    bodies = []
    for size in [*sizes, len(stream)]:
        bodies += unpacker.feed(stream[:size])
        stream = stream[size:]
    assert [wire.unpack_request(body) for body in bodies] == REQUESTS


def test_a_length_beyond_the_limit_is_refused_before_it_is_held() -> None:
    with pytest.raises(ValueError, match="too long"):
        wire.Unpacker().feed((wire.LARGEST_BYTES + 1).to_bytes(wire.LENGTH_BYTES, "big"))
