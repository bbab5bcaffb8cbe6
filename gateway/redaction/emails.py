"""
E-mail addresses, written or read aloud: "john.smith@example.com", "john dot smith at example dot com".

From each `at` the address is followed to both sides, word by word: the effort is linear in the text.
"""

import re
from collections.abc import Iterator

from gateway.redaction.languages import Language

_CHUNK = re.compile(r"\S+")
_NAME = re.compile(r"[\w.+%'\u2019-]*\w")
_LABELS = re.compile(r"\w[\w-]*(?:\.[\w-]+)*")
_LEFT = re.compile(r"[\w.+%'\u2019-]")
_RIGHT = re.compile(r"[\w.-]*\w")
_TRIMMED = '.,;:!?"()<>'
# Those that are said without a written dot; any two letters are a country's.
_ENDINGS = frozenset(
    {"com", "org", "net", "edu", "gov", "mil", "int", "info", "biz", "name", "pro", "app", "dev", "cloud", "online"}
    | {"shop", "store", "email", "mobi"}
)
_MOST_LETTERS = 40


class Emails:
    """
    Finds addresses.

    Args:
        language: how its parts are said.
    """

    def __init__(self, language: Language) -> None:
        self._at = language.at
        self._dot = language.dot
        self._joiners = language.joiners | language.dot
        self._hyphens = language.joiners
        self._not_names = language.not_names

    def spans(self, text: str, *, eager: bool) -> Iterator[tuple[int, int]]:
        """
        From where to where addresses are; they may overlap.

        Args:
            text: anything.
            eager: it may be cut off: also what can become an address at its end.
        """
        if "@" in text:
            yield from _written(text)
        chunks = [match.span() for match in _CHUNK.finditer(text)]
        words = [text[start:end].strip(_TRIMMED).lower() for start, end in chunks]
        for place, word in enumerate(words):
            if word in self._at and (span := self._around(words, place, eager)) is not None:
                yield _trimmed(text, chunks[span[0]][0], chunks[span[1]][1])
        if eager and (first := self._begun(words)) is not None:
            yield _trimmed(text, chunks[first][0], chunks[-1][1])

    def _around(self, words: list[str], at: int, eager: bool) -> tuple[int, int] | None:
        """First and last word of the address whose `at` this is."""
        first = self._first(words, at)
        if first is None:
            return None
        last = self._last(words, at)
        if last is None:
            is_open = eager and all(_NAME.fullmatch(word) for word in words[at + 1 :]) and at + 4 >= len(words)
            return (first, len(words) - 1) if is_open and first < at - 1 else None
        return first, last

    def _first(self, words: list[str], at: int) -> int | None:
        """The word with which the name before `at` begins."""
        place = at - 1
        if place < 0 or not _NAME.fullmatch(words[place]) or words[place] in self._not_names | self._joiners:
            return None
        while True:
            while len(words[place]) == 1 and place > 0 and len(words[place - 1]) == 1 and at - place < _MOST_LETTERS:
                place -= 1  # spelled
            if place < 2 or words[place - 1] not in self._joiners or not _NAME.fullmatch(words[place - 2]):
                return place
            place -= 2

    def _last(self, words: list[str], at: int) -> int | None:
        """The word with which the domain after `at` ends."""
        place = at + 1
        while place + 1 < len(words) and len(words[place]) == 1 and place - at < _MOST_LETTERS:
            if len(words[place + 1]) != 1 and words[place + 1] not in self._dot:
                break
            if words[place + 1] in self._dot:
                break
            place += 1  # spelled
        if place >= len(words) or not _LABELS.fullmatch(words[place]):
            return None
        while place + 2 < len(words) and words[place + 1] in self._hyphens and _LABELS.fullmatch(words[place + 2]):
            place += 2
        found = place if _ends_domain(words[place], has_dot="." in words[place]) else None
        while place + 2 < len(words) and words[place + 1] in self._dot and _LABELS.fullmatch(words[place + 2]):
            place += 2
            if _ends_domain(words[place], has_dot=True):
                found = place
        return found

    def _begun(self, words: list[str]) -> int | None:
        """Where a name begins that is joined together at the end of what was heard so far."""
        place = len(words) - 1
        if place < 1:
            return None
        if words[place] in self._joiners:
            place -= 1
        elif words[place - 1] in self._joiners and place >= 2:
            place -= 2
        else:
            return None
        return place if _NAME.fullmatch(words[place]) else None


def _ends_domain(word: str, *, has_dot: bool) -> bool:
    ending = word.rpartition(".")[2]
    return has_dot and ending.isalpha() and (len(ending) == 2 or ending in _ENDINGS or "." in word)


def _written(text: str) -> Iterator[tuple[int, int]]:
    at = text.find("@")
    while at >= 0:
        start = at
        while start > 0 and _LEFT.match(text, start - 1):
            start -= 1
        right = _RIGHT.match(text, at + 1)
        if start < at:  # what follows may have been cut off
            yield start, right.end() if right else at + 1
        at = text.find("@", at + 1 if right is None else max(at + 1, right.end()))


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """Without the punctuation around it."""
    inner = text[start:end]
    return start + len(inner) - len(inner.lstrip(_TRIMMED)), end - len(inner) + len(inner.rstrip(_TRIMMED))
