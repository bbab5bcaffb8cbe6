"""A call as one WAV file, made from the journal. Blocks; belongs in a thread."""

import contextlib
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from gateway.errors import StorageError
from gateway.events import Track
from gateway.journal.contents import RecordingInfo
from gateway.journal.reader import read_audio
from gateway.journal.shelf import CallFile
from gateway.media.timeline import Stretch
from gateway.recordings import write_wav
from telephony_codecs.convert import Converter
from telephony_codecs.formats import AudioFormat, Encoding

_MAX_WAV_BYTES = (1 << 32) - 4096
"""A WAV file counts its bytes in 32 bits."""
UNFINISHED = ".part"
Muted: TypeAlias = Mapping[Track, Sequence[tuple[float, float]]]
"""Call time from and to, per track, that is to be silence."""


def record(file: CallFile, target: Path, muted: Muted) -> RecordingInfo | None:
    """
    Write all tracks that have audio side by side, 16 bits, at their own rate; holes become silence, and so does what is
    `muted`.

    Each track is read for itself, a second at a time, so that memory stays small however long the call was.

    Raises:
        StorageError: `recording_failed`, `recording_too_long`.
    """
    index = file.index
    tracks = index.tracks
    extents = [extent for track in tracks if (extent := index.extent(track)) is not None]
    if not extents:
        return None
    samples = max(after for _, after in extents)
    if samples * 2 * len(tracks) > _MAX_WAV_BYTES:
        raise StorageError("the call is too long for a WAV file", code="recording_too_long")
    held = sum(index.samples(track) for track in tracks)
    try:
        _write(file, tracks, target, muted)
    except OSError as error:
        raise StorageError(f"the recording cannot be made: {error.strerror}", code="recording_failed") from error
    return RecordingInfo(
        path=target,
        duration_s=samples / index.format.rate_hz,
        channels=len(tracks),
        missing_s=(sum(after - first for first, after in extents) - held) / index.format.rate_hz,
    )


def remove_unfinished(folder: Path) -> None:
    """Delete what a process that died had begun to write there."""
    for path in folder.glob(f"*{UNFINISHED}"):
        path.unlink(missing_ok=True)


def _write(file: CallFile, tracks: Sequence[Track], target: Path, muted: Muted) -> None:
    """Under another name first, so that nobody ever sees half a recording."""
    unfinished = target.with_name(target.name + UNFINISHED)
    try:
        os.close(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        write_wav(unfinished, len(tracks), file.index.format.rate_hz, _blocks(file, tracks, muted))
        unfinished.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise


def _blocks(file: CallFile, tracks: Sequence[Track], muted: Muted) -> Iterator[bytes]:
    audio_format = file.index.format
    linear = AudioFormat(Encoding.LINEAR16, audio_format.rate_hz)
    with ExitStack() as stack:
        channels = [stack.enter_context(closing(_Channel(file, track))) for track in tracks]
        converters = [Converter(audio_format, linear) for _ in tracks]
        position = 0
        while any(raw := [channel.read(audio_format.rate_hz) for channel in channels]):
            pcm = [converter.convert(part) for converter, part in zip(converters, raw, strict=True)]
            block = np.zeros((max(map(len, pcm)) // 2, len(tracks)), "<i2")
            for number, part in enumerate(pcm):
                block[: len(part) // 2, number] = np.frombuffer(part, "<i2")
                _mute(block[:, number], position, audio_format.rate_hz, muted.get(tracks[number], ()))
            position += len(block)
            yield block.tobytes()


def _mute(channel: npt.NDArray[np.int16], position: int, rate_hz: int, spans: Sequence[tuple[float, float]]) -> None:
    """Silence what of a channel's block, which begins at `position`, is within the spans."""
    for start_s, end_s in spans:
        start, end = math.floor(start_s * rate_hz) - position, math.ceil(end_s * rate_hz) - position
        if end > 0 and start < len(channel):
            channel[max(0, start) : end] = 0


class _Channel:
    """One track from call time 0 on, without holes."""

    def __init__(self, file: CallFile, track: Track) -> None:
        self._format = file.index.format
        self._audio = read_audio(file.path, file.tag, self._format, track, start=0, stop=file.size_bytes, position=0)
        self._rest: Stretch | None = None
        self._position = 0

    def read(self, samples: int) -> bytes:
        """The next samples; fewer at the end of the track, none after it."""
        parts: list[bytes] = []
        stop = self._position + samples
        while self._position < stop and (stretch := self._rest or self._next()) is not None:
            silent = min(stretch.position, stop) - self._position
            taken = stretch.payload[: max(0, stop - stretch.position) * self._format.bytes_per_sample]
            parts += (self._format.silence(silent), taken)
            self._position += silent + self._format.samples(taken)
            left = stretch.payload[len(taken) :]
            self._rest = Stretch(stretch.position + self._format.samples(taken), left) if left else None
        return b"".join(parts)

    def close(self) -> None:
        """Give the file back."""
        self._audio.close()

    def _next(self) -> Stretch | None:
        found = next(self._audio, None)
        return found[0] if found is not None else None
