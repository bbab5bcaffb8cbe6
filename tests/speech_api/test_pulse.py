"""Pulse and live, as the server speaks them: every row of what a client can see, without a socket."""

import contextlib
import json
import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import SpeechApiSettings
from gateway.events import Final, Finished, Partial, RecognizerEvent, SpeechEnded, SpeechStarted, Word
from gateway.speech_api import pulse
from gateway.speech_api.base import (
    CLIENT_LEFT,
    INTERNAL_ERROR,
    NORMAL_CLOSURE,
    POLICY_VIOLATION,
    Action,
    Close,
    End,
    Finalize,
    Hear,
    KeepAlive,
    Report,
    RequestRefused,
    Say,
    SessionFactory,
)
from gateway.speech_api.pulse import PulseSession, open_get_text, open_live
from telephony_codecs.formats import AudioFormat
from tests.support.wav_file import wav

AUDIO = bytes(range(256)) * 4
SETTINGS = SpeechApiSettings()
GRACE_S, IDLE_S = SETTINGS.finalize_grace_s, SETTINGS.idle_timeout_s
WORDS = (Word(word="Book", start_s=0.2, end_s=0.5, confidence=0.97), Word(word="it.", start_s=0.5, end_s=0.8123456))
BOOK_IT = Final(text="Book it.", start_s=0.2, end_s=0.8, words=WORDS, language="en")
FLUSHED = Final(text="For two.", from_finalize=True)
FINALIZE, CLOSE_STREAM, KEEPALIVE = ('{"type":"finalize"}', '{"type":"close_stream"}', '{"type":"keepalive"}')
BOTH = pytest.mark.parametrize("open_session", [open_get_text, open_live])


def session(open_session: SessionFactory, *, settings: SpeechApiSettings = SETTINGS, **query: Any) -> PulseSession:
    model = {"model": "pulse"} if open_session is open_live else {}
    opened = open_session({**model, **query}, settings, "s-1", 0.0)
    assert isinstance(opened, PulseSession)
    return opened


def said(actions: list[Action]) -> list[dict[str, Any]]:
    return [json.loads(action.text) for action in actions if isinstance(action, Say)]


def tell(session: PulseSession, event: RecognizerEvent, now: float = 1.0) -> dict[str, Any]:
    (message,) = said(session.recognized(event, now))
    return message


def end(session: PulseSession) -> dict[str, Any]:
    """What the client is told last."""
    assert session.receive(CLOSE_STREAM, 2.0) == [End()]
    return tell(session, Finished(), 2.1)


# ── The query ───────────────────────────────────────────────────────────────────────────────────────────────────


@BOTH
def test_audio_is_16_khz_linear16_unless_the_query_says_otherwise(open_session: SessionFactory) -> None:
    assert session(open_session).request.format == AudioFormat.parse("linear16-16000")


@BOTH
@pytest.mark.parametrize("encoding", ["linear16", "linear32", "alaw", "mulaw"])
@pytest.mark.parametrize("rate", ["8000", "16000", "22050", "24000", "44100", "48000"])
def test_every_documented_encoding_and_rate_is_heard(open_session: SessionFactory, encoding: str, rate: str) -> None:
    opened = session(open_session, encoding=encoding, sample_rate=rate)
    assert opened.request.format == AudioFormat.parse(f"{encoding}-{rate}")


@BOTH
@pytest.mark.parametrize("language", ["en", "yue", "multi", "multi-eu", "north_indic", "multi-south-indic"])
def test_languages_of_any_vendor_page_are_passed_on(open_session: SessionFactory, language: str) -> None:
    assert session(open_session, language=language).request.language == language


MALFORMED = [
    {"encoding": "opus"},
    {"sample_rate": "11025"},
    {"sample_rate": "0016000"},
    {"language": "english"},
    {"language": "EN"},
    {"word_timestamps": "yes"},
    {"sentence_timestamps": "1"},
    {"vad_events": "x"},
    {"vad_events": "true", "vad": "x"},
    {"endpointing": "maybe"},
    {"finalize_on_words": "7"},
    {"format": "0"},
    {"eou_timeout_ms": "99"},
    {"eou_timeout_ms": "10001"},
    {"eou_timeout_ms": "1e3"},
    {"eou_timeout_ms": "\u0665\u0660\u0660"},
    {"max_words": "0"},
    {"external_session_id": "a b"},
    {"external_session_id": "x" * 129},
]


