"""
A track's audio for one recogniser session, from any position on: from memory while it is there, else from the archive.

Both have gaps. A hole of the call itself, where no audio ever was, is passed over; audio that was there and that
neither holds any more is `Missing`, and said to be so. Audio that a session is behind with is cut anew into pieces of
the usual length.
"""

from bisect import insort

import msgspec
import structlog

from gateway.errors import StorageError
from gateway.media.tape import Tape
from gateway.media.timeline import Stretch
from gateway.stt.base import Archive
from gateway.stt.loudness import Shortener

log = structlog.get_logger()

FAR_BEHIND_S = 10.0
"""A backlog of which long silences are left out."""


class Missing(msgspec.Struct, frozen=True, gc=False):
    """Audio from `start` to before `end`, in samples, that came and is gone."""

    start: int
    end: int


class Holes:
    """Spans of a call that have no audio, or that are dealt with; those before what is still of interest can go."""

    def __init__(self) -> None:
        self._holes: list[tuple[int, int]] = []

    def add(self, start: int, end: int) -> None:
        """One more, that overlaps none."""
        insort(self._holes, (start, end))

    def forget(self, before: int) -> None:
        """Nothing before this position will be asked for."""
        while self._holes and self._holes[0][1] <= before:
            self._holes.pop(0)

    def audio_between(self, start: int, end: int) -> list[Missing]:
        """The parts of a span that are no hole."""
        found: list[Missing] = []
        for hole_start, hole_end in self._holes:
            if hole_end <= start:
                continue
            if hole_start >= end:
                break
            if hole_start > start:
                found.append(Missing(start, hole_start))
            start = max(start, hole_end)
        if start < end:
            found.append(Missing(start, end))
        return found


class Source:
    """
    Reads one track for one session.

    Args:
        tape: what memory holds, and how far the track is.
        archive: what the disk holds; None: nothing.
        holes: of the call; None: they are not known (recovery), and then whatever is not there was never there.
        position: where to begin, in samples.
        chunk_samples: longest piece.
        shorten_before: position before which long silences of a long backlog are left out.

    Attributes:
        position: where the next piece is looked for.
    """

    def __init__(
        self,
        tape: Tape,
        archive: Archive | None,
        holes: Holes | None,
        position: int,
        chunk_samples: int,
        *,
        shorten_before: int = 0,
    ) -> None:
        self.position = position
        self._tape = tape
        self._width = tape.format.bytes_per_sample
        self._archive = archive
        self._holes = holes
        self._chunk_samples = chunk_samples
        self._shorten_before = shorten_before
        self._far_behind = round(FAR_BEHIND_S * tape.format.rate_hz)
        self._shortener: Shortener | None = None  # only a long backlog needs one
        self._ready: list[Stretch | Missing] = []
        self._pages: list[Stretch] = []

    @property
    def behind_samples(self) -> int:
        """Audio that is there and was not given out, as far as memory knows."""
        return max(0, (self._tape.end or 0) - self.position)

    def take(self) -> Stretch | None:
        """The next piece of a call that is heard live; None: ask `next`."""
        held = self._tape.next(self.position)
        if held is None or held.position != self.position or held.position < self._shorten_before or self._ready:
            return None
        samples = len(held.payload) // self._width
        if samples > self._chunk_samples or (self._shortener is not None and self._shortener.is_holding):
            return None
        self.position += samples
        return held

    @property
    def is_at_edge(self) -> bool:
        """Whether everything was given out that a call has so far; never, where nobody knows (recovery)."""
        return self._holes is not None and not self._ready and self.position >= (self._tape.end or 0)

    async def next(self) -> Stretch | Missing | None:
        """The next piece, or what is missing before it; None: there is nothing for the time being."""
        while not self._ready:
            piece = await self._read()
            if isinstance(piece, Stretch) and self._is_far_behind(piece):
                self._shortener = self._shortener or Shortener(self._tape.format)
                self._ready.extend(self._shortener.pass_on(piece))
                continue
            if self._shortener is not None:
                self._ready.extend(self._shortener.rest())
            if not self._ready:
                return piece
            if piece is not None:
                self._ready.append(piece)
        return self._ready.pop(0)

    def _is_far_behind(self, piece: Stretch) -> bool:
        if piece.position >= self._shorten_before:
            return False
        return self._holes is None or self.behind_samples > self._far_behind

    async def _read(self) -> Stretch | Missing | None:
        held = self._tape.next(self.position)
        if held is not None and not self._gone(held.position):
            return self._take(held)
        edge = self._tape.end if held is None else held.position
        if edge is not None and self.position >= edge:
            return None
        kept = await self._look_up()
        if kept is not None and (edge is None or kept.position < edge):
            return self._missing(kept.position) or self._take(kept)
        return (None if edge is None else self._missing(edge)) or (None if held is None else self._take(held))

    async def _look_up(self) -> Stretch | None:
        """The next that the archive has."""
        if self._archive is None:
            return None
        while self._pages and self._end_of(self._pages[0]) <= self.position:
            self._pages.pop(0)
        if not self._pages:
            try:
                self._pages.extend(await self._archive.read(self.position))
            except StorageError as error:
                log.error("stt_archive_unreadable", code=error.code)  # noqa: TRY400 - foreseen: its place is of no use
        return self._pages[0] if self._pages else None

    def _gone(self, position: int) -> list[Missing]:
        """What came between here and there."""
        if position <= self.position or self._holes is None:
            return []
        return self._holes.audio_between(self.position, position)

    def _missing(self, position: int) -> Missing | None:
        """The first part of what came between here and there, and is gone; goes on behind it."""
        gone = self._gone(position)
        self.position = gone[0].end if gone else max(self.position, position)
        return gone[0] if gone else None

    def _take(self, stretch: Stretch) -> Stretch:
        """As much of a stretch as one piece may have, from here on."""
        width = self._tape.format.bytes_per_sample
        skipped = max(0, self.position - stretch.position)
        samples = self._tape.format.samples(stretch.payload) - skipped
        if skipped or samples > self._chunk_samples:
            samples = min(samples, self._chunk_samples)
            stretch = Stretch(
                stretch.position + skipped, stretch.payload[skipped * width : (skipped + samples) * width]
            )
        self.position = stretch.position + samples
        return stretch

    def _end_of(self, stretch: Stretch) -> int:
        return stretch.position + self._tape.format.samples(stretch.payload)
