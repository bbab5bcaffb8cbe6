"""
vosk-server of Alpha Cephei, self-hosted (kind `vosk`).

It answers every message but the configuration with exactly one, in order: a partial, or the final of an utterance that
ended there. Answers are counted against messages, so that the final of a `reset` and the last one of all are known
from those of audio that was still under way. Nothing waits for an answer before it sends: the driver reads on the side.

`reset` ends the utterance, and the recogniser goes on, its clock, too: that is our `finalize`. There is no language to
ask for (the server's model has one), no keep-alive (any other text would be taken for audio and end the session; pings
of the WebSocket do it), and no error message but the close.

Source: github.com/alphacep/vosk-server, websocket/asr_server.py and test.py, commit c2e82f0; the times' clock:
github.com/alphacep/vosk-api, src/recognizer.cc, `CleanUp`. Read 2026-11.
"""

from collections import deque
from typing import Any

import msgspec

from gateway.config import SttProfile
from gateway.errors import RecognizerProtocolError
from gateway.events import Final, Finished, Partial, RecognizerEvent, RecognizerRequest, Word
from gateway.stt.protocol import Message, Messages, closure
from gateway.stt.wire import bearer, decode, number, opening_message, options, session_url

# The server compares these byte for byte, blanks included; `{"eof": 1}` would be taken for audio and crash it.
_EOF = '{"eof" : 1}'
_RESET = '{"reset" : 1}'


class _Word(msgspec.Struct):
    word: str
    start: Any = None
    end: Any = None
    conf: Any = None


class _Alternative(msgspec.Struct):
    """One reading. Its `confidence` is a score without bounds, and is not passed on."""

    text: str = ""
    result: Any = None


class _Message(msgspec.Struct):
    """Any answer; `result` is missing where words are not shown, or none were heard."""

    partial: str | None = None
    text: str | None = None
    result: Any = None
    alternatives: list[_Alternative] | None = None


_decoder = msgspec.json.Decoder(_Message, strict=False)


class VoskProtocol:
    """
    One session at a vosk-server.

    Args:
        profile: `options` go into the configuration: `phrase_list`, `max_alternatives`. A key is sent as a bearer
            token, for a proxy before the server; it has no keys itself.
        request: `format` must be linear16, at any rate; endpointing is the model's own and cannot be asked for.
    """

    is_ready = True

    def __init__(self, profile: SttProfile, request: RecognizerRequest) -> None:
        self.url = session_url(profile, request)
        self.headers = bearer(profile)
        # Always told: the server's own rate may be another, and its default for words can be switched off.
        given = {"sample_rate": request.format.rate_hz, "words": True}
        self._opening = opening_message({"config": options(profile, request) | given})
        self._sent = 0
        self._answered = 0
        self._resets: deque[int] = deque()  # which messages they were, oldest first, until they are answered
        self._eof: int | None = None
        self._heard = ""

    def opening(self) -> Messages:
        return (self._opening,)

    def audio(self, chunk: bytes) -> Messages:
        self._sent += 1
        return (chunk,)

    def finalize(self) -> Messages:
        self._sent += 1
        self._resets.append(self._sent)
        return (_RESET,)

    def keepalive(self) -> Messages:
        return ()

    def end(self) -> Messages:
        self._sent += 1
        self._eof = self._sent
        return (_EOF,)

    def receive(self, message: Message) -> list[RecognizerEvent]:
        self._answered += 1  # before anything can fail: an answer that makes no sense is one, too
        answers_reset = bool(self._resets) and self._resets[0] == self._answered
        if answers_reset:
            self._resets.popleft()
        answers_eof = self._answered == self._eof
        try:
            events = self._meaning(decode(_decoder, message), from_finalize=answers_reset)
        except RecognizerProtocolError:
            if not answers_eof:
                raise
            events = []  # the last answer of all cannot be waited for again
        return [*events, Finished()] if answers_eof else events

    def closed(self, code: int) -> list[RecognizerEvent]:
        raise closure(code)

    def _meaning(self, message: _Message, *, from_finalize: bool) -> list[RecognizerEvent]:
        if message.partial is not None:
            return self._partial(message.partial.strip())
        text, result = message.text or "", message.result
        if message.alternatives:
            text, result = message.alternatives[0].text, message.alternatives[0].result
        text = text.strip()
        if not text and not from_finalize:
            return self._partial("")
        self._heard = ""
        words = _words(result)
        return [
            Final(
                text=text,
                start_s=words[0].start_s if words else None,
                end_s=words[-1].end_s if words else None,
                words=words,
                from_finalize=from_finalize,
            )
        ]

    def _partial(self, text: str) -> list[RecognizerEvent]:
        """One comes with every chunk of audio: only what changed is passed on."""
        if text == self._heard:
            return []
        self._heard = text
        return [Partial(text=text)]


def _words(found: Any) -> tuple[Word, ...]:
    try:
        words = msgspec.convert(found or [], list[_Word])
    except msgspec.ValidationError:
        return ()
    timed = ((word, number(word.start), number(word.end)) for word in words)
    return tuple(
        Word(word=word.word, start_s=start_s, end_s=end_s, confidence=number(word.conf))
        for word, start_s, end_s in timed
        if start_s is not None and end_s is not None
    )
