"""
What somebody types into the search field, as an expression that SQLite's full-text search understands.

Every word is quoted, so that nothing in it is an operator: `AND`, `*`, `^`, `-` and `:` are what they are in speech.

Source: sqlite.org/fts5.html, section 3 (read 2026-11): strings in double quotes, with a quote doubled; `+`, `*`, `AND`.
"""

import unicodedata

from gateway.live.search_words import parted

MOST_CHARS = 500
MOST_WORDS = 50
_QUOTES = str.maketrans(dict.fromkeys("“”„‟«»\uff02", '"'))


class TooLong(ValueError):
    """More than `MOST_CHARS` characters or `MOST_WORDS` words."""


def expression(text: str) -> str | None:
    """
    An expression for what was typed: all the words must occur, in any order; words in quotes stand side by side, and
    so do characters that are words by themselves (see `search_words`); the last one may go on, unless a quote or a
    space follows it.

    Returns:
        None: there is nothing in it that could be looked for.

    Raises:
        TooLong: see there.
    """
    if len(text) > MOST_CHARS:
        raise TooLong(f"more than {MOST_CHARS} characters")
    terms: list[str] = []
    # What stands at odd places was between quotes; a quote that is still open lasts to the end.
    for place, part in enumerate(_plain(text).split('"')):
        terms += _searchable([part] if place % 2 else part.split())
    if len(terms) > MOST_WORDS:
        raise TooLong(f"more than {MOST_WORDS} words")
    if not terms:
        return None
    is_open = unicodedata.category(_plain(text)[-1])[0] in "LNM"
    return " AND ".join(f'"{term}"' for term in terms) + ("*" if is_open else "")


def _plain(text: str) -> str:
    """Every kind of double quote alike, and a space for what cannot be in a text: SQL's would end at a NUL."""
    text = text.translate(_QUOTES)
    return "".join(" " if unicodedata.category(sign) in ("Cc", "Cs") else sign for sign in text)


def _searchable(parts: list[str]) -> list[str]:
    return [" ".join(parted(part).split()) for part in parts if any(map(_is_spoken, part))]


def _is_spoken(sign: str) -> bool:
    """Whether the tokenizer makes words of it; all else lies between words (fts5.html, section 4.3.1)."""
    return unicodedata.category(sign)[0] in "LN" or unicodedata.category(sign) == "Co"
