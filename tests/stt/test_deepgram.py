"""Deepgram: its messages without a socket, then the driver against a strict server."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from gateway.config import SttProfile
from gateway.errors import RecognizerProtocolError, RecognizerUnavailable
from gateway.events import (
    Final,
    Finished,
    Partial,
    RecognizerEvent,
    RecognizerLost,
    RecognizerRequest,
    SpeechEnded,
    SpeechStarted,
    Word,
)
from gateway.stt.base import Recognizer
from gateway.stt.client import Limits, open_session
from gateway.stt.deepgram import MAX_SEGMENTS, MAX_UTTERANCE_S, DeepgramProtocol
from telephony_codecs.formats import AudioFormat
from tests.support.deepgram_server import KEY, DeepgramServer, DeepgramSession, recognise
from tests.support.strict_server import refuse
from tests.support.vendor_track import VendorTrack, transcribe

MULAW = AudioFormat.parse("mulaw-8000")
SECOND = b"\x2a" * 8000
"""One second of mu-law."""


def profile(url: str = "wss://api.deepgram.com/v1/listen", **settings: Any) -> SttProfile:
    return SttProfile(kind="deepgram", url=url, **settings)


def protocol(url: str = "wss://h/v1/listen", *, settings: Any = None, **wanted: Any) -> DeepgramProtocol:
    asked = RecognizerRequest(format=wanted.pop("format", MULAW), **wanted)
    return DeepgramProtocol(profile(url, **(settings or {})), asked)


def query(**given: Any) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(protocol(**given).url).query))


def word(text: str, start_s: float, end_s: float, **more: Any) -> dict[str, Any]:
    return {"word": text, "start": start_s, "end": end_s, "confidence": 0.9, **more}


def result(text: str, *words: dict[str, Any], **more: Any) -> str:
    alternative = {"transcript": text, "confidence": 0.8 if text else 0.0, "words": words}
    body = {"start": 0.0, "duration": 1.0, "is_final": False, "speech_final": False, "channel_index": [0, 1], **more}
    return json.dumps({"type": "Results", "channel": {"alternatives": [alternative]}, **body})


def said(*messages: str, session: DeepgramProtocol | None = None) -> list[RecognizerEvent]:
    """What these messages mean, one after the other."""
    session = session or protocol()
    return [event for message in messages for event in session.receive(message)]


def finals(events: list[RecognizerEvent]) -> list[str]:
    return [event.text for event in events if isinstance(event, Final)]


UTTERANCE_END = json.dumps({"type": "UtteranceEnd", "channel": [0, 1], "last_word_end": 2.4})
METADATA = json.dumps({"type": "Metadata", "request_id": "r", "duration": 1.0, "channels": 1})
MY_ORDER = (word("my", 0.1, 0.3), word("order", 0.3, 0.7))
IS_LATE = (word("is", 0.8, 0.9), word("late", 0.9, 1.3, punctuated_word="late."))

# ── What is asked for ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("form", "encoding", "rate"),
    [
        ("mulaw-8000", "mulaw", "8000"),
        ("linear16-8000", "linear16", "8000"),
        ("linear16-16000", "linear16", "16000"),
    ],
)
def test_each_form_of_audio_is_named_with_its_rate(form: str, encoding: str, rate: str) -> None:
    asked = query(format=AudioFormat.parse(form))
    assert (asked["encoding"], asked["sample_rate"]) == (encoding, rate)


def test_unasked_it_wants_interims_punctuation_pauses_and_speech_events() -> None:
    assert query() == {
        "model": "nova-3",
        "language": "en",
        "punctuate": "true",
        "interim_results": "true",
        "endpointing": "300",
        "utterance_end_ms": "1000",
        "vad_events": "true",
        "encoding": "mulaw",
        "sample_rate": "8000",
    }


def test_options_are_query_parameters_and_win_over_our_defaults() -> None:
    asked = query(settings={"options": {"model": "nova-2-phonecall", "keywords": "Acme:2"}})
    assert (asked["model"], asked["keywords"]) == ("nova-2-phonecall", "Acme:2")


def test_keyterms_repeat_in_the_query_of_the_url() -> None:
    pairs = parse_qsl(urlsplit(protocol("wss://h/v1/listen?keyterm=Acme&keyterm=refund").url).query)
    assert [value for name, value in pairs if name == "keyterm"] == ["Acme", "refund"]


def test_a_pause_in_milliseconds_and_a_language_are_those_of_the_request() -> None:
    asked = query(eou_timeout_ms=700, language="de")
    assert (asked["endpointing"], asked["language"]) == ("700", "de")


def test_without_endpointing_no_pause_ends_an_utterance() -> None:
    asked = query(endpointing=False)
    assert asked["endpointing"] == "false"
    assert "utterance_end_ms" not in asked


def test_the_key_goes_by_the_scheme_token() -> None:
    assert protocol(settings={"api_key": SecretStr("k\n")}).headers == {"Authorization": "Token k"}


def test_keepalive_is_text_and_never_binary() -> None:
    assert protocol().keepalive() == ('{"type":"KeepAlive"}',)


def test_audio_of_more_than_250_ms_goes_in_several_messages() -> None:
    sent = protocol().audio(SECOND[:4800])
    assert [len(message) for message in sent] == [2000, 2000, 800]
    assert b"".join(message for message in sent if isinstance(message, bytes)) == SECOND[:4800]


def test_keywords_with_nova_3_are_refused_at_start_up() -> None:
    with pytest.raises(ValidationError, match="nova-3 takes keyterm"):
        profile(options={"keywords": "Acme:2"})


def test_a_keepalive_later_than_the_vendor_waits_is_refused_at_start_up() -> None:
    with pytest.raises(ValidationError, match="at most 8 for kind deepgram"):
        profile(keepalive_s=10)


# ── What answers mean ────────────────────────────────────────────────────────────────────────────────────────────


def test_an_interim_is_a_partial_with_words() -> None:
    (event,) = said(result("my order", *MY_ORDER))
    assert event == Partial(
        text="my order",
        start_s=0.1,
        words=(
            Word(word="my", start_s=0.1, end_s=0.3, confidence=0.9),
            Word(word="order", start_s=0.3, end_s=0.7, confidence=0.9),
        ),
    )


def test_is_final_alone_is_half_a_sentence_and_no_final_yet() -> None:
    (event,) = said(result("my order", *MY_ORDER, is_final=True))
    assert isinstance(event, Partial)
    assert event.text == "my order"


def test_speech_final_ends_the_utterance_with_all_its_segments() -> None:
    *_, final = said(
        result("my order", *MY_ORDER, is_final=True), result("is late.", *IS_LATE, is_final=True, speech_final=True)
    )
    assert isinstance(final, Final)
    assert (final.text, final.start_s, final.end_s, final.confidence) == ("my order is late.", 0.1, 1.3, 0.8)
    assert [each.word for each in final.words] == ["my", "order", "is", "late."]


def test_held_segments_are_part_of_the_next_partial() -> None:
    *_, partial = said(result("my order", *MY_ORDER, is_final=True), result("is", IS_LATE[0]))
    assert isinstance(partial, Partial)
    assert (partial.text, partial.start_s) == ("my order is", 0.1)


def test_noise_that_hides_the_pause_does_not_hold_the_utterance_for_ever() -> None:
    """No speech_final comes; UtteranceEnd does."""
    events = said(result("my order", *MY_ORDER, is_final=True), UTTERANCE_END)
    assert finals(events) == ["my order"]


def test_utterance_end_after_speech_final_says_nothing_new() -> None:
    assert said(result("Yes.", is_final=True, speech_final=True), UTTERANCE_END)[1:] == []


def test_a_speaker_who_never_pauses_gets_a_final_all_the_same() -> None:
    late = word("order", MAX_UTTERANCE_S - 0.5, MAX_UTTERANCE_S + 0.2)
    events = said(result("my", MY_ORDER[0], is_final=True), result("order", late, is_final=True))
    assert finals(events) == ["my order"]


def test_segments_without_times_are_not_held_for_ever() -> None:
    untimed = result("my", is_final=True, start=None)
    assert finals(said(*[untimed] * MAX_SEGMENTS)) == [" ".join(["my"] * MAX_SEGMENTS)]


def test_max_words_bounds_the_utterance() -> None:
    events = said(result("my order", *MY_ORDER, is_final=True), session=protocol(max_words=2))
    assert finals(events) == ["my order"]


def test_empty_interims_in_silence_are_no_data() -> None:
    """Their confidence of 0 is none."""
    assert said(result(""), result("", is_final=True), result("", is_final=True, speech_final=True)) == []


def test_text_that_turns_out_to_be_nothing_is_taken_back() -> None:
    assert said(result("my", MY_ORDER[0]), result("", is_final=True, speech_final=True))[1:] == [Partial(text="")]


def test_the_confidence_of_several_segments_is_weighed_by_their_words() -> None:
    one = json.loads(result("my order is", *MY_ORDER, IS_LATE[0], is_final=True))
    one["channel"]["alternatives"][0]["confidence"] = 1.0
    other = json.loads(result("late.", IS_LATE[1], is_final=True, speech_final=True))
    other["channel"]["alternatives"][0]["confidence"] = 0.6
    *_, final = said(json.dumps(one), json.dumps(other))
    assert isinstance(final, Final)
    assert final.confidence == 0.9


def test_a_segment_without_words_spans_its_own_time() -> None:
    (final,) = said(result("Yes.", is_final=True, speech_final=True, start=2.0, duration=0.5))
    assert final == Final(text="Yes.", start_s=2.0, end_s=2.5, confidence=0.8)


def test_the_language_of_a_multilingual_model_is_that_of_the_segment() -> None:
    message = json.loads(result("Sí.", is_final=True, speech_final=True))
    message["channel"]["alternatives"][0]["languages"] = ["es"]
    (final,) = said(json.dumps(message))
    assert isinstance(final, Final)
    assert final.language == "es"


@pytest.mark.parametrize("words", [None, "my", [1], [{"word": "my", "start": "soon", "end": None}], [{"start": 1}]])
def test_odd_words_do_not_cost_the_text(words: Any) -> None:
    message = json.loads(result("my order", is_final=True, speech_final=True))
    message["channel"]["alternatives"][0]["words"] = words
    assert finals(said(json.dumps(message))) == ["my order"]


def test_speech_starts_once_and_ends_once() -> None:
    started = json.dumps({"type": "SpeechStarted", "channel": [0, 1], "timestamp": 0.1})
    events = said(started, result("Yes.", IS_LATE[1], is_final=True, speech_final=True), UTTERANCE_END)
    assert [event for event in events if isinstance(event, SpeechStarted | SpeechEnded)] == [
        SpeechStarted(at_s=0.1),
        SpeechEnded(at_s=1.3),
    ]


def test_speech_ends_where_an_empty_segment_closes_the_utterance() -> None:
    started = json.dumps({"type": "SpeechStarted", "timestamp": 0.1})
    silence = result("", is_final=True, speech_final=True, start=1.0, duration=0.5)
    assert said(started, result("Yes.", IS_LATE[1], is_final=True), silence)[-1] == SpeechEnded(at_s=1.5)


def test_an_utterance_end_of_unknown_time_ends_no_speech() -> None:
    started = json.dumps({"type": "SpeechStarted", "timestamp": 0.1})
    assert said(started, UTTERANCE_END.replace("2.4", "-1")) == [SpeechStarted(at_s=0.1)]


def test_finalize_is_answered_by_what_was_held() -> None:
    session = protocol()
    session.finalize()
    *_, final = said(
        result("my order", *MY_ORDER, is_final=True),
        result("is late.", *IS_LATE, is_final=True, from_finalize=True),
        session=session,
    )
    assert isinstance(final, Final)
    assert (final.text, final.from_finalize) == ("my order is late.", True)


def test_the_answer_to_finalize_may_be_empty() -> None:
    session = protocol()
    session.finalize()
    assert said(result("", is_final=True, from_finalize=True), session=session) == [Final(text="", from_finalize=True)]


def test_a_finalize_that_nothing_answered_is_answered_at_the_end() -> None:
    session = protocol()
    session.finalize()
    session.end()
    assert said(METADATA, session=session) == [Final(text="", from_finalize=True), Finished()]


def test_metadata_after_close_stream_is_the_end_and_flushes_what_is_held() -> None:
    session = protocol()
    session.end()
    events = said(result("my order", *MY_ORDER, is_final=True), METADATA, session=session)
    assert finals(events) == ["my order"]
    assert events[-1] == Finished()


def test_metadata_of_a_session_that_idled_to_death_is_not_the_end() -> None:
    assert said(METADATA) == []


@pytest.mark.parametrize(
    ("code", "name", "retryable"),
    [
        (1000, "stt_closed_early", True),
        (1006, "stt_connection_lost", True),
        (1008, "stt_audio_refused", False),
        (1011, "stt_closed_1011", True),
    ],
)
def test_close_codes_name_the_loss_and_whether_to_try_again(code: int, name: str, retryable: bool) -> None:
    with pytest.raises(RecognizerUnavailable) as raised:
        protocol().closed(code)
    assert (raised.value.code, raised.value.retryable) == (name, retryable)


def test_an_error_message_ends_the_session() -> None:
    with pytest.raises(RecognizerUnavailable) as raised:
        said('{"type":"Error","description":"x","message":"y","variant":"z"}')
    assert (raised.value.code, raised.value.retryable) == ("stt_vendor_error", True)


@pytest.mark.parametrize("message", [b"\0", "x", "[]", '{"type":"Results"}', '{"type":"Results","channel":[0,1]}'])
def test_messages_that_make_no_sense_are_refused(message: str | bytes) -> None:
    with pytest.raises(RecognizerProtocolError):
        protocol().receive(message)


@given(st.text() | st.dictionaries(st.text(), st.integers() | st.text() | st.none()).map(json.dumps))
def test_any_text_gives_events_or_a_foreseen_error(text: str) -> None:
    with suppress(RecognizerProtocolError, RecognizerUnavailable):
        protocol().receive(text)


# ── The driver against a strict server ───────────────────────────────────────────────────────────────────────────


def at(server: DeepgramServer, **settings: Any) -> SttProfile:
    return profile(server.url, **{"api_key": SecretStr(KEY), "connect_timeout_s": 2.0, **settings})


@asynccontextmanager
async def session_with(*acts: Any) -> AsyncIterator[tuple[DeepgramServer, Recognizer]]:
    async with DeepgramServer(*acts) as server:
        chosen = at(server)
        made = DeepgramProtocol(chosen, RecognizerRequest(format=MULAW))
        async with open_session(chosen, made, Limits(close_timeout_s=0.05)) as recognizer:
            yield server, recognizer


async def rest_of(recognizer: Recognizer) -> list[RecognizerEvent]:
    async with asyncio.timeout(5):
        return [event async for event in recognizer.events()]


async def test_a_session_gives_whole_utterances_and_ends_after_the_tail() -> None:
    async with session_with() as (server, recognizer):
        await recognizer.send(SECOND + SECOND[:4000])
        await recognizer.end()
        events = await rest_of(recognizer)
        assert server.sessions[0].controls == ["CloseStream"]
    assert finals(events) == ["second 1.", "second 2."]
    assert events[-1] == Finished()


async def test_finalize_gets_its_answer_and_the_session_goes_on() -> None:
    async with session_with() as (_, recognizer):
        for _ in range(2):
            await recognizer.send(SECOND[:4000])
            await recognizer.finalize()
        await recognizer.finalize()
        await recognizer.end()
        found = [(event.text, event.from_finalize) for event in await rest_of(recognizer) if isinstance(event, Final)]
    assert found == [("second 1.", True), ("second 1.", True), ("", True)]


async def test_a_service_that_leaves_an_empty_finalize_unanswered_still_ends() -> None:
    async with session_with(recognise(answers_empty_finalize=False)) as (_, recognizer):
        await recognizer.finalize()
        await recognizer.end()
        assert await rest_of(recognizer) == [Final(text="", from_finalize=True), Finished()]


async def test_a_wrong_key_is_refused_for_good() -> None:
    async with DeepgramServer() as server:
        chosen = at(server, api_key=SecretStr("wrong"))
        with pytest.raises(RecognizerUnavailable) as raised:
            async with open_session(chosen, DeepgramProtocol(chosen, RecognizerRequest(format=MULAW))):
                pass
    assert (raised.value.code, raised.value.retryable) == ("stt_refused_401", False)


async def test_too_many_sessions_may_pass() -> None:
    async with DeepgramServer(refuse(429)) as server:
        events = await transcribe(at(server), SECOND)
    assert [event.reason for event in events if isinstance(event, RecognizerLost)] == ["stt_refused_429"]


async def test_a_session_that_idled_out_is_lost_and_not_finished() -> None:
    async def act(session: DeepgramSession) -> None:
        await session.say_metadata()
        await session.close(1011, "NET-0001")

    async with session_with(act) as (_, recognizer):
        with pytest.raises(RecognizerUnavailable) as raised:
            await rest_of(recognizer)
    assert raised.value.code == "stt_closed_1011"


async def test_a_session_without_a_keepalive_idles_out() -> None:
    """What the next test's server does to a client that breaks the rule."""
    async with DeepgramServer(recognise(idle_s=0.05), strict=False) as server:
        track = VendorTrack(at(server))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(track.run())
            await server.until(lambda: bool(server.sessions) and server.sessions[0].close_code is not None)
            track.close()
    assert [event.reason for event in track.events if isinstance(event, RecognizerLost)] == ["stt_closed_1011"]
    assert server.violations == ["NET-0001: neither audio nor text in time"]


async def test_a_track_that_has_not_started_is_kept_alive() -> None:
    """Its session is open before anybody speaks; the vendor would close it after 10 s, here 0.5."""
    async with DeepgramServer(recognise(idle_s=0.5)) as server:
        track = VendorTrack(at(server, keepalive_s=0.1))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(track.run())
            await server.until(lambda: bool(server.sessions) and server.sessions[0].controls.count("KeepAlive") > 7)
            track.feed(SECOND)
            track.close()
    assert [segment.text for segment in track.segments] == ["second 1."]


@pytest.mark.parametrize("form", ["mulaw-8000", "linear16-8000", "linear16-16000"])
async def test_a_track_is_transcribed_in_call_time_in_each_form_of_audio(form: str) -> None:
    async with DeepgramServer() as server:
        track = VendorTrack(at(server, audio=form))
        track.feed(SECOND * 2)
        track.close()
        await track.run()
        assert len(server.sessions[0].audio) == 2 * server.sessions[0].bytes_per_s
    assert [(each.text, each.start_s, each.end_s) for each in track.segments] == [
        ("second 1.", 0.0, 1.0),
        ("second 2.", 1.0, 2.0),
    ]
