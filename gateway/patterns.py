r"""
Regular expressions that operators write, and that calls then run over whatever is said. Pure.

The engine is RE2 (google-re2): a search takes time linear in the length of the text whatever the expression, so that
none can hold up the process. What cannot be done in linear time it refuses: look-around and references back. It is
loaded with the first expression, and nothing else needs it: a gateway without expressions runs where it is not
installed.

One habit of it is mended here, because it knows ASCII only: `\w` is a letter, mark or digit of any script. `\b` cannot
be mended so; therefore an expression may ask for whole words instead.
"""

from collections.abc import Iterator
from typing import Any

LONGEST = 1000
"""Characters of an expression."""
_MEMORY_BYTES = 2 << 20  # of a compiled expression and what it remembers of the texts it saw

# Thai, Lao, Burmese, Khmer, Japanese and Chinese are written without spaces: each character counts as a word.
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_LETTERS = r"\pL\pM\pN_"
_EDGE = rf"(?:[^{_LETTERS}]|[{UNSPACED}])"
_UNKNOWN = dict.fromkeys("QEC", "is not supported")
_NOT_IN_WHOLE_WORDS = {
    **dict.fromkeys("bB", "is not needed: a pattern matches whole words"),
    **dict.fromkeys("AzZ", "has no place: finals are cut at pauses, not at sentences"),
}


class Pattern:
    r"""
    One expression, compiled.

    Args:
        text: RE2 syntax (github.com/google/re2/wiki/Syntax, read 2026-11-21); case counts for nothing.
        whole_words: it begins and ends where words do. Then `\b`, `^` and `$` have no place in it.

    Raises:
        ValueError: it cannot be used, or the engine is not there; the text says why, as the rest of a sentence.
    """

    __slots__ = ("_compiled", "_is_framed")

    def __init__(self, text: str, *, whole_words: bool = False) -> None:
        if len(text) > LONGEST:
            raise ValueError(f"is longer than {LONGEST} characters")
        expression = _translated(text, whole_words=whole_words)
        re2 = engine()
        options = re2.Options()
        options.case_sensitive = False
        options.log_errors = False
        options.max_mem = _MEMORY_BYTES
        try:
            alone = re2.compile(expression, options)  # by itself: `a)(b` would fit into what is around it below
            framed = rf"(?:^|{_EDGE})({expression})(?:$|{_EDGE})"
            self._compiled: Any = re2.compile(framed, options) if whole_words else alone
        except re2.error as error:
            raise ValueError(f"is not a pattern: {_reason(error)}") from None
        if alone.fullmatch("") is not None:
            raise ValueError("matches when nothing is said")
        self._is_framed = whole_words

    def spans(self, text: str, start: int = 0) -> Iterator[tuple[int, int]]:
        """
        From where to where it is found at or after `start`, from left to right; characters, `end` exclusive, never
        empty. For whole words each match is a search of its own: take no more of them than are needed.
        """
        spans = self._framed(text, start) if self._is_framed else self._plain(text, start)
        return ((begin, end) for begin, end in spans if begin < end)

    def _plain(self, text: str, start: int) -> Iterator[tuple[int, int]]:
        return (found.span() for found in self._compiled.finditer(text, start))

    def _framed(self, text: str, start: int) -> Iterator[tuple[int, int]]:
        """What stands after one match may stand before the next one, too, and so is looked at again."""
        while (found := self._compiled.search(text, start)) is not None:
            yield found.span(1)
            start = found.end(1)  # which is beyond what was: whole words are never empty


def engine() -> Any:
    """
    RE2.

    Raises:
        ValueError: it is not installed; the text is the rest of a sentence.
    """
    try:
        import re2
    except ImportError:
        raise ValueError("needs the package google-re2, which is not installed") from None
    return re2


def _translated(text: str, *, whole_words: bool) -> str:
    """The expression in RE2's words, or a ValueError."""
    refused = _UNKNOWN | _NOT_IN_WHOLE_WORDS if whole_words else _UNKNOWN
    out: list[str] = []
    at, class_begins = 0, -1  # where the contents of the character class begin; -1 outside
    while at < len(text):
        piece = _piece(text, at, in_class=class_begins >= 0)
        if class_begins < 0 and piece[0] == "\\" and (why := refused.get(piece[1:])):
            raise ValueError(f"{piece} {why}")
        if class_begins < 0 and piece == "[":
            class_begins = at + (2 if text[at + 1 : at + 2] == "^" else 1)
            piece = text[at:class_begins]
        elif class_begins >= 0 and piece == "]" and at > class_begins:
            class_begins = -1
        elif class_begins < 0 and whole_words and piece in ("^", "$"):
            raise ValueError(f"{piece} {refused['A']}")
        at += len(piece)
        out.append(_word_class(piece, in_class=class_begins >= 0))
    return "".join(out)


def _piece(text: str, at: int, *, in_class: bool) -> str:
    """What belongs together: an escape, the name of a class such as `[:alpha:]`, or a character."""
    if text[at] == "\\":
        return text[at : at + 2]
    if in_class and text.startswith("[:", at) and (end := text.find(":]", at)) > 0:
        return text[at : end + 2]
    return text[at]


def _word_class(piece: str, *, in_class: bool) -> str:
    if piece == r"\w":
        return _LETTERS if in_class else f"[{_LETTERS}]"
    if piece == r"\W":
        if in_class:
            raise ValueError(r"\W has no place inside [ ]")
        return f"[^{_LETTERS}]"
    return piece


def _reason(error: BaseException) -> str:
    reason = error.args[0] if error.args else ""
    return reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
