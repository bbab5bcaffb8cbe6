"""Text as words: where each one is, and what it is apart from case, accents' encoding and punctuation. Pure."""

import re
import unicodedata
from typing import NamedTuple

from gateway.patterns import UNSPACED

MAX_TEXT_CHARS = 10_000
"""What is looked at of one final: ten minutes of speech."""

_WORD = re.compile(rf"[{UNSPACED}]|[^\W_{UNSPACED}]+")


class Spot(NamedTuple):
    """A word as it is compared, and where it stands in its text."""

    word: str
    start: int
    end: int


def tidied(text: str) -> str:
    """The text in one line, composed (Unicode NFC), cut to `MAX_TEXT_CHARS`."""
    one_line = " ".join(text[:MAX_TEXT_CHARS].split())
    return one_line if one_line.isascii() else unicodedata.normalize("NFC", one_line)


def spots(text: str) -> list[Spot]:
    """
    The words of a tidied text, in order.

    An apostrophe or hyphen parts words: `don't` is `don` and `t`, `l'abonnement` is `l` and `abonnement`. So it does
    not matter which apostrophe a recogniser writes, and a possessive is found by its noun.
    """
    return [Spot(_compared(found[0]), found.start(), found.end()) for found in _WORD.finditer(text)]


def words_of(text: str) -> tuple[str, ...]:
    """The words of any text, as they are compared."""
    return tuple(spot.word for spot in spots(tidied(text)))


def _compared(word: str) -> str:
    return word.lower() if word.isascii() else unicodedata.normalize("NFKC", word).casefold()
