"""
How late the event loop is: one task that sleeps, and measures how much too late it wakes.

A timer beside it comes more often and keeps the worst alone: a block of the loop is at least as long as that timer was
late, and at most `TICK_S` longer.

Everything here runs on one loop: what holds it up (a large job on it, a processor that others use, a disk that blocks)
delays every frame of every call by as much, and shows nowhere else before callers hear of it.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from gateway.telemetry import LOOP_LAG_MAX_SECONDS, LOOP_LAG_SECONDS, LOOP_LONGEST_BLOCK_SECONDS

INTERVAL_S = 0.5
WINDOW = 20
"""Wakes that are looked back on: 10 s while all is well."""
TICK_S = 0.02
LAGGING_S = 0.25
"""Mean lateness over the window from which on it counts as lagging. A live transcript comes as much later."""


class LoopWatch:
    """
    Watches the loop that `run` runs on.

    Args:
        interval_s: between two looks.
        lagging_s: mean lateness of the last `WINDOW` looks from which on `is_lagging` holds. One long hold-up alone
            must not turn readiness off: 5 s in 10 s do, a second does not.
    """

    def __init__(self, *, interval_s: float = INTERVAL_S, lagging_s: float = LAGGING_S) -> None:
        self._interval_s = interval_s
        self._lagging_s = lagging_s
        self._late_s: deque[float] = deque([0.0] * WINDOW, maxlen=WINDOW)
        self._longest_s = 0.0

    @property
    def is_lagging(self) -> bool:
        """Whether the loop has kept everybody waiting lately: no time to take more calls."""
        return sum(self._late_s) / WINDOW >= self._lagging_s

    async def run(self) -> None:
        """Watch until cancelled. What the start of the process does before the first look is not its longest block."""
        loop = asyncio.get_running_loop()
        LOOP_LONGEST_BLOCK_SECONDS.set(0)
        ticks = _Ticks(loop, self._interval_s, self._note_block)
        try:
            while True:
                due = loop.time() + self._interval_s
                await asyncio.sleep(self._interval_s)
                self.note(loop.time() - due)
        finally:
            ticks.stop()

    def _note_block(self, late_s: float) -> None:
        if late_s > self._longest_s:
            self._longest_s = late_s
            LOOP_LONGEST_BLOCK_SECONDS.set(late_s)

    def note(self, late_s: float) -> None:
        """One look: so much later than meant. Timers may fire a clock's tick early; that is not late."""
        self._late_s.append(max(0.0, late_s))
        LOOP_LAG_SECONDS.observe(self._late_s[-1])
        LOOP_LAG_MAX_SECONDS.set(max(self._late_s))


class _Ticks:
    """
    A timer again and again, without a task of its own: fifty times a second the difference counts.

    Args:
        loop: whose timer.
        first_s: seconds to the first one; from then on it comes each `TICK_S`.
        late: called with how late it comes.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, first_s: float, late: Callable[[float], None]) -> None:
        self._loop = loop
        self._late = late
        self._due = loop.time() + first_s + TICK_S
        self._timer = loop.call_at(self._due, self._begin)

    def stop(self) -> None:
        self._timer.cancel()

    def _begin(self) -> None:
        self._due = self._loop.time() + TICK_S
        self._timer = self._loop.call_at(self._due, self._tick)

    def _tick(self) -> None:
        self._late(self._loop.time() - self._due)
        self._begin()
