"""
Smallest Pulse for whole recordings over HTTP: `POST /waves/v1/pulse/get_text` (kind `pulse-batch`) and
`POST /waves/v1/stt/?model=pulse-pro` (kind `pulse-pro-batch`). Pure: requests out, answers in.

The body is the file itself. Words come only if asked for, and then both words and utterances. Pulse Pro wants the
language named, knows no speakers, and is the only one that may answer later (`"status": "processing"`), which is never
asked for here.

Source: docs.smallest.ai, Waves, "Transcribe (pre-recorded)", read 2026-08; the integration guide of the vendor's blog
for `diarization`, which is `diarize` now.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec

from gateway.config import SttProfile
from gateway.errors import RecognizerProtocolError, RecognizerUnavailable
from gateway.events import RecordingRequest, RecordingTranscript, SpokenUtterance, SpokenWord
from gateway.stt.protocol import refusal

_MODELS = {"pulse-pro-batch": "pulse-pro"}
_SPEAKER = re.compile(r"(?:speaker_)?(\d{1,6})")


@dataclass(frozen=True, slots=True)
class Post:
    """A request without its body. `url` and `headers` may hold secrets: for the wire only."""

    url: str
    headers: Mapping[str, str]


def request_of(profile: SttProfile, request: RecordingRequest) -> Post:
    """
    The request for a recording.

    What is asked for wins over the request's options, those over the profile's, those over the URL's own query.
    """
    parts = urlsplit(profile.url or "")
    query: dict[str, str] = {"language": profile.language} if profile.language else {}
    if model := _MODELS.get(profile.kind):
        query |= {"model": model, "language": profile.language or "en"}
    query |= dict(parse_qsl(parts.query, keep_blank_values=True)) | dict(profile.options) | dict(request.options)
    query |= _requested(request)
    headers = {"Content-Type": "application/octet-stream"}
    if key := profile.api_key.get_secret_value().strip() if profile.api_key else "":
        headers["Authorization"] = f"Bearer {key}"
    return Post(urlunsplit((parts.scheme, parts.netloc, parts.path, urlencode(query), "")), headers)


def _requested(request: RecordingRequest) -> dict[str, str]:
    flags = {
        "word_timestamps": request.word_times,
        "diarize": request.diarize,
        "gender_detection": request.gender,
        "emotion_detection": request.emotion,
    }
    asked = {name: "true" for name, wanted in flags.items() if wanted}
    return asked | ({"language": request.language} if request.language else {})


class _Answer(msgspec.Struct):
    """Fields beside the text are `Any`: an odd one must not cost the words that came with it."""

    status: Any = None
    transcription: str | None = None
    transcript: str | None = None
    words: Any = None
    utterances: Any = None
    language: Any = None
    metadata: Any = None
    gender: Any = None
    emotions: Any = None


class _Fault(msgspec.Struct):
    """What a refusal says; read for its kind only."""

    error_code: Any = None
    errors: Any = None
    error: Any = None


# Not strict: numbers may come as strings.
_decoder = msgspec.json.Decoder(_Answer, strict=False)
_fault_decoder = msgspec.json.Decoder(_Fault)


def read_answer(body: bytes) -> RecordingTranscript:
    """
    What an answer with status 200 says.

    Raises:
        RecognizerProtocolError: it is not of the protocol, or not the transcript.
    """
    try:
        answer = _decoder.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        answer = _Answer()
    text = answer.transcription if answer.transcription is not None else answer.transcript
    if text is None or answer.status not in (None, "success"):
        raise RecognizerProtocolError("the recogniser's answer is not a transcript", code="stt_answer_malformed")
    metadata = answer.metadata if isinstance(answer.metadata, dict) else {}
    emotions = answer.emotions if isinstance(answer.emotions, dict) else {}
    scores = {str(name): score for name, value in emotions.items() if (score := _number(value)) is not None}
    return RecordingTranscript(
        text=text.strip(),
        words=tuple(_words(answer.words)),
        utterances=tuple(_utterances(answer.utterances)),
        language=_text(answer.language),
        duration_s=_number(metadata.get("duration")),
        gender=_text(answer.gender),
        emotions=scores or None,
    )


def read_refusal(status: int, headers: Mapping[str, str], body: bytes) -> RecognizerUnavailable:
    """
    What any other answer means.

    Args:
        status, body: of the answer.
        headers: of the answer; names in lower case.
    """
    try:
        fault = _fault_decoder.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        fault = _Fault()
    if fault.error_code == "LANGUAGE_NOT_ENABLED_IN_REGION":
        return RecognizerUnavailable(
            "the recogniser does not offer the language at this address",
            code="stt_language_not_enabled",
            retryable=False,
        )
    # The older path says 400 where the newer one says 413.
    if status == 413 or (status == 400 and "too large" in f"{fault.errors} {fault.error}"):
        return RecognizerUnavailable(
            "the recording is too large for the recogniser", code="stt_recording_too_large", retryable=False
        )
    return refusal(status, headers)


def _words(found: Any) -> list[SpokenWord]:
    words = []
    for item in _dicts(found):
        text, span = _text(item.get("word")), _span(item)
        if text is not None and span is not None:
            words.append(
                SpokenWord(
                    word=text,
                    start_s=span[0],
                    end_s=span[1],
                    confidence=_number(item.get("confidence")),
                    speaker=_speaker(item.get("speaker")),
                )
            )
    return words


def _utterances(found: Any) -> list[SpokenUtterance]:
    utterances = []
    for item in _dicts(found):
        text, span = _text(item.get("text")), _span(item)
        if text is not None and span is not None:
            speaker = _speaker(item.get("speaker"))
            utterances.append(SpokenUtterance(text=text, start_s=span[0], end_s=span[1], speaker=speaker))
    return utterances


def _dicts(found: Any) -> list[dict[str, Any]]:
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _span(item: Mapping[str, Any]) -> tuple[float, float] | None:
    start_s, end_s = _number(item.get("start")), _number(item.get("end"))
    return None if start_s is None or end_s is None else (start_s, max(start_s, end_s))


def _number(value: Any) -> float | None:
    """A number that is one, from 0 on."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if isfinite(number) and number >= 0 else None


def _text(value: Any) -> str | None:
    return value.strip() or None if isinstance(value, str) else None


def _speaker(value: Any) -> int | None:
    """A number today; older pages have `"speaker_0"`."""
    match = _SPEAKER.fullmatch(str(value))
    return int(match[1]) if match else None
