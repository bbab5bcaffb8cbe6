"""
What all calls know together about recognisers that are down.

Without it every call would find out by itself, and a vendor in trouble would get as many attempts as there are calls.
Sessions that are open are not its business, only the opening of new ones.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from gateway.errors import GatewayError, UnavailableError

FAILURES = 5
"""In a row, by all calls together; then attempts wait."""
LONGEST_S = 30.0
"""Between two probes of a profile that is down."""
REFUSED_S = 30.0
"""Least time before a profile is probed whose key, address or certificate was refused; at most twice as long."""
LONGEST_RETRY_AFTER_S = 300.0
PROBE_S = 40.0
"""A probe that nobody has told the outcome of by then is forgotten; longer than any connect time-out but the local."""
ASK_AGAIN_S = 3.0
"""Those who wait ask so often, spread by chance: when a profile is back, its calls come back over that time."""

_OPERATOR_CODES = frozenset(
    {
        "stt_refused_401",
        "stt_refused_402",
        "stt_refused_403",
        "stt_unauthorized",
        "stt_tls_failed",
        "stt_url_invalid",
        "unknown_profile",
        "not_streaming",
    }
)
"""Refusals that would meet every call alike; others (400, a language) may be about one call's own request."""
_OWN_CAPACITY = frozenset({"engine_busy", "engine_overloaded"})
"""Refusals that cost nobody anything, and say nothing about a next attempt."""


@dataclass(slots=True)
class _Outage:
    failures: int = 0
    closed_until: float = 0.0
    probing_until: float = 0.0


class Outages:
    """
    A circuit breaker per profile. Times are seconds of one monotonic clock.

    Args:
        draw: numbers from 0 to 1.
    """

    def __init__(self, draw: Callable[[], float] = random.random) -> None:
        self._draw = draw
        self._outages: dict[str, _Outage] = {}

    def wait_s(self, profile: str, now: float) -> float:
        """Seconds until it makes sense to ask again; 0: try now, after telling `begin`."""
        outage = self._outages.get(profile)
        if outage is None or (now >= outage.closed_until and not self._is_probing(outage, now)):
            return 0.0
        least_s = max(0.0, outage.closed_until - now)
        return least_s + ASK_AGAIN_S * (0.1 + 0.9 * self._draw())

    def free_at(self, profile: str, now: float) -> float:
        """When the next attempt is possible, as far as is known."""
        outage = self._outages.get(profile)
        if outage is None:
            return now
        return max(now, outage.closed_until)

    def begin(self, profile: str, now: float) -> None:
        """A session is being opened."""
        outage = self._outages.get(profile)
        if outage is not None and (outage.failures >= FAILURES or outage.closed_until > 0.0):
            outage.probing_until = now + PROBE_S

    def worked(self, profile: str) -> None:
        """A session is of use: whatever was, is over."""
        self._outages.pop(profile, None)

    def unknown(self, profile: str) -> None:
        """Whoever tried has stopped trying."""
        if profile in self._outages:
            self._outages[profile].probing_until = 0.0

    def failed(self, profile: str, error: GatewayError, now: float) -> None:
        """A session could not be opened, or was lost before it was of any use."""
        if error.code in _OWN_CAPACITY:
            return self.unknown(profile)
        outage = self._outages.setdefault(profile, _Outage())
        outage.failures += 1
        outage.probing_until = 0.0
        closed_s = 0.0
        if outage.failures >= FAILURES:
            closed_s = min(LONGEST_S, 2.0 ** min(outage.failures - FAILURES, 16)) * (0.5 + 0.5 * self._draw())
        if error.code in _OPERATOR_CODES:
            closed_s = REFUSED_S * (1.0 + self._draw())
        if isinstance(error, UnavailableError) and error.retry_after_s is not None:
            closed_s = max(closed_s, min(error.retry_after_s, LONGEST_RETRY_AFTER_S))
        outage.closed_until = max(outage.closed_until, now + closed_s) if closed_s else outage.closed_until
        return None

    def _is_probing(self, outage: _Outage, now: float) -> bool:
        return now < outage.probing_until
