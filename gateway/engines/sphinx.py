"""The embedded engine: pocketsphinx with its English model, and an endpointer of our own around its voice detector."""

from collections import deque
from statistics import mean

import pocketsphinx

from gateway.engines.base import Engine
from gateway.engines.decoder import FORMAT, Band, Decoder
from gateway.engines.endpointing import FRAME_MS, Endpointer, Turn
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
from telephony_codecs.convert import Converter

_BYTES_PER_S = FORMAT.rate_hz * FORMAT.bytes_per_sample
_FRAME_BYTES = _BYTES_PER_S * FRAME_MS // 1000
# Audio kept from before a start, so that a soft first sound is not cut off.
_PRE_ROLL_FRAMES = 300 // FRAME_MS
_PARTIAL_FRAMES = 180 // FRAME_MS
# Continuous speech is cut after so long; earlier in a session's first utterance, which is recognised twice.
_UTTERANCE_BYTES = 30 * _BYTES_PER_S
_FIRST_UTTERANCE_BYTES = 8 * _BYTES_PER_S
# A word that reaches this close to a cut may be incomplete, and is left to the next utterance.
_UNSETTLED_S = 0.3
# Without endpointing, a final may span so much before a pause ends it all the same.
_LONGEST_FINAL_S = 30.0


class SphinxEngines:
    """
    Opens engines and keeps their decoders for reuse, by band; loading one takes about 0.3 s and 60 MB.

    Args:
        pause_ms: silence that ends an utterance unless the request says otherwise.
    """

    def __init__(self, pause_ms: int) -> None:
        self._pause_ms = pause_ms
        first = Decoder(Band.TELEPHONE)
        self._lm = first.lm
        self._free: dict[Band, list[Decoder]] = {band: [] for band in Band}
        self._free[first.band].append(first)

    def open(self, request: RecognizerRequest) -> "SphinxEngine":
        """A session of its own. Loads a decoder if every loaded one for the format's band is taken."""
        band = Band.of(request.format)
        free = self._free[band]
        decoder = free.pop() if free else Decoder(band, self._lm)
        return SphinxEngine(decoder, request, self._pause_ms)

    def close(self, engine: Engine) -> None:
        """Take the engine's decoder back, whatever the engine's state; it is not used again."""
        assert isinstance(engine, SphinxEngine)
        self._free[engine.decoder.band].append(engine.decoder)


