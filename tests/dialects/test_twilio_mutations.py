"""Whatever arrives, in whatever order: events or `DialectError`. Valid conversations are mutated, then cut."""

import functools
import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.dialects.twilio import TwilioDialect
from gateway.errors import DialectError
from gateway.events import AudioReceived, TelephonyEvent, Track
from tests.support.conversations import conversations

Message = str | bytes

_VALID = [
    [message for message in conversation.incoming if isinstance(message, str)]
    for conversation in conversations("twilio")
    if not conversation.path.stem.startswith("bad_")
]
# What a field of the wrong type, range or form looks like.
_VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 1.5, 1e300, 2**53, 2**64, 10**400),
    *("", "0", "-1", "1.0", "1e3", "null", "true", "NaN", "x" * 3000, "\x00", "\U0001f600", "*", "/////w==", "/////w"),
    *(
        "inbound",
        "outbound_track",
        "start",
        "media",
        "stop",
        "setup",
        "audio/x-L16",
        "MZ00000000000000000000000000000002",
    ),
    *([], [None], ["inbound", []], [[[[]]]], {}, {"event": "start"}, {"": {"": ""}}),
]
_OCTETS = [
    b"",
    b"\x00",
    b"\xff",
    b"\xc3",
    b'"',
    b"\\",
    b"{",
    b"}",
    b"[",
    b",",
    b"9",
    b"\\ud800",
    b"\n",
    b"\xed\xa0\x80",
]

_number = st.integers(0, 2**16 - 1)
_mutations = st.lists(st.tuples(st.integers(0, 7), _number, _number, _number), min_size=1, max_size=6)


@settings(max_examples=5000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, len(_VALID) - 1), _mutations, st.booleans())
def test_mutated_conversation_yields_events_or_dialect_errors(
    case: int, mutations: list[tuple[int, int, int, int]], bidirectional: bool
) -> None:
    """And an error leaves no trace: without the messages that were refused, the rest yields the same events."""
    messages = _mutated(_VALID[case], mutations)
    accepted, events = _lead(messages, bidirectional)
    assert _lead(accepted, bidirectional) == (accepted, events)


@settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, len(_VALID) - 1), _mutations, st.integers(1, 8))
def test_the_short_way_sees_in_each_message_what_the_long_way_sees(
    case: int, mutations: list[tuple[int, int, int, int]], batch: int
) -> None:
    messages = [_octets(message) for message in _mutated(_VALID[case], mutations)]
    short, long = TwilioDialect(), TwilioDialect()
    while messages:
        frames = short.audio(messages[:batch])
        taken, messages = messages[:batch], messages[batch:]
        if not frames:
            assert [_received(short, message) for message in taken] == [_received(long, message) for message in taken]
            continue
        heard: dict[Track, list[tuple[bytes, int | None, int | None]]] = {}
        for message in taken:
            [event] = long.receive(message)
            assert isinstance(event, AudioReceived)
            heard.setdefault(event.track, []).append((event.payload, event.chunk, event.offset_ms))
        assert heard == {
            track: [(each.payload, each.chunk, each.offset_ms) for each in run] for track, run in frames.items()
        }


@settings(max_examples=1000, deadline=None)
@given(st.lists(st.binary(max_size=60) | st.text(max_size=60), max_size=4))
def test_arbitrary_messages_yield_events_or_dialect_errors(messages: list[Message]) -> None:
    _lead(messages, bidirectional=True)


def _received(dialect: TwilioDialect, message: bytes) -> list[TelephonyEvent] | str:
    """Its events, or the code of its refusal."""
    try:
        return dialect.receive(message)
    except DialectError as error:
        return error.code


def _lead(messages: list[Message], bidirectional: bool) -> tuple[list[Message], list[TelephonyEvent]]:
    """The messages that a new dialect accepts, and the events that they yield."""
    dialect = TwilioDialect(bidirectional=bidirectional)
    accepted, events = [], []
    for message in messages:
        try:
            events += dialect.receive(message)
        except DialectError:
            continue
        accepted.append(message)
    return accepted, events


def _mutated(valid: list[str], mutations: list[tuple[int, int, int, int]]) -> list[Message]:
    messages: list[Message] = list(valid)
    for kind, which, where, what in mutations:
        if not messages:
            break
        i = which % len(messages)
        match kind:
            case 0:  # doubled
                messages.insert(where % (len(messages) + 1), messages[i])
            case 1:  # lost
                del messages[i]
            case 2:  # moved
                messages.insert(where % len(messages), messages.pop(i))
            case 3 | 4:  # a field of another type
                messages[i] = _with_field_changed(messages[i], where, what)
            case 5:  # a field lost
                messages[i] = _with_field_changed(messages[i], where, None)
            case 6:  # octets changed
                octets = _octets(messages[i])
                at = where % (len(octets) + 1)
                messages[i] = octets[:at] + _OCTETS[what % len(_OCTETS)] + octets[at + what % 3 :]
            case _:  # cut
                octets = _octets(messages[i])
                messages[i] = octets[: where % (len(octets) + 1)]
    return messages


def _octets(message: Message) -> bytes:
    return message if isinstance(message, bytes) else message.encode()


def _with_field_changed(message: Message, where: int, what: int | None) -> Message:
    """Change (or remove, without `what`) one of the fields at any depth."""
    if isinstance(message, bytes):  # octets were changed already; there may be no fields left
        return message
    tree = json.loads(message)
    places = _places(message)
    if not places:
        return message
    path = places[where % len(places)]
    parent = functools.reduce(lambda node, key: node[key], path[:-1], tree)
    if what is None:
        del parent[path[-1]]
    else:
        parent[path[-1]] = _VALUES[what % len(_VALUES)]
    return json.dumps(tree)


@functools.lru_cache(4096)
def _places(message: str) -> list[tuple[Any, ...]]:
    return list(_paths(json.loads(message)))


def _paths(node: Any, prefix: tuple[Any, ...] = ()) -> Any:
    pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in pairs:
        yield (*prefix, key)
        yield from _paths(child, (*prefix, key))
