"""
The framing of a call's file.

A record, little-endian:

    4 bytes   MAGIC
    8         tag: random, the same in all records of a file
    1         kind
    1         track: 0 inbound, 1 outbound; 0 where the kind has none
    2         zero
    8         position of the first sample, in samples; 0 where the kind has none
    8         samples of the track that had come before it: where this is more than what lies before it in the file,
              audio is missing; where positions jump all the same, the stream itself did. 0 where the kind has none
    4         length of the payload, in bytes
    4         CRC-32 of the 32 bytes from the tag on and the payload
    …         payload

The first record is the header; it alone tells the tag. When the stream is over, an empty audio record closes each
track, and the end follows. Damage costs the records that it touches: reading goes on at the next place where a whole,
sound record begins. Since the callers' audio cannot hold the tag, no sound that somebody plays into a call is ever
taken for a record.
"""

import zlib
from collections.abc import Sequence
from enum import IntEnum
from struct import Struct

import msgspec

from gateway.events import Track
from gateway.media.timeline import Stretch
from telephony_codecs.formats import AudioFormat

MAGIC = b"GWJ1"
TAG_BYTES = 8
MAX_AUDIO_BYTES = 1 << 16
"""Payload of one audio record; more is written as several. Whole samples of any format."""

_HEAD = Struct("<8sBBHQQI")
_CRC = Struct("<I")
HEAD_BYTES = len(MAGIC) + _HEAD.size + _CRC.size
_TRACKS = tuple(Track)
_NUMBERS = {track: number for number, track in enumerate(_TRACKS)}


class Kind(IntEnum):
    """What a record holds."""

    HEADER = 1
    AUDIO = 2
    END = 3


_MAX_BYTES = {Kind.HEADER: 1 << 26, Kind.AUDIO: MAX_AUDIO_BYTES, Kind.END: 1 << 20}


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record; `offset` is where it begins in the file, `end` where the next one does."""

    kind: Kind
    track: Track
    position: int
    came: int
    payload: bytes
    offset: int
    end: int
    tag: bytes


def encode(
    tag: bytes, kind: Kind, payload: bytes, *, track: Track = Track.INBOUND, position: int = 0, came: int = 0
) -> bytes:
    """
    Frame one record.

    Args:
        payload: at most what the kind allows.

    Raises:
        ValueError: the payload is longer than that.
    """
    if len(payload) > _MAX_BYTES[kind]:
        raise ValueError(f"a {kind.name} record holds at most {_MAX_BYTES[kind]} bytes")
    head = _HEAD.pack(tag, kind, _NUMBERS[track], 0, position, came, len(payload))
    return b"".join((MAGIC, head, _CRC.pack(zlib.crc32(payload, zlib.crc32(head))), payload))


def encode_audio(
    tag: bytes, track: Track, audio_format: AudioFormat, chunks: Sequence[Stretch], came: int
) -> list[tuple[int, int, int, bytes]]:
    """
    Frame chunks that lie one after the other; those that follow on without a hole share a record.

    Args:
        came: samples of the track that came before them.

    Returns:
        Of each record: position, length in samples, samples that came before it, and the record itself.
    """
    sample_bytes = audio_format.bytes_per_sample
    found: list[tuple[int, int, int, bytes]] = []
    for position, payload in _runs(sample_bytes, chunks):
        for start in range(0, len(payload), MAX_AUDIO_BYTES):
            part = payload[start : start + MAX_AUDIO_BYTES]
            at = position + start // sample_bytes
            samples = len(part) // sample_bytes
            found.append((at, samples, came, encode(tag, Kind.AUDIO, part, track=track, position=at, came=came)))
            came += samples
    return found


def _runs(sample_bytes: int, chunks: Sequence[Stretch]) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    payloads: list[bytes] = []
    start = expected = 0
    for chunk in chunks:
        payload = chunk.payload
        if chunk.position != expected or not payloads:
            if payloads:
                found.append((start, b"".join(payloads)))
                payloads = []
            start = chunk.position
        payloads.append(payload)
        expected = chunk.position + len(payload) // sample_bytes if len(payload) % sample_bytes == 0 else -1
    if payloads:
        found.append((start, b"".join(payloads)))
    return found


class Scanner:
    """
    Finds the sound records in the bytes of a file, in order, whatever else is in them.

    Args:
        tag: of the file; None at its beginning: then the first record must be the header, else nothing is found.
        offset: where in the file the bytes begin that are fed first.
    """

    def __init__(self, tag: bytes | None = None, *, offset: int = 0) -> None:
        self.tag = tag
        self.damaged_bytes = 0
        self._buffer = bytearray()
        self._offset = offset
        self._is_hopeless = False

    def feed(self, data: bytes) -> list[Record]:
        """Take the next bytes; returns the records that they complete."""
        if self._is_hopeless:
            return []
        self._buffer += data
        return self._take(is_last=False)

    def finish(self) -> list[Record]:
        """There are no more bytes: what looked like the beginning of a long record was none."""
        if self._is_hopeless:
            return []
        return self._take(is_last=True)

    def _take(self, *, is_last: bool) -> list[Record]:
        found: list[Record] = []
        buffer, at = bytes(self._buffer), 0
        while at < len(buffer):
            record = self._record_at(buffer, at)
            if isinstance(record, Record):
                found.append(record)
                at = record.end - self._offset
                continue
            if record is _Verdict.INCOMPLETE and not is_last:
                break
            if self.tag is None:
                self._is_hopeless = True
                self.damaged_bytes += len(buffer)
                self._buffer.clear()
                return []
            at, skipped_from = self._next_candidate(buffer, at + 1, is_last=is_last), at
            self.damaged_bytes += at - skipped_from
        del self._buffer[:at]
        self._offset += at
        return found

    def _record_at(self, buffer: bytes, at: int) -> "Record | _Verdict":
        if len(buffer) - at < HEAD_BYTES:
            known = (MAGIC + (self.tag or b""))[: len(buffer) - at]
            return _Verdict.INCOMPLETE if buffer.startswith(known, at) else _Verdict.DAMAGED
        tag, kind, track, zero, position, came, length = _HEAD.unpack_from(buffer, at + len(MAGIC))
        if (
            not buffer.startswith(MAGIC, at)
            or zero
            or kind not in _MAX_BYTES
            or track >= len(_TRACKS)
            or length > _MAX_BYTES[kind]
        ):
            return _Verdict.DAMAGED
        if (kind != Kind.HEADER) if self.tag is None else (tag != self.tag):
            return _Verdict.DAMAGED
        end = at + HEAD_BYTES + length
        if end > len(buffer):
            return _Verdict.INCOMPLETE
        payload = buffer[at + HEAD_BYTES : end]
        crc_at = at + HEAD_BYTES - _CRC.size
        if (zlib.crc32(payload, zlib.crc32(buffer[at + len(MAGIC) : crc_at])),) != _CRC.unpack_from(buffer, crc_at):
            return _Verdict.DAMAGED
        self.tag = tag
        return Record(Kind(kind), _TRACKS[track], position, came, payload, self._offset + at, self._offset + end, tag)

    def _next_candidate(self, buffer: bytes, start: int, *, is_last: bool) -> int:
        """Where the next record may begin; the last bytes may hold the beginning of its mark."""
        assert self.tag is not None
        mark = MAGIC + self.tag
        found = buffer.find(mark, start)
        if found >= 0:
            return found
        return len(buffer) if is_last else max(start, len(buffer) - len(mark) + 1)


class _Verdict(IntEnum):
    """Why there is no record at some place."""

    INCOMPLETE = 1
    DAMAGED = 2
