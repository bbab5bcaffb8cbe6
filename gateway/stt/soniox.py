"""
Soniox realtime (kind `soniox`).

The session is asked for in one message; audio may follow at once. What is heard comes as tokens, pieces of words with
their own blanks: final ones are sent once and are collected, others are sent anew each time and replace the last ones.
The final marks `<end>` (an utterance ended) and `<fin>` (the answer to `finalize`) make a final of what was collected;
an empty message ends the stream, and `finished` is its last answer.

Source: soniox.com/docs, "WebSocket API", "WebSocket authentication", "Real-time transcription", "Endpoint detection",
"Manual finalization", "Connection keepalive" and "Error handling" of the real-time API, read 2026-11;
github.com/soniox/soniox_examples, speech_to_text/python/soniox_realtime.py, for the empty text message.
"""

from collections import deque
from collections.abc import Iterable
from typing import Any

import msgspec

from gateway.config import SttProfile
from gateway.errors import RecognizerUnavailable
from gateway.events import Final, Finished, Partial, RecognizerEvent, RecognizerRequest, Word
from gateway.stt.protocol import Message, Messages, closure
from gateway.stt.wire import bearer, decode, number, opening_message, options, session_url, text_or_none
from telephony_codecs.formats import Encoding

MODEL = "stt-rt-v5"
FINALIZE_EVERY_S = 2.0
"""Audio between two `finalize`, at least: the vendor closes sessions that ask more often than every few seconds."""
MAX_HELD_TOKENS = 500
"""Final tokens that are collected, at most, where no utterance ends."""

_ENCODINGS = {Encoding.MULAW: "mulaw", Encoding.ALAW: "alaw", Encoding.LINEAR16: "pcm_s16le"}
_ENDPOINT_DELAY_MS = (500, 3000)
_ANY_LANGUAGE = {"auto", "multi"}
_UNSPACED = {"zh", "ja", "th"}
"""Languages written without blanks: each of their tokens counts as a word."""
_FINALIZE = '{"type":"finalize"}'


class _Token(msgspec.Struct):
    text: str
    is_final: bool | None = False
    start_ms: Any = None
    end_ms: Any = None
    confidence: Any = None
    language: Any = None
    translation_status: Any = None


class _Message(msgspec.Struct):
    tokens: list[_Token] | None = None
    finished: bool | None = False
    error_code: Any = None


# Not strict: numbers and booleans may come as strings.
_decoder = msgspec.json.Decoder(_Message, strict=False)


class SonioxProtocol:
    """
    One Soniox session.

    Args:
        profile: `options` go into the start message.
        request: what is wanted; wins over `options`, which win over the profile's language. A language becomes the
            hint, without its region; `multi` and `auto` hint at none. `max_words` is not the vendor's to know and is
            left out.
    """

    is_ready = True

    def __init__(self, profile: SttProfile, request: RecognizerRequest) -> None:
        self.url = session_url(profile, request)
        self.headers = bearer(profile)  # in the start message it is refused from 2027-01-15
        self._opening = opening_message(_start(profile, request))
        self._final: list[_Token] = []
        self._has_partial = False
        self._finalize_every_bytes = FINALIZE_EVERY_S * request.format.rate_hz * request.format.bytes_per_sample
        self._since_finalize: float = self._finalize_every_bytes
        self._wanted = 0  # requests to finalize that were not sent yet
        self._asked: deque[int] = deque()  # how many requests each `finalize` on its way stands for

    def opening(self) -> Messages:
        return (self._opening,)

    def audio(self, chunk: bytes) -> Messages:
        self._since_finalize += len(chunk)
        return (chunk, *self._due_finalize())

    def finalize(self) -> Messages:
        """At once, or with later audio if the last one was a moment ago."""
        self._wanted += 1
        return self._due_finalize()

    def keepalive(self) -> Messages:
        """Asked for after seconds without audio: what was put off may go now."""
        if self._wanted:
            return self._send_finalize()
        return ('{"type":"keepalive"}',)

    def end(self) -> Messages:
        return ("",)  # it makes everything final, and answers what was put off

    def receive(self, message: Message) -> list[RecognizerEvent]:
        decoded = decode(_decoder, message)
        if decoded.error_code is not None:
            raise _failure(decoded.error_code)
        events: list[RecognizerEvent] = []
        heard: list[_Token] = []
        for token in decoded.tokens or ():
            if token.translation_status == "translation":
                continue
            if not token.is_final:
                heard.append(token)
            elif token.text == "<end>":
                events += self._release()
            elif token.text == "<fin>":
                events += self._answer_finalize()
            else:
                self._final.append(token)
        if decoded.finished:
            return [*events, *self._finish(), Finished()]
        if len(self._final) >= MAX_HELD_TOKENS:
            events += self._release()
        return events + self._partial(heard, has_final=bool(events))

    def closed(self, code: int) -> list[RecognizerEvent]:
        raise closure(code)

    def _due_finalize(self) -> Messages:
        is_due = self._wanted and self._since_finalize >= self._finalize_every_bytes
        return self._send_finalize() if is_due else ()

    def _send_finalize(self) -> Messages:
        self._asked.append(self._wanted)
        self._wanted = 0
        self._since_finalize = 0
        return (_FINALIZE,)

    def _answer_finalize(self) -> list[RecognizerEvent]:
        """One final for each request: the first has the text."""
        requests = self._asked.popleft() if self._asked else 1
        repeated = [Final(text="", from_finalize=True) for _ in range(requests - 1)]
        return [*self._release(from_finalize=True), *repeated]

    def _finish(self) -> list[RecognizerEvent]:
        unanswered = sum(self._asked) + self._wanted
        return [*self._release(), *(Final(text="", from_finalize=True) for _ in range(unanswered))]

    def _partial(self, heard: list[_Token], *, has_final: bool) -> list[RecognizerEvent]:
        tokens = [*self._final, *heard]
        text = _text(tokens)
        takes_back = self._has_partial and not has_final
        self._has_partial = bool(text)
        if not text and not takes_back:
            return []
        words = _words(tokens)
        return [Partial(text=text, start_s=words[0].start_s if words else None, words=words)]

    def _release(self, *, from_finalize: bool = False) -> list[RecognizerEvent]:
        tokens, self._final = self._final, []
        text = _text(tokens)
        if not text and not from_finalize:
            return []
        words = _words(tokens)
        languages = (text_or_none(token.language) for token in tokens)
        return [
            Final(
                text=text,
                start_s=words[0].start_s if words else None,
                end_s=words[-1].end_s if words else None,
                words=words,
                language=next((language for language in languages if language), None),
                from_finalize=from_finalize,
            )
        ]


