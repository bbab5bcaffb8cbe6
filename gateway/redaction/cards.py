"""Numbers of payment cards: 13 to 19 digits whose last one checks the others."""

from collections.abc import Sequence

SHORTEST, LONGEST = 13, 19
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


def is_card(digits: str) -> bool:
    """
    Whether this has the length and the check digit of a card's number.

    Args:
        digits: 0-9 only.

    Source: ISO/IEC 7812-1:2017, annex B (Luhn formula).
    """
    if not SHORTEST <= len(digits) <= LONGEST:
        return False
    total = 0
    for place, digit in enumerate(reversed(digits)):
        total += _DOUBLED[int(digit)] if place % 2 else int(digit)
    return total % 10 == 0


def find_card(pieces: Sequence[str], start: int = 0) -> tuple[int, int] | None:
    """
    The first card's number that is made of whole pieces: the longest one that begins there.

    Args:
        pieces: digits, as they are grouped.
        start: piece to begin with.

    Returns:
        Its first piece and the one after its last.
    """
    for first in range(start, len(pieces)):
        digits, found = "", None
        for after in range(first, len(pieces)):
            digits += pieces[after]
            if len(digits) > LONGEST:
                break
            if is_card(digits):
                found = (first, after + 1)
        if found is not None:
            return found
    return None
