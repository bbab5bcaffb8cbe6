"""Pulse for recordings: what is asked, and what answers mean."""

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import SttProfile
from gateway.errors import RecognizerProtocolError
from gateway.events import RecordingRequest, SpokenUtterance, SpokenWord
from gateway.stt.batch import read_answer, read_refusal, request_of
from tests.support.batch_server import SUCCESS

URL = "https://stt.example.com/waves/v1/pulse/get_text"


def profile(**changes: Any) -> SttProfile:
    return SttProfile.model_validate({"kind": "pulse-batch", "url": URL, "api_key": "sk_1", **changes})


def query(request: RecordingRequest | None = None, **changes: Any) -> dict[str, str]:
    post = request_of(profile(**changes), request or RecordingRequest())
    return {name: values[-1] for name, values in parse_qs(urlsplit(post.url).query).items()}


def test_only_what_is_wanted_is_asked_for() -> None:
    assert query() == {"language": "en"}
    wanted = RecordingRequest(language="de", word_times=True, diarize=True, gender=True, emotion=True)
    assert query(wanted) == {
        "language": "de",
        "word_timestamps": "true",
        "diarize": "true",
        "gender_detection": "true",
        "emotion_detection": "true",
    }


def test_pulse_pro_has_its_model_and_always_a_language() -> None:
    assert query(kind="pulse-pro-batch", language=None) == {"model": "pulse-pro", "language": "en"}


def test_the_request_wins_over_options_and_those_over_the_url() -> None:
    request = RecordingRequest(word_times=True, options={"b": "request"})
    found = query(
        request, url=URL + "?a=url&b=url&c=url", options={"b": "profile", "c": "profile", "word_timestamps": "false"}
    )
    assert found == {"language": "en", "a": "url", "b": "request", "c": "profile", "word_timestamps": "true"}


def test_the_key_is_a_bearer_token_and_not_in_the_url() -> None:
    post = request_of(profile(), RecordingRequest())
    assert post.headers["Authorization"] == "Bearer sk_1"
    assert "sk_1" not in post.url


def test_an_answer_has_text_words_utterances_and_duration() -> None:
    transcript = read_answer(json.dumps(SUCCESS).encode())
    assert (transcript.text, transcript.duration_s) == ("Call me back.", 1.2)
    assert transcript.words[0] == SpokenWord(word="Call", start_s=0.1, end_s=0.4, confidence=0.99, speaker=0)
    assert transcript.utterances == (SpokenUtterance(text="Call me back.", start_s=0.1, end_s=1.0, speaker=0),)
    assert (transcript.gender, transcript.emotions, transcript.language) == (None, None, None)


def test_older_answers_name_speakers_with_words() -> None:
    body = {"transcription": "x", "words": [{"word": "x", "start": 0, "end": 1, "speaker": "speaker_3"}]}
    assert read_answer(json.dumps(body).encode()).words[0].speaker == 3


@pytest.mark.parametrize(
    "words",
    ["no list", [1, None], [{"word": "x"}], [{"word": "x", "start": -1, "end": 2}], [{"word": 5, "start": 0, "end": 1}],
     [{"word": "x", "start": "NaN", "end": 1}]],
    ids=str,
)  # fmt: skip
def test_an_odd_word_costs_only_itself(words: Any) -> None:
    transcript = read_answer(json.dumps({"transcription": "x", "words": words}).encode())
    assert (transcript.text, transcript.words) == ("x", ())


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"<html>", b'{"status":"success"}', b'{"status":"processing","request_id":"r"}',
     b'{"status":"error","transcription":"x"}', b"[" * 100_000,
     b'{"transcription":"\xff"}'],
    ids=lambda body: str(body[:20]),
)  # fmt: skip
def test_what_is_no_transcript_is_a_protocol_error(body: bytes) -> None:
    with pytest.raises(RecognizerProtocolError) as caught:
        read_answer(body)
    assert caught.value.code == "stt_answer_malformed"


JSON = st.recursive(
    st.none() | st.floats() | st.text(),
    lambda each: st.lists(each) | st.dictionaries(st.sampled_from(["word", "text", "start", "end", "speaker"]), each),
    max_leaves=8,
)


@given(
    st.fixed_dictionaries(
        {"transcription": st.text()}, optional=dict.fromkeys(SUCCESS.keys() - {"transcription"}, JSON)
    )
)
def test_whatever_stands_beside_the_text_the_text_is_kept_or_the_answer_refused(answer: dict[str, Any]) -> None:
    try:
        assert read_answer(json.dumps(answer).encode()).text == answer["transcription"].strip()
    except RecognizerProtocolError:
        return


@pytest.mark.parametrize(
    ("status", "body", "code", "retryable"),
    [
        (400, {"errors": "Audio data too large", "status": "error"}, "stt_recording_too_large", False),
        (413, {}, "stt_recording_too_large", False),
        (400, {"error_code": "LANGUAGE_NOT_ENABLED_IN_REGION"}, "stt_language_not_enabled", False),
        (401, {"error": "unauthorized"}, "stt_refused_401", False),
        (302, {}, "stt_refused_302", False),
        (429, {}, "stt_refused_429", True),
        (503, {}, "stt_refused_503", True),
    ],
)
def test_a_refusal_says_whether_trying_again_can_help(status: int, body: Any, code: str, retryable: bool) -> None:
    error = read_refusal(status, {"retry-after": "7"}, json.dumps(body).encode())
    assert (error.code, error.retryable) == (code, retryable)
