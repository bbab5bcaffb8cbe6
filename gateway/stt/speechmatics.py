"""
Speechmatics realtime, version 2 (kind `speechmatics`).

The session is asked for in `StartRecognition`; audio may follow `RecognitionStarted`. Finals (`AddTranscript`) come a
few words at a time, at most `max_delay` after they were spoken, and their texts are made to be joined as they are:
blanks are inside, and a full stop may come with the next one. They are held until a sentence or an utterance ends
(`is_eos`, `EndOfUtterance`), and are part of the partial meanwhile.

There is no keep-alive message: the WebSocket's pings hold the connection (3 minutes without), and an hour may pass
without audio.

Source: github.com/speechmatics/docs, spec/realtime.yaml, docs/api-ref/realtime-transcription-websocket.mdx and
docs/speech-to-text/realtime/{output,turn-detection,limits}.mdx, read 2026-11.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.config import SttProfile
from gateway.errors import RecognizerProtocolError, RecognizerUnavailable
from gateway.events import Final, Finished, Partial, RecognizerEvent, RecognizerRequest, Word
from gateway.stt.protocol import Message, Messages, closure
from gateway.stt.wire import bearer, decode, number, opening_message, options, session_url, text_or_none
from telephony_codecs.formats import Encoding

MAX_DELAY_S = 2.0
"""From a word to its final. The vendor's default is 4; it recommends 2 for contact centres."""
END_OF_UTTERANCE_S = 0.5
"""Pause that ends an utterance; the vendor's default is never, its limit 2, and it must be below `max_delay`."""
MAX_HELD_WORDS = 40
MAX_HELD_CHARS = 1000
"""Finals that are held, at most, where neither sentences nor utterances end."""

_ENCODINGS = {Encoding.MULAW: "mulaw", Encoding.LINEAR16: "pcm_s16le"}
_LOCALES = {"en-gb": "en-GB", "en-us": "en-US", "en-au": "en-AU"}
_RETRY_AFTER_S = 5.0
_BUSY = {"quota_exceeded", "job_error", "internal_error"}  # the vendor asks for 5 to 10 s before another try
_PASSING = {"idle_timeout", "session_timeout", "unknown_error"}
_LASTING = {
    "invalid_message",
    "invalid_model",
    "invalid_language",
    "invalid_config",
    "invalid_audio_type",
    "invalid_output_format",
    "not_authorised",
    "not_allowed",
    "protocol_error",
    "timelimit_exceeded",
}
_CLOSES = {
    1003: "protocol_error",
    1011: "internal_error",
    4001: "not_authorised",
    4003: "not_allowed",
    4004: "invalid_model",
    4005: "quota_exceeded",
    4006: "timelimit_exceeded",
    4013: "job_error",
}


class _Alternative(msgspec.Struct):
    content: str
    confidence: Any = None
    language: Any = None


class _Result(msgspec.Struct):
    """A word, an entity (a number, a date: written as one) or a punctuation mark."""

    alternatives: list[_Alternative]
    type: str = "word"
    start_time: Any = None
    end_time: Any = None
    attaches_to: Any = None
    is_eos: Any = False


class _Metadata(msgspec.Struct):
    transcript: str


class _Message(msgspec.Struct):
    """Any server message. Fields beside the text are `Any`: an odd one must not cost the words that came with it."""

    message: str
    metadata: Any = None
    results: Any = None
    forced: Any = False
    type: Any = None


_decoder = msgspec.json.Decoder(_Message)


class SpeechmaticsProtocol:
    """
    One Speechmatics session.

    Args:
        profile: `options` go into `transcription_config`.
        request: what is wanted; wins over `options`, which win over the profile's language. `max_words` bounds the
            finals that are held. A language with a region (`en-GB`) asks for its spelling, too.
    """

    def __init__(self, profile: SttProfile, request: RecognizerRequest) -> None:
        self.url = session_url(profile, request)
        self.headers = bearer(profile)
        self.is_ready = False
        self._opening = _start(profile, request)
        self._bytes_per_s = request.format.rate_hz * request.format.bytes_per_sample
        self._max_words = request.max_words or MAX_HELD_WORDS
        self._sent_bytes = 0
        self._sent_messages = 0
        self._text = ""
        self._words: tuple[Word, ...] = ()
        self._language: str | None = None
        self._has_partial = False

    def opening(self) -> Messages:
        return (self._opening,)

    def audio(self, chunk: bytes) -> Messages:
        self._sent_bytes += len(chunk)
        self._sent_messages += 1
        return (chunk,)

    def finalize(self) -> Messages:
        """Answered by a forced `AddTranscript` and a forced `EndOfUtterance`; more exact with the time of the audio."""
        now_s = round(self._sent_bytes / self._bytes_per_s, 3)
        return (opening_message({"message": "ForceEndOfUtterance", "timestamp": now_s}),)

    def keepalive(self) -> Messages:
        return ()

    def end(self) -> Messages:
        # The number of the last audio message, counted from 1: that of its `AudioAdded`, which may still be under way.
        return (opening_message({"message": "EndOfStream", "last_seq_no": self._sent_messages}),)

    def receive(self, message: Message) -> list[RecognizerEvent]:
        decoded = decode(_decoder, message)
        match decoded.message:
            case "RecognitionStarted":
                self.is_ready = True
                return []
            case "AddPartialTranscript":
                return self._partial(_transcript(decoded), _results(decoded))
            case "AddTranscript":
                return self._hold(_transcript(decoded), _results(decoded), is_forced=bool(decoded.forced))
            case "EndOfUtterance":
                return self._release(from_finalize=bool(decoded.forced))
            case "EndOfTranscript":
                return [*self._release(), Finished()]
            case "Error":
                raise _failure(decoded.type)
            case _:  # `AudioAdded`, `Info`, `Warning`, and kinds that are not asked for or that the vendor has added
                return []

    def closed(self, code: int) -> list[RecognizerEvent]:
        raise _failure(_CLOSES[code]) if code in _CLOSES else closure(code)

    def _hold(self, text: str, results: Sequence[_Result], *, is_forced: bool) -> list[RecognizerEvent]:
        self._text = _joined(self._text, text, results)
        self._words = _with_words(self._words, results)
        self._language = self._language or _language(results)
        ends_sentence = bool(results) and results[-1].is_eos is True
        is_full = len(self._words) >= self._max_words or len(self._text) >= MAX_HELD_CHARS
        if (ends_sentence or is_full) and not is_forced:  # if forced, `EndOfUtterance` follows and answers `finalize`
            return self._release()
        return self._partial("", ())

    def _partial(self, text: str, results: Sequence[_Result]) -> list[RecognizerEvent]:
        """What is held and what may change; nothing if there is nothing, and nothing to take back."""
        text = _joined(self._text, text, results).strip()
        takes_back, self._has_partial = self._has_partial, bool(text)
        if not text and not takes_back:
            return []
        words = _with_words(self._words, results, has_confidence=False)
        return [Partial(text=text, start_s=words[0].start_s if words else None, words=words)]

    def _release(self, *, from_finalize: bool = False) -> list[RecognizerEvent]:
        text, words, language = self._text.strip(), self._words, self._language
        self._text, self._words, self._language = "", (), None
        if not any(char.isalnum() for char in text):
            text = ""  # a full stop after a final that is out already
        if not text and not from_finalize:
            return []
        self._has_partial = False
        return [
            Final(
                text=text,
                start_s=words[0].start_s if words else None,
                end_s=words[-1].end_s if words else None,
                words=words,
                language=language,
                from_finalize=from_finalize,
            )
        ]


