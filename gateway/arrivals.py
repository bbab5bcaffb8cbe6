"""
Sockets that have enough to read, many of them at one wake-up.

The event loop watches one descriptor, an epoll of our own, which is ready when any of the sockets in it is. They are
served one after another, and what that leaves for a little later (`soon`) is done for a group of them: the same work of
many costs less than all the work of each, because the processor still has the code at hand.

For Linux, where a socket is ready when it holds `SO_RCVLOWAT` bytes (socket(7)), is at its end, or broken.
"""

import asyncio
import select
import sys
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from math import ceil

IS_SUPPORTED = sys.platform == "linux"
MOST_READY = 64
"""So many sockets are served before the event loop gets its turn again."""
GROUP = 16
"""So many of them before what they left for later: more would cost less, and take longer."""
LATENESS_S = 0.02
"""What is to happen at some time happens up to so much later, together with others."""


class Arrivals:
    """Of one process and event loop; at rest while nothing is watched, and holds nothing then."""

    def __init__(self) -> None:
        self._epoll: select.epoll | None = None
        self._looks: dict[int, Callable[[], None]] = {}
        self._timed: dict[int, list[Callable[[], None]]] = {}
        self._is_looking = False
        self._later: list[Callable[[], None]] = []
        self._calls = 0

    def first_chunk(self) -> float:
        """
        How much of a chunk a call's first one should be.

        Calls that begin together would complete all their chunks within the same 20 ms, and wait for each other there;
        so for every other call it is a frame less. Its chunks follow on those of the others without a pause, in which
        the processor would forget what it was doing.
        """
        self._calls += 1
        return 1.0 if self._calls % 2 else 0.8

    def watch(self, descriptor: int, look: Callable[[], None]) -> None:
        """
        Call a function whenever a socket has enough to read, until `forget`, or until the function raises.

        What it raises goes to the loop's exception handler, as from any other callback.
        """
        if self._epoll is None:
            self._epoll = select.epoll()
            # The context of whoever came first is not that of the others.
            Context().run(asyncio.get_running_loop().add_reader, self._epoll.fileno(), self._look)
        self._looks[descriptor] = look
        self._epoll.register(descriptor, select.EPOLLIN)

    def forget(self, descriptor: int, look: Callable[[], None]) -> None:
        """Call this function no more; nothing, if the number is another socket's by now, or nobody's."""
        if self._epoll is None or self._looks.get(descriptor) != look:
            return
        del self._looks[descriptor]
        if not self._looks:
            asyncio.get_running_loop().remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._epoll = None
            return
        with suppress(OSError):  # one that was closed is watched no more
            self._epoll.unregister(descriptor)

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Call a function once, at a time of the loop's clock or up to `LATENESS_S` later; it cannot be taken back."""
        tick = ceil(when / LATENESS_S)
        calls = self._timed.setdefault(tick, [])
        calls.append(call)
        if len(calls) == 1:
            asyncio.get_running_loop().call_at(tick * LATENESS_S, self._call_timed, tick, context=Context())

    def soon(self, call: Callable[[], None]) -> None:
        """
        Call a function when the group of sockets has been served to which the caller belongs; else at once.

        What is left for later in such a function happens after all that was left before.
        """
        if self._is_looking:
            self._later.append(call)
        else:
            call()

    def _look(self) -> None:
        if self._epoll is None:
            return
        ready = self._epoll.poll(0, MOST_READY)
        looks = self._looks
        self._is_looking = True
        for start in range(0, len(ready), GROUP):
            for descriptor, _ in ready[start : start + GROUP]:
                look = looks.get(descriptor)
                if look is None:
                    continue
                try:
                    look()
                except Exception as error:  # noqa: BLE001 - an edge: here the loop would catch it, and the rest go on
                    self.forget(descriptor, look)
                    _report(error)
            while self._later:
                calls, self._later = self._later, []
                _call_all(calls)
        self._is_looking = False

    def _call_timed(self, tick: int) -> None:
        _call_all(self._timed.pop(tick))


def _call_all(calls: list[Callable[[], None]]) -> None:
    for call in calls:
        try:
            call()
        except Exception as error:  # noqa: BLE001 - likewise
            _report(error)


def _report(error: Exception) -> None:
    context = {"message": "what was to be done for a socket failed", "exception": error}
    asyncio.get_running_loop().call_exception_handler(context)
