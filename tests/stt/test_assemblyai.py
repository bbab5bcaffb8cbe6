"""AssemblyAI: its messages without a socket, then the driver against a strict server."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
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
    RecognizerLost,
    RecognizerRequest,
    Segment,
    SpeechEnded,
    SpeechStarted,
    Word,
)
from gateway.stt.assemblyai import AssemblyAIProtocol
from gateway.stt.base import Recognizer
from gateway.stt.client import Limits, open_session
from telephony_codecs.formats import AudioFormat
from tests.support.assemblyai_server import KEY, AssemblyAIServer, AssemblyAISession, recognise
from tests.support.vendor_track import VendorTrack, transcribe

MULAW = AudioFormat.parse("mulaw-8000")
SECOND = b"\x2a" * 8000
"""One second of mu-law."""


def profile(url: str = "wss://streaming.assemblyai.com/v3/ws", **settings: Any) -> SttProfile:
    return SttProfile(kind="assemblyai", url=url, **settings)


def protocol(url: str = "wss://h/v3/ws", *, settings: Any = None, **wanted: Any) -> AssemblyAIProtocol:
    asked = RecognizerRequest(format=wanted.pop("format", MULAW), **wanted)
    return AssemblyAIProtocol(profile(url, **(settings or {})), asked)


def query(**given: Any) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(protocol(**given).url).query))


def heard() -> AssemblyAIProtocol:
    """A session that was sent ten seconds of audio."""
    session = protocol()
    session.audio(SECOND * 10)
    return session


def word(text: str, start_ms: int, end_ms: int, confidence: float = 0.9) -> dict[str, Any]:
    return {"text": text, "start": start_ms, "end": end_ms, "confidence": confidence, "word_is_final": True}


def turn(order: int, text: str, *words: dict[str, Any], **more: Any) -> str:
    state = {"end_of_turn": False, "turn_is_formatted": False, **more}
    return json.dumps({"type": "Turn", "turn_order": order, "transcript": text, "words": words, **state})


def bare(order: int, text: str, *words: dict[str, Any]) -> str:
    return turn(order, text, *words, end_of_turn=True)


def formatted(order: int, text: str, *words: dict[str, Any], **more: Any) -> str:
    return turn(order, text, *words, end_of_turn=True, turn_is_formatted=True, **more)


def said(*messages: str, session: AssemblyAIProtocol | None = None) -> list[RecognizerEvent]:
    """What these messages mean, one after the other."""
    session = session or heard()
    return [event for message in messages for event in session.receive(message)]


def finals(events: list[RecognizerEvent]) -> list[str]:
    return [event.text for event in events if isinstance(event, Final)]


BEGIN = json.dumps({"type": "Begin", "id": "s", "expires_at": 1790000000})
TERMINATION = json.dumps({"type": "Termination", "audio_duration_seconds": 4, "session_duration_seconds": 5})
WHERE_IS = (word("where", 320, 480), word("is", 480, 600, 0.7))

# ── What is asked for ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("form", "encoding", "rate"),
    [
        ("mulaw-8000", "pcm_mulaw", "8000"),
        ("linear16-8000", "pcm_s16le", "8000"),
        ("linear16-16000", "pcm_s16le", "16000"),
    ],
)
def test_each_form_of_audio_is_named_with_its_rate(form: str, encoding: str, rate: str) -> None:
    asked = query(format=AudioFormat.parse(form))
    assert (asked["encoding"], asked["sample_rate"]) == (encoding, rate)


def test_unasked_it_wants_english_and_formatted_turns() -> None:
    assert query() == {
        "speech_model": "universal-streaming-english",
        "format_turns": "true",
        "encoding": "pcm_mulaw",
        "sample_rate": "8000",
    }


def test_any_other_language_takes_the_multilingual_model_and_names_what_it_hears() -> None:
    asked = query(language="de")
    assert (asked["speech_model"], asked["language_detection"]) == ("universal-streaming-multilingual", "true")


def test_a_model_that_is_named_is_taken_as_it_is() -> None:
    asked = query(language="de", settings={"options": {"speech_model": "u3-rt-pro"}})
    assert asked["speech_model"] == "u3-rt-pro"
    assert "language_detection" not in asked


@pytest.mark.parametrize(("pause_ms", "least"), [(700, None), (300, "300")])
def test_a_pause_in_milliseconds_is_the_longest_silence_of_a_turn(pause_ms: int, least: str | None) -> None:
    asked = query(eou_timeout_ms=pause_ms)
    assert (asked["max_turn_silence"], asked.get("min_turn_silence")) == (str(pause_ms), least)


def test_the_key_goes_without_a_scheme() -> None:
    assert protocol(settings={"api_key": SecretStr("k\n")}).headers == {"Authorization": "k"}


def test_audio_waits_for_begin() -> None:
    session = protocol()
    assert not session.is_ready
    session.receive(BEGIN)
    assert session.is_ready


def test_frames_of_20_ms_are_held_until_50_ms() -> None:
    session = protocol()
    sent = [session.audio(SECOND[:160]) for _ in range(6)]
    assert [[len(message) for message in each] for each in sent] == [[], [], [480], [], [], [480]]


def test_audio_of_more_than_1000_ms_goes_in_several_messages() -> None:
    assert [len(message) for message in protocol().audio(SECOND * 2 + SECOND[:160])] == [8000, 8000]


@pytest.mark.parametrize("form", ["mulaw-8000", "linear16-16000"])
def test_the_rest_is_filled_up_with_silence_at_the_end(form: str) -> None:
    audio_format = AudioFormat.parse(form)
    session = protocol(format=audio_format)
    voice = b"\x2a" * (audio_format.rate_hz // 50 * audio_format.bytes_per_sample)
    session.audio(voice)
    padded, terminate = session.end()
    assert padded == voice + audio_format.silence(audio_format.rate_hz * 30 // 1000)
    assert terminate == '{"type":"Terminate"}'


def test_without_a_rest_the_end_is_one_message() -> None:
    assert heard().end() == ('{"type":"Terminate"}',)


def test_silence_that_was_filled_in_is_not_part_of_the_sessions_time() -> None:
    session = protocol()
    session.audio(SECOND[:7840])
    session.audio(SECOND[:160])
    session.finalize()  # 20 ms were held: 30 ms of silence
    session.audio(SECOND)
    (partial,) = session.receive(turn(0, "a b", word("a", 500, 1020), word("b", 1530, 1630)))
    assert isinstance(partial, Partial)
    assert [(each.start_s, each.end_s) for each in partial.words] == [(0.5, 1.0), (1.5, 1.6)]


def test_a_keepalive_is_only_sent_where_silence_ends_sessions() -> None:
    assert protocol().keepalive() == ()
    assert protocol(settings={"options": {"inactivity_timeout": "30"}}).keepalive() == ('{"type":"KeepAlive"}',)


# ── What answers mean ────────────────────────────────────────────────────────────────────────────────────────────


def test_times_are_milliseconds_and_become_seconds() -> None:
    assert said(turn(0, "where is", *WHERE_IS)) == [
        Partial(
            text="where is",
            start_s=0.32,
            words=(
                Word(word="where", start_s=0.32, end_s=0.48, confidence=0.9),
                Word(word="is", start_s=0.48, end_s=0.6, confidence=0.7),
            ),
        )
    ]


def test_the_transcript_of_a_turn_grows_and_is_never_appended() -> None:
    events = said(turn(0, "where"), turn(0, "where is"), formatted(0, "Where is it?"))
    assert [event.text for event in events if isinstance(event, Partial | Final)] == [
        "where",
        "where is",
        "Where is it?",
    ]


def test_words_that_are_not_yet_in_the_transcript_are_heard_all_the_same() -> None:
    (partial,) = said(turn(0, "", word("where", 320, 480)))
    assert isinstance(partial, Partial)
    assert partial.text == "where"


def test_a_turn_that_ends_twice_is_one_final_the_formatted_one() -> None:
    events = said(bare(0, "where is my parcel", *WHERE_IS), formatted(0, "Where is my parcel?", *WHERE_IS))
    assert finals(events) == ["Where is my parcel?"]


def test_the_bare_end_of_a_turn_is_shown_while_it_is_held() -> None:
    assert said(bare(0, "where is my parcel")) == [Partial(text="where is my parcel")]


def test_a_model_that_formats_in_place_is_not_waited_for() -> None:
    assert finals(said(formatted(0, "Yes."))) == ["Yes."]


def test_a_model_that_never_formats_costs_no_turn_and_is_waited_for_once() -> None:
    session = heard()
    assert finals(said(bare(0, "one"), session=session)) == []
    assert finals(said(turn(1, "tw"), session=session)) == ["one"]
    assert finals(said(bare(1, "two"), session=session)) == ["two"]


def test_a_formatted_end_that_comes_too_late_is_not_said_again() -> None:
    assert finals(said(bare(0, "one"), turn(1, "tw"), formatted(0, "One."))) == ["one"]


def test_without_format_turns_the_bare_end_is_the_final() -> None:
    assert finals(said(bare(0, "yes"), session=protocol(settings={"options": {"format_turns": "false"}}))) == ["yes"]


def test_a_final_has_span_confidence_and_language() -> None:
    (final,) = said(formatted(0, "Where is", *WHERE_IS, language_code="en"))
    assert isinstance(final, Final)
    assert (final.start_s, final.end_s, final.confidence, final.language) == (0.32, 0.6, 0.8, "en")


def test_an_empty_turn_is_no_final_and_takes_back_what_was_shown() -> None:
    assert said(turn(0, "wh"), formatted(0, ""))[1:] == [Partial(text="")]


@pytest.mark.parametrize("words", [None, "my", [1], [{"text": "my", "start": "soon"}], [{"start": 1}]])
def test_odd_words_do_not_cost_the_text(words: Any) -> None:
    message = json.loads(formatted(0, "Yes.")) | {"words": words}
    assert finals(said(json.dumps(message))) == ["Yes."]


def test_speech_starts_and_ends_with_its_turn() -> None:
    started = json.dumps({"type": "SpeechStarted", "timestamp": 300, "confidence": 0.9})
    events = said(started, formatted(0, "Where is", *WHERE_IS))
    assert (events[0], events[-1]) == (SpeechStarted(at_s=0.3), SpeechEnded(at_s=0.6))


def test_a_forced_endpoint_marks_the_turn_that_it_ends() -> None:
    session = heard()
    assert session.finalize() == ('{"type":"ForceEndpoint"}',)
    marks = [
        event.from_finalize
        for event in said(formatted(0, "Yes."), formatted(1, "No."), session=session)
        if isinstance(event, Final)
    ]
    assert marks == [True, False]


def test_termination_is_the_end_and_gives_what_is_held() -> None:
    session = heard()
    session.finalize()
    session.finalize()
    assert said(bare(0, "yes"), TERMINATION, session=session)[1:] == [
        Final(text="yes", from_finalize=True),
        Final(text="", from_finalize=True),
        Finished(),
    ]


@pytest.mark.parametrize(
    ("code", "name", "retryable"),
    [
        (1000, "stt_closed_early", True),
        (1006, "stt_connection_lost", True),
        (1008, "stt_unauthorized", False),
        (1011, "stt_closed_1011", True),
        (3005, "stt_vendor_error", True),
        (3006, "stt_message_refused", False),
        (3007, "stt_audio_refused", True),
        (3008, "stt_session_expired", True),
        (3009, "stt_too_many_sessions", True),
    ],
)
def test_close_codes_name_the_loss_and_whether_to_try_again(code: int, name: str, retryable: bool) -> None:
    with pytest.raises(RecognizerUnavailable) as raised:
        protocol().closed(code)
    assert (raised.value.code, raised.value.retryable) == (name, retryable)


@pytest.mark.parametrize(
    ("code", "reason", "name", "retryable"),
    [
        (1008, "Unauthorized Connection: Too many concurrent sessions", "stt_too_many_sessions", True),
        (1008, "Unauthorized Connection: Missing Authorization header", "stt_unauthorized", False),
        (3008, "Session Expired: Maximum session duration exceeded", "stt_session_expired", True),
        (None, None, "stt_vendor_error", True),
    ],
)
def test_an_error_message_says_what_the_close_code_does_not(
    code: int | None, reason: str | None, name: str, retryable: bool
) -> None:
    with pytest.raises(RecognizerUnavailable) as raised:
        said(json.dumps({"type": "Error", "error_code": code, "error": reason}))
    assert (raised.value.code, raised.value.retryable) == (name, retryable)


@pytest.mark.parametrize("message", [b"\0", "x", "[]", '{"type":"Turn","turn_order":"first"}'])
def test_messages_that_make_no_sense_are_refused(message: str | bytes) -> None:
    with pytest.raises(RecognizerProtocolError):
        protocol().receive(message)


@given(st.text() | st.dictionaries(st.text(), st.integers() | st.text() | st.none()).map(json.dumps))
def test_any_text_gives_events_or_a_foreseen_error(text: str) -> None:
    with suppress(RecognizerProtocolError, RecognizerUnavailable):
        protocol().receive(text)


@given(st.lists(st.binary(min_size=1, max_size=20_000), max_size=20))
def test_however_audio_is_cut_it_arrives_whole_in_pieces_that_the_vendor_takes(chunks: list[bytes]) -> None:
    session = protocol()
    sent = [message for chunk in chunks for message in session.audio(chunk)] + list(session.end()[:-1])
    audio = b"".join(message for message in sent if isinstance(message, bytes))
    assert all(400 <= len(message) <= 8000 for message in sent)
    whole = b"".join(chunks)
    assert audio[: len(whole)] == whole
    assert set(audio[len(whole) :]) <= {0xFF}


# ── The driver against a strict server ───────────────────────────────────────────────────────────────────────────


def at(server: AssemblyAIServer, **settings: Any) -> SttProfile:
    return profile(server.url, **{"api_key": SecretStr(KEY), "connect_timeout_s": 2.0, **settings})


@asynccontextmanager
async def session_with(*acts: Any, **settings: Any) -> AsyncIterator[tuple[AssemblyAIServer, Recognizer]]:
    async with AssemblyAIServer(*acts) as server:
        chosen = at(server, **settings)
        made = AssemblyAIProtocol(chosen, RecognizerRequest(format=MULAW))
        async with open_session(chosen, made, Limits(close_timeout_s=0.05)) as recognizer:
            yield server, recognizer


async def rest_of(recognizer: Recognizer) -> list[RecognizerEvent]:
    async with asyncio.timeout(5):
        return [event async for event in recognizer.events()]


def lost(events: list[Any]) -> list[str]:
    return [event.reason for event in events if isinstance(event, RecognizerLost)]


async def test_a_session_gives_each_turn_once_and_ends_after_the_tail() -> None:
    async with session_with() as (server, recognizer):
        await recognizer.send(SECOND[:6000])
        await recognizer.end()
        events = await rest_of(recognizer)
        assert server.sessions[0].controls == ["Terminate"]
    assert finals(events) == ["Turn 0.", "Turn 1."]
    assert events[-1] == Finished()


async def test_the_20_ms_frames_of_a_phone_platform_do_not_break_the_session() -> None:
    async with session_with() as (_, recognizer):
        for at_byte in range(0, 4800, 160):
            await recognizer.send(SECOND[at_byte : at_byte + 160])
        await recognizer.end()
        assert finals(await rest_of(recognizer)) == ["Turn 0.", "Turn 1."]


async def test_a_forced_endpoint_is_answered_and_the_session_goes_on() -> None:
    async with session_with() as (_, recognizer):
        for _ in range(2):
            await recognizer.send(SECOND[:2080])  # 10 ms are held
            await recognizer.finalize()
        await recognizer.end()
        found = [(event.text, event.from_finalize) for event in await rest_of(recognizer) if isinstance(event, Final)]
    assert found == [("Turn 0.", True), ("Turn 1.", True)]


async def test_a_wrong_key_is_refused_for_good_after_the_upgrade() -> None:
    async with AssemblyAIServer() as server:
        chosen = at(server, api_key=SecretStr("wrong"))
        with pytest.raises(RecognizerUnavailable) as raised:
            async with open_session(chosen, AssemblyAIProtocol(chosen, RecognizerRequest(format=MULAW))):
                pass
    assert (raised.value.code, raised.value.retryable) == ("stt_unauthorized", False)


async def test_a_session_over_its_longest_duration_is_lost_and_may_be_opened_again() -> None:
    async def act(session: AssemblyAISession) -> None:
        await session.begin()
        await session.fail(3008, "Session Expired: Maximum session duration exceeded")

    async with session_with(act) as (_, recognizer):
        with pytest.raises(RecognizerUnavailable) as raised:
            await rest_of(recognizer)
    assert (raised.value.code, raised.value.retryable) == ("stt_session_expired", True)


async def test_audio_that_was_held_during_a_slow_start_goes_out_no_faster_than_it_was_spoken() -> None:
    """A backlog at full speed is answered with 3007, see the next test."""
    may_begin = asyncio.Event()
    async with AssemblyAIServer(recognise(begins_when=may_begin)) as server:
        track = VendorTrack(at(server))
        track.feed(SECOND + SECOND[:4800])
        track.close()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(track.run())
            await server.until(lambda: bool(server.sessions))
            await server.sessions[0].hear_out()
            may_begin.set()
    assert lost(track.events) == []
    assert [(each.text, each.start_s, each.end_s) for each in track.segments] == [
        ("Turn 0.", 0.0, 0.5),
        ("Turn 1.", 0.5, 1.0),
        ("Turn 2.", 1.0, 1.5),
        ("Turn 3.", 1.5, 1.6),
    ]


async def test_the_vendor_ends_a_session_that_sends_a_backlog_at_once() -> None:
    """What the test before would meet without its pace."""
    async with AssemblyAIServer(strict=False) as server:
        chosen = at(server)
        made = AssemblyAIProtocol(chosen, RecognizerRequest(format=MULAW))
        async with open_session(chosen, made, Limits(close_timeout_s=0.05)) as recognizer:
            await recognizer.send(SECOND * 2)
            with pytest.raises(RecognizerUnavailable) as raised:
                await rest_of(recognizer)
    assert raised.value.code == "stt_audio_refused"
    assert server.violations


@pytest.mark.parametrize("form", ["mulaw-8000", "linear16-8000", "linear16-16000"])
async def test_a_track_is_transcribed_in_call_time_in_each_form_of_audio(form: str) -> None:
    async with AssemblyAIServer() as server:
        events = await transcribe(at(server, audio=form), SECOND, chunk_ms=20)
    segments = [(event.text, event.start_s, event.end_s) for event in events if isinstance(event, Segment)]
    assert segments[:2] == [("Turn 0.", 0.0, 0.5), ("Turn 1.", 0.5, 1.0)]


async def test_an_open_session_is_terminated_when_the_call_ends() -> None:
    """One that is not goes on counting, and costing."""
    async with AssemblyAIServer() as server:
        await transcribe(at(server), SECOND[:800])
        assert server.sessions[0].controls == ["Terminate"]
