"""
What the scripted recogniser makes of audio: results with words and times, as Pulse says them. Pure.

Words become final in a pause, one to three of them at a time; a partial tells meanwhile what is pending. Asked to, it
lies as real services were seen to: finals late, twice, out of order, or with words beyond the audio.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from tests.chaos.tones import Ear, Heard, Samples

PAUSE_S = 0.2
PARTIAL_EVERY_S = 0.5
MOST_WORDS = 3
_SLICE_S = 0.05
_BEYOND_S = 5.0
_LIES = ("late", "twice", "swapped", "beyond")


@dataclass(frozen=True, slots=True)
class Result:
    """One message of the service."""

    words: tuple[Heard, ...]
    is_final: bool = False
    is_last: bool = False
    from_finalize: bool = False

    @property
    def text(self) -> str:
        return " ".join(each.text for each in self.words)

    @property
    def wire_words(self) -> list[dict[str, Any]]:
        """Words as the protocol writes them."""
        return [{"word": each.text, "start": each.start_s, "end": each.end_s, "confidence": 0.9} for each in self.words]


class Recognition:
    """
    One session.

    Args:
        rate_hz: of its audio.
        rng: how many words a final holds.
    """

    def __init__(self, rate_hz: int, rng: random.Random) -> None:
        self._ear = Ear(rate_hz)
        self._slice = round(_SLICE_S * rate_hz)
        self._rng = rng
        self._wanted = self._draw()
        self._said = 0
        self._partial = ""
        self._partial_at_s = 0.0

    @property
    def position_s(self) -> float:
        """Seconds of audio heard."""
        return self._ear.position_s

    def hear(self, samples: Samples) -> list[Result]:
        """What audio is answered with."""
        results: list[Result] = []
        for at in range(0, len(samples), self._slice):
            self._ear.hear(samples[at : at + self._slice])
            if len(self._pending) >= self._wanted and self._ear.quiet_s >= PAUSE_S:
                results.append(self._final())
            elif self._ear.position_s >= self._partial_at_s + PARTIAL_EVERY_S:
                results += self._new_partial()
        return results

    def finalize(self) -> list[Result]:
        """What a request to finalise is answered with."""
        self._ear.flush()
        return [replace(self._final(), from_finalize=True)]

    def end(self) -> list[Result]:
        """What the request to end is answered with."""
        self._ear.flush()
        return [replace(self._final(), is_last=True)]

    @property
    def _pending(self) -> tuple[Heard, ...]:
        return tuple(self._ear.words[self._said :])

    def _final(self) -> Result:
        result = Result(self._pending, is_final=True)
        self._said = len(self._ear.words)
        self._wanted = self._draw()
        self._partial = ""
        return result

    def _new_partial(self) -> list[Result]:
        self._partial_at_s = self._ear.position_s
        result = Result((*self._pending, *self._ear.guess()))
        if result.text == self._partial:
            return []
        self._partial = result.text
        return [result]

    def _draw(self) -> int:
        return self._rng.randint(1, MOST_WORDS)


class Liar:
    """
    Passes results on, some of them wrongly.

    Args:
        share: of finals that are told wrongly.
        rng: which, and how.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._held: list[tuple[int, Result]] = []

    def tell(self, results: Iterable[Result], share: float) -> list[Result]:
        """The results as they go out. The last one of a session is always told, behind everything held."""
        told: list[Result] = []
        for result in results:
            told += self._tell(result, share)
        return told

    def _tell(self, result: Result, share: float) -> list[Result]:
        self._held = [(left - 1, held) for left, held in self._held]
        released = [held for left, held in self._held if left <= 0 or result.is_last]
        self._held = [(left, held) for left, held in self._held if left > 0 and not result.is_last]
        if not result.is_final or result.is_last or not result.words or self._rng.random() >= share:
            return [*released, result] if result.is_last else [result, *released]
        match self._rng.choice(_LIES):
            case "late":
                self._held.append((4, result))
                return released
            case "swapped":
                self._held.append((1, result))
                return released
            case "twice":
                return [result, result, *released]
            case _:
                *before, last = result.words
                return [replace(result, words=(*before, replace(last, end_s=last.end_s + _BEYOND_S))), *released]
