"""
How loud a recording is over time, per track: what a page draws above the transcript.

A recording is read block by block, however long it is, and the last few results are kept in memory.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import soundfile

from gateway.errors import CapacityError, StorageError
from gateway.events import Track
from gateway.live.answers import Waveform

FEWEST_POINTS, MOST_POINTS = 100, 4000
MOST_WAITING = 20
_KEPT = 32
_BLOCK_FRAMES = 1 << 16
_DIGITS = 4

Told: TypeAlias = Sequence[tuple[Track, float | None]]
_Key: TypeAlias = tuple[Path, int, int, int]


class Waveforms:
    """Makes them, one at a time, in a thread."""

    def __init__(self) -> None:
        self._turn = asyncio.Semaphore(1)
        self._waiting = 0
        self._kept: OrderedDict[_Key, Waveform] = OrderedDict()

    async def of(self, path: Path, told: Told, points: int) -> Waveform:
        """
        The waveform of a recording.

        Args:
            told: what `call.ended` says of the tracks, see `tracks_of`.
            points: per track, from `FEWEST_POINTS` to `MOST_POINTS`; a recording of fewer samples has as many.

        Raises:
            CapacityError: `waveform_busy`.
            StorageError: `recording_unreadable`.
        """
        if self._waiting >= MOST_WAITING:
            raise CapacityError("too many recordings are looked at at once", code="waveform_busy")
        self._waiting += 1
        try:
            async with self._turn:
                return await asyncio.to_thread(self._take, path, told, points)
        finally:
            self._waiting -= 1

    def _take(self, path: Path, told: Told, points: int) -> Waveform:
        try:
            seen = path.stat()
            key = (path, seen.st_size, seen.st_mtime_ns, points)
            if key not in self._kept:
                self._kept[key] = measure(path, told, points)
        except (OSError, soundfile.LibsndfileError) as error:
            raise StorageError("the recording cannot be read", code="recording_unreadable") from error
        self._kept.move_to_end(key)
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return self._kept[key]


def measure(path: Path, told: Told, points: int) -> Waveform:
    """
    The loudest sample of each of `points` equal parts of a recording. Blocks.

    Raises:
        OSError, soundfile.LibsndfileError: it cannot be read.
    """
    with soundfile.SoundFile(path) as sound:
        frames = int(sound.frames)
        peaks = np.zeros((min(points, frames), sound.channels), np.float32)
        at = 0
        while at < frames and len(block := sound.read(_BLOCK_FRAMES, dtype="float32", always_2d=True)):
            _raise_to(peaks, np.abs(block[: frames - at]), at, frames)
            at += len(block)
        columns = [tuple(round(float(peak), _DIGITS) for peak in column) for column in peaks.T]
        tracks: dict[str, tuple[float, ...]] = dict(zip(tracks_of(told, sound.channels), columns, strict=False))
        return Waveform(duration_s=round(frames / sound.samplerate, 3), tracks=tracks)


def tracks_of(told: Told, channels: int) -> tuple[Track, ...]:
    """
    Whose the channels of a recording are: those of the tracks that had audio, inbound first.

    Args:
        told: tracks of `call.ended` with the seconds of audio that each had, None where nobody knows.
    """
    heard = {track for track, audio_s in told if audio_s != 0}
    fitting = [track for track in Track if track in heard]
    return tuple(fitting if len(fitting) == channels else list(Track)[:channels])


def _raise_to(peaks: npt.NDArray[np.float32], block: npt.NDArray[Any], at: int, frames: int) -> None:
    """Let a block that begins at frame `at` count: frame n belongs to part n * parts // frames."""
    parts = len(peaks)
    first, last = at * parts // frames, (at + len(block) - 1) * parts // frames
    # The first frame of each further part, within the block.
    edges = [-(-part * frames // parts) - at for part in range(first + 1, last + 1)]
    loudest = np.maximum.reduceat(block, [0, *edges], axis=0)
    np.maximum(peaks[first : last + 1], loudest, out=peaks[first : last + 1])
