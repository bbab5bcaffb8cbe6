"""
Rules looked for in what the tracks of one call say: finals in, cues out. Pure.

A final is cut where somebody paused, so what a rule looks for may lie in several. Each track therefore keeps its last
words, as many as the widest rule reaches, and a match counts when its *last* word is new: so it is found once, however
the speech was cut. Matches of one rule on one track do not overlap.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import itemgetter
from typing import NamedTuple

from gateway.assist.rules import Near, Rule, RuleBook, Words
from gateway.assist.times import word_times
from gateway.assist.words import Spot, spots, tidied
from gateway.events import Segment, Track
from gateway.patterns import Pattern

LONGEST_PAUSE_S = 5.0
"""After a longer pause, or that far back, something else begins: nothing is found across it."""
MOST_CUES = 50
"""That one final makes: a rule without cool-down and a recogniser that repeats itself must not flood a call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cue:
    """A rule was met by `text`, said from `start_s` to `end_s` of call time."""

    name: str
    text: str
    note: str | None
    start_s: float
    end_s: float


class CueFinder:
    """
    Looks for rules in one call.

    Args:
        book: the rules as they are now; they may be others at the next final.
    """

    def __init__(self, book: Callable[[], RuleBook]) -> None:
        self._book = book
        self._tracks: dict[Track, _Memory] = {}
        self._told: dict[str, list[float]] = {}  # when each rule made cues, sorted

    def hear(self, track: Track, final: Segment) -> list[Cue]:
        """Take a track's next final; returns the cues that it completes, in the order in which they were said."""
        book = self._book()
        if not book.rules:
            self._tracks.clear()
            return []
        memory = self._tracks.setdefault(track, _Memory())
        memory.add(_Said(final))
        cues: list[Cue] = []
        for find in sorted(_finds(book, memory)):
            rule = book.rules[find.number]
            if rule.applies(track, final.language) and memory.claim(rule.name, find.first, find.last):
                cue = memory.cue(rule, find)
                if len(cues) < MOST_CUES and self._is_due(rule, cue.start_s):
                    cues.append(cue)
        memory.trim(book.reach)
        return cues

    def _is_due(self, rule: Rule, at_s: float) -> bool:
        """Whether the rule may make a cue now; tracks and recovered speech come in any order of time."""
        if rule.cooldown_s <= 0:
            return True
        told = self._told.setdefault(rule.name, [])
        place = bisect_left(told, at_s)
        if any(abs(each - at_s) < rule.cooldown_s for each in told[max(place - 1, 0) : place + 1]):
            return False
        insort(told, at_s)
        return True


class _Find(NamedTuple):
    """
    A match; sorts by where it ends, then by rule, the longest first.

    `first` and `last` count the track's words from the beginning of the call. `text`: what a pattern matched, if that
    is not just these words.
    """

    last: int
    number: int
    first: int
    text: str | None = None


class _Said:
    """One final of a track."""

    def __init__(self, final: Segment) -> None:
        self.final = final
        self.text = tidied(final.text)
        self.spots = spots(self.text)
        self._times: list[tuple[float, float]] | None = None

    def times(self, index: int) -> tuple[float, float]:
        """From when to when a word of it was said, as exactly as is known."""
        if self._times is None:
            self._times = word_times(self.final, [spot.word for spot in self.spots])
        return self._times[index]


class _Place(NamedTuple):
    """A word of a final."""

    said: _Said
    nth: int

    @property
    def spot(self) -> Spot:
        return self.said.spots[self.nth]


class _Memory:
    """
    The last words of one track.

    Attributes:
        words: as they are compared.
        begin: how many came before them in the call.
        fresh: number, counted in the call, of the first word of the newest final.
    """

    def __init__(self) -> None:
        self.words: list[str] = []
        self.begin = 0
        self.fresh = 0
        self._places: list[_Place] = []
        self._end_s: float | None = None
        self._claimed: dict[str, int] = {}  # by rule: the first word that is not part of its last match
        self._joined: tuple[str, list[tuple[int, int]]] | None = None

    def add(self, said: _Said) -> None:
        start_s = said.final.start_s
        if self._end_s is not None and abs(start_s - self._end_s) > LONGEST_PAUSE_S:
            self.trim(0)
        self._end_s = said.final.end_s
        self.fresh = self.begin + len(self.words)
        self.words += [spot.word for spot in said.spots]
        self._places += [_Place(said, index) for index in range(len(said.spots))]
        self._joined = None

    def trim(self, keep: int) -> None:
        """Forget all but the last words."""
        surplus = max(len(self.words) - keep, 0)
        del self.words[:surplus], self._places[:surplus]
        self.begin += surplus
        self._joined = None
        if not self.words:
            self._claimed.clear()

    def claim(self, rule: str, first: int, last: int) -> bool:
        """Take these words for a match of a rule; false if its last match has some of them."""
        if first < self.claimed(rule):
            return False
        self._claimed[rule] = last + 1
        return True

    def claimed(self, rule: str) -> int:
        """The first word that may begin a match of a rule."""
        return self._claimed.get(rule, self.begin)

    def cue(self, rule: Rule, find: _Find) -> Cue:
        first, last = self._places[find.first - self.begin], self._places[find.last - self.begin]
        return Cue(
            name=rule.name,
            text=find.text or self._text(find.first, find.last),
            note=rule.note,
            start_s=first.said.times(first.nth)[0],
            end_s=last.said.times(last.nth)[1],
        )

    def _text(self, first: int, last: int) -> str:
        """What was said from one word to another, as the finals have it: redaction looks for it there."""
        text, where = self.joined()
        return text[where[first - self.begin][0] : where[last - self.begin][1]]

    def joined(self) -> tuple[str, list[tuple[int, int]]]:
        """All of it in one text, with what stands around words, and where in it each word is."""
        if self._joined is None:
            self._joined = self._join()
        return self._joined

    def _join(self) -> tuple[str, list[tuple[int, int]]]:
        text = ""
        where: list[tuple[int, int]] = []
        for said, begin, end in _stretches(self._places):
            left = 0 if begin == said.spots[0].start else begin
            right = len(said.text) if end == said.spots[-1].end else end
            text += " " if text else ""
            shift = len(text) - left
            text += said.text[left:right]
            where += [(spot.start + shift, spot.end + shift) for spot in said.spots if begin <= spot.start < end]
        return text, where


