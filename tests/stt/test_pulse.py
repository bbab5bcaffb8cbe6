"""Pulse's messages without a socket: what is asked for, and what answers mean."""

import json
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from gateway.config import SttProfile
from gateway.errors import RecognizerProtocolError, RecognizerUnavailable
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
from gateway.stt.pulse import PulseProtocol, _Message, _Word, pulse, pulse_live
from telephony_codecs.formats import AudioFormat

MULAW = AudioFormat.parse("mulaw-8000")


def profile(url: str = "wss://api.example.com/waves/v1/stt/live", **settings: Any) -> SttProfile:
    return SttProfile(kind="pulse-live", url=url, **settings)


def request(**wanted: Any) -> RecognizerRequest:
    return RecognizerRequest(format=wanted.pop("format", MULAW), **wanted)


def query_of(protocol: PulseProtocol) -> dict[str, str]:
    pairs = parse_qsl(urlsplit(protocol.url).query, keep_blank_values=True)
    query = dict(pairs)
    assert len(query) == len(pairs), f"a parameter is given twice: {pairs}"
    return query


def receive(**fields: Any) -> list[RecognizerEvent]:
    return pulse_live(profile(), request()).receive(json.dumps(fields))


# ── What is asked for ────────────────────────────────────────────────────────────────────────────────────────────


def test_get_text_is_asked_for_language_audio_and_word_times_and_nothing_else() -> None:
    assert query_of(pulse(profile(), request())) == {
        "language": "en",
        "encoding": "mulaw",
        "sample_rate": "8000",
        "word_timestamps": "true",
    }


def test_live_is_asked_for_the_model_pulse() -> None:
    assert query_of(pulse_live(profile(), request()))["model"] == "pulse"


def test_encoding_and_rate_are_those_of_the_audio_whatever_url_and_options_say() -> None:
    crossed = profile("wss://h/p?encoding=alaw", options={"sample_rate": "48000"})
    query = query_of(pulse(crossed, request(format=AudioFormat.parse("linear16-16000"))))
    assert (query["encoding"], query["sample_rate"]) == ("linear16", "16000")


def test_options_of_the_request_are_asked_for() -> None:
    query = query_of(pulse(profile(), request(eou_timeout_ms=300, endpointing=False, max_words=12)))
    assert (query["eou_timeout_ms"], query["endpointing"], query["max_words"]) == ("300", "false", "12")


def test_options_of_the_profile_are_passed_on_as_they_are() -> None:
    keywords = "Müller & Co:2,two words:1.5"
    assert query_of(pulse(profile(options={"keywords": keywords}), request()))["keywords"] == keywords


def test_the_request_wins_over_options_and_they_over_the_url() -> None:
    tuned = profile("wss://h/p?max_words=1&eou_timeout_ms=1", options={"max_words": "2", "eou_timeout_ms": "2"})
    query = query_of(pulse(tuned, request(max_words=3)))
    assert (query["max_words"], query["eou_timeout_ms"]) == ("3", "2")


def test_the_urls_own_query_is_kept() -> None:
    query = query_of(pulse_live(profile("wss://h/p?region=eu&model=pulse-next&flag="), request()))
    assert (query["region"], query["model"], query["flag"]) == ("eu", "pulse-next", "")


def test_a_parameter_that_the_url_repeats_is_kept_twice() -> None:
    protocol = pulse(profile("wss://h/p?tag=a&tag=b"), request())
    assert [value for name, value in parse_qsl(urlsplit(protocol.url).query) if name == "tag"] == ["a", "b"]


@pytest.mark.parametrize(
    ("url", "call_language", "spoken"),
    [
        ("wss://h/p", None, "de"),
        ("wss://h/p?language=hi", None, "hi"),
        ("wss://h/p", "fr", "fr"),
        ("wss://h/p?language=hi", "fr", "fr"),
    ],
)
def test_language_is_the_calls_else_the_urls_else_the_profiles(
    url: str, call_language: str | None, spoken: str
) -> None:
    assert query_of(pulse(profile(url, language="de"), request(language=call_language)))["language"] == spoken