@BOTH
@pytest.mark.parametrize("query", MALFORMED, ids=str)
def test_a_malformed_parameter_is_a_400_that_names_it(open_session: SessionFactory, query: dict[str, Any]) -> None:
    with pytest.raises(RequestRefused, match=list(query)[-1]) as refusal:
        session(open_session, **query)
    assert (refusal.value.status, refusal.value.code) == (400, "bad_parameter")


def test_full_transcript_of_live_is_a_flag() -> None:
    with pytest.raises(RequestRefused, match="full_transcript"):
        session(open_live, full_transcript="2")


@BOTH
def test_parameters_of_other_versions_do_not_disturb(open_session: SessionFactory) -> None:
    session(open_session, numerals="auto", keywords="Acme:2,New York:1.5", age_detection="true", brand_new="1")


@BOTH
def test_what_steers_finals_reaches_the_recogniser(open_session: SessionFactory) -> None:
    request = session(open_session, eou_timeout_ms="1000", endpointing="false", max_words="9").request
    assert (request.eou_timeout_ms, request.endpointing, request.max_words) == (1000, False, 9)


@BOTH
def test_what_the_query_leaves_out_is_left_to_the_recogniser(open_session: SessionFactory) -> None:
    request = session(open_session).request
    assert (request.eou_timeout_ms, request.endpointing, request.max_words, request.language) == (None,) * 4


def test_the_shorter_of_two_silences_counts() -> None:
    assert session(open_live, eou_timeout_ms="800", endpointing_timeout="300").request.eou_timeout_ms == 300


def test_without_finals_by_words_their_number_does_not_matter() -> None:
    assert session(open_live, finalize_on_words="false", max_words="9").request.max_words is None


@pytest.mark.parametrize("query", [{}, {"model": ""}, {"model": "whisper"}], ids=str)
def test_live_needs_its_model(query: Mapping[str, str]) -> None:
    with pytest.raises(RequestRefused, match="model=pulse") as refusal:
        open_live(query, SETTINGS, "s-1", 0.0)
    assert refusal.value.status == 400


def test_pulse_pro_is_pointed_to_where_it_is_served() -> None:
    with pytest.raises(RequestRefused, match=re.escape("POST /waves/v1/stt/?model=pulse-pro")) as refusal:
        open_live({"model": "pulse-pro"}, SETTINGS, "s-1", 0.0)
    assert refusal.value.status == 400


@BOTH
@given(
    query=st.dictionaries(
        st.sampled_from([*(name for case in MALFORMED for name in case), "vad"]), st.text(max_size=12)
    )
)
def test_any_query_is_accepted_or_refused(open_session: SessionFactory, query: dict[str, Any]) -> None:
    with contextlib.suppress(RequestRefused):
        session(open_session, **query)


# ── Results ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_partial_of_get_text() -> None:
    assert tell(session(open_get_text, language="en"), Partial(text="book a")) == {
        "type": "transcription",
        "status": "success",
        "session_id": "s-1",
        "transcript": "book a",
        "full_transcript": "",
        "is_final": False,
        "is_last": False,
    }


def test_a_partial_of_live() -> None:
    assert tell(session(open_live, language="en"), Partial(text="book a")) == {
        "type": "transcription",
        "status": "success",
        "session_id": "s-1",
        "transcript": "book a",
        "transcription": "book a",
        "is_final": False,
        "is_last": False,
    }


