"""
When a session that works gives way to another one, which is connected before it ends.

Two reasons: the vendor ends sessions at an age, or the session is one of a fall-back profile and the first choice may
be back. Either way the change is made in a pause, or after a while in mid-speech, where it costs a word that is heard
twice but none that is lost. Times are seconds of one monotonic clock.
"""

from enum import StrEnum

WAIT_S = 4.0
"""How long the new session waits for a pause; vendors end sessions that get no audio for 10 s."""
DRAIN_S = 5.0
"""How long the old one may take for its last words; what it then still owes is heard again by the new one."""
WINDOW_S = 60.0
"""Before the limit of a session's age, where a pause is looked for; less where the limit is short."""
MARGIN_S = 5.0
RETRY_S = 5.0


class Reason(StrEnum):
    """Why a session is replaced."""

    FAILBACK = "failback"
    ROTATION = "rotation"


class Succession:
    """
    Watches over one session.

    Args:
        opened_at: when it was opened.
        max_age_s: age at which it has to be over; None: no matter.
        look_every_s: how often the first choice is tried; None: this is the first choice.
    """

    def __init__(self, opened_at: float, max_age_s: float | None, look_every_s: float | None) -> None:
        age_s = float("inf") if max_age_s is None else max_age_s
        window_s = min(WINDOW_S, age_s / 5)
        self._looks_for_pause_at = opened_at + age_s - window_s
        self._hurries_at = opened_at + age_s - window_s / 2
        self._last_moment = opened_at + age_s - min(MARGIN_S, age_s / 20)
        self._look_every_s = look_every_s
        self._look_at = float("inf") if look_every_s is None else opened_at + look_every_s
        self._not_before = opened_at
        self._ready_at: float | None = None

    def wants(self, now: float, *, is_pause: bool) -> Reason | None:
        """Why another session is to be connected now, if it is."""
        if now < self._not_before:
            return None
        if now >= self._hurries_at or (is_pause and now >= self._looks_for_pause_at):
            return Reason.ROTATION
        return Reason.FAILBACK if now >= self._look_at else None

    def refused(self, now: float) -> None:
        """It could not be connected."""
        self._ready_at = None
        self._not_before = now + RETRY_S
        if self._look_every_s is not None:
            self._look_at = now + self._look_every_s

    def connected(self, now: float) -> None:
        """It waits."""
        if self._ready_at is None:
            self._ready_at = now

    def is_time(self, now: float, *, is_pause: bool) -> bool:
        """Whether to change now; at the last moment also if nobody waits."""
        if now >= self._last_moment:
            return True
        return self._ready_at is not None and (is_pause or now >= self._ready_at + WAIT_S)