def test_no_language_anywhere_is_left_to_the_service() -> None:
    assert "language" not in query_of(pulse(profile(language=None), request()))


def test_placeholders_are_filled_and_cannot_break_out_of_their_place() -> None:
    protocol = pulse(
        profile(
            "wss://h/{call_id}/{metadata.tenant}?track={track}&ref={platform_call_id}",
            options={"external_session_id": "{call_id}-{track}"},
        ),
        request(call_id="call/1", track="inbound", platform_call_id="CA&x=1", metadata={"tenant": "a b?c#d"}),
    )
    assert urlsplit(protocol.url).path == "/call%2F1/a%20b%3Fc%23d"
    query = query_of(protocol)
    assert (query["track"], query["ref"], query["external_session_id"]) == ("inbound", "CA&x=1", "call/1-inbound")


def test_unknown_metadata_and_a_missing_call_id_are_empty() -> None:
    query = query_of(pulse(profile("wss://h/p?a={metadata.none}&b={platform_call_id}"), request()))
    assert (query["a"], query["b"]) == ("", "")


def test_a_value_that_looks_like_a_placeholder_is_not_filled_again() -> None:
    protocol = pulse(profile("wss://h/p?a={metadata.x}"), request(call_id="c", metadata={"x": "{call_id}"}))
    assert query_of(protocol)["a"] == "{call_id}"


def test_a_call_cannot_choose_the_host() -> None:
    protocol = pulse(profile("wss://{metadata.host}/p"), request(metadata={"host": "evil.example"}))
    assert "evil.example" not in protocol.url


def test_the_key_is_a_bearer_token_without_the_newline_of_its_file() -> None:
    protocol = pulse(profile(api_key=SecretStr("sk_1\n")), request())
    assert protocol.headers == {"Authorization": "Bearer sk_1"}


def test_without_a_key_no_credential_is_sent() -> None:
    assert pulse(profile(), request()).headers == {}


def test_the_end_is_close_stream_and_not_finalize() -> None:
    protocol = pulse(profile(), request())
    assert [json.loads(message) for message in protocol.end()] == [{"type": "close_stream"}]


def test_control_messages_are_text_and_audio_is_binary_and_unchanged() -> None:
    protocol = pulse(profile(), request())
    assert protocol.audio(b"\x00\xff") == (b"\x00\xff",)
    assert protocol.finalize() == ('{"type":"finalize"}',)
    assert protocol.keepalive() == ('{"type":"keepalive"}',)


def test_audio_may_be_sent_at_once() -> None:
    protocol = pulse(profile(), request())
    assert protocol.is_ready
    assert protocol.opening() == ()


def test_no_repr_shows_key_or_query() -> None:
    secret = profile("wss://h/p?token=sk_url", api_key=SecretStr("sk_header"))
    text = repr(pulse(secret, request()))
    assert "sk_" not in text


# ── What answers mean ────────────────────────────────────────────────────────────────────────────────────────────

BOOK = {"word": "Book", "start": 0.2, "end": 0.5, "confidence": 0.97}
IT = {"word": "it.", "start": 0.6, "end": 0.9, "confidence": 0.91}


def test_a_result_that_is_not_final_is_a_partial() -> None:
    assert receive(type="transcription", transcript="book i", is_final=False) == [Partial(text="book i")]


def test_a_final_has_text_words_span_and_language() -> None:
    events = receive(
        type="transcription", status="success", transcript="Book it.", is_final=True, language="en", words=[BOOK, IT]
    )
    assert events == [
        Final(
            text="Book it.",
            start_s=0.2,
            end_s=0.9,
            words=(
                Word(word="Book", start_s=0.2, end_s=0.5, confidence=0.97),
                Word(word="it.", start_s=0.6, end_s=0.9, confidence=0.91),
            ),
            language="en",
        )
    ]


def test_a_final_is_not_the_end_of_the_session() -> None:
    assert Finished() not in receive(transcript="Yes.", is_final=True, is_last=False)


