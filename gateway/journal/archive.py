"""A track's audio on disk, for whoever has to hear it again."""

import structlog

from gateway.events import Track
from gateway.journal.disk import fault_name
from gateway.journal.reader import read_audio
from gateway.journal.shelf import CallFile, Shelf
from gateway.media.timeline import Stretch

log = structlog.get_logger()

READ_S = 5.0
"""How much is read at a time."""


class TrackArchive:
    """
    Reads one track of a call's file, also while that grows.

    Going on where the last reading ended costs nothing but the reading; any other position is found through the index.
    """

    def __init__(self, file: CallFile, track: Track, shelf: Shelf) -> None:
        self._file = file
        self._track = track
        self._shelf = shelf
        self._next_position = -1
        self._next_offset = 0

    async def read(self, position: int) -> list[Stretch]:
        """
        The next audio at or after a position, in order, about `READ_S` at a time; empty if there is none.

        What is still only in memory may be missing. Damaged and missing places are left out: then positions jump.
        """
        file = self._file
        start = self._next_offset
        if position != self._next_position:
            start = file.index.offset_before(self._track, position)
        if start >= file.size_bytes:
            return []
        try:
            found, offset = await self._shelf.run(_read, file, self._track, start, file.size_bytes, position)
        except OSError as error:
            log.exception("journal_read_failed", call_id=file.path.stem, reason=fault_name(error))
            return []
        if found:
            position = found[-1].position + file.index.format.samples(found[-1].payload)
        self._next_position, self._next_offset = position, offset
        return found


def _read(file: CallFile, track: Track, start: int, stop: int, position: int) -> tuple[list[Stretch], int]:
    audio_format = file.index.format
    wanted = int(READ_S * audio_format.rate_hz)
    found: list[Stretch] = []
    stretches = read_audio(file.path, file.tag, audio_format, track, start=start, stop=stop, position=position)
    for stretch, offset in stretches:
        found.append(stretch)
        wanted -= audio_format.samples(stretch.payload)
        if wanted <= 0:
            return found, offset
    return found, stop
