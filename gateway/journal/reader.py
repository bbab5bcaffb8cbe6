"""Reading a call's file. Everything here blocks and belongs in one of the journal's threads."""

import contextlib
import os
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from gateway.events import Track
from gateway.journal.contents import CallHeader, StreamEnd
from gateway.journal.format import Kind, Record, Scanner
from gateway.journal.index import Index
from gateway.journal.shelf import CallFile
from gateway.media.timeline import Stretch
from telephony_codecs.formats import AudioFormat

_SCAN_BYTES = 1 << 20
_READ_BYTES = 1 << 17


@dataclass(frozen=True, slots=True)
class Scanned:
    """Everything that a file says."""

    file: CallFile
    header: CallHeader
    end: StreamEnd | None
    modified_at: float
    damaged_bytes: int


def scan(path: Path) -> Scanned | None:
    """
    Read a whole file that an earlier process left; None: its header cannot be read.

    Raises:
        OSError: the disk cannot read it.
    """
    scanner = Scanner()
    header: CallHeader | None = None
    index: Index | None = None
    end: StreamEnd | None = None
    with path.open("rb", buffering=0) as file:
        status = os.fstat(file.fileno())
        for record in _records(file.fileno(), scanner, 0, status.st_size, _SCAN_BYTES):
            if header is None or index is None:
                try:
                    header = msgspec.json.decode(record.payload, type=CallHeader)
                    index = Index(AudioFormat.parse(header.format))
                except (msgspec.DecodeError, ValueError):
                    return None
            elif record.kind is Kind.END:
                with contextlib.suppress(msgspec.DecodeError):  # of another version: as if the process had died
                    end = msgspec.json.decode(record.payload, type=StreamEnd)
            else:
                index.note_record(record)
    if header is None or index is None or scanner.tag is None:
        return None
    found = CallFile(path, scanner.tag, index, status.st_size)
    return Scanned(found, header, end, status.st_mtime, scanner.damaged_bytes)


def read_audio(
    path: Path, tag: bytes, audio_format: AudioFormat, track: Track, *, start: int, stop: int, position: int
) -> Generator[tuple[Stretch, int], None, None]:
    """
    A track's audio, in order.

    Args:
        path, tag, audio_format: of the file.
        start: offset of a record; the audio that is wanted lies behind it.
        stop: offset at which to stop.
        position: audio before it is left out.

    Returns:
        Stretches that never overlap, each with the offset of the record that follows it.

    Raises:
        OSError: the disk cannot read it.
    """
    with path.open("rb", buffering=0) as file:
        for record in _records(file.fileno(), Scanner(tag, offset=start), start, stop, _READ_BYTES):
            if record.kind is not Kind.AUDIO or record.track is not track:
                continue
            end = record.position + audio_format.samples(record.payload)
            if end <= position:
                continue
            skipped = max(0, position - record.position)
            yield (
                Stretch(record.position + skipped, record.payload[skipped * audio_format.bytes_per_sample :]),
                record.end,
            )
            position = end


def _records(descriptor: int, scanner: Scanner, start: int, stop: int, block_bytes: int) -> Iterator[Record]:
    while start < stop and (data := os.pread(descriptor, min(block_bytes, stop - start), start)):
        start += len(data)
        yield from scanner.feed(data)
    yield from scanner.finish()
