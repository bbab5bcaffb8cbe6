"""What of a text is to be masked."""

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from gateway.patterns import Pattern
from gateway.redaction.cards import find_card
from gateway.redaction.emails import Emails
from gateway.redaction.languages import merged
from gateway.redaction.numbers import MASKED, TAKEN, Numbers, Run, masked_places
from gateway.redaction.phones import is_phone

ENOUGH_DIGITS = 4
"""So many in a row name somebody or something; a piece of a cut number has at least so many, or neighbours that do."""
ENDLESS = 99
"""Digits with which a text ends whose last number is masked."""
_NUMERIC = ("card", "phone", "digits")
_ROUNDS = 8
_STRAY = re.compile(f"[{TAKEN}{MASKED}]")
_OTHER_DIGIT = re.compile(r"[^\D0-9]")  # of other scripts, or in full width


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Characters of a text, `end` exclusive, and what they are."""

    start: int
    end: int
    kind: str


@dataclass(frozen=True, slots=True)
class Circumstances:
    """
    What is known of a text beside itself.

    `after_digits`: with so many digits the same voice stopped a moment ago. `is_partial`: it is cut off.
    """

    after_digits: int = 0
    is_partial: bool = False


PLAIN = Circumstances()
EAGER = Circumstances(after_digits=ENDLESS, is_partial=True)
"""Of what may be the middle of something that began before it and goes on after it."""


class Finder:
    """
    Finds what is to be masked. Says the same of the same text always.

    Args:
        kinds: `card`, `phone`, `email`, `digits`; others find nothing here.
        patterns: the operator's, by name.
        languages: how numbers and addresses are read aloud; see `languages.LANGUAGES`.
        region: country whose phone numbers come without a country code.
    """

    def __init__(
        self, kinds: Collection[str], patterns: Mapping[str, Pattern], languages: Iterable[str], region: str
    ) -> None:
        language = merged(languages)
        self._kinds = frozenset(kinds)
        self._patterns = patterns
        self._region = region
        self._numbers = Numbers(language) if self._kinds & set(_NUMERIC) else None
        if "phone" in self._kinds:
            is_phone("0" * 10, region, is_international=False)  # loads the tables now, and not within a call
        self._emails = Emails(language) if "email" in self._kinds else None
        names = "|".join(map(re.escape, {*_NUMERIC, "email", "dtmf", *patterns}))
        self.rounds = _ROUNDS if patterns else 1
        """How often to look: what an expression did not match it may match when something beside it is masked."""
        self.token = re.compile(rf"\[(?:{names})\]")
        """What stands in place of what was masked."""

    def find(self, text: str, around: Circumstances = PLAIN) -> list[Span]:
        """Everything, from left to right, nothing twice."""
        text = self._without_tokens(text)
        found: list[Span] = []
        for name, pattern in self._patterns.items():
            text = _take(text, pattern.spans(text), name, found)
        if self._emails is not None:
            text = _take(text, self._emails.spans(text, eager=around.is_partial), "email", found)
        if self._numbers is not None:
            for run in self._numbers.runs(text):
                found += self._judge(run, around)
        return sorted(found)

    def tail(self, text: str, after_digits: int = 0) -> int:
        """
        With how many digits a text ends, so that a number may go on in the next one; `ENDLESS` if they are masked.

        Args:
            after_digits: the same of the text before, which counts if this one is nothing but a number.
        """
        if self._numbers is None:
            return 0
        runs = self._numbers.runs(self._without_tokens(text))
        if not runs or not runs[-1].is_last:
            return 0
        last = runs[-1]
        if last.has_masked or self._judge(last, Circumstances(after_digits)):
            return ENDLESS
        count = last.raw_count
        return count + after_digits if last.is_first and count else count

    def may_go_on(self, text: str) -> bool:
        """Whether what was said before decides how this is masked."""
        if self._numbers is None:
            return False
        runs = self._numbers.runs(self._without_tokens(text))
        return bool(runs) and runs[0].is_first

    def _without_tokens(self, text: str) -> str:
        """What is masked already cannot be found again; numbers leave a mark, because others may go on from them."""
        if not text.isascii():
            text = _OTHER_DIGIT.sub(_ascii_digit, _STRAY.sub("\ufffd", text))
        return self.token.sub(_mark, text) if "[" in text else text

    def _judge(self, run: Run, around: Circumstances) -> list[Span]:
        """What of a run is masked, and as what."""
        cards = _cards(run)
        masked = cards if "card" in self._kinds else []
        if "digits" in self._kinds and (masked or self._is_enough(run, around)):
            return [*_spans(run, masked, "phone" if not masked and self._is_phone(run) else "digits")]
        phones = self._phones(run, cards) if "phone" in self._kinds else ()
        return [_span(run, first, after, "card") for first, after in masked] + [
            _span(run, first, after, "phone") for first, after in phones
        ]

    def _is_enough(self, run: Run, around: Circumstances) -> bool:
        follows = run.is_first and not run.is_lone_word and around.after_digits >= 2
        if run.has_masked or (follows and around.after_digits >= ENDLESS):
            return bool(run.raw_count)
        is_whole = run.is_first and run.is_last
        is_cut = around.is_partial and run.is_last
        count = run.raw_count if run.is_secret or is_cut or follows or is_whole else run.count
        if is_cut:
            return count >= 2
        if run.is_glued and len(run.pieces) == 1 and count <= ENOUGH_DIGITS:
            return False
        is_counted_out = (run.is_first or run.is_last) and run.singles >= 3
        enough = ENOUGH_DIGITS - 1 if run.is_secret or is_whole or is_counted_out else ENOUGH_DIGITS
        return count + (around.after_digits if follows else 0) >= enough

    def _is_phone(self, run: Run) -> bool:
        return "phone" in self._kinds and is_phone(run.digits, self._region, is_international=run.has_plus)

    def _phones(self, run: Run, cards: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        """Beside cards the longest number that begins first, and so on; a piece alone is none unless it is long."""
        if not run.count and not run.has_plus:
            return
        place = 0
        for start, beyond in [*cards, (len(run.pieces), len(run.pieces))]:
            while place < start:
                after = self._phone_end(run, place, start)
                if after is not None:
                    yield place, after
                place = after or place + 1
            place = beyond

    def _phone_end(self, run: Run, first: int, stop: int) -> int | None:
        digits, found = "", None
        for after in range(first, stop):
            piece = run.pieces[after]
            digits += piece.digits
            if piece.is_masked or len(digits) > 15:
                break
            if is_phone(digits, self._region, is_international=run.has_plus and first == 0):
                found = after + 1
        return found


def _span(run: Run, first: int, after: int, kind: str) -> Span:
    return Span(run.pieces[first].start, run.pieces[after - 1].end, kind)


def _cards(run: Run) -> list[tuple[int, int]]:
    """Of each card's number its first piece and the one after its last."""
    groups = [piece.digits for piece in run.pieces]
    once = [piece.digits[:1] if piece.is_repeated else piece.digits for piece in run.pieces]
    if once == groups:
        return list(_cards_in(groups))
    cards: list[tuple[int, int]] = []  # a "double" before a number may be no part of it: both ways count
    for first, after in sorted({*_cards_in(groups), *_cards_in(once)}):
        if cards and first < cards[-1][1]:
            cards[-1] = (cards[-1][0], max(after, cards[-1][1]))
        else:
            cards.append((first, after))
    return cards


