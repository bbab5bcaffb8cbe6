"""A call whose file nobody writes any more."""

from pathlib import Path

import structlog

from gateway.events import Track
from gateway.journal.archive import TrackArchive
from gateway.journal.contents import CallHeader, RecordingInfo, StreamEnd
from gateway.journal.disk import fault_name
from gateway.journal.recording import Muted, record
from gateway.journal.shelf import CallFile, Shelf

NOTHING: Muted = {}
"""Nothing is muted."""

log = structlog.get_logger()


class KeptCall:
    """
    What the journal has of a call that is over, or that a dead process left.

    Args:
        file: of the call; there is none on disk if no audio ever came.
        shelf: on which it stands.

    Attributes:
        header: which call it is.
        end: how the stream ended; None: the process died before.
        modified_at: last write, Unix seconds.
    """

    def __init__(
        self, header: CallHeader, end: StreamEnd | None, file: CallFile, shelf: Shelf, *, modified_at: float
    ) -> None:
        self.header = header
        self.end = end
        self.modified_at = modified_at
        self._file = file
        self._shelf = shelf

    @property
    def started_at(self) -> float:
        """Unix seconds."""
        return self.header.started_at

    @property
    def ended_at(self) -> float:
        """Unix seconds; where the process died before the end, the last write."""
        return self.modified_at if self.end is None else self.end.ended_at

    @property
    def size_bytes(self) -> int:
        """Of the file."""
        return self._file.size_bytes

    def extent(self, track: Track) -> tuple[int, int] | None:
        """Position of the track's first sample and the one after its last; None if there is no audio of it."""
        return self._file.index.extent(track)

    def samples(self, track: Track) -> int:
        """How many samples of the track are really there."""
        return self._file.index.samples(track)

    def missing(self, track: Track) -> list[tuple[int, int]]:
        """
        Positions from and to of audio that came but is not there: damaged, or the disk took it too late or not at all.

        Pauses of the stream itself are not among them. After a process died, its last moments are not known.
        """
        return self._file.index.missing(track)

    def archive(self, track: Track) -> TrackArchive:
        """A reader of one track's audio."""
        return TrackArchive(self._file, track, self._shelf)

    async def recording(self, target: Path, muted: Muted = NOTHING) -> RecordingInfo | None:
        """
        Make one WAV file of the call: left inbound, right outbound, sample-aligned; mono if only one track has audio.

        Args:
            target: made or replaced, at once as a whole; its folder is there.
            muted: what is to be silence.

        Returns:
            None if there is no audio.

        Raises:
            StorageError: `recording_failed`: the disk; `recording_too_long`: for a WAV file.
        """
        return await self._shelf.run_slow(record, self._file, target, muted)

    async def remove(self) -> None:
        """The call is complete: delete its file. What the disk refuses is logged; the next start finds it again."""
        try:
            await self._shelf.run(self._shelf.disk.remove, self._file.path)
        except OSError as error:
            log.exception("journal_remove_failed", call_id=self.header.call.id, reason=fault_name(error))
            return
        self._shelf.account(-self._file.size_bytes)
        self._file.size_bytes = 0
