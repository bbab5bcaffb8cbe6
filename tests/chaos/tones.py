"""
Speech whose every word says which second of which call it is: a chord per second.

A second is 0.15 s of silence, 0.7 s of a chord, 0.15 s of silence. The chord carries 16 bits: of each of 16 pairs of
tones exactly one sounds. Thirty-two tones at 250, 350, … 3350 Hz lie in the telephone band and are whole multiples of
50 Hz, so that any 20 ms of a chord tell them apart exactly, wherever the piece begins. Two chords on top of each other,
and most damage to the audio, make a pair in which no tone wins: then nothing is heard, and never a wrong number.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from telephony_codecs import mulaw

RATE_HZ = 8000
WORD_START_S, WORD_END_S = 0.15, 0.85
VALUES = 1 << 16
"""Numbers that a second can carry."""
HEARD_SHARE = 0.6
"""How much of a chord must be heard for its word to be said."""

_BITS = 16
_BLOCK_S = 0.02
_SPACING_HZ = round(1 / _BLOCK_S)
_TONES_HZ = 250 + 100 * np.arange(2 * _BITS)
_AMPLITUDE = 700.0
_LOUD = 150
"""A sample above this is part of a chord: far below its level of 2000, far above what a resampler leaves of silence."""
_PAUSE_S = 0.03
_CLEAR = 4.0
"""The power by which the sounding tone of a pair must beat the other one."""

Samples = NDArray[np.int16]


def word(value: int) -> str:
    """What the recogniser says for the second that carries this number."""
    return f"n{value}"


@lru_cache(maxsize=1024)
def second(value: int) -> bytes:
    """One second of 8 kHz mu-law that carries a number from 0 to `VALUES` - 1."""
    bits = (value >> np.arange(_BITS)) & 1
    tones_hz = _TONES_HZ[0::2] * (1 - bits) + _TONES_HZ[1::2] * bits
    # Phases that grow with the square keep the peaks of the sum low (Schroeder, 1970).
    phases = np.pi * np.arange(_BITS) ** 2 / _BITS
    at_s = np.arange(round((WORD_END_S - WORD_START_S) * RATE_HZ)) / RATE_HZ
    chord = _AMPLITUDE * np.sin(2 * np.pi * np.outer(tones_hz, at_s) + phases[:, None]).sum(axis=0)
    samples = np.zeros(RATE_HZ, dtype="<i2")
    start = round(WORD_START_S * RATE_HZ)
    samples[start : start + len(chord)] = np.round(chord)
    return mulaw.encode(samples.tobytes())


def speech(values: Iterable[int]) -> bytes:
    """8 kHz mu-law whose n-th second carries the n-th number."""
    return b"".join(map(second, values))


@dataclass(frozen=True, slots=True)
class Heard:
    """A word and its times, in seconds of what the ear was given."""

    value: int
    start_s: float
    end_s: float

    @property
    def text(self) -> str:
        return word(self.value)


class Ear:
    """
    Hears chords in audio that comes in pieces of any size, and that may begin and end anywhere.

    Args:
        rate_hz: 8000 or a multiple.

    Attributes:
        words: heard so far, in order; a chord is heard once it is over.
        position: samples taken.
    """

    def __init__(self, rate_hz: int = RATE_HZ) -> None:
        self._rate_hz = rate_hz
        self._block = round(_BLOCK_S * rate_hz)
        self._pause = round(_PAUSE_S * rate_hz)
        self._least = (WORD_END_S - WORD_START_S) * HEARD_SHARE
        self._chord: list[Samples] = []
        self._start = 0
        self._quiet = 0
        self.words: list[Heard] = []
        self.position = 0

    @property
    def position_s(self) -> float:
        return self.position / self._rate_hz

    @property
    def quiet_s(self) -> float:
        """How long it has been quiet; 0 within a chord."""
        return self._quiet / self._rate_hz if not self._chord else 0.0

    def hear(self, samples: Samples) -> None:
        """Take the next audio, int16."""
        for at in range(0, len(samples), self._pause):
            self._take(samples[at : at + self._pause])

    def guess(self) -> list[Heard]:
        """The words of the chord that still sounds, as far as they can be told."""
        return self._decode(np.concatenate(self._chord)) if self._chord else []

    def flush(self) -> None:
        """The audio is over, or a word is wanted now: what was heard of the last chord counts."""
        self.words += self.guess()
        self._chord = []

    def _take(self, piece: Samples) -> None:
        loud = np.flatnonzero(np.abs(piece.astype(np.int32)) > _LOUD)
        if len(loud):
            if not self._chord:
                self._start = self.position + int(loud[0])
                piece_of_it = piece[loud[0] :]
            else:
                piece_of_it = piece
            self._chord.append(piece_of_it)
            self._quiet = len(piece) - 1 - int(loud[-1])
        else:
            if self._chord:
                self._chord.append(piece)
            self._quiet += len(piece)
        self.position += len(piece)
        if self._chord and self._quiet >= self._pause:
            self.flush()

    def _decode(self, samples: Samples) -> list[Heard]:
        end = len(samples) - (self._quiet if self._quiet < len(samples) else 0)
        values = _values(samples[:end], self._block, self._rate_hz)
        heard: list[Heard] = []
        begin = 0
        for index in range(1, len(values) + 1):
            if index == len(values) or values[index] != values[begin]:
                is_first, is_last = begin == 0, index == len(values)
                start = 0 if is_first else begin * self._block
                stop = end if is_last else index * self._block
                if values[begin] is not None and (stop - start) / self._rate_hz >= self._least:
                    heard.append(Heard(values[begin] or 0, self._seconds(start), self._seconds(stop)))
                begin = index
        return heard

    def _seconds(self, offset: int) -> float:
        return (self._start + offset) / self._rate_hz


def _values(samples: Samples, block: int, rate_hz: int) -> list[int | None]:
    """The number of each whole block; None where it is unclear."""
    count = len(samples) // block
    if count == 0:
        return []
    bins = _TONES_HZ // _SPACING_HZ
    assert rate_hz / block == _SPACING_HZ
    power = np.abs(np.fft.rfft(samples[: count * block].reshape(count, block), axis=1)[:, bins]) ** 2
    low, high = power[:, 0::2], power[:, 1::2]
    is_clear = (np.maximum(low, high) > _CLEAR * np.minimum(low, high) + 1.0).all(axis=1)
    numbers = ((high > low) << np.arange(_BITS)).sum(axis=1)
    return [int(number) if clear else None for number, clear in zip(numbers, is_clear, strict=True)]
