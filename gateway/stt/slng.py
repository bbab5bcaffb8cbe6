"""
SLNG, which puts many vendors' models behind one protocol (kind `slng`).

Everything is told in the first message, `init`. Its paths answer in one of two dialects, sometimes the same path in
either: SLNG's own (`ready`, `partial_transcript`, `final_transcript`, `utterance_end`, `error`), or Deepgram's passed
through (`Metadata`, `Results`, `Error`). Both are understood at any time; letters' case does not matter.

Audio before `ready` closes the socket with 1008 where `ready` is sent; where Deepgram's dialect is spoken nothing may
come before the first audio. So the first message that is no error opens the gate, and silence does after
`ready_within_s`. `close` ends: the remaining finals come, then the close with 1000 or 1001, which is the only sign of
the end.

Sources: docs.slng.ai, "Speech-to-text WebSocket examples", "WebSocket API reference", "Unified STT", "Nova 3
(English)"; for the order of things and the codes of errors the packages pipecat-slng and livekit-plugins-slng. Read
2026-11.
"""

from typing import Any

import msgspec

from gateway.config import SttProfile
from gateway.errors import RecognizerUnavailable
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
from gateway.stt.wire import bearer, decode, number, opening_message, options, session_url, text_or_none

# What the vendor's own plugins take the codes of errors for, as HTTP statuses.
_STATUS = {
    "auth_error": 401,
    "config_error": 400,
    "invalid_request": 400,
    "payload_too_large": 413,
    "rate_limit": 429,
    "rate_limit_exceeded": 429,
    "idle_timeout_exceeded": 408,
    "max_connection_duration_exceeded": 408,
    "not_ready": 503,
    "backpressure": 503,
    "stt_metering_unavailable": 503,
    "provider_error": 502,
    "backend_error": 502,
    "backend_connection_failed": 502,
    "translation_error": 500,
}
_RETRYABLE = frozenset({408, 409, 425, 429})  # and 5xx
# RFC 6455, 7.4.1: fulfilled; going away; a close frame without a code.
_NORMAL_CLOSURES = frozenset({1000, 1001, 1005})


class _Message(msgspec.Struct):
    """Any server message. Only `type` must be what it should: an odd field must not cost the words beside it."""

    type: str
    transcript: Any = None
    channel: Any = None
    confidence: Any = None
    language: Any = None
    words: Any = None
    is_final: Any = None
    from_finalize: Any = None
    start: Any = None
    duration: Any = None
    timestamp: Any = None
    last_word_end: Any = None
    code: Any = None
    data: Any = None


_decoder = msgspec.json.Decoder(_Message)


class SlngProtocol:
    """
    One session at SLNG.

    Args:
        profile: `url` is that of a model, such as `…/v1/stt/slng/deepgram/nova:3-en`; `options` go into `config`:
            `enable_vad`, `vad_threshold`, `smart_format` and the like.
        request: `format` must be linear16; wins over `options`, which win over the profile's language.
    """

    ready_within_s = 2.0

    def __init__(self, profile: SttProfile, request: RecognizerRequest) -> None:
        self.url = session_url(profile, request)
        self.headers = bearer(profile)
        self.is_ready = False
        self._has_ended = False
        wanted = {
            "language": request.language,
            "sample_rate": request.format.rate_hz,
            "encoding": request.format.encoding.value,
            "vad_min_silence_duration_ms": request.eou_timeout_ms,
        }
        config = {"language": profile.language, "enable_partials": True} | options(profile, request)
        config |= {name: value for name, value in wanted.items() if value is not None}
        given = {name: value for name, value in config.items() if value is not None}
        self._opening = opening_message({"type": "init", "config": given})

    def opening(self) -> Messages:
        return (self._opening,)

    def audio(self, chunk: bytes) -> Messages:
        return (chunk,)

    def finalize(self) -> Messages:
        return ('{"type":"finalize"}',)

    def keepalive(self) -> Messages:
        return ('{"type":"keepalive"}',)

    def end(self) -> Messages:
        self._has_ended = True
        return ('{"type":"close"}',)

    def receive(self, message: Message) -> list[RecognizerEvent]:
        decoded = decode(_decoder, message)
        kind = decoded.type.lower()
        if kind == "error":
            raise _failure(decoded)
        self.is_ready = True
        match kind:
            case "partial_transcript":
                return _result(decoded, is_final=False)
            case "final_transcript":
                return _result(decoded, is_final=True)
            case "results":
                return _result(decoded, is_final=decoded.is_final in (True, "true"))
            case "speechstarted":
                at_s = number(decoded.timestamp)
                return [] if at_s is None else [SpeechStarted(at_s=at_s)]
            case "utterance_end" | "utteranceend":
                at_s = number(decoded.last_word_end)
                return [] if at_s is None or at_s < 0 else [SpeechEnded(at_s=at_s)]  # -1: there was none
            case _:  # `ready`, `metadata`, and kinds that the vendor has added since
                return []

    def closed(self, code: int) -> list[RecognizerEvent]:
        if self._has_ended and code in _NORMAL_CLOSURES:
            return [Finished()]
        raise closure(code)