def test_older_messages_without_type_and_with_word_timestamps_mean_the_same() -> None:
    older = receive(transcript="Book", is_final=True, word_timestamps=[{"word": "Book", "start": 0.2, "end": 0.5}])
    assert older == [Final(text="Book", start_s=0.2, end_s=0.5, words=(Word(word="Book", start_s=0.2, end_s=0.5),))]


def test_text_may_come_as_transcription_only() -> None:
    assert receive(transcription="Yes.", is_final=True) == [Final(text="Yes.")]


def test_full_transcript_is_never_taken_for_what_was_said() -> None:
    assert receive(transcript="", full_transcript="All of it.", is_final=True) == []


def test_a_final_without_words_has_no_times() -> None:
    assert receive(transcript="Yes.", is_final=True, words=[]) == [Final(text="Yes.")]


def test_numbers_and_booleans_may_come_as_strings() -> None:
    word = {"word": "Yes.", "start": "1.5", "end": "2", "confidence": "0.9"}
    assert receive(transcript="Yes.", is_final="true", is_last="false", words=[word]) == [
        Final(
            text="Yes.",
            start_s=1.5,
            end_s=2.0,
            words=(Word(word="Yes.", start_s=1.5, end_s=2.0, confidence=0.9),),
        )
    ]


def test_unknown_fields_and_integer_speakers_do_not_matter() -> None:
    word = {**BOOK, "speaker": 1, "speaker_confidence": 0.5, "new": {}}
    events = receive(transcript="Book", is_final=True, words=[word], utterances=[], redacted_entities=["x"], new=1)
    assert [event.text for event in events if isinstance(event, Final)] == ["Book"]


@pytest.mark.parametrize(
    "broken",
    [
        {"words": "none"},
        {"words": [7]},
        {"words": [{"start": 1}]},
        {"words": [{"word": "Yes.", "start": "soon", "end": 1}]},
        {"words": [{"word": "Yes.", "start": None, "end": 1}]},
        {"words": [{"word": "Yes.", "start": "nan", "end": "inf"}]},
        {"language": 5},
        {"timestamp": []},
        {"error": None},
        {"status": 3},
    ],
)
def test_text_survives_whatever_is_wrong_beside_it(broken: dict[str, Any]) -> None:
    assert receive(transcript="Yes.", is_final=True, **broken) == [Final(text="Yes.")]


def test_an_empty_final_is_dropped() -> None:
    assert receive(transcript=" ", is_final=True) == []


def test_an_empty_answer_to_finalize_is_kept_because_somebody_waits_for_it() -> None:
    assert receive(transcript="", is_final=True, from_finalize=True) == [Final(text="", from_finalize=True)]


def test_an_empty_partial_takes_back_what_was_heard() -> None:
    assert receive(transcript="", is_final=False) == [Partial(text="")]


def test_the_last_message_gives_its_text_before_the_end() -> None:
    assert receive(transcript="Bye.", is_final=True, is_last=True) == [Final(text="Bye."), Finished()]


def test_an_empty_last_message_is_the_end_alone() -> None:
    assert receive(transcript="", is_final=True, is_last=True) == [Finished()]


def test_text_of_a_last_message_counts_even_if_it_is_not_called_final() -> None:
    assert receive(transcript="Bye.", is_final=False, is_last=True) == [Final(text="Bye."), Finished()]


def test_voice_events_have_their_times() -> None:
    assert receive(type="speech_started", session_id="s", timestamp=1.84) == [SpeechStarted(at_s=1.84)]
    assert receive(type="speech_ended", session_id="s", timestamp="2.1") == [SpeechEnded(at_s=2.1)]


@pytest.mark.parametrize("timestamp", [None, "nan", [], "late"])
def test_a_voice_event_without_a_time_is_dropped(timestamp: Any) -> None:
    assert receive(type="speech_started", timestamp=timestamp) == []


