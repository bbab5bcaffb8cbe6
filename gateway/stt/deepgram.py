"""
Deepgram live (kind `deepgram`): `wss://api.deepgram.com/v1/listen`.

Configuration is the query, audio is binary, control is JSON. A result with `is_final` closes a segment, which is often
half a sentence; only `speech_final` closes an utterance, or `UtteranceEnd` where noise hides the pause. Segments are
held until then, and are part of the partial meanwhile. `CloseStream` is answered by the rest, then `Metadata`.

`Metadata` also comes when the session was idle for 10 s, before a close with 1011: it is the end only if that was asked
for. Keep-alives must be text; anything, text or audio, resets that limit.

Source: github.com/deepgram/deepgram-api-specs, asyncapi.yml; developers.deepgram.com, "Audio Keep Alive", "Finalize",
"Close Stream", "End of Speech Detection While Live Streaming", "STT Troubleshooting WebSocket, NET, and DATA Errors",
read 2026-11.
"""

from collections.abc import Mapping, Sequence
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
from gateway.stt.wire import decode, number, text_or_none

MAX_CHUNK_MS = 250
"""Of one message; the vendor advises 20 to 250 ms."""
MAX_UTTERANCE_S = 20.0
"""A speaker who never pauses: an utterance is closed with the segment that makes it so long."""

MAX_SEGMENTS = 50
"""Held at most, whatever times they have."""

_ENDPOINTING_MS = 300  # the vendor's default, 10, ends an utterance at every breath
_UTTERANCE_END_MS = 1000  # its least


class _Word(msgspec.Struct):
    word: str
    start: Any = None
    end: Any = None
    confidence: Any = None
    punctuated_word: Any = None


class _Alternative(msgspec.Struct):
    transcript: str
    confidence: Any = None
    words: Any = None
    languages: Any = None


class _Channel(msgspec.Struct):
    alternatives: list[_Alternative]


class _Message(msgspec.Struct):
    """Any server message. Fields beside the text are `Any`: an odd one must not cost the words that came with it."""

    type: str
    channel: Any = None
    start: Any = None
    duration: Any = None
    is_final: Any = False
    speech_final: Any = False
    from_finalize: Any = False
    timestamp: Any = None
    last_word_end: Any = None


_decoder = msgspec.json.Decoder(_Message)


class DeepgramProtocol:
    """
    One Deepgram session.

    Args:
        profile: `url` may hold a query and placeholders; `options` become query parameters. One that repeats, such as
            `keyterm`, goes into the URL's query.
        request: what is wanted; wins over `options`, which win over the URL's query, which wins over the profile's
            language and our defaults. `max_words` bounds the utterance that is held.
    """

    is_ready = True

    def __init__(self, profile: SttProfile, request: RecognizerRequest) -> None:
        self.url = query_url(profile, request, required=_required(request), defaults=_defaults(profile, request))
        key = profile.api_key.get_secret_value().strip() if profile.api_key else ""
        self.headers: Mapping[str, str] = {"Authorization": f"Token {key}"} if key else {}
        self._max_chunk_bytes = request.format.rate_hz * MAX_CHUNK_MS // 1000 * request.format.bytes_per_sample
        self._max_words = request.max_words
        self._held: list[Final] = []
        self._shows_text = False
        self._hears_speech = False
        self._finalizes = 0
        self._has_ended = False

    def opening(self) -> Messages:
        return ()

    def audio(self, chunk: bytes) -> Messages:
        step = self._max_chunk_bytes
        return tuple(chunk[at : at + step] for at in range(0, len(chunk), step))

    def finalize(self) -> Messages:
        """Mostly answered by a result, which may be empty; where nothing is left to say, perhaps by nothing."""
        self._finalizes += 1
        return ('{"type":"Finalize"}',)

    def keepalive(self) -> Messages:
        return ('{"type":"KeepAlive"}',)

    def end(self) -> Messages:
        self._has_ended = True
        return ('{"type":"CloseStream"}',)

    def receive(self, message: Message) -> list[RecognizerEvent]:
        decoded = decode(_decoder, message)
        match decoded.type:
            case "Results":
                return self._result(decoded)
            case "UtteranceEnd":
                return self._release(ended_s=number(decoded.last_word_end))
            case "SpeechStarted":
                return self._speech_started(number(decoded.timestamp))
            case "Metadata" if self._has_ended:
                return self._finish()
            case "Error":
                raise RecognizerUnavailable("the recogniser reported an error", code="stt_vendor_error")
            case _:  # `Metadata` of a session that idled to death, warnings, kinds that the vendor has added since
                return []

    def closed(self, code: int) -> list[RecognizerEvent]:
        if code == 1008:  # DATA-0000
            raise RecognizerUnavailable(
                "the recogniser cannot decode the audio", code="stt_audio_refused", retryable=False
            )
        raise closure(code)

    def _result(self, message: _Message) -> list[RecognizerEvent]:
        segment = _segment(message)
        if message.is_final is not True:
            return self._show(segment)
        if segment.text:
            self._held.append(segment)
        if message.from_finalize is True:
            self._finalizes = max(0, self._finalizes - 1)
            return self._release(from_finalize=True)
        if message.speech_final is True:
            return self._release(ended_s=segment.end_s)
        return self._release() if self._is_long() else self._show(None)

    def _show(self, interim: Final | None) -> list[RecognizerEvent]:
        """The utterance so far; nothing in silence, where the vendor sends empty interims every second."""
        pieces = [*self._held, interim] if interim is not None and interim.text else self._held
        if not pieces and not self._shows_text:
            return []
        self._shows_text = bool(pieces)
        if not pieces:
            return [Partial(text="")]
        whole = _joined(pieces)
        return [Partial(text=whole.text, start_s=whole.start_s, words=whole.words)]

    def _is_long(self) -> bool:
        if not self._held:
            return False
        whole = _joined(self._held)
        seconds = (whole.end_s or 0.0) - (whole.start_s or 0.0)
        if seconds >= MAX_UTTERANCE_S or len(self._held) >= MAX_SEGMENTS:
            return True
        return self._max_words is not None and len(whole.words) >= self._max_words

    def _release(self, *, ended_s: float | None = None, from_finalize: bool = False) -> list[RecognizerEvent]:
        """The held segments as one final; with `ended_s`, the speech ended there."""
        held, self._held = self._held, []
        events: list[RecognizerEvent] = []
        if held or from_finalize:
            events.append(_joined(held, from_finalize=from_finalize))
        elif self._shows_text:
            events.append(Partial(text=""))  # what was shown was no speech after all
        self._shows_text = False
        if self._hears_speech and ended_s is not None and ended_s >= 0:  # -1: the vendor does not know
            self._hears_speech = False
            events.append(SpeechEnded(at_s=ended_s))
        return events

    def _speech_started(self, at_s: float | None) -> list[RecognizerEvent]:
        if at_s is None:
            return []
        self._hears_speech = True
        return [SpeechStarted(at_s=at_s)]

    def _finish(self) -> list[RecognizerEvent]:
        unanswered, self._finalizes = self._finalizes, 0
        return [*self._release(), *[Final(text="", from_finalize=True)] * unanswered, Finished()]


