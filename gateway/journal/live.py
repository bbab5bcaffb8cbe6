"""A live call's file."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping

import msgspec
import structlog

from gateway.events import Track
from gateway.journal.archive import TrackArchive
from gateway.journal.contents import CallHeader, StreamEnd
from gateway.journal.disk import Batch, OpenFile
from gateway.journal.format import TAG_BYTES
from gateway.journal.index import Index
from gateway.journal.kept import KeptCall
from gateway.journal.shelf import CallFile, Shelf
from gateway.journal.strand import Strand
from gateway.media.tape import Tape
from telephony_codecs.formats import AudioFormat

log = structlog.get_logger()

BACKOFF_S = (0.5, 1.0, 2.0, 5.0)
"""Pauses after writes that failed; the last one repeats."""
PATIENCE_S = 5.0
"""How long the end of a call waits for a disk that takes nothing."""


class CallJournal:
    """
    Made by `Journal.begin`; belongs to the event loop.

    Args:
        header: its first record, written with the first audio.
        tapes: its tracks.
        shelf: where the file stands.
        flush: writes what this call has not written; tells whether all of it is on disk now.
        let_go: this call is written no more.
        sync: flush each batch to the disk itself.
        clock: Unix seconds.
    """

    __slots__ = (
        "_clock",
        "_end",
        "_failures",
        "_file",
        "_flush",
        "_format",
        "_give_up_at",
        "_header",
        "_is_end_written",
        "_let_go",
        "_shelf",
        "_strands",
        "_writer",
        "retry_at",
    )

    def __init__(
        self,
        header: CallHeader,
        tapes: Mapping[Track, Tape],
        shelf: Shelf,
        *,
        flush: "Callable[[CallJournal], Awaitable[bool]]",
        let_go: "Callable[[CallJournal], None]",
        sync: bool,
        clock: Callable[[], float],
    ) -> None:
        self._header = header
        self._strands = [Strand(track, tape) for track, tape in tapes.items()]
        self._shelf = shelf
        self._flush = flush
        self._let_go = let_go
        self._clock = clock
        self._format = AudioFormat.parse(header.format)
        path = shelf.path(header.call.id)
        self._file = CallFile(path, os.urandom(TAG_BYTES), Index(self._format))
        self._writer = OpenFile(path, shelf.disk, sync=sync)
        self._end: StreamEnd | None = None
        self._is_end_written = False
        self._failures = 0
        self._give_up_at: float | None = None
        self.retry_at = 0.0

    # ── For the call ────────────────────────────────────────────────────────────────────────────────────────────

    def archive(self, track: Track) -> TrackArchive:
        """A reader of one track's audio; it sees what was written."""
        return TrackArchive(self._file, track, self._shelf)

    async def end(self, end: StreamEnd) -> KeptCall:
        """
        Write everything and how the stream ended; afterwards the tapes are not read any more.

        A write that is under way is waited for. If the disk refuses, this tries again for `PATIENCE_S`; what memory
        alone held is then lost to the file.
        """
        self._end = end
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE_S
        while True:
            is_written = await self._flush(self)
            now = loop.time()
            if is_written or now >= deadline:
                break
            await asyncio.sleep(min(self.retry_at, deadline) - now)
        if self.has_unwritten:
            self._give_up()
            await self._flush(self)  # room for the end record there may be
        self._let_go(self)
        self._shelf.run_later(self._writer.close)
        return KeptCall(self._header, end, self._file, self._shelf, modified_at=self._clock())

    def leave(self) -> None:
        """
        The call is cut off: the file stays for the next start.

        What its tapes still hold is written soon, and they are released. Also after an `end` that was cancelled.
        """
        self._give_up_at = asyncio.get_running_loop().time() + PATIENCE_S

    # ── For the journal ─────────────────────────────────────────────────────────────────────────────────────────

    @property
    def is_left(self) -> bool:
        """Whether there will be no more to write than there is."""
        return self._give_up_at is not None

    @property
    def is_done(self) -> bool:
        """Whether all there is has been written, or it is time to give up the rest."""
        assert self._give_up_at is not None
        return not self.has_unwritten or asyncio.get_running_loop().time() >= self._give_up_at

    @property
    def has_unwritten(self) -> bool:
        """Whether the file lacks something."""
        return self._has_end_to_write or any(strand.has_unwritten for strand in self._strands)

    @property
    def _has_end_to_write(self) -> bool:
        """A call without audio has no file, and needs none."""
        return self._end is not None and not self._is_end_written and bool(self._file.size_bytes)

    def collect(self) -> Batch | None:
        """What the file lacks; None if nothing."""
        is_over = self._end is not None and not self._is_end_written
        audio = [strand.collect(is_over=is_over) for strand in self._strands]
        if self._file.size_bytes:
            if not is_over and not any(audio):
                return None
        elif not any(each is not None and each.chunks for each in audio):
            return None
        return Batch(
            file=self._writer,
            tag=self._file.tag,
            format=self._format,
            offset=self._file.size_bytes,
            audio=audio,
            header=None if self._file.size_bytes else msgspec.json.encode(self._header),
            end=msgspec.json.encode(self._end) if is_over else None,
        )

    def settle(self, batch: Batch) -> int:
        """The batch is on disk; returns by how many bytes the file has grown."""
        self._failures = 0
        index = self._file.index
        for track, position, samples, came, offset in batch.notes:
            index.note(track, position, samples, came, offset)
        for strand, audio in zip(self._strands, batch.audio, strict=True):
            if audio is not None:
                strand.settle(audio, sum(note[2] for note in batch.notes if note[0] is strand.track))
        self._is_end_written |= batch.end is not None
        grown_bytes = batch.offset + batch.size_bytes - self._file.size_bytes
        self._file.size_bytes += grown_bytes
        return grown_bytes

    def fail(self) -> None:
        """It is not; it is to be tried again later."""
        pause_s = BACKOFF_S[min(self._failures, len(BACKOFF_S) - 1)]
        self._failures += 1
        self.retry_at = asyncio.get_running_loop().time() + pause_s

    def close(self) -> None:
        """Nobody feeds this call any more; what is not written is given up."""
        self._give_up()
        for strand in self._strands:
            strand.tape.release()
        self._shelf.run_later(self._writer.close)

    def _give_up(self) -> None:
        """What only memory holds will not be written any more."""
        lost = sum(strand.give_up() for strand in self._strands)
        if lost:
            missing_s = round(lost / self._format.rate_hz, 3)
            log.error("journal_cut_short", call_id=self._header.call.id, missing_s=missing_s)
        for strand in self._strands:
            if strand.tape.end is not None:
                self._file.index.note(strand.track, strand.tape.end, 0, strand.came, self._file.size_bytes)
