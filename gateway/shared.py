"""
Numbers that are the same for every call: one object each.

In Python a number is an object somewhere in memory, and what one call works with has left the processor's caches before
it is that call's turn again. Sizes and rates that each call works out for itself would be among it.
"""

from functools import lru_cache
from typing import TypeVar

Number = TypeVar("Number", int, float)


@lru_cache(maxsize=1024, typed=True)
def _kept(number: float) -> float:
    return number


def shared(number: Number) -> Number:
    """The number, as the object that others got for it."""
    return _kept(number)  # type: ignore[return-value] # a cached function has no type variables
