"""A call's audio on disk: one headerless file per track, sample for sample at its place."""

import asyncio
import contextlib
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import structlog

from gateway.events import Track
from gateway.media.timeline import Stretch
from gateway.recording.stereo import join
from telephony_codecs.formats import AudioFormat

log = structlog.get_logger()

WRITE_EVERY_S = 1.0
MAX_PENDING_S = 10.0
"""Audio that may wait for a slow disk; then the recording is given up, and nothing else."""
_SILENCE_SAMPLES = 1 << 18


class CallRecording:
    """
    Keeps one call's tracks.

    Args:
        folder: of this call alone; made when there is something to write.
        audio_format: of all tracks.
        max_s: a longer recording is given up.

    `failure`: why it was given up, as a snake_case code; None while all is well.
    """

    def __init__(self, folder: Path, audio_format: AudioFormat, *, max_s: float) -> None:
        self._folder = folder
        self._format = audio_format
        self._max_samples = int(max_s * audio_format.rate_hz)
        self._pending: list[tuple[Track, Stretch]] = []
        self._pending_bytes = 0
        self._written: dict[Track, int] = {}
        self._closed = asyncio.Event()
        self.failure: str | None = None

    def tap(self, track: Track) -> Callable[[Stretch], None]:
        """Where this track's chunks go; taking one never waits."""
        return partial(self._take, track)

    def close(self) -> None:
        """No more audio comes."""
        self._closed.set()

    async def run(self) -> None:
        """Write what comes, in batches, until the recording is closed."""
        while not self._closed.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WRITE_EVERY_S):
                    await self._closed.wait()
            await self._write_pending()
        await self._write_pending()  # what came while the last batch was being written

    async def wav(self) -> Path | None:
        """
        The call as one WAV file, left inbound, right outbound; mono if there is one track only.

        To be called after `run` has returned. None: nothing was recorded, or it was given up (`failure`).
        """
        if self.failure is not None or not self._written:
            return None
        files = {track: self._file(track) for track in Track if track in self._written}
        target = self._folder / "call.wav"
        try:
            await asyncio.to_thread(join, list(files.values()), self._format, target)
        except OSError:
            self._give_up("disk_failed")
            return None
        return target

    def discard(self) -> None:
        """Delete it all."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _take(self, track: Track, chunk: Stretch) -> None:
        if self.failure is not None:
            return
        self._pending.append((track, chunk))
        self._pending_bytes += len(chunk.payload)
        second_bytes = self._format.rate_hz * self._format.bytes_per_sample
        if self._pending_bytes > MAX_PENDING_S * second_bytes * len(Track):
            self._give_up("disk_too_slow")
        elif chunk.position + self._format.samples(chunk.payload) > self._max_samples:
            self._give_up("too_long")

    async def _write_pending(self) -> None:
        batch, self._pending, self._pending_bytes = self._pending, [], 0
        if not batch or self.failure is not None:
            return
        try:
            await asyncio.to_thread(self._write, batch)
        except OSError:
            self._give_up("disk_failed")

    def _write(self, batch: list[tuple[Track, Stretch]]) -> None:
        """In a thread: append, with silence where the positions jump."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for track in {track for track, _ in batch}:
            with self._file(track).open("ab") as file:
                for chunk in (chunk for of, chunk in batch if of is track):
                    missing = chunk.position - self._written.get(track, 0)
                    while missing > 0:
                        samples = min(missing, _SILENCE_SAMPLES)
                        file.write(self._format.silence(samples))
                        missing -= samples
                    file.write(chunk.payload)
                    self._written[track] = chunk.position + self._format.samples(chunk.payload)

    def _give_up(self, code: str) -> None:
        self.failure = code
        self._pending.clear()
        log.warning("recording_given_up", code=code)

    def _file(self, track: Track) -> Path:
        return self._folder / f"{track}.{self._format.encoding}"
