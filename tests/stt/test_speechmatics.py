"""Speechmatics: its messages without a socket, then the driver against a strict server."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from unittest.mock import ANY

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from gateway.config import SttProfile
from gateway.errors import RecognizerProtocolError, RecognizerUnavailable
from gateway.events import Final, Finished, Partial, RecognizerEvent, RecognizerRequest, Word
from gateway.stt.base import Recognizer
from gateway.stt.client import Limits, open_session
from gateway.stt.speechmatics import MAX_HELD_WORDS, SpeechmaticsProtocol
from telephony_codecs.formats import AudioFormat
from tests.support.speechmatics_server import KEY, SpeechmaticsServer, SpeechmaticsSession, fail, recognise
from tests.support.strict_server import refuse

MULAW = AudioFormat.parse("mulaw-8000")
SECOND = b"\x2a" * 8000
"""One second of mu-law."""


def profile(url: str = "wss://eu.rt.speechmatics.com/v2/", **settings: Any) -> SttProfile:
    return SttProfile(kind="speechmatics", url=url, **settings)


def protocol(*, options: dict[str, str] | None = None, language: str | None = "en", **wanted: Any) -> Any:
    asked = RecognizerRequest(format=wanted.pop("format", MULAW), **{"language": None, **wanted})
    return SpeechmaticsProtocol(profile(options=options or {}, language=language), asked)


def config(**given: Any) -> dict[str, Any]:
    start = json.loads(protocol(**given).opening()[0])
    assert isinstance(start["transcription_config"], dict)
    return start["transcription_config"]


def word(content: str, start_s: float, end_s: float, **more: Any) -> dict[str, Any]:
    alternative = {"content": content, "confidence": 0.9, "language": "en"}
    return {"type": "word", "start_time": start_s, "end_time": end_s, "alternatives": [alternative], **more}


def mark(content: str, at_s: float, attaches_to: str = "previous", **more: Any) -> dict[str, Any]:
    return word(content, at_s, at_s) | {"type": "punctuation", "attaches_to": attaches_to, **more}


def transcript(text: str, *results: dict[str, Any], **more: Any) -> str:
    metadata = {"start_time": 0.0, "end_time": 1.0, "transcript": text}
    return json.dumps({"message": "AddTranscript", "metadata": metadata, "results": results, **more})


def partial(text: str, *results: dict[str, Any]) -> str:
    return transcript(text, *results, message="AddPartialTranscript")


def said(*messages: str) -> list[RecognizerEvent]:
    """What these messages mean, one after the other."""
    session = protocol()
    return [event for message in messages for event in session.receive(message)]


def finals(events: list[RecognizerEvent]) -> list[str]:
    return [event.text for event in events if isinstance(event, Final)]


STARTED = json.dumps({"message": "RecognitionStarted", "id": "1", "language_pack_info": {"word_delimiter": " "}})
END_OF_UTTERANCE = json.dumps({"message": "EndOfUtterance", "metadata": {"start_time": 1.9, "end_time": 1.9}})
FORCED_END = json.dumps({"message": "EndOfUtterance", "metadata": {}, "forced": True})
END = json.dumps({"message": "EndOfTranscript"})
CAN_YOU = (word("Can", 0.1, 0.3), word("you", 0.3, 0.5))
CHECK = (word("check", 0.6, 1.0), mark(".", 1.0, is_eos=True))

# ── What is asked for ────────────────────────────────────────────────────────────────────────────────────────────


def test_the_session_is_asked_for_with_everything_it_needs() -> None:
    assert [json.loads(message) for message in protocol().opening()] == [
        {
            "message": "StartRecognition",
            "audio_format": {"type": "raw", "encoding": "mulaw", "sample_rate": 8000},
            "transcription_config": {
                "language": "en",
                "enable_partials": True,
                "max_delay": 2.0,
                "conversation_config": {"end_of_utterance_silence_trigger": 0.5},
            },
        }
    ]


def test_linear_audio_is_named_as_the_vendor_names_it() -> None:
    start = json.loads(protocol(format=AudioFormat.parse("linear16-16000")).opening()[0])
    assert start["audio_format"] == {"type": "raw", "encoding": "pcm_s16le", "sample_rate": 16000}


def test_the_default_delay_of_4_s_is_not_mistaken_for_slowness() -> None:
    """Toy clients leave max_delay at its default."""
    assert config()["max_delay"] == 2.0


def test_options_are_fields_of_the_configuration_and_win_over_defaults() -> None:
    wanted = config(options={"max_delay": "0.7", "model": "enhanced", "additional_vocab": '["gnocchi"]'})
    assert (wanted["max_delay"], wanted["model"], wanted["additional_vocab"]) == (0.7, "enhanced", ["gnocchi"])


@pytest.mark.parametrize(
    ("of_profile", "option", "of_call", "spoken"),
    [("de", None, None, "de"), ("de", "hi", None, "hi"), ("de", "hi", "fr", "fr"), (None, None, None, "en")],
)
def test_language_is_the_calls_else_the_options_else_the_profiles_else_english(
    of_profile: str | None, option: str | None, of_call: str | None, spoken: str
) -> None:
    wanted = config(options={"language": option} if option else {}, language=of_profile)
    if of_call:
        asked = RecognizerRequest(format=MULAW, language=of_call)
        chosen = profile(options={"language": option} if option else {}, language=of_profile)
        wanted = json.loads(SpeechmaticsProtocol(chosen, asked).opening()[0])["transcription_config"]
    assert wanted["language"] == spoken


def test_a_region_asks_for_its_spelling() -> None:
    wanted = config(language="en-GB")
    assert (wanted["language"], wanted["output_locale"]) == ("en", "en-GB")


@pytest.mark.parametrize(("asked_ms", "trigger_s"), [(300, 0.3), (5000, 2.0)])
def test_the_pause_that_ends_an_utterance_is_the_requests_within_the_vendors_limit(
    asked_ms: int, trigger_s: float
) -> None:
    wanted = config(eou_timeout_ms=asked_ms, options={"conversation_config": "{}"})
    assert wanted["conversation_config"] == {"end_of_utterance_silence_trigger": trigger_s}


def test_without_endpointing_no_pause_ends_an_utterance() -> None:
    assert "conversation_config" not in config(endpointing=False, eou_timeout_ms=300)


def test_the_key_is_a_bearer_token() -> None:
    session = SpeechmaticsProtocol(profile(api_key=SecretStr("sk_1")), RecognizerRequest(format=MULAW))
    assert session.headers == {"Authorization": "Bearer sk_1"}


def test_audio_waits_for_recognition_started() -> None:
    """Toy clients send audio before it."""
    session = protocol()
    assert not session.is_ready
    session.receive(
        json.dumps({"message": "Info", "type": "recognition_quality", "reason": "", "quality": "telephony"})
    )
    assert not session.is_ready
    assert session.receive(STARTED) == []
    assert session.is_ready


def test_audio_is_sent_as_it_is() -> None:
    assert protocol().audio(b"\x00\xff") == (b"\x00\xff",)


def test_no_message_keeps_the_session_alive_because_pings_do() -> None:
    assert protocol().keepalive() == ()


def test_the_last_seq_no_is_the_number_of_audio_messages_whether_acknowledged_or_not() -> None:
    """Toy clients send 0, or what was acknowledged so far."""
    session = protocol()
    for _ in range(3):
        session.audio(b"\x2a" * 800)
    session.receive(json.dumps({"message": "AudioAdded", "seq_no": 1}))
    assert [json.loads(message) for message in session.end()] == [{"message": "EndOfStream", "last_seq_no": 3}]


def test_the_last_seq_no_of_a_session_without_audio_is_0() -> None:
    assert json.loads(protocol().end()[0])["last_seq_no"] == 0


def test_finalize_forces_the_end_of_the_utterance_at_the_time_of_the_audio() -> None:
    session = protocol(format=AudioFormat.parse("linear16-16000"))
    session.audio(bytes(16_000))
    assert [json.loads(message) for message in session.finalize()] == [
        {"message": "ForceEndOfUtterance", "timestamp": 0.5}
    ]


# ── What answers mean ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_whole_conversation() -> None:
    session = protocol()
    assert session.receive(STARTED) == []
    for number in range(1, 43):
        session.audio(b"\x2a" * 800)
        assert session.receive(json.dumps({"message": "AudioAdded", "seq_no": number})) == []
    heard = session.receive(partial("can you", *CAN_YOU))
    heard += session.receive(transcript("Can you ", *CAN_YOU))
    heard += session.receive(transcript("check ", word("check", 0.6, 1.0)))
    heard += session.receive(END_OF_UTTERANCE)
    assert session.end() == ('{"message":"EndOfStream","last_seq_no":42}',)
    heard += session.receive(END)
    assert [(type(event), getattr(event, "text", None)) for event in heard] == [
        (Partial, "can you"),
        (Partial, "Can you"),
        (Partial, "Can you check"),
        (Final, "Can you check"),
        (Finished, None),
    ]


def test_a_partial_has_text_and_words_but_not_their_meaningless_confidence() -> None:
    assert said(partial("can you ", *CAN_YOU)) == [
        Partial(
            text="can you",
            start_s=0.1,
            words=(Word(word="Can", start_s=0.1, end_s=0.3), Word(word="you", start_s=0.3, end_s=0.5)),
        )
    ]


def test_a_sentence_is_one_final_with_span_words_and_language() -> None:
    assert said(transcript("Can you check. ", *CAN_YOU, *CHECK)) == [
        Final(
            text="Can you check.",
            start_s=0.1,
            end_s=1.0,
            words=(
                Word(word="Can", start_s=0.1, end_s=0.3, confidence=0.9),
                Word(word="you", start_s=0.3, end_s=0.5, confidence=0.9),
                Word(word="check.", start_s=0.6, end_s=1.0, confidence=0.9),
            ),
            language="en",
        )
    ]


def test_transcripts_are_joined_as_they_are_because_they_bring_their_own_blanks() -> None:
    """Toy clients join them with blanks."""
    events = said(transcript("Can you ", *CAN_YOU), transcript("check. ", *CHECK))
    assert finals(events) == ["Can you check."]


def test_transcripts_of_languages_without_blanks_get_none() -> None:
    events = said(
        transcript("今日", word("今日", 0.0, 0.4)),
        transcript("は。", word("は", 0.4, 0.5), mark("。", 0.5, is_eos=True)),
    )
    assert finals(events) == ["今日は。"]


def test_a_full_stop_that_comes_late_is_attached_to_the_word_before() -> None:
    events = said(transcript("I am 35 ", word("35", 0.1, 0.5)), transcript(". ", mark(".", 0.5, is_eos=True)))
    final = events[-1]
    assert isinstance(final, Final)
    assert final.text == "I am 35."
    assert [each.word for each in final.words] == ["35."]


def test_a_full_stop_whose_words_are_out_already_is_not_said_alone() -> None:
    assert finals(said(transcript(". ", mark(".", 0.5, is_eos=True)))) == []


def test_marks_attach_to_the_next_word_or_to_both() -> None:
    results = (
        mark("¿", 0.0, "next"),
        word("qué", 0.0, 0.3),
        word("e", 0.3, 0.4),
        mark("-", 0.4, "both"),
        word("mail", 0.4, 0.6),
        mark("?", 0.6, is_eos=True),
    )
    final = said(transcript("¿qué e-mail? ", *results))[0]
    assert isinstance(final, Final)
    assert [(each.word, each.start_s, each.end_s) for each in final.words] == [
        ("¿qué", 0.0, 0.3),
        ("e-mail?", 0.3, 0.6),
    ]


def test_an_entity_is_a_word() -> None:
    entity = word("£20", 0.2, 0.9, type="entity", entity_class="money", spoken_form=[], written_form=[])
    final = said(transcript("£20. ", entity, mark(".", 0.9, is_eos=True)))[0]
    assert isinstance(final, Final)
    assert [each.word for each in final.words] == ["£20."]


def test_words_that_are_final_but_whose_sentence_goes_on_are_part_of_the_partial() -> None:
    held, both = said(transcript("Can you ", *CAN_YOU), partial("check", word("check", 0.6, 1.0)))
    assert isinstance(held, Partial)
    assert held.text == "Can you"
    assert isinstance(both, Partial)
    assert (both.text, both.start_s, len(both.words)) == ("Can you check", 0.1, 3)


def test_the_end_of_an_utterance_makes_a_final_of_what_is_held() -> None:
    assert finals(said(transcript("Can you ", *CAN_YOU), END_OF_UTTERANCE)) == ["Can you"]


def test_the_end_of_an_utterance_whose_sentence_is_out_already_is_nothing() -> None:
    assert said(transcript("Yes. ", *CHECK), END_OF_UTTERANCE)[1:] == []


def test_finals_are_not_held_for_ever_where_no_sentence_ends() -> None:
    one = transcript("la ", word("la", 0.0, 0.1))
    assert finals(said(*[one] * MAX_HELD_WORDS)) == ["la " * (MAX_HELD_WORDS - 1) + "la"]


def test_max_words_of_the_request_bounds_a_final() -> None:
    session = protocol(max_words=2)
    assert finals(session.receive(transcript("Can you ", *CAN_YOU))) == ["Can you"]


def test_text_without_results_is_not_held_for_ever_either() -> None:
    assert len(finals(said(*[transcript("x" * 400)] * 3))) == 1


def test_the_answer_to_finalize_is_one_final_when_the_forced_end_has_come() -> None:
    events = said(transcript("Can you check. ", *CAN_YOU, *CHECK, forced=True), FORCED_END)
    assert [(event.text, event.from_finalize) for event in events if isinstance(event, Final)] == [
        ("Can you check.", True)
    ]


def test_an_empty_answer_to_finalize_is_kept_because_somebody_waits_for_it() -> None:
    events = said(transcript("", forced=True), FORCED_END)
    assert events[-1] == Final(text="", from_finalize=True)


def test_end_of_transcript_gives_what_is_held_before_the_end() -> None:
    final, end = said(transcript("Can you ", *CAN_YOU), END)[1:]
    assert isinstance(final, Final)
    assert (final.text, end) == ("Can you", Finished())


def test_silence_is_no_event() -> None:
    assert said(partial(""), transcript(""), END_OF_UTTERANCE) == []


def test_the_empty_partial_that_follows_a_final_takes_nothing_back() -> None:
    events = said(partial("can ", CAN_YOU[0]), transcript("Can you check. ", *CAN_YOU, *CHECK), partial(""))
    assert [type(event) for event in events] == [Partial, Final]


def test_a_final_without_a_language_does_not_have_that_of_the_one_before() -> None:
    events = said(transcript("Yes. ", *CHECK), transcript("No "), END)
    assert [event.language for event in events if isinstance(event, Final)] == ["en", None]


def test_an_empty_partial_takes_back_what_was_heard() -> None:
    assert said(partial("can ", CAN_YOU[0]), partial(""))[1:] == [Partial(text="")]


def test_end_of_transcript_alone_is_the_end_alone() -> None:
    assert said(END) == [Finished()]


@pytest.mark.parametrize(
    "fields",
    [
        {"message": "AudioAdded", "seq_no": 1},
        {"message": "Info", "type": "concurrent_session_usage", "reason": "", "usage": 1},
        {"message": "Warning", "type": "idle_timeout", "reason": "soon"},
        {"message": "AddPartialTranslation", "language": "de", "results": []},
        {"message": "MadeUpNextYear"},
    ],
)
def test_other_messages_mean_nothing(fields: dict[str, Any]) -> None:
    assert said(json.dumps(fields)) == []


@pytest.mark.parametrize(
    "results",
    [
        "none",
        [7],
        [{"type": "word"}],
        [word("x", 0, 1) | {"alternatives": []}],
        [word("x", 0, 1) | {"start_time": "soon"}],
    ],
)
def test_text_survives_whatever_is_wrong_with_its_words(results: Any) -> None:
    message = json.dumps({"message": "AddTranscript", "metadata": {"transcript": "Yes "}, "results": results})
    assert finals(said(message, END)) == ["Yes"]


@pytest.mark.parametrize(
    ("kind", "is_retryable", "retry_after_s"),
    [
        ("not_authorised", False, None),
        ("not_allowed", False, None),
        ("invalid_model", False, None),
        ("invalid_language", False, None),
        ("invalid_config", False, None),
        ("invalid_audio_type", False, None),
        ("invalid_message", False, None),
        ("protocol_error", False, None),
        ("timelimit_exceeded", False, None),
        ("quota_exceeded", True, 5.0),
        ("job_error", True, 5.0),
        ("idle_timeout", True, None),
        ("session_timeout", True, None),
        ("unknown_error", True, None),
    ],
)
def test_an_error_is_named_and_tried_again_only_where_that_can_help(
    kind: str, is_retryable: bool, retry_after_s: float | None
) -> None:
    with pytest.raises(RecognizerUnavailable) as raised:
        said(json.dumps({"message": "Error", "type": kind, "reason": "secret detail"}))
    error = raised.value
    assert (error.code, error.retryable, error.retry_after_s) == (f"stt_{kind}", is_retryable, retry_after_s)
    assert "secret" not in str(error)


@pytest.mark.parametrize("kind", ["made_up_next_year", None, 7, {}])
def test_an_unknown_error_type_is_no_label_of_its_own(kind: Any) -> None:
    with pytest.raises(RecognizerUnavailable) as raised:
        said(json.dumps({"message": "Error", "type": kind}))
    assert (raised.value.code, raised.value.retryable) == ("stt_vendor_error", True)


@pytest.mark.parametrize(
    ("close_code", "code", "is_retryable"),
    [
        (1003, "stt_protocol_error", False),
        (1008, "stt_closed_1008", True),
        (1011, "stt_internal_error", True),
        (4001, "stt_not_authorised", False),
        (4003, "stt_not_allowed", False),
        (4004, "stt_invalid_model", False),
        (4005, "stt_quota_exceeded", True),
        (4006, "stt_timelimit_exceeded", False),
        (4013, "stt_job_error", True),
        (1006, "stt_connection_lost", True),
        (1000, "stt_closed_early", True),
    ],
)
def test_a_close_code_means_what_its_error_means(close_code: int, code: str, is_retryable: bool) -> None:
    with pytest.raises(RecognizerUnavailable) as raised:
        protocol().closed(close_code)
    assert (raised.value.code, raised.value.retryable) == (code, is_retryable)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(
                    ["message", "metadata", "results", "type", "alternatives", "content", "transcript", "forced"]
                ),
                inner,
            )
        ),
    )
)
def test_any_message_gives_events_or_an_error_of_the_tree(found: Any) -> None:
    for kind in ("AddTranscript", "AddPartialTranscript", "EndOfUtterance", "Error"):
        message = {"message": kind, **found} if isinstance(found, dict) else found
        with suppress(RecognizerProtocolError, RecognizerUnavailable):
            said(json.dumps(message))


# ── The driver against a strict server ───────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def opened(server: SpeechmaticsServer, key: str = KEY, **settings: Any) -> AsyncIterator[Recognizer]:
    chosen = profile(server.url, api_key=SecretStr(key), connect_timeout_s=2.0, **settings)
    made = SpeechmaticsProtocol(chosen, RecognizerRequest(format=chosen.format))
    async with open_session(chosen, made, Limits(close_timeout_s=0.05)) as recognizer:
        yield recognizer


async def rest_of(recognizer: Recognizer) -> list[RecognizerEvent]:
    async with asyncio.timeout(5):
        return [event async for event in recognizer.events()]


async def refusal_of(server: SpeechmaticsServer, key: str = KEY) -> RecognizerUnavailable:
    with pytest.raises(RecognizerUnavailable) as raised:
        async with opened(server, key):
            pass
    return raised.value


@pytest.mark.parametrize("audio", ["mulaw-8000", "linear16-8000", "linear16-16000"])
async def test_a_session_gives_sentences_with_times_and_the_end(audio: str) -> None:
    form = AudioFormat.parse(audio)
    async with SpeechmaticsServer() as server, opened(server, audio=audio) as recognizer:
        for _ in range(25):
            await recognizer.send(bytes(form.rate_hz * form.bytes_per_sample // 10))
        await recognizer.end()
        events = await rest_of(recognizer)
    assert finals(events) == ["second 1.", "second 2.", "second 3"]
    assert [(event.start_s, event.end_s) for event in events if isinstance(event, Final)] == [(0, 1), (1, 2), (2, 2.5)]
    assert events[-1] == Finished()


async def test_nothing_is_sent_before_recognition_started() -> None:
    starts = asyncio.Event()
    async with SpeechmaticsServer(recognise(starts_when=starts)) as server, asyncio.TaskGroup() as tasks:

        async def talk() -> None:
            async with opened(server) as recognizer:
                await recognizer.send(SECOND)
                await recognizer.end()
                assert finals(await rest_of(recognizer)) == ["second 1."]

        tasks.create_task(talk())
        await server.until(lambda: len(server.sessions) == 1)
        assert server.sessions[0].messages == []
        starts.set()


async def test_finalize_is_answered_and_the_session_goes_on() -> None:
    async with SpeechmaticsServer() as server, opened(server) as recognizer:
        await recognizer.send(SECOND[:4000])
        await recognizer.finalize()
        await recognizer.finalize()
        await recognizer.send(SECOND[:4000])
        await recognizer.end()
        events = await rest_of(recognizer)
    assert [(event.text, event.from_finalize) for event in events if isinstance(event, Final)] == [
        ("second 1", True),
        ("", True),
        ("second 1", False),
    ]


async def test_a_session_without_audio_ends_like_any_other() -> None:
    async with SpeechmaticsServer() as server, opened(server) as recognizer:
        await recognizer.end()
        assert await rest_of(recognizer) == [Finished()]


async def test_what_is_held_when_the_connection_breaks_is_in_the_last_partial() -> None:
    async def act(session: SpeechmaticsSession) -> None:
        await session.begin()
        await session.receive()
        await session.say("Can you", 0.0, 0.5, is_final=True)
        session.cut()

    async with SpeechmaticsServer(act) as server, opened(server) as recognizer:
        await recognizer.send(SECOND)
        events = recognizer.events()
        assert [await anext(events)] == [Partial(text="Can you", start_s=0.0, words=ANY)]
        with pytest.raises(RecognizerUnavailable):
            await anext(events)


async def test_an_end_that_the_vendor_makes_by_itself_is_a_loss() -> None:
    """So it ends where its limit for one utterance is exceeded: audio was acknowledged, but not heard."""

    async def act(session: SpeechmaticsSession) -> None:
        await session.begin()
        await session.receive()
        await session.send(message="Warning", type="duration_limit_exceeded", reason="", duration_limit=1)
        await session.send(message="EndOfTranscript")

    async with SpeechmaticsServer(act) as server, opened(server) as recognizer:
        await recognizer.send(SECOND)
        with pytest.raises(RecognizerUnavailable) as raised:
            await rest_of(recognizer)
    assert raised.value.code == "stt_closed_early"


@pytest.mark.parametrize(
    ("kind", "close_code", "is_retryable"), [("not_authorised", 4001, False), ("quota_exceeded", 4005, True)]
)
async def test_an_error_instead_of_the_start_is_its_own_refusal(kind: str, close_code: int, is_retryable: bool) -> None:
    async with SpeechmaticsServer(fail(kind, close_code)) as server:
        error = await refusal_of(server)
    assert (error.code, error.retryable) == (f"stt_{kind}", is_retryable)


async def test_a_wrong_key_is_refused_at_the_upgrade_and_not_tried_again() -> None:
    async with SpeechmaticsServer() as server:
        error = await refusal_of(server, key="wrong")
    assert (error.code, error.retryable) == ("stt_refused_401", False)


async def test_a_busy_vendor_is_tried_again() -> None:
    async with SpeechmaticsServer(refuse(503)) as server:
        assert (await refusal_of(server)).retryable


class Toy(SpeechmaticsProtocol):
    """What toy clients do: no waiting for the start, and no counting."""

    def __init__(self, chosen: SttProfile, *, waits: bool) -> None:
        super().__init__(chosen, RecognizerRequest(format=MULAW))
        self.is_ready = not waits

    def end(self) -> tuple[str]:
        return ('{"message":"EndOfStream","last_seq_no":0}',)


@pytest.mark.parametrize(
    ("waits", "violation"),
    [(True, "last_seq_no 0 after 1 audio messages"), (False, "audio before RecognitionStarted")],
)
async def test_the_server_of_these_tests_notices_toy_clients(waits: bool, violation: str) -> None:
    async def act(session: SpeechmaticsSession) -> None:
        if waits:
            await session.begin()
        await session.receive_until("EndOfStream")

    async with SpeechmaticsServer(act, strict=False) as server:
        chosen = profile(server.url, api_key=SecretStr(KEY))
        async with open_session(chosen, Toy(chosen, waits=waits), Limits(close_timeout_s=0.05)) as recognizer:
            with suppress(RecognizerUnavailable):  # the vendor hangs up
                await recognizer.send(SECOND)
                await recognizer.end()
            await server.until(lambda: bool(server.violations))
    assert server.violations[0] == violation