def _start(profile: SttProfile, request: RecognizerRequest) -> str:
    given = options(profile, request)
    language = request.language or text_or_none(given.get("language")) or profile.language or "en"
    wanted: dict[str, Any] = {
        "language": language.partition("-")[0],
        "output_locale": _LOCALES.get(language.lower()),
        "enable_partials": True,
        "max_delay": MAX_DELAY_S,
        "conversation_config": {"end_of_utterance_silence_trigger": END_OF_UTTERANCE_S},
    }
    wanted |= {name: value for name, value in given.items() if name != "language"}
    if request.endpointing is False:
        del wanted["conversation_config"]
    elif request.eou_timeout_ms is not None:
        trigger_s = min(request.eou_timeout_ms / 1000, 2.0)
        wanted["conversation_config"] = {"end_of_utterance_silence_trigger": trigger_s}
    return opening_message(
        {
            "message": "StartRecognition",
            "audio_format": {
                "type": "raw",
                "encoding": _ENCODINGS[request.format.encoding],
                "sample_rate": request.format.rate_hz,
            },
            "transcription_config": {name: value for name, value in wanted.items() if value is not None},
        }
    )


def _transcript(message: _Message) -> str:
    try:
        return msgspec.convert(message.metadata, _Metadata).transcript
    except msgspec.ValidationError:
        raise RecognizerProtocolError("a transcript without text", code="stt_message_malformed") from None


def _results(message: _Message) -> list[_Result]:
    """None if they make no sense, for the text counts more than its times."""
    try:
        found = msgspec.convert(message.results or [], list[_Result])
    except msgspec.ValidationError:
        return []
    return [result for result in found if result.alternatives]


def _joined(held: str, text: str, results: Sequence[_Result]) -> str:
    """One text after the other as they are, but without a blank before a mark that belongs to the word before."""
    if results and results[0].attaches_to in ("previous", "both"):
        held = held.rstrip()
    return held + text


def _with_words(
    words: tuple[Word, ...], results: Sequence[_Result], *, has_confidence: bool = True
) -> tuple[Word, ...]:
    """These words and those of `results`, marks attached to the words they belong to."""
    known = list(words)
    prefix = ""  # of the next word
    glued = False  # the next word is the rest of the last one: `e-mail`
    for result in results:
        content, start_s, end_s = result.alternatives[0].content, number(result.start_time), number(result.end_time)
        if result.type == "punctuation":
            if result.attaches_to == "next":
                prefix += content
            elif result.attaches_to in ("previous", "both") and known:
                known[-1] = msgspec.structs.replace(known[-1], word=known[-1].word + content)
                glued = result.attaches_to == "both"
        elif start_s is None or end_s is None:
            continue
        elif glued:
            known[-1] = msgspec.structs.replace(known[-1], word=known[-1].word + content, end_s=end_s)
            glued = False
        else:
            # In partials the vendor's confidence has no meaning.
            confidence = number(result.alternatives[0].confidence) if has_confidence else None
            known.append(Word(word=prefix + content, start_s=start_s, end_s=end_s, confidence=confidence))
            prefix = ""
    return tuple(known)


def _language(results: Sequence[_Result]) -> str | None:
    languages = (text_or_none(result.alternatives[0].language) for result in results)
    return next((language for language in languages if language), None)


def _failure(kind: Any) -> RecognizerUnavailable:
    """What an error of this type means, in a message or as the reason of a close."""
    known = isinstance(kind, str) and kind in _BUSY | _PASSING | _LASTING
    return RecognizerUnavailable(
        "the recogniser reported an error",
        code=f"stt_{kind}" if known else "stt_vendor_error",
        retryable=not (known and kind in _LASTING),
        retry_after_s=_RETRY_AFTER_S if known and kind in _BUSY else None,
    )