def test_a_final_of_get_text_names_its_word_times_in_both_ways() -> None:
    words = [
        {"word": "Book", "start": 0.2, "end": 0.5, "confidence": 0.97},
        {"word": "it.", "start": 0.5, "end": 0.812},
    ]
    assert tell(session(open_get_text, word_timestamps="true"), BOOK_IT) == {
        "type": "transcription",
        "status": "success",
        "session_id": "s-1",
        "transcript": "Book it.",
        "full_transcript": "Book it.",
        "is_final": True,
        "is_last": False,
        "language": "en",
        "words": words,
        "word_timestamps": words,
    }


def test_a_final_of_live_names_its_word_times_in_one_way() -> None:
    message = tell(session(open_live, word_timestamps="True"), BOOK_IT)
    assert ("words" in message, "word_timestamps" in message) == (True, False)


@BOTH
def test_there_are_no_word_times_unless_asked_for(open_session: SessionFactory) -> None:
    assert not {"words", "word_timestamps", "utterances"} & tell(session(open_session), BOOK_IT).keys()


@BOTH
def test_sentences_have_times_if_asked_for(open_session: SessionFactory) -> None:
    message = tell(session(open_session, sentence_timestamps="true"), BOOK_IT)
    assert message["utterances"] == [{"text": "Book it.", "start": 0.2, "end": 0.8}]


@BOTH
def test_finals_name_the_language_asked_for_when_the_recogniser_does_not(open_session: SessionFactory) -> None:
    assert tell(session(open_session, language="de"), Final(text="Ja."))["language"] == "de"


def test_partials_repeat_the_finals_so_far_without_themselves() -> None:
    opened = session(open_get_text)
    tell(opened, BOOK_IT)
    assert tell(opened, Partial(text="for"))["full_transcript"] == "Book it."


def test_finals_are_joined_by_one_space() -> None:
    opened = session(open_get_text)
    tell(opened, BOOK_IT)
    tell(opened, Final(text="", from_finalize=True))
    assert tell(opened, Final(text="For two."))["full_transcript"] == "Book it. For two."


def test_live_repeats_the_finals_only_if_asked() -> None:
    assert tell(session(open_live, full_transcript="true"), BOOK_IT)["full_transcript"] == "Book it."


@BOTH
@pytest.mark.parametrize("name", ["vad_events", "vad"])
def test_voice_activity_is_told_under_either_name(open_session: SessionFactory, name: str) -> None:
    query: dict[str, Any] = {name: "true"}
    opened = session(open_session, **query)
    assert tell(opened, SpeechStarted(at_s=0.62)) == {"type": "speech_started", "session_id": "s-1", "timestamp": 0.62}
    assert tell(opened, SpeechEnded(at_s=2.1)) == {"type": "speech_ended", "session_id": "s-1", "timestamp": 2.1}


@BOTH
def test_nobody_is_told_of_voice_activity_unasked(open_session: SessionFactory) -> None:
    opened = session(open_session)
    assert opened.recognized(SpeechStarted(at_s=0.62), 1.0) + opened.recognized(SpeechEnded(at_s=2.1), 2.0) == []


def test_trap_8_a_full_transcript_too_long_for_a_message_loses_its_beginning() -> None:
    opened = session(open_get_text)
    for number in range(90):
        opened.recognized(Final(text=f"{'word ' * 1000}{number}."), 1.0)
    (last,) = opened.recognized(Final(text="The end."), 1.0)
    assert isinstance(last, Say)
    assert len(last.text.encode()) < 1 << 20
    assert json.loads(last.text)["full_transcript"].endswith("89. The end.")
    assert json.loads(last.text)["full_transcript"].startswith("word ")


@pytest.mark.parametrize("text", ["é" * 600_000, "好" * 400_000, "no " * 400_000])
def test_trap_8_a_cut_transcript_is_still_text(text: str) -> None:
    opened = session(open_get_text)
    (last,) = opened.recognized(Final(text=text[:200_000]), 1.0) and opened.recognized(Final(text=text[:200_000]), 1.0)
    assert isinstance(last, Say)
    assert 0 < len(json.loads(last.text)["full_transcript"].encode()) <= pulse.LARGEST_FULL_TRANSCRIPT_BYTES


