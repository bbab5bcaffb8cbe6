"""Which profile of a track's chain is tried next, and when."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.errors import GatewayError, UnavailableError
from gateway.stt.backoff import Backoff
from gateway.stt.outages import LONGEST_RETRY_AFTER_S, REFUSED_S


@dataclass(frozen=True, slots=True)
class Attempt:
    """Try this profile at that time; it may have `patience_s` to open, None: as long as its own settings allow."""

    profile: str
    at: float
    patience_s: float | None


@dataclass(slots=True)
class _Link:
    name: str
    failover_after_s: float
    is_slow: bool
    backoff: Backoff
    not_before: float = 0.0


LEAST_PATIENCE_S = 1.0
"""Any attempt may take so long, however soon the next profile is to take over."""


class Chain:
    """
    The profiles of one track: the first choice and those that take over while it fails, round and round.

    A profile that cannot be had within its `failover_after_s` gives way to the next one; at once, if it says that
    trying again is of no use, or not before then. Times are seconds of one monotonic clock.

    Args:
        links: name, `failover_after_s`, and whether opening takes long by nature (the engine of this machine), of each.
        draw: numbers from 0 to 1.
        now: since when there is no session.
    """

    def __init__(self, links: Sequence[tuple[str, float, bool]], draw: Callable[[], float], now: float) -> None:
        self._links = [_Link(*link, Backoff(draw)) for link in links]
        self._draw = draw
        self._index = 0
        self._since = now
        self._is_tried = False

    @property
    def current(self) -> str:
        """The profile that is tried, or works."""
        return self._links[self._index].name

    @property
    def first(self) -> str:
        """The first choice."""
        return self._links[0].name

    @property
    def is_first(self) -> bool:
        """Whether the current one is the first choice."""
        return self._index == 0

    def plan(self, now: float, wait_s: Callable[[str], float]) -> Attempt:
        """
        What to try next.

        Args:
            wait_s: seconds until a profile may be tried, as far as other calls know.
        """
        ready = [max(link.not_before, now + wait_s(link.name)) for link in self._links]
        for _ in self._links:
            link, at = self._links[self._index], ready[self._index]
            may_begin = at <= now and not self._is_tried
            if may_begin or len(self._links) == 1 or at <= self._since + link.failover_after_s:
                return self._attempt(at, now)
            self._turn_to((self._index + 1) % len(self._links), now)
        self._turn_to(min(range(len(ready)), key=ready.__getitem__), now)
        return self._attempt(ready[self._index], now)

    def failed(self, error: GatewayError, now: float) -> None:
        """The current profile could not be had."""
        self._is_tried = True
        link = self._links[self._index]
        self._note(link, error, now)
        if isinstance(error, UnavailableError) and not error.retryable:
            self._since = now - link.failover_after_s  # its time is up

    def lost(self, error: GatewayError, now: float, *, was_of_use: bool) -> None:
        """The session of the current profile broke; it may be tried again for as long as a new one."""
        link = self._links[self._index]
        if was_of_use:
            link.backoff.worked()
        self._since = now
        self._is_tried = True
        self._note(link, error, now)

    def took(self, profile: str) -> None:
        """A session of this profile was opened beside the current one, and replaces it."""
        self._index = next(index for index, link in enumerate(self._links) if link.name == profile)
        self._is_tried = False

    def _note(self, link: _Link, error: GatewayError, now: float) -> None:
        pause_s = link.backoff.failed()
        if isinstance(error, UnavailableError):
            if error.retry_after_s is not None:
                pause_s = max(pause_s, min(error.retry_after_s, LONGEST_RETRY_AFTER_S))
            if not error.retryable:
                pause_s = max(pause_s, REFUSED_S * (1.0 + self._draw()))
        link.not_before = now + pause_s

    def _turn_to(self, index: int, now: float) -> None:
        if index != self._index:
            self._index = index
            self._since = now
            self._is_tried = False

    def _attempt(self, at: float, now: float) -> Attempt:
        link = self._links[self._index]
        is_last = self._index == len(self._links) - 1
        if is_last or link.is_slow:
            return Attempt(link.name, at, None)
        left_s = self._since + link.failover_after_s - max(at, now)
        return Attempt(link.name, at, max(left_s, LEAST_PATIENCE_S))
