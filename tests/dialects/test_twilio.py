"""Twilio Media Streams: where simple implementations break, and the bounds that conversations on disk cannot show."""

import base64
import json
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.base import Dialect
from gateway.dialects.twilio import MAX_PARAMETERS, MAX_PAYLOAD_BYTES, TwilioDialect
from gateway.errors import DialectError
from gateway.events import AudioReceived, StreamStarted, StreamStopped, TelephonyEvent, Track, UnknownMessage

STREAM = "MZ00000000000000000000000000000001"


def _start(*tracks: str, **body: Any) -> str:
    fields = {"streamSid": STREAM, "tracks": tracks or ("inbound",), **body}
    return json.dumps({"event": "start", "sequenceNumber": "1", "start": fields, "streamSid": STREAM})


def _media(payload: bytes = b"\xff" * 160, *, sequence: str = "2", track: str = "inbound", **body: Any) -> str:
    fields = {"track": track, "payload": base64.b64encode(payload).decode(), **body}
    return json.dumps({"event": "media", "sequenceNumber": sequence, "media": fields, "streamSid": STREAM})


def _streaming(*tracks: str, bidirectional: bool = False) -> TwilioDialect:
    dialect = TwilioDialect(bidirectional=bidirectional)
    dialect.receive(_start(*tracks))
    return dialect


def _audio(events: list[TelephonyEvent]) -> AudioReceived:
    [event] = events
    assert isinstance(event, AudioReceived)
    return event


def _started(events: list[TelephonyEvent]) -> StreamStarted:
    [event] = events
    assert isinstance(event, StreamStarted)
    return event


def _refusal(dialect: Dialect, message: str | bytes) -> DialectError:
    with pytest.raises(DialectError) as caught:
        dialect.receive(message)
    return caught.value


# ── Where simple implementations break ───────────────────────────────────────────────────────────────────────────


def test_sequence_numbers_compare_as_numbers_so_ten_follows_nine() -> None:
    dialect = _streaming()
    nine, ten = (_audio(dialect.receive(_media(sequence=text))).sequence for text in ("9", "10"))
    assert nine is not None
    assert ten == nine + 1


def test_timestamps_subtract_without_conversion() -> None:
    dialect = _streaming()
    first, second = (_audio(dialect.receive(_media(timestamp=text))).offset_ms for text in ("980", "1000"))
    assert first is not None
    assert second == first + 20


def test_a_token_arrives_as_parameter_because_twilio_strips_queries() -> None:
    started = _started(TwilioDialect().receive(_start(customParameters={"token": "t0k3n"})))
    assert started.parameters == {"token": "t0k3n"}


@pytest.mark.parametrize("event", ["close", "closed"])
def test_close_and_closed_are_unknown_and_do_not_end_the_stream(event: str) -> None:
    dialect = _streaming()
    assert dialect.receive(json.dumps({"event": event})) == [UnknownMessage(kind=event)]
    assert len(dialect.receive(_media())) == 1


def test_stop_ends_the_stream() -> None:
    assert _streaming().receive('{"event":"stop"}') == [StreamStopped()]


