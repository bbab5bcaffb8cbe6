"""
After a call: its recording, kept or only transcribed as a whole, or both.

`call.transcript` comes before `call.ended`, which stays the last event; so `call.ended` waits for it, at most
`post_call.timeout_s`, and then comes without. A call that a shutdown ends gets none.
"""

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

import structlog

from gateway.config import PostCallSettings, RecordingSettings
from gateway.errors import GatewayError, StorageError
from gateway.events import RecordingRequest, RecordingTranscript
from gateway.journal import Muted, RecordingInfo, remove_unfinished
from gateway.reporter import CallReporter
from gateway.stt.base import RecordingRecognizer
from gateway.telemetry import POST_CALL_TRANSCRIPTS

log = structlog.get_logger()

DAY_S = 86_400.0
PRUNE_EVERY_S = 3600.0


class Recordable(Protocol):
    """A call's audio; `gateway.journal` has it."""

    async def recording(self, target: Path, muted: Muted) -> RecordingInfo | None:
        """Write it as one WAV file, with silence over what is muted; None: there is none. Raises StorageError."""


class PostCall:
    """
    What is made of each call's audio.

    Args:
        settings: of the transcript; without a profile there is none.
        recording: whether recordings are kept.
        recordings: recognises them.
        apart: hear each track alone; else the service hears both and tells the speakers apart by itself.
        data_dir: recordings are kept in `recordings`; what an earlier process left in `post_call`, or half
            written, is deleted.
        clock: Unix seconds.
        muted: what of a call, by its id, is not to be heard; asked when all its finals are stored. Raises StorageError.
    """

    def __init__(
        self,
        settings: PostCallSettings,
        recording: RecordingSettings,
        recordings: RecordingRecognizer,
        data_dir: Path,
        *,
        apart: bool,
        clock: Callable[[], float] = time.time,
        muted: Callable[[str], Awaitable[Muted]] | None = None,
    ) -> None:
        self._settings = settings
        self._muted = muted
        self._recording = recording
        self._recordings = recordings
        self._kept = data_dir / "recordings"
        self._passing = data_dir / "post_call"
        self._apart = apart
        self._clock = clock
        shutil.rmtree(self._passing, ignore_errors=True)
        for folder in (self._passing, self._kept):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        remove_unfinished(self._kept)

    async def run(self) -> None:
        """Delete recordings that were kept long enough, now and every hour."""
        while True:
            before = self._clock() - self._recording.retention_days * DAY_S
            deleted = await asyncio.to_thread(_prune, self._kept, before)
            if deleted:
                log.info("recordings_pruned", files=deleted)
            await asyncio.sleep(PRUNE_EVERY_S)

    async def make(
        self, call_id: str, source: Recordable, report: CallReporter, language: str | None, *, transcribe: bool
    ) -> str | None:
        """
        Keep the call's recording, and publish its transcript.

        Args:
            transcribe: false: there is no time for it.

        Returns:
            Name of the file that is kept, None if none is. What fails is logged.
        """
        wanted = transcribe and self._settings.profile is not None
        if self._settings.profile is not None and not transcribe:
            _give_up("shutdown")
        if not (wanted or self._recording.enabled):
            return None
        wav = (self._kept if self._recording.enabled else self._passing) / f"{call_id}.wav"
        try:
            if self._muted is not None:
                await report.settled()
                made = await source.recording(wav, await self._muted(call_id))
            else:
                made = await source.recording(wav, {})
        except StorageError as error:
            log.warning("recording_failed", code=error.code)
            made = None
        try:
            if wanted:
                await self._publish_transcript(wav, made, report, language)
        finally:
            if not self._recording.enabled:
                wav.unlink(missing_ok=True)
        return wav.name if made is not None and self._recording.enabled else None

    async def _publish_transcript(
        self, wav: Path, made: RecordingInfo | None, report: CallReporter, language: str | None
    ) -> None:
        assert self._settings.profile is not None
        if made is None:
            _give_up("no_audio")
        elif made.duration_s > self._settings.max_minutes * 60:
            _give_up("too_long")
        elif (transcript := await self._transcribe(self._settings.profile, wav, language)) is not None:
            POST_CALL_TRANSCRIPTS.labels("made").inc()
            await report.recording(transcript, self._settings.profile)

    async def _transcribe(self, profile: str, wav: Path, language: str | None) -> RecordingTranscript | None:
        wanted = RecordingRequest(language=language, word_times=True, diarize=True, apart=self._apart)
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                return await self._recordings.transcribe(profile, wav, wanted)
        except TimeoutError:
            _give_up("timeout")
        except GatewayError as error:
            _give_up(error.code)
        return None


def _give_up(code: str) -> None:
    """Note that a call ends without its transcript."""
    POST_CALL_TRANSCRIPTS.labels("missing").inc()
    log.warning("post_call_transcript_missing", code=code)


def _prune(folder: Path, before: float) -> int:
    """In a thread: delete files that were last written before a time; returns how many."""
    old = [path for path in folder.glob("call_*.wav") if path.stat().st_mtime < before]
    for path in old:
        path.unlink(missing_ok=True)
    return len(old)
