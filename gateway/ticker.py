"""
Things that happen at a time, many of them and often: together with others that are due at about the same time.

A timer of the event loop for each would wake the process for each. With 400 calls that took 11 µs a time, this takes 5.
"""

import asyncio
from collections.abc import Callable
from contextvars import Context
from heapq import heappop, heappush
from math import ceil

TICK_S = 0.002
"""What is due within one tick happens at its end."""
GROUP = 16
"""So many timed calls are made before what they left for later: more would cost less, and take longer."""


class Ticker:
    """
    Calls functions in time: never early, at most a tick late. For one event loop; at rest while nothing is due.

    A call may leave a part of its work for a little later (`soon`). The same work of many, done one after another,
    costs less than all the work of each: the processor still has the code at hand.
    """

    def __init__(self) -> None:
        self._due: dict[int, list[Callable[[], None]]] = {}
        self._ticks: list[int] = []
        self._timer: asyncio.TimerHandle | None = None
        self._planned = 0
        self._is_ticking = False
        self._later: list[Callable[[], None]] = []

    def at(self, when: float, call: Callable[[], None]) -> None:
        """
        Call a function once, at a time of the loop's clock; it cannot be taken back.

        What the function raises goes to the loop's exception handler, as from any other callback.
        """
        tick = ceil(when / TICK_S)
        calls = self._due.get(tick)
        if calls is not None:
            calls.append(call)
            return
        self._due[tick] = [call]
        heappush(self._ticks, tick)
        if not self._is_ticking and (self._timer is None or tick < self._planned):
            self._plan(asyncio.get_running_loop())

    def soon(self, call: Callable[[], None]) -> None:
        """
        Call a function when the group of timed calls has been made to which the caller belongs; else at once.

        What is left for later in such a function happens after all that was left before.
        """
        if self._is_ticking:
            self._later.append(call)
        else:
            call()

    def _plan(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._ticks:
            self._planned = self._ticks[0]
            # The context of whoever came first is not that of the others.
            self._timer = loop.call_at(self._planned * TICK_S, self._tick, loop, context=Context())

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        self._is_ticking = True
        now = loop.time()
        while self._ticks and self._ticks[0] * TICK_S <= now:
            due = self._due.pop(heappop(self._ticks))
            for start in range(0, len(due), GROUP):
                calls = due[start : start + GROUP]
                while calls:
                    self._call_all(calls, loop)
                    calls, self._later = self._later, []
        self._is_ticking = False
        self._plan(loop)

    def _call_all(self, calls: list[Callable[[], None]], loop: asyncio.AbstractEventLoop) -> None:
        for call in calls:
            try:
                call()
            except Exception as error:  # noqa: BLE001 - an edge: here the loop would catch it, and the rest go on
                loop.call_exception_handler({"message": "a timed call failed", "exception": error})
