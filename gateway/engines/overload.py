"""When a worker that does not keep up with its sessions has to be relieved of some. Pure: times are given."""

import math


class Overload:
    """
    Watches one worker.

    Beyond the limit it gives up sessions at once, and again each time the limit's length has passed and it is no less
    behind: those that stay are given the time to catch up. How many: while it falls behind by half a second per second,
    half of them are too many. More than half never go together, because it may have been a passing trouble.

    Args:
        limit_s: how far it may be behind.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._judge_at = 0.0
        self._before: tuple[float, float] | None = None  # when it was last looked at, and how far behind it was then

    def surplus(self, behind_s: float, sessions: int, now: float) -> int:
        """
        How many sessions have to go now.

        Args:
            behind_s: how old audio is before it is heard.
            sessions: how many the worker has.
            now: seconds of a monotonic clock.
        """
        if behind_s <= self._limit_s / 2:
            self._before = None
            return 0
        if self._before is None:
            self._before, self._judge_at = (now, behind_s), now
        if behind_s <= self._limit_s or now < self._judge_at:
            return 0
        before_at, before_s = self._before
        self._before, self._judge_at = (now, behind_s), now + self._limit_s
        if behind_s < before_s:
            return 0
        growth = (behind_s - before_s) / (now - before_at) if now > before_at else 0.0
        return min(max(1, math.ceil(sessions * growth)), math.ceil(sessions / 2), sessions - 1)
