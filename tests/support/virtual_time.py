"""
An event loop whose clock jumps to the next timer when nothing is ready.

An hour costs milliseconds. A coroutine that waits for nothing that can come is an error at once instead of a test that
hangs. Not for tests with real sockets or processes: those know nothing of this clock.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _JumpingSelector(selectors.DefaultSelector):
    jumped_s = 0.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("everything waits, and no timer is set: this would hang for ever")
        if not ready and timeout:
            self.jumped_s += timeout
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """`time()` is seconds since the loop was made."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.jumped_s

    def hold_up(self, seconds: float) -> None:
        """Let so much time pass in which nothing else runs, as a long computation does."""
        self._jumping.jumped_s += seconds


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
