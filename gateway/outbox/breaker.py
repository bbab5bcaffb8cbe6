"""
A circuit breaker per endpoint: a receiver that is down is asked by one delivery at a time, pure.

The retry schedule (`schedule`) is about one event; the breaker is about the receiver as a whole. They share the work:

    closed   Each delivery follows the schedule. Failures that speak of the receiver (unreachable, timed out, 429, 5xx)
             are counted as long as nothing succeeds. The circuit opens after 5 in a row of at least two calls, or after
             3 in a row that lie a minute or more apart (a gateway with one call must not wait for hours, either). One
             event that the receiver always chokes on does not open it while other calls' events are taken.
    open     No attempts but one probe at a time: the delivery that has been due longest. Pauses between probes grow to
             a bound, with jitter; a longer `Retry-After` is honoured up to an hour. What fails now, the failure that
             opened the circuit and attempts that were still under way included, does not count as an attempt of its
             delivery: it stays at its step of the schedule and never becomes dead through the outage. It is due again
             at the next probe, behind the others, so that one bad event cannot be every probe.
    closed   again with the first answer that is about an event (2xx, or a 4xx that rejects it). Everything due goes
             out, in order per call, `concurrency` at once.

401, 403, 404, redirects and addresses that our guard refuses are a deploy or a wrong setting: their deliveries keep to
the schedule; they neither open the circuit nor close it. A receiver that stays down is probed, and its events are kept,
until it is back or the operator drops them or takes the receiver out of the settings.

Nothing is stored: after a restart the first few failures open the circuit again.

Source: the shape (count, pause, probe, resume) is that of Mambu's "Circuit breaker" for webhooks
(docs.mambu.com/docs/webhooks-circuit-breaker, read 2026-11-21).
"""

from collections.abc import Sequence
from enum import Enum

from gateway.outbox.schedule import HOUR_S, JITTER, MINUTE_S, Outcome

PROBE_DELAYS_S: tuple[float, ...] = (5.0, 10.0, 20.0, 40.0, 60.0)
"""Pauses before the first probe, the second and so on; the last one repeats."""
FAILURES = 5
CALLS = 2
SLOW_FAILURES = 3
SLOW_FAILURES_SPAN_S = MINUTE_S
LONGEST_RETRY_AFTER_S = HOUR_S

_DOWN = frozenset({Outcome.UNREACHABLE, Outcome.TIMED_OUT, Outcome.THROTTLED, Outcome.UNAVAILABLE})
_ANSWERED = frozenset({Outcome.DELIVERED, Outcome.REJECTED, Outcome.GONE})


class Turn(Enum):
    """What an attempt did to the circuit."""

    NONE = "none"
    OPENED = "opened"
    CLOSED = "closed"


class Breaker:
    """
    The state of one endpoint's circuit. Times are Unix seconds, given by the caller.

    Args:
        delays_s: see `PROBE_DELAYS_S`; at least one.
    """

    def __init__(self, delays_s: Sequence[float] = PROBE_DELAYS_S) -> None:
        self._delays_s = delays_s
        self._changed_at = float("-inf")
        self._failures = 0
        self._failing_calls: set[str] = set()
        self._first_failure_at = 0.0
        self._probes = 0
        self._probing: str | None = None
        self.is_open = False
        self.opened_at: float | None = None
        self.probe_at = 0.0

    def room(self, now: float, concurrency: int, in_flight: int) -> int:
        """How many attempts may begin now."""
        if not self.is_open:
            return max(0, concurrency - in_flight)
        return 1 if self._probing is None and now >= self.probe_at else 0

    def next_at(self) -> float | None:
        """When a probe may begin; None while the circuit is closed or a probe is under way."""
        return self.probe_at if self.is_open and self._probing is None else None

    def begin_probe(self, call_id: str) -> None:
        """A probe for this call begins: an attempt for which there was `room` while the circuit was open."""
        if self.is_open:
            self._probing = call_id

    def end(
        self,
        outcome: Outcome,
        call_id: str,
        *,
        began_at: float,
        now: float,
        draw: float,
        retry_after_s: float | None = None,
    ) -> Turn:
        """
        An attempt has ended.

        Args:
            outcome: how.
            call_id: the call it was for.
            began_at: attempts that began before the circuit last changed tell nothing of the time since.
            draw: uniform in [0, 1), for the jitter.
            retry_after_s: what the receiver asked for.
        """
        is_probe = self._probing == call_id
        if is_probe:
            self._probing = None
        if outcome in _ANSWERED:
            return self._answered(now)
        if self.is_open:
            if is_probe:
                self._probes += 1
                self._plan_probe(now, draw, retry_after_s)
        elif outcome in _DOWN and began_at >= self._changed_at:
            return self._failed(call_id, now, draw, retry_after_s)
        return Turn.NONE

    def excuses(self, outcome: Outcome) -> bool:
        """Whether a failure that has just ended is the receiver's as a whole, and no attempt of its delivery."""
        return self.is_open and outcome in _DOWN

    def _failed(self, call_id: str, now: float, draw: float, retry_after_s: float | None) -> Turn:
        if not self._failures:
            self._first_failure_at = now
        self._failures += 1
        if len(self._failing_calls) < CALLS:
            self._failing_calls.add(call_id)
        many = self._failures >= FAILURES and len(self._failing_calls) >= CALLS
        slow = self._failures >= SLOW_FAILURES and now - self._first_failure_at >= SLOW_FAILURES_SPAN_S
        if not many and not slow:
            return Turn.NONE
        self._forget(now)
        self.is_open, self.opened_at = True, now
        self._plan_probe(now, draw, retry_after_s)
        return Turn.OPENED

    def _answered(self, now: float) -> Turn:
        if not self.is_open:
            self._failures = 0
            self._failing_calls.clear()
            return Turn.NONE
        self._forget(now)
        self.is_open, self.opened_at = False, None
        return Turn.CLOSED

    def _forget(self, now: float) -> None:
        self._changed_at = now
        self._failures = self._probes = 0
        self._failing_calls.clear()
        self._probing = None

    def _plan_probe(self, now: float, draw: float, retry_after_s: float | None) -> None:
        pause_s = self._delays_s[min(self._probes, len(self._delays_s) - 1)] * (1 - JITTER + 2 * JITTER * draw)
        self.probe_at = now + max(pause_s, min(retry_after_s or 0.0, LONGEST_RETRY_AFTER_S))
