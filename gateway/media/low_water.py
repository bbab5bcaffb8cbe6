"""
How much of a stream is worth waking up for: what the next chunk of audio lacks.

A platform sends a frame every 20 ms, and a recogniser is sent a chunk of five. To wake up for each frame costs more
than all that is done with it; the first four wait in the kernel just as well, and it can be told how many bytes to wait
for. A chunk has no fixed number of them, because messages carry numbers that grow. So the mark lies a little before its
end, within its last frame, and is moved only when it is no longer there.
"""

EARLY_S = 0.005
"""So much less than the chunk lacks: a quarter of a frame of 20 ms, and half of one where two tracks come in turn."""
TREMBLE_S = 0.0025
"""A mark that is off by less stays: moving it is a system call."""
LOWEST = 1
"""Whatever comes: nothing is known about how many bytes audio takes."""
HIGHEST = 2**17
"""What a socket can be counted on to hold for us."""


class LowWater:
    """
    The mark of one stream.

    Attributes:
        mark: bytes.
    """

    __slots__ = ("_held", "mark")

    def __init__(self) -> None:
        self.mark = LOWEST
        self._held = 0

    def update(self, read: int, held: int, came_s: float, missing_s: float) -> bool:
        """
        Take note of what was read.

        Args:
            read: bytes.
            held: those of them at the end that are the beginning of a message.
            came_s: audio that was in them.
            missing_s: audio until the next chunk is complete.

        Returns:
            whether the mark is another one now.
        """
        read += self._held - held
        self._held = held
        if came_s > 0:
            per_s = read / came_s
            mark = min(max(LOWEST, int(per_s * (missing_s - EARLY_S)) - held), HIGHEST)
            if abs(mark - self.mark) <= per_s * TREMBLE_S:
                return False
        else:
            mark = LOWEST
        if mark == self.mark:
            return False
        self.mark = mark
        return True
