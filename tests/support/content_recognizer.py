"""
A recogniser that hears what the audio really holds: lost, repeated, shifted and clipped audio shows in its words.

A word is a run of equal loud bytes; the n-th loud byte is the word `w<n>`. A run that is clearly shorter than the
word really is was cut into, and is heard as `part<b>`, as any recogniser makes nonsense of half a word. It is late by a
delay, gives partials, makes finals at pauses and after some words, and its times tremble.
"""

import random
import re
from collections.abc import Iterable, Sequence

from gateway.events import Final, Finished, Partial, RecognizerEvent, Word
from gateway.media.timeline import Stretch
from tests.support.scripted_recognizer import ScriptedRecognizer

RATE_HZ = 8000
SILENCE = 0xFF
LOUD = [value for value in range(256) if value & 0x7F < 0x60]
"""Mu-law octets that are clearly no silence."""
_PAUSE_S = 0.3
_WHOLE = 0.75
"""Part of a word that has to be heard to know it."""
_RUN = re.compile(rb"(.)\1*", re.DOTALL)


class Speech:
    """
    Spoken words, drawn.

    Args:
        draw: where they come from.
        words: how many, at most 192.

    Attributes:
        audio: one byte per sample.
        words: what was really said, in call time.
    """

    def __init__(self, draw: random.Random, words: int) -> None:
        self.audio = bytearray()
        self.words: list[Word] = []
        for number, value in enumerate(LOUD[:words]):
            self.audio += bytes([SILENCE]) * draw.choice((0, 0, 0, 400, 3000, 8000))
            start = len(self.audio)
            self.audio += bytes([value]) * draw.randrange(1200, 5000)
            self.words.append(Word(word=f"w{number}", start_s=start / RATE_HZ, end_s=len(self.audio) / RATE_HZ))
        self.audio += bytes([SILENCE]) * 4000
        self.lengths = [round((word.end_s - word.start_s) * RATE_HZ) for word in self.words]

    @property
    def chunks(self) -> list[Stretch]:
        """As the gateway frames it."""
        return [Stretch(at, bytes(self.audio[at : at + 800])) for at in range(0, len(self.audio), 800)]


class ContentHearing:
    """
    What sessions hear: functions for `ScriptedRecognizers`.

    Args:
        lengths: samples of each word.
        delay_s: audio that must follow before something is recognised.
        words_per_final: then a final is made without a pause.
        trembling_s: by which times are wrong at most.
        has_times: words and finals carry times.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        *,
        delay_s: float = 0.3,
        words_per_final: int = 6,
        trembling_s: float = 0.02,
        has_times: bool = True,
        seed: int = 0,
    ) -> None:
        self._lengths = lengths
        self._delay = round(delay_s * RATE_HZ)
        self._words_per_final = words_per_final
        self._trembling_s = trembling_s
        self._has_times = has_times
        self._seed = seed
        self._said: dict[ScriptedRecognizer, tuple[int, int]] = {}

    def on_audio(self, session: ScriptedRecognizer, _audio: bytes) -> Iterable[RecognizerEvent]:
        """A partial with each piece, and finals when due."""
        return self._hear(session, len(session.audio) - self._delay, is_end=False)

    def on_finalize(self, session: ScriptedRecognizer) -> Iterable[RecognizerEvent]:
        """Everything, at once."""
        events = list(self._hear(session, len(session.audio), is_end=True))
        finals = [event for event in events if isinstance(event, Final)]
        return finals or [Final(text="", from_finalize=True)]

    def on_end(self, session: ScriptedRecognizer) -> Iterable[RecognizerEvent]:
        """Everything, and the end."""
        return [*self._hear(session, len(session.audio), is_end=True), Finished()]

    def _hear(self, session: ScriptedRecognizer, until: int, *, is_end: bool) -> Iterable[RecognizerEvent]:
        done = self._said.get(session, (0, 0))[0]
        runs = _runs(session.audio, done, max(done, until))
        while runs:
            count = self._due(runs, until, is_end=is_end)
            if not count:
                break
            yield self._final(runs[:count])
            self._said[session] = (runs[count - 1][2], 0)
            runs = runs[count:]
        if runs and not is_end:
            yield self._partial(runs)

    def _due(self, runs: Sequence[tuple[int, int, int]], until: int, *, is_end: bool) -> int:
        """How many runs make a final now."""
        for index, (_, _, end) in enumerate(runs):
            begin = runs[index + 1][1] if index + 1 < len(runs) else until
            if begin - end >= _PAUSE_S * RATE_HZ:
                return index + 1
            if index + 1 == self._words_per_final and end < until:
                return index + 1
        return len(runs) if is_end else 0

    def _final(self, runs: Sequence[tuple[int, int, int]]) -> Final:
        words = self._words(runs)
        text = " ".join(word.word for word in words)
        if not self._has_times:
            return Final(text=text)
        return Final(text=text, start_s=words[0].start_s, end_s=words[-1].end_s, words=words)

    def _partial(self, runs: Sequence[tuple[int, int, int]]) -> Partial:
        words = self._words(runs)
        text = " ".join(word.word for word in words)
        return Partial(text=text, start_s=words[0].start_s, words=words) if self._has_times else Partial(text=text)

    def _words(self, runs: Sequence[tuple[int, int, int]]) -> tuple[Word, ...]:
        return tuple(self._word(*run) for run in runs)

    def _word(self, value: int, begin: int, end: int) -> Word:
        draw = random.Random(f"{self._seed} {value} {begin}")
        number = LOUD.index(value)
        is_whole = end - begin >= _WHOLE * self._lengths[number]
        start_s = max(0.0, begin / RATE_HZ + draw.uniform(-1, 1) * self._trembling_s)
        end_s = max(start_s, end / RATE_HZ + draw.uniform(-1, 1) * self._trembling_s)
        return Word(word=f"{'w' if is_whole else 'part'}{number}", start_s=start_s, end_s=end_s)


def _runs(audio: bytes | bytearray, begin: int, end: int) -> list[tuple[int, int, int]]:
    """Value, begin and end of each run of equal bytes that is no silence."""
    found = _RUN.finditer(audio, begin, end)
    return [(run[0][0], run.start(), run.end()) for run in found if run[0][0] != SILENCE]
