"""
The audio of one track that is still in memory.

Two readers share it and neither waits for the other: the recogniser's session reads from wherever it stands, and goes
back when it has to; the journal takes what it has not written yet. Audio is let go when both are done with it. When
memory is full the oldest goes, whoever still wanted it: a caller cannot be paused. What the journal has is not lost
with it.
"""

from bisect import bisect_right
from collections import deque

from gateway.media.timeline import Stretch
from telephony_codecs.formats import AudioFormat

_SHORT = 0.8


class Budget:
    """
    Audio that all calls together may hold in memory.

    Args:
        capacity_bytes: beyond it every tape gives up its oldest audio before it takes more.
    """

    def __init__(self, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self.used_bytes = 0

    @property
    def is_short(self) -> bool:
        """Whether so much is held that no further call should come."""
        return self.used_bytes > _SHORT * self.capacity_bytes


class Tape:
    """
    Holds one track's chunks by position.

    Args:
        audio_format: of the track.
        capacity_bytes: most that it holds; one chunk is always taken.
        is_archived: whether a journal reads it too (`unwritten`, `wrote`).
        budget: shared with the tapes of other calls.

    Attributes:
        end: position after the last sample, in samples; None before the first chunk.
        start: position of the first sample that ever came; None before it.
        missed: samples that were given up before the journal had written them.
    """

    def __init__(
        self,
        audio_format: AudioFormat,
        capacity_bytes: int,
        *,
        is_archived: bool = False,
        budget: Budget | None = None,
    ) -> None:
        self.format = audio_format
        self._width = audio_format.bytes_per_sample
        self._capacity_bytes = capacity_bytes
        self._is_archived = is_archived
        self._budget = budget or Budget(capacity_bytes)
        self._held: deque[Stretch] = deque()
        self._held_bytes = 0
        self._heard = 0
        self._written = 0
        self.start: int | None = None
        self.end: int | None = None
        self.missed = 0

    def append(self, chunk: Stretch) -> None:
        """Take a chunk that begins at or after `end`."""
        size, budget = len(chunk.payload), self._budget
        while self._held and (
            self._held_bytes + size > self._capacity_bytes or budget.used_bytes + size > budget.capacity_bytes
        ):
            self._give_up_oldest()
        if self.start is None:
            self.start = chunk.position
        self.end = chunk.position + size // self._width
        self._held.append(chunk)
        self._held_bytes += size
        budget.used_bytes += size

    def next(self, position: int) -> Stretch | None:
        """
        The first audio at or after a position, at most one chunk; None if nothing of it has come yet.

        It begins later than asked for where the call has a hole, and where memory no longer holds what was asked for.
        """
        if self.end is None or position >= self.end or not self._held:
            return None
        chunk = self._held[-1]
        if position == chunk.position:  # as nearly always
            return chunk
        if position < chunk.position:
            index = bisect_right(self._held, position, key=lambda each: each.position) - 1
            if index < 0:
                return self._held[0]
            chunk = self._held[index]
            if position >= self._end_of(chunk):
                return self._held[index + 1]
        skipped = position - chunk.position
        if not skipped:
            return chunk
        return Stretch(position, chunk.payload[skipped * self._width :])

    @property
    def oldest(self) -> int | None:
        """Position of the oldest audio in memory; None if there is none."""
        return self._held[0].position if self._held else None

    def heard(self, position: int) -> None:
        """The session will not ask memory for anything before this position again."""
        before, self._heard = self._heard, position
        if not self._is_archived or before < self._written:  # else what is to be let go waits for the journal
            self._let_go()

    def unwritten(self) -> list[Stretch]:
        """What the journal has not written, in order."""
        held = self._held
        if held and held[0].position >= self._written:  # as nearly always: what is written is let go
            return list(held)
        found: list[Stretch] = []
        for chunk in reversed(held):
            if self._end_of(chunk) <= self._written:
                break
            found.append(chunk)
        found.reverse()
        return found

    def wrote(self, position: int) -> None:
        """The journal has everything before this position."""
        self._written = position
        self._let_go()

    def release(self) -> None:
        """Nobody reads any more: let everything go."""
        while self._held:
            self._drop()

    def _let_go(self) -> None:
        done = self._heard
        if self._is_archived and self._written < done:
            done = self._written
        while self._held and self._end_of(self._held[0]) <= done:
            self._drop()

    def _give_up_oldest(self) -> None:
        chunk = self._held[0]
        if self._is_archived:
            self.missed += max(0, self._end_of(chunk) - max(chunk.position, self._written))
        self._drop()

    def _drop(self) -> None:
        size = len(self._held.popleft().payload)
        self._held_bytes -= size
        self._budget.used_bytes -= size

    def _end_of(self, chunk: Stretch) -> int:
        return chunk.position + len(chunk.payload) // self._width