class SphinxEngine:
    """
    One session; see `base.Engine`.

    Args:
        decoder: of the format's band, for this session alone while it lasts; reset here.
        request: format and options. Other languages than English are recognised as English.
        pause_ms: silence that ends an utterance when the request has no `eou_timeout_ms`.

    Raises:
        ValueError: no conversion from the request's format.
    """

    def __init__(self, decoder: Decoder, request: RecognizerRequest, pause_ms: int) -> None:
        decoder.reset()
        self.decoder = decoder
        self._converter = Converter(request.format, FORMAT)
        self._vad = pocketsphinx.Vad(sample_rate=FORMAT.rate_hz, frame_length=FRAME_MS / 1000)
        self._finals_at_pauses = request.endpointing is not False
        self._max_words = request.max_words
        own_pause_ms = request.eou_timeout_ms if self._finals_at_pauses else None
        self._endpointer = Endpointer(own_pause_ms or pause_ms)
        self._pending = bytearray()  # less than a frame
        self._heard_bytes = 0  # of whole frames
        self._pre_roll: deque[tuple[bytes, bool]] = deque(maxlen=_PRE_ROLL_FRAMES)
        self._voiced_end_s = 0.0
        self._frames_since_partial = 0
        self._voiced_since_partial = False
        self._partial = ""
        self._held: list[Word] = []  # settled, and not yet in a final
        self._events: list[RecognizerEvent] = []

    def accept(self, audio: bytes) -> list[RecognizerEvent]:
        self._hear(self._converter.convert(audio))
        return self._take_events()

    def finalize(self) -> list[RecognizerEvent]:
        self._close_utterance()
        self._emit_held(from_finalize=True)
        return self._take_events()

    def end(self) -> list[RecognizerEvent]:
        self._hear(self._converter.flush())
        self._close_utterance()
        self._emit_held()
        self._events.append(Finished())
        return self._take_events()

    @property
    def _now_s(self) -> float:
        return self._heard_bytes / _BYTES_PER_S

    def _take_events(self) -> list[RecognizerEvent]:
        events, self._events = self._events, []
        return events

    def _hear(self, pcm: bytes) -> None:
        self._pending += pcm
        whole = len(self._pending) - len(self._pending) % _FRAME_BYTES
        frames = bytes(self._pending[:whole])
        del self._pending[:whole]
        for start in range(0, whole, _FRAME_BYTES):
            self._hear_frame(frames[start : start + _FRAME_BYTES])

    def _hear_frame(self, frame: bytes) -> None:
        voiced = self._vad.is_speech(frame)
        was_in_speech = self._endpointer.in_speech
        turn = self._endpointer.step(voiced)
        self._heard_bytes += len(frame)
        if voiced:
            self._voiced_end_s = self._now_s
        if not was_in_speech:
            self._pre_roll.append((frame, voiced))
            if turn is Turn.STARTED:
                self._start_utterance()
            return
        self.decoder.hear(frame)
        if turn is Turn.ENDED:
            self._end_utterance()
            self._settle()
        else:
            self._follow(voiced)

    def _start_utterance(self) -> None:
        """Begin with the pre-roll."""
        start_s = self._now_s - len(self._pre_roll) * FRAME_MS / 1000
        first_voiced = next(index for index, (_, voiced) in enumerate(self._pre_roll) if voiced)
        self._events.append(SpeechStarted(at_s=round(start_s + first_voiced * FRAME_MS / 1000, 3)))
        self._begin(start_s, b"".join(frame for frame, _ in self._pre_roll))
        self._pre_roll.clear()

    def _begin(self, start_s: float, pcm: bytes) -> None:
        self.decoder.begin(start_s)
        # Frame by frame, as live audio comes: results must not depend on how often an utterance was begun.
        for start in range(0, len(pcm), _FRAME_BYTES):
            self.decoder.hear(pcm[start : start + _FRAME_BYTES])
        self._frames_since_partial = 0
        self._voiced_since_partial = True
        self._partial = ""

    def _follow(self, voiced: bool) -> None:
        """In the midst of speech: a partial from time to time, and a cut where it runs on for too long."""
        self._frames_since_partial += 1
        self._voiced_since_partial |= voiced
        if self._frames_since_partial >= _PARTIAL_FRAMES:
            words = (*self._held, *self.decoder.words())
            if self._max_words and len(words) > self._max_words:
                self._cut_utterance()
                return
            self._emit_partial(words)
            self._frames_since_partial = 0
            self._voiced_since_partial = False
        limit = _UTTERANCE_BYTES if self.decoder.knows_channel else _FIRST_UTTERANCE_BYTES
        if self.decoder.heard_bytes >= limit:
            self._cut_utterance()

    def _emit_partial(self, words: tuple[Word, ...]) -> None:
        text = _text(words)
        if text and (self._voiced_since_partial or text != self._partial):
            self._events.append(Partial(text=text, start_s=words[0].start_s, words=words))
            self._partial = text

    def _cut_utterance(self) -> None:
        """Settle the words that are complete, and hear the rest again as the next utterance."""
        words = self.decoder.finish()
        count = len(words)
        if self._max_words:
            count = min(count, max(1, self._max_words - len(self._held)))
        if 1 < count == len(words) and words[-1].end_s > self._now_s - _UNSETTLED_S:
            count -= 1
        rest_s = words[count].start_s if count < len(words) else self._now_s
        self._held += words[:count]
        self._settle()
        self._begin(rest_s, self.decoder.audio_from(rest_s))

    def _close_utterance(self) -> None:
        """End what is being said now, including audio that the endpointer has not decided about."""
        if not self._endpointer.in_speech:
            if not any(voiced for _, voiced in self._pre_roll):
                return
            self._start_utterance()
        tail = bytes(self._pending[: len(self._pending) // 2 * 2])
        self.decoder.hear(tail)
        self._heard_bytes += len(tail)
        del self._pending[: len(tail)]
        self._endpointer.reset()
        self._end_utterance()

    def _end_utterance(self) -> None:
        self._events.append(SpeechEnded(at_s=round(self._voiced_end_s, 3)))
        self._held += self.decoder.finish()

    def _settle(self) -> None:
        """The words held will not change any more: make them a final unless it shall grow."""
        is_long = self._held and self._held[-1].end_s - self._held[0].start_s > _LONGEST_FINAL_S
        is_full = self._max_words and len(self._held) >= self._max_words
        if self._finals_at_pauses or is_long or is_full:
            self._emit_held()

    def _emit_held(self, *, from_finalize: bool = False) -> None:
        """Make finals of all settled words; the last one, which may be empty, answers a `finalize`."""
        size = self._max_words or max(1, len(self._held))
        pieces = [self._held[start : start + size] for start in range(0, len(self._held), size)]
        if from_finalize and not pieces:
            pieces = [[]]
        for number, words in enumerate(pieces, 1):
            self._events.append(_final(words, from_finalize=from_finalize and number == len(pieces)))
        self._held = []


def _text(words: "tuple[Word, ...] | list[Word]") -> str:
    return " ".join(word.word for word in words)


def _final(words: list[Word], *, from_finalize: bool) -> Final:
    confidences = [word.confidence for word in words if word.confidence is not None]
    return Final(
        text=_text(words),
        start_s=words[0].start_s if words else None,
        end_s=words[-1].end_s if words else None,
        words=tuple(words),
        language="en",
        confidence=round(mean(confidences), 3) if confidences else None,
        from_finalize=from_finalize,
    )