@pytest.mark.parametrize("kind", ["pong", "metadata", "made_up_next_year"])
def test_pong_and_unknown_kinds_mean_nothing(kind: str) -> None:
    assert receive(type=kind, message="x") == []


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "error", "status": "error", "message": "worker died"},
        {"error": "worker died"},
        {"status": "error", "message": "worker died"},
    ],
)
def test_an_error_message_ends_the_session_and_is_worth_another_try(fields: dict[str, Any]) -> None:
    with pytest.raises(RecognizerUnavailable) as raised:
        receive(**fields)
    assert (raised.value.code, raised.value.retryable) == ("stt_vendor_error", True)
    assert "worker died" not in str(raised.value)


def test_a_language_that_the_region_does_not_have_is_not_tried_again() -> None:
    with pytest.raises(RecognizerUnavailable) as raised:
        receive(type="error", error_code="LANGUAGE_NOT_ENABLED_IN_REGION", message="ja is not enabled")
    assert (raised.value.code, raised.value.retryable) == ("stt_language_not_enabled", False)


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("", "stt_message_malformed"),
        ("not json", "stt_message_malformed"),
        ("[]", "stt_message_malformed"),
        ('{"transcript": 5}', "stt_message_malformed"),
        ('{"transcript": "x", "is_final": "perhaps"}', "stt_message_malformed"),
        ('{"x":' + "[" * 50_000, "stt_message_malformed"),
        (b"\x00\x01", "stt_message_binary"),
    ],
)
def test_garbage_is_a_protocol_error(message: str | bytes, code: str) -> None:
    with pytest.raises(RecognizerProtocolError) as raised:
        pulse(profile(), request()).receive(message)
    assert raised.value.code == code


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (1000, "stt_closed_early"),
        (1005, "stt_closed_early"),
        (1006, "stt_connection_lost"),
        (1008, "stt_closed_1008"),
        (1011, "stt_closed_1011"),
    ],
)
def test_every_close_before_the_last_message_is_a_loss_and_worth_another_try(code: int, name: str) -> None:
    with pytest.raises(RecognizerUnavailable) as raised:
        pulse(profile(), request()).closed(code)
    assert (raised.value.code, raised.value.retryable) == (name, True)


_FIELDS = [*_Message.__struct_fields__, *_Word.__struct_fields__]
_text = st.text('ab1 .é€\N{GRINNING FACE}\x00"\\/{}&?#%=', max_size=12)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _text,
    lambda children: st.lists(children) | st.dictionaries(st.sampled_from(_FIELDS), children),
    max_leaves=8,
)
_plausible = st.sampled_from(["transcription", "speech_started", "error", "true", "1.5", "text"]) | _json


@given(fields=st.dictionaries(st.sampled_from(_FIELDS), _plausible), cut=st.integers(0, 400))
def test_any_message_gives_events_or_one_of_two_errors(fields: dict[str, Any], cut: int) -> None:
    for message in (json.dumps(fields), json.dumps(fields)[:cut]):
        try:
            events = pulse(profile(), request()).receive(message)
        except (RecognizerProtocolError, RecognizerUnavailable):
            continue
        assert all(isinstance(event, Partial | Final | Finished | SpeechStarted | SpeechEnded) for event in events)


@given(metadata=st.dictionaries(st.sampled_from(["a", "b"]), st.text()), call_id=st.text(), platform_id=st.text())
def test_no_call_can_change_host_or_audio_of_the_request(
    metadata: dict[str, str], call_id: str, platform_id: str
) -> None:
    url = "wss://h.example/x/{call_id}/{metadata.a}?b={metadata.b}&p={platform_call_id}"
    wanted = request(call_id=call_id, platform_call_id=platform_id, metadata=metadata)
    protocol = pulse(profile(url), wanted)
    parts = urlsplit(protocol.url)
    query = query_of(protocol)
    assert (parts.netloc, parts.fragment, query["encoding"]) == ("h.example", "", "mulaw")
    assert (query["b"], query["p"]) == (metadata.get("b", ""), platform_id)