def _result(message: _Message, *, is_final: bool) -> list[RecognizerEvent]:
    """Of either dialect: what Deepgram nests in `channel` SLNG has at the top, or both have."""
    nested = _first_alternative(message.channel)
    text = (text_or_none(message.transcript) or text_or_none(nested.get("transcript")) or "").strip()
    words = _words(message.words or nested.get("words"))
    start_s, end_s = (words[0].start_s, words[-1].end_s) if words else _span(message)
    if not is_final:
        return [Partial(text=text, start_s=start_s, words=words)]
    from_finalize = message.from_finalize is True
    if not text and not from_finalize:
        return []
    confidence = number(message.confidence)
    return [
        Final(
            text=text,
            start_s=start_s,
            end_s=end_s,
            words=words,
            language=text_or_none(message.language) or text_or_none(nested.get("language")),
            confidence=number(nested.get("confidence")) if confidence is None else confidence,
            from_finalize=from_finalize,
        )
    ]


def _first_alternative(channel: Any) -> dict[str, Any]:
    alternatives = channel.get("alternatives") if isinstance(channel, dict) else None
    first = alternatives[0] if isinstance(alternatives, list) and alternatives else None
    return first if isinstance(first, dict) else {}


def _span(message: _Message) -> tuple[float | None, float | None]:
    """Seconds from the first audio; SLNG's own messages have a `duration` only, which says nothing of where."""
    start_s, duration_s = number(message.start), number(message.duration)
    if start_s is None or duration_s is None:
        return None, None
    return start_s, number(start_s + duration_s)


def _words(found: Any) -> tuple[Word, ...]:
    """Words that have times, as whichever vendor behind SLNG writes them."""
    read = [_word(entry) for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []
    return tuple(word for word in read if word is not None)


def _word(entry: dict[str, Any]) -> Word | None:
    text = next((t for name in ("punctuated_word", "word", "text") if (t := text_or_none(entry.get(name)))), None)
    start_s, end_s = number(entry.get("start")), number(entry.get("end"))
    if text is None or start_s is None or end_s is None:
        return None
    return Word(word=text, start_s=start_s, end_s=end_s, confidence=number(entry.get("confidence")))


def _failure(message: _Message) -> RecognizerUnavailable:
    """`code` may be nested in `data`, and Deepgram's errors have none of SLNG's."""
    nested = message.data.get("code") if isinstance(message.data, dict) else None
    code = text_or_none(message.code) or text_or_none(nested)
    status = _STATUS.get(code or "")
    if status is None:
        return RecognizerUnavailable("the recogniser reported an error", code="stt_vendor_error")
    return RecognizerUnavailable(
        f"the recogniser reported {code}", code=f"stt_{code}", retryable=status in _RETRYABLE or status >= 500
    )