@pytest.mark.parametrize("payload_bytes", [1, 80, 161, 4000, MAX_PAYLOAD_BYTES])
def test_audio_of_any_duration_passes_whole(payload_bytes: int) -> None:
    payload = bytes(range(256)) * (payload_bytes // 256 + 1)
    assert _audio(_streaming().receive(_media(payload[:payload_bytes]))).payload == payload[:payload_bytes]


def test_skipped_silence_shows_as_a_jump_of_the_timestamp_only() -> None:
    dialect = _streaming()
    events = [_audio(dialect.receive(_media(timestamp=text))) for text in ("20", "30020")]
    assert [event.offset_ms for event in events] == [20, 30020]


def test_both_tracks_stay_apart_each_with_its_own_chunks() -> None:
    dialect = _streaming("inbound", "outbound")
    said = [
        ("outbound", b"\x01", "1"),
        ("inbound", b"\x02", "1"),
        ("inbound", b"\x03", "2"),
        ("outbound", b"\x04", "2"),
    ]
    heard = [_audio(dialect.receive(_media(payload, track=track, chunk=chunk))) for track, payload, chunk in said]
    assert [(event.track, event.payload, event.chunk) for event in heard] == [
        (Track.OUTBOUND, b"\x01", 1),
        (Track.INBOUND, b"\x02", 1),
        (Track.INBOUND, b"\x03", 2),
        (Track.OUTBOUND, b"\x04", 2),
    ]


def test_nothing_can_be_sent_on_a_one_way_stream() -> None:
    dialect = _streaming()
    assert not dialect.is_bidirectional
    for send in (partial(dialect.play, b"\xff"), partial(dialect.mark, "m"), dialect.clear_playback):
        with pytest.raises(DialectError) as caught:
            send()
        assert caught.value.code == "one_way_stream"


def test_a_stream_started_twice_on_one_socket_is_closed() -> None:
    refusal = _refusal(_streaming(), _start())
    assert (refusal.code, refusal.close_code) == ("second_start", 1002)


def test_start_followed_by_stop_at_once_is_a_stream_without_audio() -> None:
    """TwiML with nothing after <Start> ends the call before anybody spoke."""
    dialect = TwilioDialect()
    events = [event for message in (_start(), '{"event":"stop"}') for event in dialect.receive(message)]
    assert [type(event) for event in events] == [StreamStarted, StreamStopped]


def test_dtmf_is_not_needed_on_a_one_way_stream_but_taken() -> None:
    assert len(_streaming().receive('{"event":"dtmf","dtmf":{"digit":"#"}}')) == 1


def test_conversation_relay_is_not_media_streams() -> None:
    refusal = _refusal(TwilioDialect(), '{"type":"setup","sessionId":"VX1","callSid":"CA1"}')
    assert (refusal.code, refusal.close_code) == ("not_media_streams", 1003)


def test_a_call_may_end_without_stop_and_the_next_one_starts_fresh() -> None:
    """A far side that crashes sends nothing more; nothing of its stream may reach the next socket's."""
    _streaming("inbound", "outbound")
    assert _refusal(TwilioDialect(), _media()).code == "media_before_start"


# ── Bounds ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("payload_bytes", [MAX_PAYLOAD_BYTES + 1, 10_000_000])
def test_audio_over_the_bound_costs_its_message_only(payload_bytes: int) -> None:
    dialect = _streaming()
    refusal = _refusal(dialect, _media(bytes(payload_bytes)))
    assert (refusal.code, refusal.close_code) == ("oversized_payload", None)
    assert len(dialect.receive(_media())) == 1


@pytest.mark.parametrize("event", ["media", "unheard-of"])
def test_nesting_without_end_is_not_json(event: str) -> None:
    message = f'{{"event":"{event}","x":' + '{"a":' * 100_000
    assert _refusal(_streaming(), message).code == "bad_json"


@pytest.mark.parametrize(
    ("messages", "code"), [([], "media_before_start"), ([_start(), '{"event":"stop"}'], "after_stop")]
)
def test_a_fault_in_a_message_out_of_order_is_named_after_the_order(messages: list[str], code: str) -> None:
    dialect = TwilioDialect()
    for message in messages:
        dialect.receive(message)
    assert _refusal(dialect, _media(chunk="soon")).code == code


def test_parameters_nested_to_the_limit_of_the_decoder_are_taken_or_refused() -> None:
    """The limit depends on the version of Python; what can be decoded must also be turned into text again."""
    codes = set()
    for depth in (*range(800, 1010), *range(9950, 10010)):
        try:
            TwilioDialect().receive(
                f'{{"event":"start","streamSid":"{STREAM}","start":{{"customParameters":{{"x":'
                f"{'[' * depth}{']' * depth}}}}}}}"
            )
        except DialectError as error:
            codes.add(error.code)
    assert codes == {"bad_json"}


def test_parameters_beyond_the_bound_are_left_out() -> None:
    many = {f"p{number}": "x" for number in range(MAX_PARAMETERS + 10)} | {"gw_from": "+15550100001"}
    started = _started(TwilioDialect().receive(_start(customParameters=many)))
    assert list(started.parameters) == [f"p{number}" for number in range(MAX_PARAMETERS)]


def test_numbers_of_the_parties_are_lifted_out_of_the_parameters() -> None:
    given_parameters = {"gw_from": "+15550100001", "gw_to": "+15550100002", "tenant": "acme"}
    started = _started(TwilioDialect().receive(_start(customParameters=given_parameters)))
    assert (started.from_number, started.to_number) == ("+15550100001", "+15550100002")
    assert started.parameters == {"tenant": "acme"}


def test_errors_never_repeat_what_the_platform_sent() -> None:
    secret = "+15550100099"
    for message in (
        _media(chunk=secret),
        json.dumps({"event": "media", "media": {"payload": f"{secret}!"}}),
        json.dumps({"event": "dtmf", "dtmf": {"digit": secret}}),
        json.dumps({"event": "media", "streamSid": secret, "media": {"payload": ""}}),
        _media(track=secret),
        _start(mediaFormat={"encoding": secret}),
        secret,
    ):
        dialect = TwilioDialect() if '"start"' in message else _streaming()
        assert secret not in str(_refusal(dialect, message))


# ── To the platform ──────────────────────────────────────────────────────────────────────────────────────────────


@given(st.binary(max_size=400))
def test_audio_that_is_sent_comes_back_the_same(payload: bytes) -> None:
    [message] = _streaming(bidirectional=True).play(payload)
    body = json.loads(message)
    assert (body["event"], body["streamSid"], base64.b64decode(body["media"]["payload"])) == ("media", STREAM, payload)


@given(st.text(max_size=40))
def test_marks_carry_any_name(name: str) -> None:
    [message] = _streaming(bidirectional=True).mark(name)
    assert json.loads(message) == {"event": "mark", "streamSid": STREAM, "mark": {"name": name}}


def test_clearing_the_playback_names_the_stream() -> None:
    [message] = _streaming(bidirectional=True).clear_playback()
    assert json.loads(message) == {"event": "clear", "streamSid": STREAM}


@pytest.mark.parametrize("messages", [[], [_start(), '{"event":"stop"}']], ids=["before start", "after stop"])
def test_nothing_can_be_sent_while_there_is_no_stream(messages: list[str]) -> None:
    dialect = TwilioDialect(bidirectional=True)
    for message in messages:
        dialect.receive(message)
    with pytest.raises(DialectError) as caught:
        dialect.play(b"\xff")
    assert caught.value.code == "not_streaming"


def test_twilio_is_a_dialect() -> None:
    """Checked by mypy where it assigns; here, that nothing of the seam is missing at run time."""
    dialect: Dialect = TwilioDialect(bidirectional=True)
    assert (dialect.name, dialect.is_bidirectional) == ("twilio", True)


# ── The short way ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("sid", [STREAM, "", None])
def test_audio_of_both_tracks_goes_the_short_way_also_where_imitators_leave_the_stream_id_out(sid: str | None) -> None:
    said = [("inbound", b"a", "1"), ("outbound", b"b", "1"), ("inbound", b"c", "2")]
    messages = [
        json.loads(_media(payload, track=track, chunk=chunk)) | {"streamSid": sid} for track, payload, chunk in said
    ]
    frames = _streaming("inbound", "outbound").audio([json.dumps(message).encode() for message in messages])
    assert {track: [(each.payload, each.chunk) for each in run] for track, run in frames.items()} == {
        Track.INBOUND: [(b"a", 1), (b"c", 2)],
        Track.OUTBOUND: [(b"b", 1)],
    }


@pytest.mark.parametrize(
    "other",
    [
        json.dumps({"event": "stop", "streamSid": STREAM}),
        _media().replace(STREAM, STREAM[:-1] + "2"),
        _media(track="outbound"),
        _media(b""),
        _media(bytes(MAX_PAYLOAD_BYTES + 1)),
        _media()[:-1],
        json.dumps({"event": "media", "streamSid": STREAM}),
    ],
)
def test_one_other_message_sends_all_that_came_with_it_the_long_way(other: str) -> None:
    assert not _streaming().audio([_media().encode(), other.encode()])


def test_before_the_start_there_is_no_short_way() -> None:
    assert not TwilioDialect().audio([_media().encode()])