def test_trap_8_word_times_too_many_for_a_message_are_told_once() -> None:
    many = Final(text="word", words=WORDS * 5000)
    (last,) = session(open_get_text, word_timestamps="true").recognized(many, 1.0)
    assert isinstance(last, Say)
    assert len(last.text.encode()) < 1 << 20
    assert len(json.loads(last.text)["words"]) == 10_000


# ── Control messages ────────────────────────────────────────────────────────────────────────────────────────────


@BOTH
def test_keepalive_gets_a_pong_and_keeps_the_recogniser_alive(open_session: SessionFactory) -> None:
    assert session(open_session).receive(KEEPALIVE, 1.0) == [Say('{"type":"pong"}'), KeepAlive()]


@BOTH
def test_finalize_gets_one_final_and_the_session_stays_open(open_session: SessionFactory) -> None:
    opened = session(open_session)
    assert opened.receive(FINALIZE, 1.0) == [Finalize()]
    message = tell(opened, FLUSHED)
    assert (message["transcript"], message["is_final"], message["from_finalize"], message["is_last"]) == (
        "For two.",
        True,
        True,
        False,
    )
    assert opened.receive(b"\1\2", 1.2) == [Hear(b"\1\2")]


@BOTH
def test_finalize_after_silence_is_answered_with_an_empty_final(open_session: SessionFactory) -> None:
    opened = session(open_session)
    opened.receive(FINALIZE, 1.0)
    assert tell(opened, Final(text="", from_finalize=True))["transcript"] == ""


@BOTH
@pytest.mark.parametrize("word", ["close_stream", "end", "close"])
def test_every_end_word_ends(open_session: SessionFactory, word: str) -> None:
    opened = session(open_session)
    assert opened.receive(json.dumps({"type": word}), 1.0) == [End()]
    *_, close = opened.recognized(Finished(), 1.1)
    assert close == Close(NORMAL_CLOSURE)


@BOTH
def test_the_end_of_a_silent_session_is_an_empty_last_final(open_session: SessionFactory) -> None:
    last = end(session(open_session))
    assert (last["transcript"], last["is_final"], last["is_last"]) == ("", True, True)


@BOTH
def test_what_the_end_flushes_comes_before_an_empty_last_message(open_session: SessionFactory) -> None:
    opened = session(open_session)
    opened.receive(CLOSE_STREAM, 1.0)
    told = said(opened.recognized(Final(text="One."), 1.1) + opened.recognized(Finished(), 1.3))
    assert [(message["transcript"], message["is_last"]) for message in told] == [("One.", False), ("", True)]


@BOTH
def test_the_answer_to_finalize_is_never_the_last_message(open_session: SessionFactory) -> None:
    opened = session(open_session)
    opened.receive(FINALIZE, 1.0)
    opened.receive(CLOSE_STREAM, 1.0)
    told = said(opened.recognized(FLUSHED, 1.1) + opened.recognized(Finished(), 1.2))
    assert [(message.get("from_finalize"), message["is_last"]) for message in told] == [(True, False), (None, True)]


@BOTH
def test_nothing_counts_after_the_end(open_session: SessionFactory) -> None:
    opened = session(open_session)
    opened.receive(CLOSE_STREAM, 1.0)
    assert opened.receive(b"\1\2", 1.1) + opened.receive(CLOSE_STREAM, 1.2) + opened.receive("?", 1.3) == []


@BOTH
@pytest.mark.parametrize("text", ["", "hello", "{", "[]", "null", '{"flag":"END"}', '{"type":7}', '{"type":null}'])
def test_text_that_is_no_message_is_answered_and_forgiven(open_session: SessionFactory, text: str) -> None:
    opened = session(open_session)
    report, error = opened.receive(text, 1.0)
    assert report == Report("bad_message")
    assert said([error])[0]["status"] == "error"
    assert opened.receive(b"\1\2", 1.1) == [Hear(b"\1\2")]


def test_an_unknown_message_of_live_gets_an_error() -> None:
    report, error = session(open_live).receive('{"type":"dance"}', 1.0)
    assert report == Report("unknown_message")
    assert said([error]) == [
        {"type": "error", "status": "error", "session_id": "s-1", "message": "unknown message type"}
    ]


