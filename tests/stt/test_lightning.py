"""Where Lightning differs from Pulse."""

import json
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from gateway.config import SttProfile
from gateway.errors import RecognizerUnavailable
from gateway.events import Final, Finished, Partial, RecognizerEvent, RecognizerRequest, Word
from gateway.stt.lightning import LightningProtocol
from telephony_codecs.formats import AudioFormat

PROFILE = SttProfile(kind="lightning", url="wss://api.example.com/api/v1/lightning/get_text")


def protocol(**wanted: Any) -> LightningProtocol:
    return LightningProtocol(PROFILE, RecognizerRequest(format=AudioFormat.parse("mulaw-8000"), **wanted))


def receive(**fields: Any) -> list[RecognizerEvent]:
    return protocol().receive(json.dumps({"session_id": "l9", **fields}))


def test_it_is_asked_for_the_documented_parameters_and_no_others() -> None:
    asked = protocol(eou_timeout_ms=300, endpointing=False, max_words=9, language="multi")
    assert dict(parse_qsl(urlsplit(asked.url).query)) == {
        "language": "multi",
        "encoding": "mulaw",
        "sample_rate": "8000",
        "word_timestamps": "true",
    }


def test_the_end_is_its_own_word_and_what_it_does_not_know_is_not_said() -> None:
    opened = protocol()
    assert (opened.opening(), opened.is_ready) == ((), True)
    assert (opened.finalize(), opened.keepalive()) == ((), ())
    assert opened.end() == ('{"type":"end"}',)


def test_messages_have_no_type() -> None:
    assert receive(transcript="one two", full_transcript="", is_final=False, is_last=False) == [Partial(text="one two")]


def test_word_timestamps_are_the_words_times() -> None:
    words = [{"word": "One.", "start": 0.5, "end": 1.0}]
    told = receive(transcript="One.", is_final=True, is_last=False, language="en", word_timestamps=words)
    assert told == [
        Final(text="One.", start_s=0.5, end_s=1.0, words=(Word(word="One.", start_s=0.5, end_s=1.0),), language="en")
    ]


def test_the_last_message_gives_its_text_and_ends() -> None:
    told = receive(transcript="Three.", full_transcript="One. Three.", is_final=True, is_last=True)
    assert told == [Final(text="Three."), Finished()]


def test_a_normal_close_after_end_is_the_end_even_without_a_last_message() -> None:
    opened = protocol()
    opened.end()
    assert opened.closed(1000) == [Finished()]


@pytest.mark.parametrize(("has_ended", "code"), [(False, 1000), (True, 1006), (True, 1011)])
def test_any_other_close_is_a_loss(has_ended: bool, code: int) -> None:
    opened = protocol()
    if has_ended:
        opened.end()
    with pytest.raises(RecognizerUnavailable):
        opened.closed(code)
