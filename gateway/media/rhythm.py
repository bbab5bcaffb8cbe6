"""
When to look for audio: at the moment at which the next chunk becomes complete, as far as that can be told.

A platform sends a frame every 20 ms, and a recogniser is sent a chunk of five. To wake up for each frame costs more
than all that is done with it; the first four wait in the kernel just as well. So the socket is looked at once per
chunk, and the moment is learnt: a little earlier each time that the chunk was there, later each time that it was not.
That settles where about one look in twenty comes too early: just behind the arrival of the chunk's last frame. As long
as no look has come too early for a while, the steps grow: the moment is not known yet, or no more.
"""

EARLIER_S = 0.000125
"""So much earlier after a look that found its chunk complete."""
LONGEST_STEP_S = 0.004
SURE_LOOKS = 16
"""After so many of them in a row, twice as much each time, up to that."""
LATER_S = 0.002
"""So much later after a look that came too early."""
FRAME_S = 0.02
"""What platforms send at once: while more than that is missing, the chunk cannot become complete at once either."""
RETRY_S = 0.002
LONGEST_RETRY_S = 0.02
"""After a look that came too early, the next; twice as late each time: one frame, where the line is silent."""
OUT_OF_STEP_S = 0.02
"""A chunk that is so late has not trembled: the platform's rhythm has changed."""


class Rhythm:
    """
    The rhythm of one stream.

    Args:
        now: seconds of a monotonic clock.
    """

    def __init__(self, now: float) -> None:
        self._due = self._planned = now
        self._early = 0
        self._found = SURE_LOOKS
        self._step_s = EARLIER_S

    def next(self, now: float, missing_s: float, *, is_complete: bool) -> float:
        """
        When to look again.

        Args:
            now: of the look that was just taken; it may be later than it should have been.
            missing_s: audio until the next chunk is complete.
            is_complete: whether a chunk was.
        """
        if not is_complete:
            self._planned = now + max(missing_s - FRAME_S, min(RETRY_S * 2 ** min(self._early, 8), LONGEST_RETRY_S))
            self._early += 1
            return self._planned
        self._due = max(self._meant() + missing_s, now + RETRY_S)
        self._planned = self._due
        return self._due

    def _meant(self) -> float:
        """When the look that found its chunk should have been taken."""
        if not self._early:
            self._found += 1
            if self._found > SURE_LOOKS:
                self._step_s = min(2 * self._step_s, LONGEST_STEP_S)
            return self._due - self._step_s
        is_out_of_step = self._planned - self._due > OUT_OF_STEP_S
        self._early = 0
        self._found = SURE_LOOKS if is_out_of_step else 0
        self._step_s = EARLIER_S
        return self._planned if is_out_of_step else self._due + LATER_S