def test_programs_that_index_transcript_survive_an_error_of_get_text() -> None:
    (message,) = said(session(open_get_text).receive('{"type":"dance"}', 1.0))
    assert (message["transcript"], message["is_final"]) == ("", False)


@BOTH
def test_a_client_that_sends_only_nonsense_is_given_up(open_session: SessionFactory) -> None:
    opened = session(open_session)
    *_, close = [action for _ in range(pulse.ERROR_BUDGET) for action in opened.receive("?", 1.0)]
    assert close == Close(POLICY_VIOLATION)


@BOTH
def test_audio_between_the_nonsense_restores_the_budget(open_session: SessionFactory) -> None:
    opened = session(open_session)
    actions = [a for _ in range(3 * pulse.ERROR_BUDGET) for a in opened.receive("?", 1.0) + opened.receive(b"\1", 1.0)]
    assert Close(POLICY_VIOLATION) not in actions


@BOTH
@given(
    messages=st.lists(st.one_of(st.text(max_size=20), st.binary(max_size=20), st.sampled_from([FINALIZE, KEEPALIVE])))
)
def test_any_messages_are_survived(open_session: SessionFactory, messages: list[str | bytes]) -> None:
    opened = session(open_session)
    for message in messages:
        opened.receive(message, 1.0)
    opened.disconnected()
    assert opened.recognized(Finished(), 2.0)[-1] in (Close(CLIENT_LEFT), Close(INTERNAL_ERROR))


# ── A header in front of the audio ──────────────────────────────────────────────────────────────────────────────


@BOTH
def test_a_wav_header_is_not_heard(open_session: SessionFactory) -> None:
    opened = session(open_session)
    file = wav(AUDIO)
    heard = [a for at in range(0, len(file), 10) for a in opened.receive(file[at : at + 10], 1.0)]
    assert b"".join(a.audio for a in heard if isinstance(a, Hear)) == AUDIO
    assert len(heard) == sum(isinstance(a, Hear) for a in heard)


@BOTH
def test_a_header_that_disagrees_is_reported_and_the_query_believed(open_session: SessionFactory) -> None:
    opened = session(open_session, sample_rate="8000")
    assert opened.receive(wav(AUDIO, rate_hz=16000), 1.0) == [Report("riff_format_differs"), Hear(AUDIO)]
    assert opened.request.format.rate_hz == 8000


# ── The end by silence after finalize ───────────────────────────────────────────────────────────────────────────


def finalized(settings: SpeechApiSettings = SETTINGS) -> PulseSession:
    """A session of get_text whose finalize was answered at 10 s."""
    opened = session(open_get_text, settings=settings)
    opened.receive(b"\1\2", 9.0)
    opened.receive(FINALIZE, 9.5)
    opened.recognized(FLUSHED, 10.0)
    return opened


def lingering() -> PulseSession:
    opened = finalized()
    opened.handle_timeout(10.0 + GRACE_S)
    return opened


def test_a_finalize_that_nothing_follows_is_the_end() -> None:
    opened = finalized()
    assert opened.next_deadline() == 10.0 + GRACE_S
    (last,) = said(opened.handle_timeout(10.0 + GRACE_S))
    assert (last["transcript"], last["full_transcript"], last["is_final"], last["is_last"]) == (
        "",
        "For two.",
        True,
        True,
    )


def test_the_grace_begins_with_the_answer_however_late() -> None:
    opened = session(open_get_text)
    opened.receive(FINALIZE, 1.0)
    assert opened.next_deadline() == 1.0 + IDLE_S


def test_two_finalizes_are_both_answered_before_the_grace_begins() -> None:
    opened = session(open_get_text)
    opened.receive(FINALIZE, 1.0)
    opened.receive(FINALIZE, 1.1)
    opened.recognized(FLUSHED, 1.2)
    assert opened.next_deadline() == 1.1 + IDLE_S
    opened.recognized(FLUSHED, 1.3)
    assert opened.next_deadline() == 1.3 + GRACE_S


