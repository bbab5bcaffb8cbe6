"""Finders for tests."""

from collections.abc import Collection

from gateway.patterns import Pattern
from gateway.redaction.bodies import BodyMask
from gateway.redaction.finder import Finder

ALL = ("card", "email", "phone", "digits")


def finder(kinds: Collection[str] = ALL, languages: tuple[str, ...] = ("en",), /, **patterns: str) -> Finder:
    """Of these kinds and expressions; phone numbers are American."""
    return Finder(kinds, {name: Pattern(text) for name, text in patterns.items()}, languages, "US")


def body_mask(kinds: Collection[str] = ALL, *, keys: bool = False, **patterns: str) -> BodyMask:
    return BodyMask(finder(kinds, **patterns), keys=keys)
