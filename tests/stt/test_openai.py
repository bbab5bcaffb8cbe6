"""OpenAI: its messages without a socket, then the driver against a strict server."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

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
    RecognizerRequest,
    Segment,
    SpeechEnded,
    SpeechStarted,
)
from gateway.stt.base import Recognizer
from gateway.stt.client import Limits, open_session
from gateway.stt.openai import MAX_ITEMS, MAX_TEXT_CHARS, MAX_TURN_S, OpenAIProtocol
from telephony_codecs.formats import AudioFormat
from tests.support.openai_server import KEY, OpenAIServer, OpenAISession, recognise
from tests.support.vendor_track import transcribe

MULAW = AudioFormat.parse("mulaw-8000")
SILENCE = b"\xff" * 4000
"""Half a second of mu-law."""
ONE, TWO, THREE = (bytes([value]) * 4000 for value in (1, 2, 3))
"""Half a second of speech each, which the strict server hears as `b1`, `b2` and `b3`."""


def profile(url: str = "wss://api.openai.com/v1/realtime", **settings: Any) -> SttProfile:
    return SttProfile(kind="openai", url=url, **settings)


def protocol(*, settings: Any = None, **wanted: Any) -> OpenAIProtocol:
    return OpenAIProtocol(profile(**(settings or {})), RecognizerRequest(format=MULAW, **wanted))


def without_detection() -> OpenAIProtocol:
    return protocol(settings={"options": {"turn_detection": "none"}})


def session_of(**given: Any) -> dict[str, Any]:
    """The session that is asked for."""
    (opening,) = protocol(**given).opening()
    update = json.loads(opening)
    assert update.keys() == {"type", "session"}
    assert isinstance(update["session"], dict)
    return update["session"]


def sound_of(**given: Any) -> dict[str, Any]:
    """How audio is to be taken in the session that is asked for."""
    sound = session_of(**given)["audio"]["input"]
    assert isinstance(sound, dict)
    return sound


def started(item: str, at_ms: int) -> str:
    return json.dumps({"type": "input_audio_buffer.speech_started", "audio_start_ms": at_ms, "item_id": item})


def stopped(item: str, at_ms: int) -> str:
    return json.dumps({"type": "input_audio_buffer.speech_stopped", "audio_end_ms": at_ms, "item_id": item})


def committed(item: str) -> str:
    return json.dumps({"type": "input_audio_buffer.committed", "previous_item_id": None, "item_id": item})


def spoken(item: str, start_ms: int, end_ms: int) -> tuple[str, str, str]:
    """What voice detection says of an item."""
    return started(item, start_ms), stopped(item, end_ms), committed(item)


def transcription(kind: str, item: str, **more: Any) -> str:
    return json.dumps({"type": f"conversation.item.input_audio_transcription.{kind}", "item_id": item, **more})


def delta(item: str, text: str) -> str:
    return transcription("delta", item, delta=text, content_index=0)


def completed(item: str, text: str, **more: Any) -> str:
    return transcription("completed", item, transcript=text, content_index=0, **more)


def error(code: str | None, event_id: str | None = None, kind: str = "invalid_request_error") -> str:
    fault = {"type": kind, "code": code, "message": "x", "param": None, "event_id": event_id}
    return json.dumps({"type": "error", "event_id": "event_1", "error": fault})


def said(*messages: str, session: OpenAIProtocol | None = None) -> list[RecognizerEvent]:
    """What these messages mean, one after the other."""
    session = session or protocol()
    return [event for message in messages for event in session.receive(message)]


def finals(events: list[RecognizerEvent]) -> list[str]:
    return [event.text for event in events if isinstance(event, Final)]


def partials(events: list[RecognizerEvent]) -> list[str]:
    return [event.text for event in events if isinstance(event, Partial)]


UPDATED = json.dumps({"type": "session.updated", "session": {}})
EMPTY = "input_audio_buffer_commit_empty"

# ── What is asked for ────────────────────────────────────────────────────────────────────────────────────────────


def test_the_session_is_one_of_transcription_of_mulaw_with_voice_detection() -> None:
    assert session_of() == {
        "type": "transcription",
        "audio": {
            "input": {
                "format": {"type": "audio/pcmu"},
                "transcription": {"model": "gpt-4o-transcribe", "language": "en"},
                "turn_detection": {"type": "server_vad"},
            }
        },
        "include": ["item.input_audio_transcription.logprobs"],
    }


def test_the_address_asks_for_a_transcription_session_and_names_no_model() -> None:
    named = protocol(settings={"options": {"model": "whisper-1"}})
    assert named.url == "wss://api.openai.com/v1/realtime?intent=transcription"


def test_the_key_is_a_bearer_token() -> None:
    assert protocol(settings={"api_key": SecretStr("sk_1\n")}).headers == {"Authorization": "Bearer sk_1"}


def test_options_have_their_places_in_the_session_and_are_numbers_where_they_look_like_it() -> None:
    options = {
        "model": "whisper-1",
        "prompt": "Acme, refund",
        "noise_reduction": "near_field",
        "threshold": "0.6",
        "silence_duration_ms": "400",
    }
    sound = sound_of(settings={"options": options}, language="de")
    assert sound["transcription"] == {"model": "whisper-1", "language": "de", "prompt": "Acme, refund"}
    assert sound["noise_reduction"] == {"type": "near_field"}
    assert sound["turn_detection"] == {"type": "server_vad", "threshold": 0.6, "silence_duration_ms": 400}


def test_a_pause_in_milliseconds_is_that_of_the_request() -> None:
    assert sound_of(eou_timeout_ms=900)["turn_detection"]["silence_duration_ms"] == 900


@pytest.mark.parametrize("model", ["gpt-live-transcribe", "gpt-realtime-whisper"])
def test_models_that_refuse_voice_detection_are_asked_for_none(model: str) -> None:
    assert sound_of(settings={"options": {"model": model}})["turn_detection"] is None


def test_log_probabilities_are_only_asked_of_models_that_have_them() -> None:
    assert "include" not in session_of(settings={"options": {"model": "whisper-1"}})


@pytest.mark.parametrize("audio", ["linear16-8000", "linear16-16000"])
def test_linear_audio_that_is_not_24_khz_is_refused_at_start_up(audio: str) -> None:
    with pytest.raises(ValidationError, match="audio must be mulaw-8000 for kind openai"):
        profile(audio=audio)


def test_an_option_without_a_place_is_refused_at_start_up() -> None:
    with pytest.raises(ValidationError, match="unknown options for kind openai: temperature; known are model"):
        profile(options={"temperature": "0"})


def test_audio_is_base64_in_json_and_never_binary() -> None:
    (message,) = protocol().audio(b"\xff\x00\x2a")
    assert json.loads(message) == {"type": "input_audio_buffer.append", "audio": base64.b64encode(b"\xff\0*").decode()}


def test_audio_waits_until_the_session_is_as_asked_for() -> None:
    session = protocol()
    session.receive(json.dumps({"type": "session.created", "session": {}}))
    assert not session.is_ready
    session.receive(UPDATED)
    assert session.is_ready


def test_no_keepalive_is_needed() -> None:
    assert protocol().keepalive() == ()


def test_without_voice_detection_audio_is_committed_or_nothing_would_ever_come_back() -> None:
    session = without_detection()
    sent = [json.loads(message)["type"] for _ in range(int(MAX_TURN_S)) for message in session.audio(bytes(8000))]
    assert sent.count("input_audio_buffer.commit") == 1
    assert sent[-1] == "input_audio_buffer.commit"


def test_with_voice_detection_nothing_is_committed_before_the_end() -> None:
    session = protocol()
    sent = [json.loads(message)["type"] for _ in range(60) for message in session.audio(bytes(8000))]
    assert set(sent) == {"input_audio_buffer.append"}
    assert [json.loads(message)["type"] for message in session.end()] == ["input_audio_buffer.commit"]


def test_a_rest_of_less_than_100_ms_is_filled_up_with_silence_at_the_end() -> None:
    session = without_detection()
    session.audio(b"\x2a" * 480)
    append, _ = session.end()
    assert base64.b64decode(json.loads(append)["audio"]) == b"\xff" * 320


# ── What answers mean ────────────────────────────────────────────────────────────────────────────────────────────


def test_deltas_are_increments() -> None:
    events = said(started("a", 640), delta("a", "I'd"), delta("a", " like"))
    assert events == [
        SpeechStarted(at_s=0.64),
        Partial(text="I'd", start_s=0.64),
        Partial(text="I'd like", start_s=0.64),
    ]


def test_deltas_without_end_are_not_held_without_end() -> None:
    *_, last = said(*[delta("a", "word " * 1000)] * 10)
    assert isinstance(last, Partial)
    assert len(last.text) <= MAX_TEXT_CHARS


def test_a_final_spans_what_the_voice_detection_said() -> None:
    events = said(*spoken("a", 640, 1900), completed("a", "I'd like a refund."))
    assert events == [
        SpeechStarted(at_s=0.64),
        SpeechEnded(at_s=1.9),
        Final(text="I'd like a refund.", start_s=0.64, end_s=1.9),
    ]


def test_finals_come_in_the_order_of_speech_whatever_the_order_of_transcription() -> None:
    spoken_twice = (*spoken("a", 0, 900), *spoken("b", 1500, 1900))
    assert finals(said(*spoken_twice, completed("b", "Yes."))) == []
    assert finals(said(*spoken_twice, completed("b", "Yes."), completed("a", "Is it late?"))) == ["Is it late?", "Yes."]


def test_partials_hold_all_that_is_not_final() -> None:
    events = said(*spoken("a", 0, 900), *spoken("b", 1500, 1900), delta("b", "Yes"), delta("a", "Is it"))
    assert partials(events) == ["Yes", "Is it Yes"]


def test_what_is_still_spoken_is_shown_again_after_a_final_before_it() -> None:
    events = said(*spoken("a", 0, 900), started("b", 1500), delta("b", "Yes"), completed("a", "Late?"))
    assert events[-2:] == [Final(text="Late?", start_s=0.0, end_s=0.9), Partial(text="Yes", start_s=1.5)]


def test_whisper_gives_one_delta_equal_to_the_turn_and_it_is_not_said_twice() -> None:
    events = said(*spoken("a", 0, 900), delta("a", "Yes."), completed("a", "Yes."))
    assert (partials(events), finals(events)) == (["Yes."], ["Yes."])


def test_an_empty_transcript_is_no_final_and_takes_back_what_was_shown() -> None:
    events = said(*spoken("a", 0, 900), delta("a", "Th"), completed("a", ""))
    assert events[-1] == Partial(text="")
    assert finals(events) == []


def test_confidence_is_the_mean_probability_of_the_tokens() -> None:
    logprobs = [{"token": "Yes", "logprob": 0.0}, {"token": ".", "logprob": -0.2}]
    *_, final = said(*spoken("a", 0, 900), completed("a", "Yes.", logprobs=logprobs))
    assert isinstance(final, Final)
    assert final.confidence == 0.9048


def test_an_impossible_logarithm_costs_the_confidence_at_most() -> None:
    *_, final = said(*spoken("a", 0, 900), completed("a", "Yes.", logprobs=[{"token": "Yes", "logprob": 1e300}]))
    assert isinstance(final, Final)
    assert (final.text, final.confidence) == ("Yes.", 1.0)


@pytest.mark.parametrize(
    ("languages", "language"), [(["de"], "de"), ([{"code": "de"}], "de"), ([], None), ("de", None)]
)
def test_the_language_is_the_first_that_was_detected(languages: Any, language: str | None) -> None:
    *_, final = said(*spoken("a", 0, 900), completed("a", "Ja.", languages=languages))
    assert isinstance(final, Final)
    assert final.language == language


def test_without_voice_detection_a_final_spans_what_was_committed() -> None:
    session = without_detection()
    session.audio(bytes(8000))
    session.finalize()
    session.audio(bytes(4000))
    session.finalize()
    events = said(committed("a"), committed("b"), completed("a", "One."), completed("b", "Two."), session=session)
    assert events == [
        Final(text="One.", start_s=0.0, end_s=1.0, from_finalize=True),
        Final(text="Two.", start_s=1.0, end_s=1.5, from_finalize=True),
    ]


def test_a_commit_of_the_voice_detection_is_not_taken_for_ours() -> None:
    session = protocol()
    session.audio(bytes(16_000))
    session.finalize()
    events = said(*spoken("a", 0, 900), committed("b"), completed("a", "One."), completed("b", "Two."), session=session)
    assert [(each.text, each.from_finalize) for each in events if isinstance(each, Final)] == [
        ("One.", False),
        ("Two.", True),
    ]


def test_speech_that_our_commit_cut_off_holds_nothing_up() -> None:
    """Its item was announced, and another one came instead."""
    session = protocol()
    session.audio(bytes(8000))
    session.finalize()
    events = said(
        started("a", 200),
        delta("a", "On"),
        committed("b"),
        completed("b", "One."),
        *spoken("c", 1500, 1900),
        completed("c", "Two."),
        session=session,
    )
    assert finals(events) == ["One.", "Two."]
    assert "On" not in partials(events)[1:]


def test_speech_that_is_only_announced_holds_nothing_up() -> None:
    assert finals(said(started("b", 900), committed("a"), completed("a", "One."))) == ["One."]


def test_finalize_of_nothing_is_answered_by_an_empty_final_behind_what_is_under_way() -> None:
    session = protocol()
    (commit,) = session.finalize()
    events = said(
        *spoken("a", 0, 900), error(EMPTY, json.loads(commit)["event_id"]), completed("a", "One."), session=session
    )
    assert events[-2:] == [Final(text="One.", start_s=0.0, end_s=0.9), Final(text="", from_finalize=True)]


def test_the_session_is_over_when_the_last_commit_is_transcribed() -> None:
    session = protocol()
    session.audio(bytes(8000))
    session.end()
    assert said(committed("a"), session=session) == []
    assert said(completed("a", "Bye."), session=session) == [Final(text="Bye.", start_s=0.0, end_s=1.0), Finished()]


@pytest.mark.parametrize("names_commit", [True, False])
def test_an_end_with_nothing_left_waits_for_items_that_are_under_way(names_commit: bool) -> None:
    session = protocol()
    said(*spoken("a", 0, 900), session=session)
    (commit,) = session.end()
    assert said(error(EMPTY, json.loads(commit)["event_id"] if names_commit else None), session=session) == []
    assert said(completed("a", "Bye."), session=session)[-1] == Finished()


def test_an_end_without_speech_is_the_end_at_once() -> None:
    session = protocol()
    (commit,) = session.end()
    assert said(error(EMPTY, json.loads(commit)["event_id"]), session=session) == [Finished()]


def test_audio_that_could_not_be_transcribed_is_not_passed_over() -> None:
    with pytest.raises(RecognizerUnavailable) as raised:
        said(*spoken("a", 0, 900), transcription("failed", "a", error={"type": "server_error"}))
    assert (raised.value.code, raised.value.retryable) == ("stt_transcription_failed", True)


def test_most_errors_leave_the_session_open() -> None:
    session = protocol()
    session.receive(UPDATED)
    with pytest.raises(RecognizerProtocolError):
        session.receive(error("unknown_parameter"))


@pytest.mark.parametrize(
    ("code", "kind", "name", "retryable"),
    [
        ("invalid_api_key", "invalid_request_error", "stt_unauthorized", False),
        ("insufficient_quota", "insufficient_quota", "stt_unauthorized", False),
        ("session_expired", "invalid_request_error", "stt_session_expired", True),
        ("rate_limit_exceeded", "rate_limit_error", "stt_rate_limit_exceeded", True),
    ],
)
def test_some_errors_end_it(code: str, kind: str, name: str, retryable: bool) -> None:
    session = protocol()
    session.receive(UPDATED)
    with pytest.raises(RecognizerUnavailable) as raised:
        session.receive(error(code, kind=kind))
    assert (raised.value.code, raised.value.retryable) == (name, retryable)


@pytest.mark.parametrize(("kind", "retryable"), [("invalid_request_error", False), ("server_error", True)])
def test_an_error_before_the_session_is_as_asked_for_refuses_it(kind: str, retryable: bool) -> None:
    with pytest.raises(RecognizerUnavailable) as raised:
        said(error("unknown_parameter" if kind == "invalid_request_error" else None, kind=kind))
    assert (raised.value.code, raised.value.retryable) == ("stt_session_refused", retryable)


@pytest.mark.parametrize(
    ("code", "name", "retryable"),
    [
        (1000, "stt_closed_early", True),
        (1001, "stt_closed_1001", True),
        (1006, "stt_connection_lost", True),
        (1008, "stt_unauthorized", False),
        (3000, "stt_unauthorized", False),
    ],
)
def test_close_codes_name_the_loss_and_whether_to_try_again(code: int, name: str, retryable: bool) -> None:
    with pytest.raises(RecognizerUnavailable) as raised:
        protocol().closed(code)
    assert (raised.value.code, raised.value.retryable) == (name, retryable)


def test_a_service_that_never_transcribes_is_given_up() -> None:
    messages = [message for number in range(MAX_ITEMS + 1) for message in spoken(f"i{number}", 0, 1)]
    with pytest.raises(RecognizerUnavailable) as raised:
        said(*messages)
    assert raised.value.code == "stt_stalled"


@pytest.mark.parametrize("message", [b"\0", "x", "[]", '{"type":1}'])
def test_messages_that_make_no_sense_are_refused(message: str | bytes) -> None:
    with pytest.raises(RecognizerProtocolError):
        protocol().receive(message)


@given(st.text() | st.dictionaries(st.text(), st.integers() | st.text() | st.none()).map(json.dumps))
def test_any_text_gives_events_or_a_foreseen_error(text: str) -> None:
    with suppress(RecognizerProtocolError, RecognizerUnavailable):
        protocol().receive(text)


# ── The driver against a strict server ───────────────────────────────────────────────────────────────────────────


def at(server: OpenAIServer, **settings: Any) -> SttProfile:
    return profile(server.url, **{"api_key": SecretStr(KEY), "connect_timeout_s": 2.0, **settings})


@asynccontextmanager
async def session_with(*acts: Any, **settings: Any) -> AsyncIterator[tuple[OpenAIServer, Recognizer]]:
    async with OpenAIServer(*acts) as server:
        chosen = at(server, **settings)
        made = OpenAIProtocol(chosen, RecognizerRequest(format=MULAW))
        async with open_session(chosen, made, Limits(close_timeout_s=0.05)) as recognizer:
            yield server, recognizer


async def rest_of(recognizer: Recognizer) -> list[RecognizerEvent]:
    async with asyncio.timeout(5):
        return [event async for event in recognizer.events()]


async def refusal_of(server: OpenAIServer, **settings: Any) -> RecognizerUnavailable:
    chosen = at(server, **settings)
    with pytest.raises(RecognizerUnavailable) as raised:
        async with open_session(chosen, OpenAIProtocol(chosen, RecognizerRequest(format=MULAW))):
            pass
    return raised.value


async def test_a_session_gives_turns_with_their_times_and_ends_after_the_tail() -> None:
    async with session_with() as (_, recognizer):
        for piece in (SILENCE, ONE, SILENCE, TWO):
            await recognizer.send(piece)
        await recognizer.end()
        events = await rest_of(recognizer)
    assert [event for event in events if isinstance(event, Final)] == [
        Final(text="b1", start_s=0.5, end_s=1.0),
        Final(text="b2", start_s=1.5, end_s=2.0),
    ]
    assert events[-1] == Finished()


async def test_turns_that_are_transcribed_late_and_backwards_come_in_order() -> None:
    async with session_with(recognise(completes_late=True)) as (_, recognizer):
        for piece in (ONE, SILENCE, TWO, SILENCE, THREE):
            await recognizer.send(piece)
        await recognizer.end()
        assert finals(await rest_of(recognizer)) == ["b1", "b2", "b3"]


async def test_finalize_gets_its_answer_and_the_session_goes_on() -> None:
    async with session_with() as (_, recognizer):
        for piece in (ONE, TWO):
            await recognizer.send(piece)
            await recognizer.finalize()
        await recognizer.finalize()
        await recognizer.end()
        found = [(event.text, event.from_finalize) for event in await rest_of(recognizer) if isinstance(event, Final)]
    assert found == [("b1", True), ("b2", True), ("", True)]


async def test_without_voice_detection_finalize_and_the_end_bring_the_text() -> None:
    async with session_with(options={"model": "gpt-live-transcribe"}) as (_, recognizer):
        await recognizer.send(ONE)
        await recognizer.finalize()
        await recognizer.send(TWO[:400])
        await recognizer.end()
        assert finals(await rest_of(recognizer)) == ["b1", "b2"]


async def test_a_session_without_audio_ends_like_any_other() -> None:
    async with session_with() as (_, recognizer):
        await recognizer.end()
        assert await rest_of(recognizer) == [Finished()]


async def test_a_wrong_key_is_refused_for_good_at_the_upgrade() -> None:
    async with OpenAIServer() as server:
        error = await refusal_of(server, api_key=SecretStr("wrong"))
    assert (error.code, error.retryable) == ("stt_refused_401", False)


async def test_a_wrong_key_is_refused_for_good_after_the_upgrade() -> None:
    async def act(session: OpenAISession) -> None:
        await session.close(3000, "invalid_request_error.invalid_api_key")

    async with OpenAIServer(act) as server:
        error = await refusal_of(server)
    assert (error.code, error.retryable) == ("stt_unauthorized", False)


async def test_a_session_that_the_vendor_does_not_take_is_refused_for_good() -> None:
    async def act(session: OpenAISession) -> None:
        await session.receive()
        await session.send(type="error", error={"type": "invalid_request_error", "code": "invalid_value"})

    async with OpenAIServer(act) as server:
        error = await refusal_of(server)
    assert (error.code, error.retryable) == ("stt_session_refused", False)


async def test_audio_is_held_until_the_session_is_ready_and_a_track_gets_call_time() -> None:
    ready = asyncio.Event()
    async with OpenAIServer(recognise(ready_when=ready)) as server, asyncio.TaskGroup() as tasks:
        heard = tasks.create_task(transcribe(at(server), SILENCE + ONE + SILENCE + TWO))
        await server.until(lambda: bool(server.sessions) and bool(server.sessions[0].config))
        await server.sessions[0].hear_out()
        ready.set()
    segments = [(event.text, event.start_s, event.end_s) for event in heard.result() if isinstance(event, Segment)]
    assert segments == [("b1", 0.5, 1.0), ("b2", 1.5, 2.0)]
