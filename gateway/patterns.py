"""
Regular expressions that operators write, and that calls then run over whatever is said.

They are run by RE2, which is linear in the length of the text whatever the expression: there is no catastrophic
backtracking to be checked for. What RE2 cannot do in linear time it refuses when it compiles: look-around and
references back.
"""

from collections.abc import Iterator

LONGEST = 1000
"""Characters of an expression."""
_MEMORY_BYTES = 4 * 2**20


class Pattern:
    """
    One expression, compiled.

    Args:
        text: RE2 syntax (github.com/google/re2/wiki/Syntax, read 2026-11-21).
        ignore_case: whether case counts for nothing.

    Raises:
        ValueError: it is too long, is no expression, takes too much memory, or finds nothing in particular: it
            matches an empty text.
    """

    __slots__ = ("_compiled",)

    def __init__(self, text: str, *, ignore_case: bool = True) -> None:
        if len(text) > LONGEST:
            raise ValueError(f"longer than {LONGEST} characters")
        import re2  # here, because most gateways have no such expressions

        options = re2.Options()
        options.case_sensitive = not ignore_case
        options.max_mem = _MEMORY_BYTES
        options.log_errors = False
        try:
            self._compiled = re2.compile(text, options)
        except re2.error as error:
            raise ValueError(f"not an expression that RE2 takes: {_reason(error)}") from None
        if self._compiled.search("") is not None:
            raise ValueError("it matches an empty text, so it finds nothing in particular")

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """From where to where it is found, from left to right; characters, `end` exclusive, never empty."""
        for match in self._compiled.finditer(text):
            if match.end() > match.start():
                yield match.span()


def _reason(error: BaseException) -> str:
    reason = error.args[0] if error.args else ""
    return reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
