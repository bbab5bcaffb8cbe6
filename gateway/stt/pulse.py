"""
Smallest Pulse over WebSockets: `/waves/v1/pulse/get_text` (kind `pulse`) and `/waves/v1/stt/live` (kind `pulse-live`).

Both speak the same messages; live wants the model named. Configuration is the query, audio is binary, control is JSON.
Finals are pieces of transcript, not turns: pauses, word counts and time-outs make them as well as `finalize`. Only
`close_stream` ends a session, with one message that has `is_last`; text may still come with it.

Source: docs.smallest.ai, Waves, "Pulse realtime" and "Transcribe (Realtime / WebSocket)", read 2026-08; the package
`smallestai` 5.14.0 for `words`, VAD events and the error shapes.
"""

from collections.abc import Mapping
from math import isfinite
from typing import Any

import msgspec

from gateway.config import SttProfile
from gateway.errors import RecognizerProtocolError, RecognizerUnavailable
from gateway.events import (
    Final,
    Finished,
    Partial,
    RecognizerEvent,
    RecognizerRequest,
    SpeechEnded,
    SpeechStarted,
    Word,
)
from gateway.stt.protocol import Message, Messages, closure
from gateway.stt.query import query_url


class _Word(msgspec.Struct):
    word: str
    start: float | None = None
    end: float | None = None
    confidence: float | None = None


class _Message(msgspec.Struct):
    """Any server message. Fields beside the text are `Any`: an odd one must not cost the words that came with it."""

    type: str = ""
    status: Any = None
    transcript: str | None = None
    transcription: str | None = None
    is_final: bool | None = False
    is_last: bool | None = False
    from_finalize: bool | None = False
    language: Any = None
    words: Any = None
    word_timestamps: Any = None
    timestamp: Any = None
    error: Any = None
    error_code: Any = None


# Not strict: numbers and booleans may come as strings.
_decoder = msgspec.json.Decoder(_Message, strict=False)


class PulseProtocol:
    """
    One Pulse session.

    Args:
        profile: `url` may hold a query and placeholders; `options` become query parameters.
        request: what is wanted; wins over `options`, which win over the URL's query, which wins over the profile's
            language. Encoding and rate are always those of `request.format`, and word times are always asked for.
        model: value of the parameter `model`, if the path wants one.
    """

    is_ready = True

    def __init__(self, profile: SttProfile, request: RecognizerRequest, *, model: str | None = None) -> None:
        defaults = {"model": model, "language": profile.language}
        self.url = query_url(profile, request, required=_requested(request), defaults=defaults)
        key = profile.api_key.get_secret_value().strip() if profile.api_key else ""
        self.headers: Mapping[str, str] = {"Authorization": f"Bearer {key}"} if key else {}

    def opening(self) -> Messages:
        return ()

    def audio(self, chunk: bytes) -> Messages:
        return (chunk,)

    def finalize(self) -> Messages:
        return ('{"type":"finalize"}',)

    def keepalive(self) -> Messages:
        return ('{"type":"keepalive"}',)

    def end(self) -> Messages:
        # Not `finalize`, with which older samples end: that has never ended a session of the real service.
        return ('{"type":"close_stream"}',)

    def receive(self, message: Message) -> list[RecognizerEvent]:
        if isinstance(message, bytes):
            raise RecognizerProtocolError("the recogniser sent a binary message", code="stt_message_binary")
        try:
            decoded = _decoder.decode(message)
        except (msgspec.MsgspecError, RecursionError, UnicodeEncodeError):
            raise RecognizerProtocolError(
                "the recogniser sent a message that is not of its protocol", code="stt_message_malformed"
            ) from None
        text = decoded.transcript or decoded.transcription
        if decoded.type == "error" or decoded.status == "error" or (decoded.error and text is None):
            raise _failure(decoded)
        match decoded.type:
            case "speech_started" | "speech_ended":
                return _voice(decoded)
            case "transcription" | "":
                return _result(decoded)
            case _:  # `pong`, and kinds that the vendor has added since
                return []

    def closed(self, code: int) -> list[RecognizerEvent]:
        raise closure(code)


def pulse(profile: SttProfile, request: RecognizerRequest) -> PulseProtocol:
    """A session at `/waves/v1/pulse/get_text`."""
    return PulseProtocol(profile, request)


def pulse_live(profile: SttProfile, request: RecognizerRequest) -> PulseProtocol:
    """A session at `/waves/v1/stt/live`; Pulse is the only model that streams there."""
    return PulseProtocol(profile, request, model="pulse")


def _requested(request: RecognizerRequest) -> dict[str, str | int | None]:
    return {
        "language": request.language or None,
        "encoding": request.format.encoding.value,
        "sample_rate": request.format.rate_hz,
        "word_timestamps": "true",
        "eou_timeout_ms": request.eou_timeout_ms,
        # The service compares booleans with these words.
        "endpointing": None if request.endpointing is None else ("true" if request.endpointing else "false"),
        "max_words": request.max_words,
    }


def _result(message: _Message) -> list[RecognizerEvent]:
    text = (message.transcript or message.transcription or "").strip()
    words = _words(message.words or message.word_timestamps)
    start_s = words[0].start_s if words else None
    if not (message.is_final or message.is_last):
        return [Partial(text=text, start_s=start_s, words=words)]
    events: list[RecognizerEvent] = []
    if text or message.from_finalize:
        events.append(
            Final(
                text=text,
                start_s=start_s,
                end_s=words[-1].end_s if words else None,
                words=words,
                language=message.language if isinstance(message.language, str) and message.language else None,
                from_finalize=bool(message.from_finalize),
            )
        )
    if message.is_last:
        events.append(Finished())
    return events


def _words(found: Any) -> tuple[Word, ...]:
    """Words that have times; none if the list is not one, for the text counts more than its times."""
    try:
        words = msgspec.convert(found or [], list[_Word], strict=False)
    except msgspec.ValidationError:
        return ()
    return tuple(
        Word(word=word.word, start_s=word.start, end_s=word.end, confidence=word.confidence)
        for word in words
        if word.start is not None and word.end is not None and isfinite(word.start) and isfinite(word.end)
    )


def _voice(message: _Message) -> list[RecognizerEvent]:
    try:
        at_s = msgspec.convert(message.timestamp, float, strict=False)
    except msgspec.ValidationError:
        return []
    if not isfinite(at_s):
        return []
    return [SpeechStarted(at_s=at_s) if message.type == "speech_started" else SpeechEnded(at_s=at_s)]


def _failure(message: _Message) -> RecognizerUnavailable:
    if message.error_code == "LANGUAGE_NOT_ENABLED_IN_REGION":
        return RecognizerUnavailable(
            "the recogniser does not offer the language at this address",
            code="stt_language_not_enabled",
            retryable=False,
        )
    return RecognizerUnavailable("the recogniser reported an error", code="stt_vendor_error")
