"""
Runs of digits in a text, written or read aloud: "4111 1111", "four one double one", "forty one eleven".

What people say of quantities is kept apart: prices, shares, dates, times of day, years, and numbers in words such as
"two hundred and fifty". A run that is long enough for a number that names somebody takes all of it, quantities
included.
"""

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

from gateway.redaction.languages import Language

TAKEN, MASKED = "\ue000", "\ue001"
"""Stand, as long as it was, in place of what is masked already; the second one in place of numbers."""

_TOKEN = re.compile(rf"{MASKED}+|{TAKEN}+|[0-9]+|[^\W0-9_]+(?:['\u2019][^\W0-9_]+)*")
# Between the digits of one number. A question is answered by somebody else; money and addresses begin something new.
_GAP = re.compile(r"[\s\-\u2010-\u2015\u2212\u00ad\u00b7\u2022\u200b-\u200d\u2060\ufeff.,/()+:;#*\u2026'\"_\\|~]{0,12}")
_DIGITS = frozenset("0123456789")  # `isdigit` takes others, too, that are no digits of a number
_MOST_BETWEEN = 6
_LONG = 10
"""Digits of a run that is no quantity, whatever it looks like."""
_YEAR = range(1800, 2100)
_CARDINAL = re.compile(r"(?:(?:[ut]h[ut]?|[ut]|h)k)*(?:[ut]h[ut]?|[ut]|h)?")
_CLOCK_AND_DATE = (
    r"(?<![\d:])\d{1,2}:[0-5]\d(?::[0-5]\d)?(?![\d:])",
    r"(?<![\d/])(?:0?[1-9]|[12]\d|3[01])/(?:0?[1-9]|[12]\d|3[01])/(?:(?:18|19|20)\d\d|\d\d)(?![\d/])",
    r"(?<![\d.-])(?:0?[1-9]|[12]\d|3[01])([.-])(?:0?[1-9]|[12]\d|3[01])\1(?:18|19|20)\d\d(?!\d|[.-]\d)",
    r"(?<![\d-])(?:18|19|20)\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])(?!\d|-\d)",
)
_AMOUNT = r"\d{1,3}(?:[,.]\d{3})+(?:[.,]\d{1,2})?(?![\d]|[.,]\d)|\d{1,9}(?:[.,]\d{1,2})?(?![\d]|[.,]\d)"


class _Kind(Enum):
    WRITTEN = 1
    SPOKEN = 2
    PAIR = 3
    SCALE = 4
    MASKED = 5


@dataclass(frozen=True, slots=True)
class Piece:
    """
    A part of a run, from `start` to `end` in the text. `digits` is what it says; empty where it is masked already.

    `is_single`: said digit by digit. `is_weak`: may be another word. `is_quantity`: belongs to a price, a date …
    `is_repeated`: a word before it says that it is there several times.
    """

    start: int
    end: int
    digits: str
    kind: _Kind
    is_weak: bool = False
    is_quantity: bool = False
    is_repeated: bool = False

    @property
    def is_masked(self) -> bool:
        return self.kind is _Kind.MASKED

    @property
    def is_single(self) -> bool:
        return self.kind in (_Kind.WRITTEN, _Kind.SPOKEN) and len(set(self.digits)) == 1 and len(self.digits) <= 4


