"""How long to wait before a recogniser is tried again."""

from collections.abc import Callable

FIRST_S = 0.5
CAP_S = 30.0


class Backoff:
    """
    Exponential backoff with full jitter.

    Each failure doubles the longest pause, up to a cap; the pause is drawn between nothing and that, so that calls
    which failed together do not come back together. After a session that had worked there is no pause at first.

    Args:
        draw: numbers from 0 to 1.

    Source: AWS Architecture Blog, "Exponential Backoff And Jitter", 2015, full jitter.
    """

    def __init__(self, draw: Callable[[], float]) -> None:
        self._draw = draw
        self._failures = 0
        self._goes_at_once = False

    def failed(self) -> float:
        """Note a failure; returns the pause after it, in seconds."""
        if self._goes_at_once:
            self._goes_at_once = False
            return 0.0
        longest_s = min(CAP_S, FIRST_S * 2.0 ** min(self._failures, 16))
        self._failures += 1
        return self._draw() * longest_s

    def worked(self) -> None:
        """A session was of use: count from the beginning, and try at once when it is lost."""
        self._failures = 0
        self._goes_at_once = True
