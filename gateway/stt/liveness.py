"""
Whether a session that is open is also alive, judged by progress.

A socket can be open, take audio and answer pings while nobody recognises anything. What counts is that speech goes in
and something comes out. After enough speech without any event the recogniser is asked for a final; if that is not
answered, the session counts as dead. Music and noise sound like speech here and are answered by nothing, rightly; so
each time the suspicion leads to nothing but silence, it takes twice as much to raise it again.
"""

from collections.abc import Callable
from enum import Enum

from gateway.shared import shared
from gateway.stt.loudness import SPEECH_DBFS, Loudness
from telephony_codecs.formats import AudioFormat

ANSWER_S = 5.0
"""How long the answer to `finalize` may take."""
CHECKPOINT_S = 60.0
"""Audio without any event after which a final is asked for all the same: its answer settles what was sent."""
MAX_DOUBLINGS = 6
MEASURED_EVERY_S = 0.5
"""Audio whose level is told by one piece of it."""


class Doubt:
    """How often in a row a track's sessions were silent without anything being said between; outlives them."""

    def __init__(self) -> None:
        self.doublings = 0


class Verdict(Enum):
    """What is to be done."""

    FINE = "fine"
    ASK = "ask"
    DEAD = "dead"


class Liveness:
    """
    Watches one session. `sent` is called for each piece of audio, `heard` for each event, `judge` now and then.

    Args:
        audio_format: of the audio.
        patience_s: speech without an event that raises suspicion.
        can_ask: whether the recogniser answers `finalize`.
        doubt: of the track.
        measure: level of audio in dBFS; `Loudness` by default.
    """

    def __init__(
        self,
        audio_format: AudioFormat,
        *,
        patience_s: float,
        can_ask: bool,
        doubt: Doubt,
        measure: Callable[[bytes], float] | None = None,
    ) -> None:
        self._measure = measure or Loudness(audio_format).dbfs
        self._rate_hz = audio_format.rate_hz
        self._half_patience = shared(patience_s / 2 * audio_format.rate_hz)
        self._measured_every = shared(MEASURED_EVERY_S * audio_format.rate_hz)
        self._unmeasured = 0
        self._can_ask = can_ask
        self._doubt = doubt
        self._since_event = 0
        self._since_asked = 0
        self._speech = 0
        self._asked_at: float | None = None
        self._is_suspect = False

    def sent(self, audio: bytes, samples: int) -> None:
        """
        Audio was sent.

        Its level is looked at only when nothing was said for half of the patience, and then in samples that stand for
        what came since the last one.
        """
        self._since_event += samples
        self._since_asked += samples
        if self._since_event > self._half_patience:
            self._unmeasured += samples
            if self._unmeasured >= self._measured_every:
                if self._measure(audio) >= SPEECH_DBFS:
                    self._speech += self._unmeasured
                self._unmeasured = 0

    def heard(self, *, is_answer: bool) -> None:
        """The recogniser said something; `is_answer`: only that it heard nothing, because it was asked."""
        self._since_event = self._since_asked = self._speech = 0
        self._asked_at = None
        if not is_answer:
            self._doubt.doublings = 0

    def judge(self, now: float, *, has_pending: bool) -> Verdict:
        """
        What to do now.

        Args:
            now: seconds of a monotonic clock.
            has_pending: an utterance is under way: then no final is asked for without suspicion.
        """
        if self._asked_at is not None:
            if now < self._asked_at + ANSWER_S:
                return Verdict.FINE
            self._asked_at = None
            return self._dead() if self._is_suspect else Verdict.FINE
        if self._speech >= self._half_patience * 2.0**self._doubt.doublings:
            if not self._can_ask:
                return self._dead()
            return self._ask(now, is_suspect=True)
        is_due = self._since_asked >= CHECKPOINT_S * self._rate_hz
        if is_due and self._can_ask and not has_pending:
            return self._ask(now, is_suspect=False)
        return Verdict.FINE

    def _ask(self, now: float, *, is_suspect: bool) -> Verdict:
        self._asked_at = now
        self._is_suspect = is_suspect
        self._since_asked = self._speech = 0
        if is_suspect:
            self._double()
        return Verdict.ASK

    def _dead(self) -> Verdict:
        if not self._can_ask:
            self._double()
        return Verdict.DEAD

    def _double(self) -> None:
        self._doubt.doublings = min(self._doubt.doublings + 1, MAX_DOUBLINGS)