@dataclass(frozen=True, slots=True)
class Run:
    """
    Digits that follow each other.

    `is_first`, `is_last`: nothing is said before or after it. `is_secret`: the words before it say so.
    `has_plus`: a plus sign is before it. `is_glued`: letters touch it. `goes_on`: a word follows without a pause.
    """

    pieces: tuple[Piece, ...]
    is_first: bool
    is_last: bool
    is_secret: bool
    has_plus: bool
    is_glued: bool
    goes_on: bool

    @property
    def has_masked(self) -> bool:
        """Whether a part of it is masked already."""
        return any(piece.is_masked for piece in self.pieces)

    @property
    def digits(self) -> str:
        """All of them."""
        return "".join(piece.digits for piece in self.pieces)

    @property
    def count(self) -> int:
        """How many digits are left when what is a quantity is left out; 0 if it is one as a whole."""
        if not any(piece.digits and not piece.is_weak for piece in self.pieces):
            return 0
        total = len(self.digits)
        if total < _LONG and (self._is_cardinal or self._is_year):
            return 0
        counted = sum(len(piece.digits) for piece in self.pieces if not piece.is_quantity)
        return total if total >= _LONG and counted else counted

    @property
    def raw_count(self) -> int:
        """How many digits there are, whatever they mean; 0 if it may be no number at all, or is one in words."""
        if self._is_cardinal or not any(piece.digits and not piece.is_weak for piece in self.pieces):
            return 0
        return sum(len(piece.digits) for piece in self.pieces if not piece.is_quantity)

    @property
    def singles(self) -> int:
        """How many were said one by one."""
        return sum(len(piece.digits) for piece in self.pieces if piece.is_single and not piece.is_quantity)

    @property
    def is_lone_word(self) -> bool:
        """A single digit in words that begins a sentence: "one moment"."""
        return len(self.pieces) == 1 and self.pieces[0].kind is _Kind.SPOKEN and self.goes_on

    @property
    def _is_cardinal(self) -> bool:
        """A number in words, as quantities are said."""
        if not any(piece.kind is _Kind.SCALE for piece in self.pieces):
            return False
        letters = ""
        for piece in self.pieces:
            match piece.kind:
                case _Kind.SPOKEN if len(piece.digits) == 1:
                    letters += "u"
                case _Kind.PAIR:
                    letters += "t"
                case _Kind.SCALE:
                    letters += "h" if piece.digits == "00" else "k"
                case _:
                    return False
        return _CARDINAL.fullmatch(letters) is not None

    @property
    def _is_year(self) -> bool:
        digits = self.digits
        if len(digits) != 4 or int(digits) not in _YEAR:
            return False
        kinds = [piece.kind for piece in self.pieces]
        return kinds == [_Kind.WRITTEN] or (kinds[0] is _Kind.PAIR and len(self.pieces) <= 3)