@pytest.mark.parametrize("message", [b"\1\2", KEEPALIVE, "?", '{"type":"dance"}'])
def test_anything_that_follows_cancels_the_grace(message: str | bytes) -> None:
    opened = finalized()
    opened.receive(message, 10.1)
    assert opened.next_deadline() == 10.1 + IDLE_S


def test_audio_before_the_answer_cancels_the_grace() -> None:
    opened = session(open_get_text)
    opened.receive(FINALIZE, 1.0)
    opened.receive(b"\1\2", 1.1)
    opened.recognized(FLUSHED, 1.2)
    assert opened.next_deadline() == 1.1 + IDLE_S


def test_after_the_presumed_end_the_socket_waits_a_little_for_the_client() -> None:
    opened = lingering()
    assert opened.next_deadline() == 10.0 + GRACE_S + pulse.LINGER_S
    assert opened.handle_timeout(20.0) == [Close(NORMAL_CLOSURE)]


def test_a_client_that_closes_after_the_presumed_end_has_had_everything() -> None:
    assert lingering().disconnected() == [Close(NORMAL_CLOSURE)]


def test_close_stream_after_the_presumed_end_closes_without_a_second_last() -> None:
    assert lingering().receive(CLOSE_STREAM, 12.0) == [Close(NORMAL_CLOSURE)]


def test_audio_after_the_presumed_end_carries_the_session_on() -> None:
    opened = lingering()
    assert opened.receive(b"\1\2", 12.0) == [Hear(b"\1\2")]
    assert opened.next_deadline() == 12.0 + IDLE_S
    assert tell(opened, Final(text="More."))["full_transcript"] == "For two. More."
    assert end(opened)["is_last"]


def test_live_never_ends_by_finalize() -> None:
    opened = session(open_live)
    opened.receive(FINALIZE, 9.5)
    opened.recognized(FLUSHED, 10.0)
    assert opened.next_deadline() == 9.5 + IDLE_S


def test_mode_turn_never_ends_by_finalize() -> None:
    assert finalized(SpeechApiSettings(finalize="turn")).next_deadline() == 9.5 + IDLE_S


def test_mode_end_takes_finalize_at_its_old_word() -> None:
    opened = session(open_get_text, settings=SpeechApiSettings(finalize="end"))
    assert opened.receive(FINALIZE, 1.0) == [End()]


@BOTH
def test_a_client_that_falls_silent_is_ended_like_one_that_asked(open_session: SessionFactory) -> None:
    opened = session(open_session)
    assert opened.next_deadline() == IDLE_S
    assert opened.handle_timeout(IDLE_S) == [End()]
    assert tell(opened, Finished())["is_last"]


# ── Loss of either side ─────────────────────────────────────────────────────────────────────────────────────────


@BOTH
def test_a_lost_recogniser_is_an_error_and_the_end(open_session: SessionFactory) -> None:
    error, close = session(open_session).failed("gone")
    (message,) = said([error])
    assert (message["type"], message["status"], message["message"], close) == (
        "error",
        "error",
        "gone",
        Close(INTERNAL_ERROR),
    )


@BOTH
def test_a_recogniser_that_ends_unasked_is_lost(open_session: SessionFactory) -> None:
    assert session(open_session).recognized(Finished(), 1.0)[-1] == Close(INTERNAL_ERROR)


@BOTH
def test_what_a_vanished_client_sent_is_recognised_to_its_end(open_session: SessionFactory) -> None:
    opened = session(open_session)
    assert opened.disconnected() == [End()]
    assert opened.recognized(Finished(), 1.0)[-1] == Close(CLIENT_LEFT)


@BOTH
def test_nothing_follows_the_close(open_session: SessionFactory) -> None:
    opened = session(open_session)
    opened.failed("gone")
    assert (
        opened.recognized(BOOK_IT, 1.0) + opened.failed("again") + opened.disconnected() + opened.handle_timeout(9e9)
        == []
    )
    assert opened.next_deadline() is None
