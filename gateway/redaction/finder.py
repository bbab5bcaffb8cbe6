"""What of a text is to be masked."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

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
        text = _STRAY.sub("\ufffd", text)
        return self.token.sub(_mark, text) if "[" in text else text

    def _judge(self, run: Run, around: Circumstances) -> list[Span]:
        """What of a run is masked, and as what."""
        cards = list(self._cards(run)) if "card" in self._kinds else []
        if "digits" in self._kinds and (cards or self._is_enough(run, around)):
            return [*_spans(run, cards, "phone" if not cards and self._is_phone(run) else "digits")]
        if "phone" in self._kinds and not cards:
            return list(self._phones(run))
        return [Span(run.pieces[first].start, run.pieces[after - 1].end, "card") for first, after in cards]

    def _is_enough(self, run: Run, around: Circumstances) -> bool:
        follows = run.is_first and around.after_digits >= 2
        if run.has_masked or (follows and around.after_digits >= ENDLESS):
            return bool(run.raw_count) and not (run.is_lone_word and not run.has_masked)
        is_open = around.is_partial and (run.is_first or run.is_last)
        has_reason = run.is_secret or is_open or follows or (run.is_first and run.is_last)
        count = run.raw_count if has_reason else run.count
        if is_open:
            return count >= (1 if run.is_first and run.is_last else 2)
        if run.is_glued and len(run.pieces) == 1 and count <= ENOUGH_DIGITS:
            return False
        if follows:
            return count + around.after_digits >= ENOUGH_DIGITS
        is_told = (
            run.is_secret or (run.is_first and run.is_last) or ((run.is_first or run.is_last) and run.singles >= 3)
        )
        return count >= (ENOUGH_DIGITS - 1 if is_told else ENOUGH_DIGITS)

    def _cards(self, run: Run) -> Iterator[tuple[int, int]]:
        groups = [piece.digits for piece in run.pieces]
        if sum(map(len, groups)) < 13:
            return
        place = 0
        while (found := find_card(groups, place)) is not None:
            yield found
            place = found[1]

    def _is_phone(self, run: Run) -> bool:
        return "phone" in self._kinds and is_phone(run.digits, self._region, is_international=run.has_plus)

    def _phones(self, run: Run) -> Iterator[Span]:
        """The longest number that begins first, and so on; a piece alone is none unless it is long."""
        if (not run.count and not run.has_plus) or find_card([piece.digits for piece in run.pieces]):
            return
        pieces = run.pieces
        place = 0
        while place < len(pieces):
            after = self._phone_end(run, place)
            if after is None:
                place += 1
            else:
                yield Span(pieces[place].start, pieces[after - 1].end, "phone")
                place = after

    def _phone_end(self, run: Run, first: int) -> int | None:
        digits, found = "", None
        for after in range(first, len(run.pieces)):
            piece = run.pieces[after]
            digits += piece.digits
            if piece.is_masked or len(digits) > 15:
                break
            if is_phone(digits, self._region, is_international=run.has_plus and first == 0):
                found = after + 1
        return found


def _spans(run: Run, cards: Sequence[tuple[int, int]], kind: str) -> Iterator[Span]:
    """The whole run: its cards, and as `kind` what is before, between and after them; nothing that is masked."""
    first = 0
    for start, after in [*cards, (len(run.pieces), len(run.pieces))]:
        group: list[int] = []
        for place in range(first, start):
            if not run.pieces[place].is_masked:
                group.append(place)
            elif group:
                yield Span(run.pieces[group[0]].start, run.pieces[group[-1]].end, kind)
                group = []
        if group:
            yield Span(run.pieces[group[0]].start, run.pieces[group[-1]].end, kind)
        if start < after:
            yield Span(run.pieces[start].start, run.pieces[after - 1].end, "card")
        first = after


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