def _required(request: RecognizerRequest) -> dict[str, str | int | None]:
    endpointing = "false" if request.endpointing is False else request.eou_timeout_ms
    return {
        "language": request.language or None,
        "encoding": request.format.encoding.value,
        "sample_rate": request.format.rate_hz,
        "endpointing": endpointing,
    }


def _defaults(profile: SttProfile, request: RecognizerRequest) -> dict[str, str | int | None]:
    return {
        "model": "nova-3",
        "language": profile.language,
        "punctuate": "true",
        "interim_results": "true",
        "endpointing": _ENDPOINTING_MS,
        "utterance_end_ms": None if request.endpointing is False else _UTTERANCE_END_MS,
        "vad_events": "true",
    }


def _segment(message: _Message) -> Final:
    try:
        channel = msgspec.convert(message.channel, _Channel)
    except msgspec.ValidationError:
        raise RecognizerProtocolError("a result without a transcript", code="stt_message_malformed") from None
    if not channel.alternatives:
        return Final(text="")
    best = channel.alternatives[0]
    words = _words(best.words)
    start_s, duration_s = number(message.start), number(message.duration)
    end_s = None if start_s is None or duration_s is None else start_s + duration_s
    languages = best.languages if isinstance(best.languages, list) else []
    return Final(
        text=best.transcript.strip(),
        start_s=words[0].start_s if words else start_s,
        end_s=words[-1].end_s if words else end_s,
        words=words,
        language=text_or_none(languages[0]) if languages else None,
        confidence=number(best.confidence),
    )


def _words(found: Any) -> tuple[Word, ...]:
    """Words that have times; none if the list is not one, for the text counts more than its times."""
    try:
        words = msgspec.convert(found or [], list[_Word])
    except msgspec.ValidationError:
        return ()
    return tuple(
        Word(
            word=text_or_none(word.punctuated_word) or word.word,
            start_s=start_s,
            end_s=end_s,
            confidence=number(word.confidence),
        )
        for word in words
        if (start_s := number(word.start)) is not None and (end_s := number(word.end)) is not None
    )


def _joined(pieces: Sequence[Final], *, from_finalize: bool = False) -> Final:
    """Segments as one; its confidence is theirs, by their words."""
    weighed = [(each.confidence, max(1, len(each.words))) for each in pieces if each.confidence is not None]
    weight = sum(words for _, words in weighed)
    return Final(
        text=" ".join(each.text for each in pieces),
        start_s=pieces[0].start_s if pieces else None,
        end_s=pieces[-1].end_s if pieces else None,
        words=tuple(word for each in pieces for word in each.words),
        language=next((each.language for each in pieces if each.language), None),
        confidence=round(sum(value * words for value, words in weighed) / weight, 4) if weight else None,
        from_finalize=from_finalize,
    )
