"""
Smallest's pre-recorded HTTP protocol, server side, pure: what a request wants, and how answers and refusals look.

Two paths, `POST /waves/v1/pulse/get_text` (legacy) and `POST /waves/v1/stt/` (unified). They differ in:

    |              | legacy                                     | unified                                    |
    | `model`      | not looked at                              | `pulse` or `pulse-pro`                     |
    | `language`   | optional                                   | required                                   |
    | too large    | 400 `Audio data too large`                 | 413                                        |
    | refusals     | `errors`, `status`, `message`              | `error`, `request_id`                      |
    | no key       | 401 `message`; a wrong one: 401 `error`    | 401 `error`, `request_id`                  |

Pulse Pro takes bytes only and answers with `language`, `request_id` and `totalBytes`, without utterances and speakers.
What the engine behind does not say (gender, emotion, speakers) is left out, never made up. `webhook_url` is refused: a
client that waited for a callback that never comes would be worse off.

Sources: Smallest, "Speech to Text API: Integration Guide" and "Transcribe (pre-recorded)", read in 2026.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec
from msgspec import structs

from gateway.events import RecordingRequest, RecordingTranscript, SpokenUtterance, SpokenWord
from gateway.speech_api.base import RequestRefused
from gateway.speech_api.parameters import Parameters
from telephony_codecs.formats import AudioFormat, Encoding

LARGEST_JSON_BYTES = 64 * 1024
_MODELS = ("pulse", "pulse-pro")
_FLAGS_PASSED_ON = ("format", "punctuate", "capitalize", "itn_normalize", "redact_pii", "redact_pci")
_MAGIC = (b"RIFF", b"RF64", b"fLaC", b"OggS", b"ID3")
TOO_LARGE = "Audio data too large"


@dataclass(frozen=True, slots=True)
class Order:
    """What a request wants. `headerless`: what its bytes are, should they turn out to have no container."""

    is_unified: bool
    is_pro: bool
    wanted: RecordingRequest
    headerless: AudioFormat | None

    def for_bytes(self, head: bytes) -> RecordingRequest:
        """The request for a recording that begins with these bytes; a container goes before what the query says."""
        if self.headerless is None or head.startswith(_MAGIC):
            return self.wanted
        return structs.replace(self.wanted, headerless=self.headerless)


@dataclass(frozen=True, slots=True)
class Facts:
    """What an answer says beside the transcript."""

    request_id: str
    file_bytes: int
    filename: str | None
    processing_s: float


def read_order(query: Mapping[str, str], *, is_unified: bool) -> Order:
    """
    Read a request's query.

    Raises:
        RequestRefused: 400, no usable model or a parameter is malformed.
    """
    parameters = Parameters(query)
    model = parameters.text("model") if is_unified else "pulse"
    if model not in _MODELS:
        fault = "model is required" if model is None else "model is not known"
        raise RequestRefused(f"{fault}; served are {' and '.join(_MODELS)}", code="bad_model")
    language = parameters.language()
    if is_unified and language is None:
        raise RequestRefused("language is required", code="bad_parameter")
    if parameters.text("webhook_url"):
        raise RequestRefused("webhook_url is not served here; the answer has the transcript", code="webhook_not_served")
    diarize = [parameters.flag(name) for name in ("diarize", "diarization")]
    parameters.flag("age_detection")  # gone from the vendor's service, too
    wanted = RecordingRequest(
        language=language,
        word_times=parameters.flag("word_timestamps"),
        diarize=any(diarize),
        gender=parameters.flag("gender_detection"),
        emotion=parameters.flag("emotion_detection"),
        options={
            name: str(parameters.flag(name)).lower() for name in _FLAGS_PASSED_ON if parameters.text(name) is not None
        },
    )
    is_headerless = parameters.text("encoding") in set(Encoding) and parameters.text("sample_rate") is not None
    headerless = parameters.audio_format() if is_headerless else None
    return Order(is_unified, model == "pulse-pro", wanted, headerless)


class _Location(msgspec.Struct):
    url: str


def read_url(body: bytes, order: Order) -> str:
    """
    The URL in a JSON body.

    Raises:
        RequestRefused: 400, there is none, or this model takes none.
    """
    if order.is_pro:
        raise RequestRefused("pulse-pro takes the recording itself, not a URL", code="url_not_served")
    try:
        return msgspec.json.decode(body, type=_Location).url
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise RequestRefused("the JSON body must be an object with a string `url`", code="bad_json") from None


def filename_of(url: str) -> str | None:
    """The last part of the URL's path."""
    return unquote(urlsplit(url).path.rpartition("/")[2])[:255] or None


def answer(transcript: RecordingTranscript, order: Order, facts: Facts) -> dict[str, Any]:
    """The body of status 200."""
    with_times = order.wanted.word_times
    body: dict[str, Any] = {"status": "success", "transcription": transcript.text}
    body["words"] = [_word(word, with_speaker=not order.is_pro) for word in transcript.words] if with_times else []
    if order.is_pro:
        return body | {
            "language": transcript.language or order.wanted.language,
            "request_id": facts.request_id,
            "totalBytes": facts.file_bytes,
            "metadata": _pro_metadata(transcript.duration_s, facts.processing_s),
        }
    body["utterances"] = [_utterance(each) for each in transcript.utterances] if with_times else []
    metadata = {"duration": _rounded(transcript.duration_s), "fileSize": facts.file_bytes, "filename": facts.filename}
    body["metadata"] = {name: value for name, value in metadata.items() if value is not None}
    if order.wanted.gender and transcript.gender is not None:
        body["gender"] = transcript.gender
    if order.wanted.emotion and transcript.emotions is not None:
        body["emotions"] = dict(transcript.emotions)
    return body


def refusal_body(refusal: RequestRefused, *, is_unified: bool, request_id: str, had_key: bool) -> dict[str, Any]:
    """The body of a refusal, in the shape of its path."""
    text = str(refusal)
    if is_unified:
        return {"error": text, "request_id": request_id, "error_code": refusal.code}
    if refusal.status == 401:
        return {"error": "unauthorized"} if had_key else {"message": text}
    if refusal.status == 400:
        return {"errors": text, "status": "error", "message": "Error handling audio data", "error_code": refusal.code}
    return {"error": text, "error_code": refusal.code}


def too_large(*, is_unified: bool) -> RequestRefused:
    """The refusal of a recording that is too large."""
    return RequestRefused(TOO_LARGE, code="too_large", status=413 if is_unified else 400)


def _word(word: SpokenWord, *, with_speaker: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {"start": _rounded(word.start_s), "end": _rounded(word.end_s), "word": word.word}
    if word.confidence is not None:
        entry["confidence"] = round(word.confidence, 4)
    if with_speaker and word.speaker is not None:
        entry["speaker"] = word.speaker
    return entry


def _utterance(utterance: SpokenUtterance) -> dict[str, Any]:
    times = {"start": _rounded(utterance.start_s), "end": _rounded(utterance.end_s)}
    speaker = {} if utterance.speaker is None else {"speaker": utterance.speaker}
    return {**times, "text": utterance.text, **speaker}


def _pro_metadata(duration_s: float | None, processing_s: float) -> dict[str, Any]:
    metadata: dict[str, Any] = {"processing_time_ms": round(processing_s * 1000), "num_chunks": 1}
    if duration_s is not None:
        metadata["duration"] = _rounded(duration_s)
        metadata["rtfx"] = round(duration_s / max(processing_s, 0.001), 1)
    return metadata


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