class Numbers:
    """
    Finds runs.

    Args:
        language: how numbers are read aloud.
    """

    def __init__(self, language: Language) -> None:
        self._language = language
        self._spoken = {*language.units, *language.teens, *language.tens, *language.scales, *language.repeats}
        measures = "|".join(sorted(language.measures, key=len, reverse=True))
        months = "|".join(sorted(language.months, key=len, reverse=True))
        quantities = [
            *_CLOCK_AND_DATE,
            rf"[$€£¥₹]\s?(?:{_AMOUNT})",
            rf"(?<![\d.,])(?:{_AMOUNT})\s?(?:[%€£$]|(?:{measures})\b)",
            r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?:\.\d{1,2})?(?![\d]|[.,]\d)",
            r"(?<![\d.,])\d{1,6}\.\d{1,2}(?![\d]|[.,]\d)",
        ]
        if months:
            quantities.append(rf"\b(?:{months})\.?\s\d{{1,2}}(?:st|nd|rd|th)?,?\s(?:18|19|20)\d\d(?!\d)")
        self._quantity = re.compile(
            "|".join(f"(?:{_apart(each, place)})" for place, each in enumerate(quantities)), re.I
        )

    def runs(self, text: str) -> list[Run]:
        """Every run, from left to right."""
        tokens = [(match.start(), match.end(), match.group().lower()) for match in _TOKEN.finditer(text)]
        if not any(word[0] in _DIGITS or word[0] == MASKED or word in self._spoken for _, _, word in tokens):
            return []
        quantities = [match.span() for match in self._quantity.finditer(text)]
        runs = []
        place = 0
        while place < len(tokens):
            pieces, after = self._run(text, tokens, place, quantities)
            if pieces:
                runs.append(self._made(text, tokens, place, after, pieces))
            place = max(after, place + 1)
        return runs

    def _run(
        self, text: str, tokens: Sequence[tuple[int, int, str]], place: int, quantities: Sequence[tuple[int, int]]
    ) -> tuple[tuple[Piece, ...], int]:
        """The run that begins with a token, and the token after it; no pieces if none does."""
        pieces: list[Piece] = []
        after = place
        while (step := self._piece(text, tokens, after, quantities)) is not None:
            piece, after = step
            pieces.append(piece)
            following = after
            while following < len(tokens) and self._may_stand_between(tokens[following][2], piece, following - after):
                following += 1
            if following >= len(tokens) or not _is_near(text, tokens, after - 1, following):
                break
            if self._piece(text, tokens, following, quantities) is None:
                break
            after = following
        return tuple(pieces), after

    def _may_stand_between(self, word: str, before: Piece, already: int) -> bool:
        if already >= _MOST_BETWEEN:
            return False
        return word in self._language.fillers or (before.kind is _Kind.SCALE and word in self._language.links)

    def _piece(
        self, text: str, tokens: Sequence[tuple[int, int, str]], place: int, quantities: Sequence[tuple[int, int]]
    ) -> tuple[Piece, int] | None:
        """The piece that begins with a token, and the token after it."""
        if place >= len(tokens):
            return None
        start, end, word = tokens[place]
        language = self._language
        if word[0] == MASKED:
            return Piece(start, end, "", _Kind.MASKED), place + 1
        if word[0] in _DIGITS:
            near = bisect_right(quantities, (start, len(text))) - 1
            is_quantity = near >= 0 and end <= quantities[near][1]
            return Piece(start, end, word, _Kind.WRITTEN, is_quantity=is_quantity), place + 1
        if (digit := language.units.get(word)) is not None:
            return Piece(start, end, digit, _Kind.SPOKEN, is_weak=word in language.weak), place + 1
        if (pair := language.teens.get(word)) is not None:
            return Piece(start, end, pair, _Kind.PAIR), place + 1
        if (pair := language.tens.get(word)) is not None:
            return self._tens(text, tokens, place, pair)
        if (zeros := language.scales.get(word)) is not None:
            return Piece(start, end, zeros, _Kind.SCALE), place + 1
        if (times := language.repeats.get(word)) is not None:
            return self._repeated(text, tokens, place, times)
        return None

    def _tens(self, text: str, tokens: Sequence[tuple[int, int, str]], place: int, pair: str) -> tuple[Piece, int]:
        start, end, _ = tokens[place]
        if place + 1 < len(tokens) and _is_near(text, tokens, place, place + 1):
            _, last, word = tokens[place + 1]
            digit = self._language.units.get(word, "0")
            if digit != "0":
                return Piece(start, last, pair[0] + digit, _Kind.PAIR), place + 2
        return Piece(start, end, pair, _Kind.PAIR), place + 1

    def _repeated(
        self, text: str, tokens: Sequence[tuple[int, int, str]], place: int, times: int
    ) -> tuple[Piece, int] | None:
        start = tokens[place][0]
        if place + 1 >= len(tokens) or not _is_near(text, tokens, place, place + 1):
            return None
        _, end, word = tokens[place + 1]
        digit = self._language.units.get(word) or (word if len(word) == 1 and word in _DIGITS else None)
        return None if digit is None else (Piece(start, end, digit * times, _Kind.SPOKEN, is_repeated=True), place + 2)

    def _made(
        self, text: str, tokens: Sequence[tuple[int, int, str]], place: int, after: int, pieces: tuple[Piece, ...]
    ) -> Run:
        start, end = pieces[0].start, pieces[-1].end
        while start > 0 and text[start - 1] in "+(":
            start -= 1
        has_plus = "+" in text[start : pieces[0].start] or text[:start].endswith("+ ")
        pieces = (replace(pieces[0], start=start), *pieces[1:])
        before = [word for _, _, word in tokens[max(0, place - 5) : place]]
        fillers = self._language.fillers
        is_last = all(tokens[each][2] in fillers for each in range(after, len(tokens)))
        return Run(
            pieces=pieces,
            is_first=all(tokens[each][2] in fillers for each in range(place)),
            is_last=is_last,
            is_secret=any(word in self._language.secrets for word in before),
            has_plus=has_plus,
            is_glued=text[max(0, start - 1) : start].isalpha() or text[end : end + 1].isalpha(),
            goes_on=not is_last and text[end : tokens[after][0]].isspace(),
        )


def _is_near(text: str, tokens: Sequence[tuple[int, int, str]], before: int, after: int) -> bool:
    """Whether what stands between two tokens, fillers left out, may stand within a number."""
    return all(
        _GAP.fullmatch(text, tokens[place][1], tokens[place + 1][0]) is not None for place in range(before, after)
    )


def _apart(expression: str, place: int) -> str:
    """With a group's number made its own: expressions are joined."""
    return expression.replace("([.-])", f"(?P<mark{place}>[.-])").replace(r"\1", f"(?P=mark{place})")


def masked_places(text: str, spans: Sequence[tuple[int, int]], mark: str) -> str:
    """The text with each of these places filled with a mark, as long as before."""
    parts: list[str] = []
    done = 0
    for start, end in spans:
        parts += (text[done:start], mark * (end - start))
        done = end
    return "".join((*parts, text[done:]))