def _start(profile: SttProfile, request: RecognizerRequest) -> dict[str, Any]:
    wanted: dict[str, Any] = {"model": MODEL, "enable_language_identification": True, "enable_endpoint_detection": True}
    if profile.language is not None:
        wanted["language_hints"] = _hints(profile.language)
    wanted |= options(profile, request)
    if request.language:
        wanted["language_hints"] = _hints(request.language)
    if request.endpointing is not None:
        wanted["enable_endpoint_detection"] = request.endpointing
    if request.eou_timeout_ms is not None:
        least, most = _ENDPOINT_DELAY_MS
        wanted["max_endpoint_delay_ms"] = min(max(request.eou_timeout_ms, least), most)
    return wanted | {
        "audio_format": _ENCODINGS[request.format.encoding],
        "sample_rate": request.format.rate_hz,
        "num_channels": 1,
    }


def _hints(language: str) -> list[str] | None:
    return None if language in _ANY_LANGUAGE else [language.partition("-")[0]]


def _text(tokens: Iterable[_Token]) -> str:
    return "".join(token.text for token in tokens).strip()


def _words(tokens: Iterable[_Token]) -> tuple[Word, ...]:
    """Words put together from tokens, those without times left out; as sure as their least certain token."""
    words: list[Word] = []
    mark = ""  # that belongs to the next word
    ends_word = True
    for token in tokens:
        text, begins_word = token.text.strip(), ends_word or token.text[:1].isspace()
        ends_word = token.text[-1:].isspace()
        start_s, end_s, confidence = _seconds(token.start_ms), _seconds(token.end_ms), number(token.confidence)
        if not any(char.isalnum() for char in text):
            if begins_word or not words:
                mark, ends_word = mark + text, True
            else:
                words[-1] = msgspec.structs.replace(words[-1], word=words[-1].word + text)
        elif start_s is None or end_s is None:
            continue
        elif begins_word or not words or text_or_none(token.language) in _UNSPACED:
            words.append(Word(word=mark + text, start_s=start_s, end_s=end_s, confidence=confidence))
            mark = ""
        else:
            words[-1] = _extended(words[-1], text, end_s, confidence)
    return tuple(words)


def _extended(word: Word, text: str, end_s: float, confidence: float | None) -> Word:
    known = [value for value in (word.confidence, confidence) if value is not None]
    return Word(word=word.word + text, start_s=word.start_s, end_s=end_s, confidence=min(known, default=None))


def _seconds(value: Any) -> float | None:
    found = number(value)
    return None if found is None else found / 1000


def _failure(code: Any) -> RecognizerUnavailable:
    """Codes are those of HTTP; 503 asks for a new session at once."""
    status = code if type(code) is int and 400 <= code <= 599 else None
    return RecognizerUnavailable(
        "the recogniser reported an error",
        code="stt_vendor_error" if status is None else f"stt_error_{status}",
        retryable=status is None or status >= 500 or status in (408, 425, 429),
        retry_after_s=0.0 if status == 503 else None,
    )