def _cards_in(groups: Sequence[str]) -> Iterator[tuple[int, int]]:
    place = 0
    while (found := find_card(groups, place)) is not None:
        yield found
        place = found[1]


def _spans(run: Run, cards: Sequence[tuple[int, int]], kind: str) -> Iterator[Span]:
    """The whole run: its cards, and as `kind` what is before, between and after them; nothing that is masked."""
    place = 0
    for start, beyond in [*cards, (len(run.pieces), len(run.pieces))]:
        rest = groupby(range(place, start), lambda each: run.pieces[each].is_masked)
        for group in (list(places) for is_masked, places in rest if not is_masked):
            yield _span(run, group[0], group[-1] + 1, kind)
        if start < beyond:
            yield _span(run, start, beyond, "card")
        place = beyond


def _mark(token: re.Match[str]) -> str:
    text = token.group()
    return (MASKED if text[1:-1] in _NUMERIC else TAKEN) * len(text)


def _take(text: str, spans: Iterable[tuple[int, int]], kind: str, found: list[Span]) -> str:
    """Note what of these spans nobody has yet; returns the text with them filled."""
    for start, end in sorted(spans):
        while start < end:
            free = next((place for place in range(start, end) if text[place] not in (TAKEN, MASKED)), end)
            stop = next((place for place in range(free, end) if text[place] in (TAKEN, MASKED)), end)
            if text[free:stop].strip():
                found.append(Span(free, stop, kind))
                text = masked_places(text, ((free, stop),), TAKEN)
            start = stop
    return text


def _ascii_digit(digit: re.Match[str]) -> str:
    return str(unicodedata.decimal(digit.group()))
