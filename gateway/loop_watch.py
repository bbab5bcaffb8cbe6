"""
How late the event loop is: one task that sleeps, and measures how much too late it wakes.

Everything here runs on one loop: what holds it up (a large job on it, a processor that others use, a disk that blocks)
delays every frame of every call by as much, and shows nowhere else before callers hear of it.
"""

import asyncio
from collections import deque

from gateway.telemetry import LOOP_LAG_MAX_SECONDS, LOOP_LAG_SECONDS

INTERVAL_S = 0.5
WINDOW = 20
"""Wakes that are looked back on: 10 s while all is well."""
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

    @property
    def is_lagging(self) -> bool:
        """Whether the loop has kept everybody waiting lately: no time to take more calls."""
        return sum(self._late_s) / WINDOW >= self._lagging_s

    async def run(self) -> None:
        """Watch until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + self._interval_s
            await asyncio.sleep(self._interval_s)
            self.note(loop.time() - due)

    def note(self, late_s: float) -> None:
        """One look: so much later than meant. Timers may fire a clock's tick early; that is not late."""
        self._late_s.append(max(0.0, late_s))
        LOOP_LAG_SECONDS.observe(self._late_s[-1])
        LOOP_LAG_MAX_SECONDS.set(max(self._late_s))
