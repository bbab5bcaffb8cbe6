"""Lightning, as the server speaks it: where it differs from Pulse's `get_text`, whose session it is."""

import json
from typing import Any

import pytest

from gateway.config import SpeechApiSettings
from gateway.events import Final, Finished, Partial, RecognizerEvent, SpeechStarted, Word
from gateway.speech_api.base import NORMAL_CLOSURE, Action, Close, End, Finalize, KeepAlive, RequestRefused, Say
from gateway.speech_api.lightning import open_lightning
from gateway.speech_api.pulse import PulseSession
from telephony_codecs.formats import AudioFormat

SETTINGS = SpeechApiSettings()
ONE = Final(text="One.", words=(Word(word="One.", start_s=1.2, end_s=1.4, confidence=0.9),), language="en")
LANGUAGES = "bg bn cs da de en es et fi fr gu hi hu it kn lt lv ml mr mt nl or pa pl pt ro ru sk sv ta te uk multi"


def session(settings: SpeechApiSettings = SETTINGS, **query: str) -> PulseSession:
    return open_lightning(query, settings, "l9", 0.0)


def said(actions: list[Action]) -> list[dict[str, Any]]:
    return [json.loads(action.text) for action in actions if isinstance(action, Say)]


def tell(session: PulseSession, event: RecognizerEvent) -> dict[str, Any]:
    (message,) = said(session.recognized(event, 1.0))
    return message


@pytest.mark.parametrize("encoding", ["linear16", "linear32", "alaw", "mulaw"])
@pytest.mark.parametrize("rate", ["8000", "16000", "22050", "24000", "44100", "48000"])
def test_every_documented_encoding_and_rate_is_heard(encoding: str, rate: str) -> None:
    opened = session(encoding=encoding, sample_rate=rate)
    assert opened.request.format == AudioFormat.parse(f"{encoding}-{rate}")


def test_audio_is_16_khz_linear16_in_english_unless_the_query_says_otherwise() -> None:
    request = session().request
    assert (request.format, request.language) == (AudioFormat.parse("linear16-16000"), "en")


@pytest.mark.parametrize("language", LANGUAGES.split())
def test_every_documented_language_is_passed_on(language: str) -> None:
    assert session(language=language).request.language == language


@pytest.mark.parametrize("query", [{"encoding": "opus"}, {"sample_rate": "9"}, {"word_timestamps": "maybe"}], ids=str)
def test_a_malformed_parameter_is_refused(query: dict[str, str]) -> None:
    with pytest.raises(RequestRefused) as refusal:
        session(**query)
    assert refusal.value.status == 400


def test_a_partial_has_no_type_no_status_and_no_language() -> None:
    assert tell(session(), Partial(text="one two")) == {
        "session_id": "l9",
        "transcript": "one two",
        "full_transcript": "",
        "is_final": False,
        "is_last": False,
    }


def test_a_final_has_its_language_and_everything_said_so_far() -> None:
    opened = session()
    tell(opened, ONE)
    assert tell(opened, Final(text="Two.")) == {
        "session_id": "l9",
        "transcript": "Two.",
        "full_transcript": "One. Two.",
        "is_final": True,
        "is_last": False,
        "language": "en",
    }


def test_word_times_come_if_asked_for_under_their_one_name_without_confidence() -> None:
    message = tell(session(word_timestamps="true"), ONE)
    assert message["word_timestamps"] == [{"word": "One.", "start": 1.2, "end": 1.4}]
    assert "words" not in message


def test_there_are_no_word_times_unless_asked_for() -> None:
    assert "word_timestamps" not in tell(session(), ONE)


def test_nobody_is_told_of_voice_activity() -> None:
    assert session(vad_events="true").recognized(SpeechStarted(at_s=1.0), 1.0) == []


@pytest.mark.parametrize("word", ["end", "close_stream", "close"])
def test_the_end_is_one_last_message_and_a_normal_close(word: str) -> None:
    opened = session()
    assert opened.receive(json.dumps({"type": word}), 1.0) == [End()]
    tell(opened, ONE)
    *told, close = opened.recognized(Finished(), 1.2)
    assert said(told) == [
        {
            "session_id": "l9",
            "transcript": "",
            "full_transcript": "One.",
            "is_final": True,
            "is_last": True,
            "language": "en",
        }
    ]
    assert close == Close(NORMAL_CLOSURE)


def test_a_finalize_that_nothing_follows_is_the_end_as_later_pages_have_it() -> None:
    opened = session()
    assert opened.receive('{"type":"finalize"}', 1.0) == [Finalize()]
    opened.recognized(Final(text="One.", from_finalize=True), 2.0)
    (last,) = said(opened.handle_timeout(2.0 + SETTINGS.finalize_grace_s))
    assert last["is_last"]


def test_keepalive_keeps_the_recogniser_alive() -> None:
    assert session().receive('{"type":"keepalive"}', 1.0) == [Say('{"type":"pong"}'), KeepAlive()]


def test_nesting_without_end_is_no_message() -> None:
    (message,) = said(session().receive('{"x":' + "[" * 100_000, 1.0))
    assert message["status"] == "error"