def _stretches(places: Sequence[_Place]) -> Iterator[tuple[_Said, int, int]]:
    """Words in a row, as one stretch of text of each final."""
    begin = 0
    for index in range(1, len(places) + 1):
        if index == len(places) or places[index].said is not places[begin].said:
            yield places[begin].said, places[begin].spot.start, places[index - 1].spot.end
            begin = index


# ── looking ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _finds(book: RuleBook, memory: _Memory) -> Iterator[_Find]:
    """Every match that ends in the newest final."""
    near: set[int] = set()
    words, begin = memory.words, memory.begin
    for last in range(memory.fresh - begin, len(words)):
        word = words[last]
        for number, phrase in book.phrases.get(word, ()):
            first = last + 1 - len(phrase)
            if _is_at(words, first, phrase):
                yield _Find(begin + last, number, begin + first)
        near.update(book.near.get(word, ()))
    if near:
        where: dict[str, list[int]] = {}
        for index, word in enumerate(words):
            where.setdefault(word, []).append(index)
        for number in near:
            wanted = book.rules[number].wanted
            assert isinstance(wanted, Near)
            yield from _near(number, wanted, where, memory)
    if book.patterns and memory.fresh - begin < len(words):
        yield from _patterns(book, memory)


def _is_at(words: Sequence[str], first: int, phrase: Words) -> bool:
    if first < 0:
        return False
    return len(phrase) == 1 or tuple(words[first : first + len(phrase)]) == phrase


def _near(number: int, wanted: Near, where: dict[str, list[int]], memory: _Memory) -> Iterator[_Find]:
    """For each place where something that is looked for ends: the shortest stretch that has everything, if it fits."""
    words, begin = memory.words, memory.begin
    entries = (*wanted.every, *wanted.some)
    heard = sorted(
        (last, last + 1 - len(phrase), entry)
        for entry, phrase in enumerate(entries)
        for last in where.get(phrase[-1], ())
        if _is_at(words, last + 1 - len(phrase), phrase)
    )
    latest: dict[int, int] = {}  # entry → where it was heard last
    for last, first, entry in heard:
        latest[entry] = first
        if begin + last < memory.fresh:
            continue
        needed = [latest.get(each, -1) for each in range(len(wanted.every))]
        if wanted.some:
            is_some = entry >= len(wanted.every)
            some = (latest.get(each, -1) for each in range(len(wanted.every), len(entries)))
            needed.append(first if is_some else max(some))
        start = min(needed)
        if start >= 0 and last + 1 - start <= wanted.within:
            yield _Find(begin + last, number, begin + start)


def _patterns(book: RuleBook, memory: _Memory) -> Iterator[_Find]:
    text, where = memory.joined()
    for number, pattern in book.patterns:
        free = memory.claimed(book.rules[number].name) - memory.begin
        if free < len(where):
            begin = where[free - 1][1] if free > 0 else 0  # with what stands before the first free word
            found = _pattern(number, pattern, text, where, begin, memory)
            yield from islice(found, MOST_CUES)  # each is a search of its own


def _pattern(
    number: int, pattern: Pattern, text: str, where: Sequence[tuple[int, int]], at: int, memory: _Memory
) -> Iterator[_Find]:
    for begin, end in pattern.spans(text, at):
        first = bisect_right(where, begin, key=_end)
        last = bisect_left(where, end, key=_begin) - 1
        if first <= last and memory.begin + last >= memory.fresh:
            yield _Find(memory.begin + last, number, memory.begin + first, text[begin:end].strip())


_begin, _end = itemgetter(0), itemgetter(1)
