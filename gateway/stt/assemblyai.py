"""
AssemblyAI Universal-Streaming, version 3 (kind `assemblyai`): `wss://streaming.assemblyai.com/v3/ws`.

Configuration is the query, audio is binary, control is JSON; audio may follow `Begin`. A message must hold 50 to
1000 ms of audio, and audio may not come faster than it was spoken (`pace`). Shorter pieces are held; what is left at a
`ForceEndpoint` or at the end is filled up with silence, which word times then leave out.

A `Turn` repeats its whole text so far, under its number `turn_order`. With `format_turns` some models end it twice,
first bare, then formatted; others format in place, or never. The bare end is held until the formatted one comes, or
until anything shows that none will.

Source: github.com/AssemblyAI/assemblyai-api-spec, usm-streaming.yml and usm-streaming-u3-pro.yml; assemblyai.com/docs,
"Universal Streaming", "Message Sequence", "Common session errors and closures", read 2026-11.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import structs

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
from gateway.stt.clock import SessionClock
from gateway.stt.protocol import Message, Messages, closure
from gateway.stt.query import query_url, query_value
from gateway.stt.wire import decode, number, text_or_none
from telephony_codecs.formats import Encoding

MIN_CHUNK_MS = 50
MAX_CHUNK_MS = 1000

_ENCODINGS = {Encoding.MULAW: "pcm_mulaw", Encoding.LINEAR16: "pcm_s16le"}
_LEAST_SILENCE_MS = 400  # the vendor's default of `min_turn_silence`
_FAILURES: Mapping[int, tuple[str, str, bool]] = {
    1008: ("stt_unauthorized", "the recogniser refused the key or the account", False),
    3005: ("stt_vendor_error", "the recogniser cancelled the session", True),
    3006: ("stt_message_refused", "the recogniser refused a message", False),
    3007: ("stt_audio_refused", "audio came in wrong pieces, or too fast", True),
    3008: ("stt_session_expired", "the session reached its longest duration", True),
    3009: ("stt_too_many_sessions", "the recogniser has too many sessions of this account", True),
}


class _Word(msgspec.Struct):
    text: str
    start: Any = None
    end: Any = None
    confidence: Any = None


class _Message(msgspec.Struct):
    """Any server message. Fields beside the text are `Any`: an odd one must not cost the words that came with it."""

    type: str = ""
    turn_order: int = 0
    turn_is_formatted: Any = False
    end_of_turn: Any = False
    transcript: str = ""
    words: Any = None
    language_code: Any = None
    timestamp: Any = None
    error: Any = None
    error_code: Any = None


_decoder = msgspec.json.Decoder(_Message)


class AssemblyAIProtocol:
    """
    One AssemblyAI session.

    Args:
        profile: `url` may hold a query and placeholders; `options` become query parameters.
        request: what is wanted; wins over `options`, which win over the URL's query, which wins over our defaults.
            There is no parameter for the language: it chooses the model, where none is given. `endpointing` and
            `max_words` have no counterpart.
    """

    def __init__(self, profile: SttProfile, request: RecognizerRequest) -> None:
        self.url = query_url(profile, request, required=_required(request), defaults=_defaults(profile, request))
        key = profile.api_key.get_secret_value().strip() if profile.api_key else ""
        self.headers: Mapping[str, str] = {"Authorization": key} if key else {}
        self.is_ready = False
        self._format = request.format
        self._held = b""
        self._taken_samples = 0
        self._clock = SessionClock(request.format.rate_hz)
        self._awaits_formatted = query_value(self.url, "format_turns") == "true"
        self._has_timeout = query_value(self.url, "inactivity_timeout") is not None
        self._bare: tuple[int, Final] | None = None
        self._next_turn = 0
        self._shows_text = False
        self._hears_speech = False
        self._finalizes = 0

    def opening(self) -> Messages:
        return ()

    def audio(self, chunk: bytes) -> Messages:
        self._held += chunk
        messages: list[bytes] = []
        while len(self._held) >= self._bytes(MIN_CHUNK_MS):
            messages.append(self._take(self._bytes(MAX_CHUNK_MS)))
        return tuple(messages)

    def finalize(self) -> Messages:
        """Answered by the end of the turn; by nothing, if nobody speaks."""
        self._finalizes += 1
        return (*self._rest(), '{"type":"ForceEndpoint"}')

    def keepalive(self) -> Messages:
        # Without the option `inactivity_timeout` a session waits for ever.
        return ('{"type":"KeepAlive"}',) if self._has_timeout else ()

    def end(self) -> Messages:
        return (*self._rest(), '{"type":"Terminate"}')

    def receive(self, message: Message) -> list[RecognizerEvent]:
        decoded = decode(_decoder, message)
        match decoded.type:
            case "Begin":
                self.is_ready = True
                return []
            case "Turn":
                return self._turn(decoded)
            case "SpeechStarted":
                return self._speech_started(number(decoded.timestamp))
            case "Termination":
                return self._finish()
            case "Error":
                raise _reported(decoded)
            case _:  # kinds that the vendor has added since
                return []

    def closed(self, code: int) -> list[RecognizerEvent]:
        raise _failure(code)

    def _bytes(self, milliseconds: int) -> int:
        return self._format.rate_hz * milliseconds // 1000 * self._format.bytes_per_sample

    def _take(self, most_bytes: int) -> bytes:
        """The oldest held audio, on its way now."""
        piece, self._held = self._held[:most_bytes], self._held[most_bytes:]
        samples = self._format.samples(piece)
        self._clock.sent(self._taken_samples, samples)
        self._taken_samples += samples
        return piece

    def _rest(self) -> Messages:
        """Held audio, filled up with silence to the least that may be sent."""
        if not self._held:
            return ()
        piece = self._take(len(self._held))
        missing = self._format.samples(bytes(self._bytes(MIN_CHUNK_MS) - len(piece)))
        self._clock.inserted(missing)
        return (piece + self._format.silence(missing),)

    def _turn(self, message: _Message) -> list[RecognizerEvent]:
        if message.turn_order < self._next_turn:
            return []  # its text is out already
        events: list[RecognizerEvent] = []
        if self._bare is not None and message.turn_order > self._bare[0]:
            self._awaits_formatted = False  # this model does not format after the end
            events += self._release(*self._bare)
        said = self._said(message)
        if message.end_of_turn is not True:
            return [*events, *self._show(said)]
        if self._awaits_formatted and message.turn_is_formatted is not True and said.text:
            self._bare = (message.turn_order, said)
            return [*events, *self._show(said)]
        return [*events, *self._release(message.turn_order, said)]

    def _show(self, said: Final) -> list[RecognizerEvent]:
        if not said.text and not self._shows_text:
            return []
        self._shows_text = bool(said.text)
        return [Partial(text=said.text, start_s=said.start_s, words=said.words)]

    def _release(self, turn_order: int, said: Final) -> list[RecognizerEvent]:
        self._bare = None
        self._next_turn = turn_order + 1
        events: list[RecognizerEvent] = []
        if said.text or self._finalizes:
            events.append(structs.replace(said, from_finalize=self._finalizes > 0))
            self._finalizes = max(0, self._finalizes - 1)
        elif self._shows_text:
            events.append(Partial(text=""))
        self._shows_text = False
        if self._hears_speech and said.end_s is not None:
            self._hears_speech = False
            events.append(SpeechEnded(at_s=said.end_s))
        return events

    def _speech_started(self, at_ms: float | None) -> list[RecognizerEvent]:
        if at_ms is None:
            return []
        self._hears_speech = True
        return [SpeechStarted(at_s=self._seconds(at_ms))]

    def _finish(self) -> list[RecognizerEvent]:
        events = self._release(*self._bare) if self._bare is not None else []
        unanswered, self._finalizes = self._finalizes, 0
        return [*events, *[Final(text="", from_finalize=True)] * unanswered, Finished()]

    def _said(self, message: _Message) -> Final:
        words = self._words(message.words)
        known = [word.confidence for word in words if word.confidence is not None]
        return Final(
            text=(message.transcript or " ".join(word.word for word in words)).strip(),
            start_s=words[0].start_s if words else None,
            end_s=words[-1].end_s if words else None,
            words=words,
            language=text_or_none(message.language_code),
            # `end_of_turn_confidence` is about the turn's end, not its words.
            confidence=round(sum(known) / len(known), 4) if known else None,
        )

    def _words(self, found: Any) -> tuple[Word, ...]:
        """Words that have times; none if the list is not one, for the text counts more than its times."""
        try:
            words = msgspec.convert(found or [], list[_Word])
        except msgspec.ValidationError:
            return ()
        return tuple(
            Word(
                word=word.text,
                start_s=self._seconds(start_ms),
                end_s=self._seconds(end_ms),
                confidence=number(word.confidence),
            )
            for word in words
            if (start_ms := number(word.start)) is not None and (end_ms := number(word.end)) is not None
        )

    def _seconds(self, milliseconds: float) -> float:
        """Seconds of the audio that we were given, which lacks the silence that we filled in."""
        return self._clock.call_s(milliseconds / 1000)


def _required(request: RecognizerRequest) -> dict[str, str | int | None]:
    pause_ms = request.eou_timeout_ms
    return {
        "encoding": _ENCODINGS[request.format.encoding],
        "sample_rate": request.format.rate_hz,
        "max_turn_silence": pause_ms,
        "min_turn_silence": pause_ms if pause_ms is not None and pause_ms < _LEAST_SILENCE_MS else None,
    }


def _defaults(profile: SttProfile, request: RecognizerRequest) -> dict[str, str | int | None]:
    language = request.language or profile.language or ""
    is_english = language.partition("-")[0].lower() == "en"
    names_model = "speech_model" in profile.options or query_value(profile.url or "", "speech_model") is not None
    return {
        "speech_model": "universal-streaming-english" if is_english else "universal-streaming-multilingual",
        "language_detection": None if is_english or names_model else "true",
        "format_turns": "true",
    }


def _reported(message: _Message) -> RecognizerUnavailable:
    """`Error` comes right before the close, with the same code, and says what that one does not."""
    code = message.error_code if isinstance(message.error_code, int) else 3005
    if code == 1008 and "concurrent" in str(message.error).lower():
        code = 3009
    return _failure(code)


def _failure(code: int) -> RecognizerUnavailable:
    if code not in _FAILURES:
        return closure(code)
    name, text, retryable = _FAILURES[code]
    return RecognizerUnavailable(text, code=name, retryable=retryable)
