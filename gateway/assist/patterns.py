r"""
Regular expressions over what was said, in time linear in its length whatever the expression. Pure.

The engine is RE2 (google-re2): no expression can make it try again and again, so that none can hold up the process. It
has neither look-around nor back-references. Two of its habits are mended here, because they know ASCII only: `\w` is
any letter, mark or digit of any script, and instead of `\b` an expression matches whole words always.
"""

from typing import Any

import re2

from gateway.assist.words import UNSPACED

MAX_PATTERN_CHARS = 500
_MAX_MEMORY_BYTES = 2 << 20  # of a compiled expression and what it remembers of the texts it saw

_LETTERS = r"\pL\pM\pN_"
_EDGE = rf"(?:[^{_LETTERS}]|[{UNSPACED}])"
_REFUSED = {
    **dict.fromkeys("bB", "is not needed: a pattern matches whole words"),
    **dict.fromkeys("AzZ", "has no place: finals are cut at pauses, not at sentences"),
    **dict.fromkeys("QEC", "is not supported"),
}


class Pattern:
    """
    A compiled expression.

    Args:
        expression: in RE2's syntax, matched without regard to case.

    Raises:
        ValueError: it cannot be used; the text says why.
    """

    def __init__(self, expression: str) -> None:
        if len(expression) > MAX_PATTERN_CHARS:
            raise ValueError(f"is longer than {MAX_PATTERN_CHARS} characters")
        translated = _translated(expression)
        options = re2.Options()
        options.case_sensitive = False
        options.log_errors = False
        options.max_mem = _MAX_MEMORY_BYTES
        try:
            alone = re2.compile(translated, options)  # by itself: `a)(b` would fit into what is around it below
            self._compiled: Any = re2.compile(rf"(?:^|{_EDGE})({translated})(?:$|{_EDGE})", options)
        except re2.error as error:
            raise ValueError(f"is not a pattern: {_reason(error)}") from None
        if alone.fullmatch("") is not None:
            raise ValueError("matches when nothing is said")

    def search(self, text: str, start: int) -> tuple[int, int] | None:
        """From where to where the first match at or after `start` goes; None: there is none."""
        found = self._compiled.search(text, start)
        if found is None:
            return None
        span: tuple[int, int] = found.span(1)
        return span


def _translated(expression: str) -> str:
    """The expression in RE2's words, or a ValueError."""
    out: list[str] = []
    at, class_begins = 0, -1  # where the contents of the character class begin; -1 outside
    while at < len(expression):
        piece = _piece(expression, at, in_class=class_begins >= 0)
        if class_begins < 0 and piece == "[":
            class_begins = at + (2 if expression[at + 1 : at + 2] == "^" else 1)
            piece = expression[at:class_begins]
        elif class_begins >= 0 and piece == "]" and at > class_begins:
            class_begins = -1
        elif class_begins < 0 and piece in ("^", "$"):
            raise ValueError(f"{piece} {_REFUSED['A']}")
        at += len(piece)
        out.append(_word_class(piece, in_class=class_begins >= 0))
    return "".join(out)


def _piece(expression: str, at: int, *, in_class: bool) -> str:
    """What belongs together: an escape, the name of a class such as `[:alpha:]`, or a character."""
    if expression[at] == "\\":
        piece = expression[at : at + 2]
        if not in_class and piece[1:] in _REFUSED:
            raise ValueError(f"{piece} {_REFUSED[piece[1:]]}")
        return piece
    if in_class and expression.startswith("[:", at) and (end := expression.find(":]", at)) > 0:
        return expression[at : end + 2]
    return expression[at]


def _word_class(piece: str, *, in_class: bool) -> str:
    if piece == r"\w":
        return _LETTERS if in_class else f"[{_LETTERS}]"
    if piece == r"\W":
        if in_class:
            raise ValueError(r"\W has no place inside [ ]")
        return f"[^{_LETTERS}]"
    return piece


def _reason(error: Exception) -> str:
    text = error.args[0] if error.args else ""
    return text.decode(errors="replace") if isinstance(text, bytes) else str(text)
