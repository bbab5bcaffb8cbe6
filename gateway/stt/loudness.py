"""How loud a track's audio is, and what of a backlog is too quiet to be heard again."""

from collections import deque
from math import log10

from gateway.media.timeline import Stretch
from telephony_codecs.convert import Converter
from telephony_codecs.formats import AudioFormat, Encoding
from telephony_codecs.pcm import root_mean_square

QUIET_DBFS = -55.0
"""No speech: far below what the quietest talker has on a telephone line, about that of an idle line's noise."""
SPEECH_DBFS = -45.0
"""Perhaps speech: active speech on telephone lines is around -25 dBFS (ITU-T P.56 levels, nominal -26 dBov)."""
KEPT_S = 0.5
"""Of a long silence, so much is kept after the last and before the next sound."""


class Loudness:
    """
    Measures audio of one format.

    Args:
        audio_format: of the audio.
    """

    def __init__(self, audio_format: AudioFormat) -> None:
        # A rate of its own would need a filter; only the encoding matters here.
        self._decode = Converter(audio_format, AudioFormat(Encoding.LINEAR16, audio_format.rate_hz)).convert

    def dbfs(self, audio: bytes) -> float:
        """Level in dB relative to the loudest possible square wave; whole samples; -inf for digital silence."""
        effective = root_mean_square(self._decode(audio))
        return 20 * log10(effective / 2**15) if effective else float("-inf")


class Shortener:
    """
    Leaves out the middle of long silences.

    Args:
        audio_format: of the audio.
    """

    def __init__(self, audio_format: AudioFormat) -> None:
        self._format = audio_format
        self._loudness = Loudness(audio_format)
        self._kept = round(KEPT_S * audio_format.rate_hz)
        self._quiet = self._kept  # samples since the last sound
        self._held: deque[Stretch] = deque()
        self._held_samples = 0

    @property
    def is_holding(self) -> bool:
        """Whether there is something to come before what follows."""
        return bool(self._held)

    def pass_on(self, piece: Stretch) -> list[Stretch]:
        """Take a piece of a backlog; returns what is to be heard now, in order."""
        if self._loudness.dbfs(piece.payload) >= QUIET_DBFS:
            self._quiet = 0
            return [*self.rest(), piece]
        samples = self._format.samples(piece.payload)
        if self._quiet < self._kept:
            self._quiet += samples
            return [piece]
        self._held.append(piece)
        self._held_samples += samples
        while self._held_samples - self._format.samples(self._held[0].payload) >= self._kept:
            self._held_samples -= self._format.samples(self._held.popleft().payload)
        return []

    def rest(self) -> list[Stretch]:
        """What is held back, for what follows is heard."""
        held = list(self._held)
        self._held.clear()
        self._held_samples = 0
        return held
