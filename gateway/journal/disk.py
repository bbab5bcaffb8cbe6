"""Writing to the disk. Everything here blocks and belongs in the journal's thread."""

import contextlib
import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import msgspec

from gateway.events import Track
from gateway.journal.format import Kind, encode, encode_audio
from gateway.media.timeline import Stretch
from telephony_codecs.formats import AudioFormat

Note: TypeAlias = tuple[Track, int, int, int, int]
"""Of an audio record: track; position, length and what came before it, in samples; its offset in the file."""
_PROBE_BYTES = 1 << 16


class Disk:
    """What the journal asks of the operating system to write; replaced in tests. Raises OSError."""

    def create(self, path: Path) -> int:
        """Open a file for its owner alone; an old one of that name is emptied."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)

    def write(self, descriptor: int, data: bytes | memoryview, offset: int) -> int:
        """Write at an offset; returns how many bytes were taken, which may be fewer."""
        return os.pwrite(descriptor, data, offset)

    def truncate(self, descriptor: int, size: int) -> None:
        """Cut a file to a size."""
        os.ftruncate(descriptor, size)

    def sync(self, descriptor: int) -> None:
        """Return once the content is on the disk itself."""
        os.fdatasync(descriptor)

    def sync_folder(self, folder: Path) -> None:
        """Return once the names in a folder are on the disk itself."""
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def remove(self, path: Path) -> None:
        """Delete a file; one that is not there is no fault."""
        path.unlink(missing_ok=True)


class OpenFile:
    """
    A call's file while it is written.

    It is made by the first write. A write that fails leaves the file as it was before: either all of it is there or
    nothing, and the next one goes to the same place.
    """

    __slots__ = ("_descriptor", "_disk", "_path", "_sync")

    def __init__(self, path: Path, disk: Disk, *, sync: bool) -> None:
        self._path = path
        self._disk = disk
        self._sync = sync
        self._descriptor: int | None = None

    def write(self, data: bytes, offset: int) -> None:
        """
        Write all of it.

        Raises:
            OSError: nothing of it was written.
        """
        if self._descriptor is None:
            self._descriptor = self._disk.create(self._path)
            if self._sync:
                self._disk.sync_folder(self._path.parent)
        try:
            _write_all(self._disk, self._descriptor, data, offset)
            if self._sync:
                self._disk.sync(self._descriptor)
        except OSError:
            self._undo(self._descriptor, offset)
            raise

    def close(self) -> None:
        """No more is written; may be called again."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            with contextlib.suppress(OSError):  # what was written is judged by `write`
                self._disk.close(descriptor)

    def _undo(self, descriptor: int, offset: int) -> None:
        # If the disk refuses even this, the next write goes over the torn bytes, and readers pass over what is left.
        with contextlib.suppress(OSError):
            if offset == 0:
                self.close()
                self._disk.remove(self._path)
            else:
                self._disk.truncate(descriptor, offset)


class TrackAudio(msgspec.Struct, frozen=True):
    """
    Chunks of one track, in order.

    Args:
        came: samples of the track that came before them.
        missed: of these, how many memory had given up before they could be written.
        closes_at: no more comes: the position after the last sample; None: more may come.
    """

    track: Track
    chunks: list[Stretch]
    came: int
    missed: int
    closes_at: int | None = None


class Batch(msgspec.Struct, eq=False):
    """
    What one call's file gets at once.

    Args:
        offset: where in the file.
        audio: of each track; None: nothing.
        header, end: JSON of these records; None: not now.
    """

    file: OpenFile
    tag: bytes
    format: AudioFormat
    offset: int
    audio: list[TrackAudio | None]
    header: bytes | None = None
    end: bytes | None = None
    size_bytes: int = 0
    notes: list[Note] = []

    @property
    def audio_bytes(self) -> int:
        return sum(len(chunk.payload) for each in self.audio if each is not None for chunk in each.chunks)

    def write(self) -> None:
        """
        Write it; `size_bytes` and `notes` then say what was written.

        Raises:
            OSError: nothing of it was written.
        """
        data = self._encode()
        self.file.write(data, self.offset)
        self.size_bytes = len(data)

    def _encode(self) -> bytes:
        parts = [] if self.header is None else [encode(self.tag, Kind.HEADER, self.header)]
        offset = self.offset + sum(map(len, parts))
        for each in self.audio:
            if each is None:
                continue
            records = encode_audio(self.tag, each.track, self.format, each.chunks, each.came)
            if each.closes_at is not None:
                records.append(self._closing(each, each.closes_at, records))
            for position, samples, came, record in records:
                self.notes.append((each.track, position, samples, came, offset))
                parts.append(record)
                offset += len(record)
        if self.end is not None:
            parts.append(encode(self.tag, Kind.END, self.end))
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _closing(
        self, audio: TrackAudio, at: int, before: Sequence[tuple[int, int, int, bytes]]
    ) -> tuple[int, int, int, bytes]:
        """The empty record that closes a track, and what `encode_audio` says of a record."""
        came = before[-1][1] + before[-1][2] if before else audio.came
        return at, 0, came, encode(self.tag, Kind.AUDIO, b"", track=audio.track, position=at, came=came)


def write_all(batches: Sequence[Batch]) -> list[OSError | None]:
    """Write batches of several calls; returns for each what went wrong."""
    return [_fault(batch) for batch in batches]


def probe(folder: Path, disk: Disk) -> OSError | None:
    """Find out whether the disk takes anything at all; returns what went wrong."""
    path = folder / "probe.part"
    try:
        descriptor = disk.create(path)
        try:
            _write_all(disk, descriptor, bytes(_PROBE_BYTES), 0)
        finally:
            disk.close(descriptor)
            disk.remove(path)
    except OSError as error:
        return error
    return None


def fault_name(error: OSError) -> str:
    """The system's name of a fault, such as ENOSPC; its text may hold a path."""
    return errno.errorcode.get(error.errno or 0, "unknown")


def _fault(batch: Batch) -> OSError | None:
    try:
        batch.write()
    except OSError as error:
        return error
    return None


def _write_all(disk: Disk, descriptor: int, data: bytes, offset: int) -> None:
    rest: bytes | memoryview = data
    while (written := disk.write(descriptor, rest, offset)) != len(rest):
        if written <= 0:
            raise OSError(errno.EIO, "the disk takes nothing")
        rest = memoryview(rest)[written:]
        offset += written
