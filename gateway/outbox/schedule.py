"""
When to try again, and when to stop: a pure function of what happened.

The delays and the meaning of the status codes follow Standard Webhooks ("Delivery"); receivers that are being deployed
answer 401, 403, 404 or a redirect for a while, hence the few attempts there. While a receiver is down as a whole, its
circuit breaker (`breaker`) decides instead.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

MINUTE_S = 60.0
HOUR_S = 3600.0
DAY_S = 86_400.0

# The n-th entry is the pause after the n-th attempt, if that failed; the first attempt is made at once.
DELAYS_S: tuple[float, ...] = (
    5.0,
    5 * MINUTE_S,
    30 * MINUTE_S,
    2 * HOUR_S,
    5 * HOUR_S,
    10 * HOUR_S,
    14 * HOUR_S,
    20 * HOUR_S,
    24 * HOUR_S,
)
JITTER = 0.2
# After a time-out or 429 the receiver is overloaded: at least a minute, whichever way the jitter falls.
SLOW_DOWN_S = MINUTE_S / (1 - JITTER)
MISCONFIGURED_ATTEMPTS = 3


class Outcome(StrEnum):
    """How one attempt ended. The values are labels of metrics and log lines."""

    DELIVERED = "delivered"
    """2xx"""
    UNREACHABLE = "unreachable"
    """no connection, TLS refused, connection lost"""
    TIMED_OUT = "timed_out"
    """no answer in time, or 408"""
    THROTTLED = "throttled"
    """429"""
    UNAVAILABLE = "unavailable"
    """5xx and 425"""
    BLOCKED_ADDRESS = "blocked_address"
    """our own guard: the name leads to a private address"""
    MISCONFIGURED = "misconfigured"
    """401, 403, 404 and redirects"""
    REJECTED = "rejected"
    """any other 4xx"""
    GONE = "gone"
    """410: the receiver wants no more events"""


@dataclass(frozen=True, slots=True)
class Done:
    """The event arrived."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again after `delay_s`."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Keep the delivery as dead."""


@dataclass(frozen=True, slots=True)
class Disable:
    """Send nothing more to this endpoint, this event included, until an operator says so."""


Step: TypeAlias = Done | Retry | GiveUp | Disable


def classify(status: int) -> Outcome:
    """The outcome that an HTTP status stands for."""
    if 200 <= status < 300:
        return Outcome.DELIVERED
    if 300 <= status < 400 or status in (401, 403, 404):
        return Outcome.MISCONFIGURED
    if status >= 500 or status == 425:
        return Outcome.UNAVAILABLE
    return {408: Outcome.TIMED_OUT, 410: Outcome.GONE, 429: Outcome.THROTTLED}.get(status, Outcome.REJECTED)


def next_step(
    attempt: int,
    outcome: Outcome,
    *,
    draw: float,
    retry_after_s: float | None = None,
    misconfigured: int = 1,
    delays_s: Sequence[float] = DELAYS_S,
) -> Step:
    """
    Decide what follows an attempt.

    Args:
        attempt: its number, from 1.
        outcome: how it ended.
        draw: uniform in [0, 1), for the jitter.
        retry_after_s: what the receiver asked for; honoured from one to two times the planned delay.
        misconfigured: how many attempts in a row, this one included, ended as MISCONFIGURED.
        delays_s: pauses after the failed attempts; one more attempt follows the last of them.
    """
    match outcome:
        case Outcome.DELIVERED:
            return Done()
        case Outcome.GONE:
            return Disable()
        case Outcome.REJECTED:
            return GiveUp()
        case Outcome.MISCONFIGURED if misconfigured >= MISCONFIGURED_ATTEMPTS:
            return GiveUp()
    if attempt > len(delays_s):
        return GiveUp()
    planned_s = delays_s[attempt - 1]
    if outcome in (Outcome.TIMED_OUT, Outcome.THROTTLED):
        planned_s = max(planned_s, SLOW_DOWN_S)
    planned_s *= 1 - JITTER + 2 * JITTER * draw
    if retry_after_s is None:
        return Retry(planned_s)
    asked_s = min(max(retry_after_s, 1.0), DAY_S)
    return Retry(min(max(asked_s, planned_s), 2 * planned_s))
