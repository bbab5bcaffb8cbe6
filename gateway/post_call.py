"""
After a call: its recording, transcribed as a whole.

`call.transcript` comes before `call.ended`, which stays the last event; so `call.ended` waits for it, at most
`post_call.timeout_s`, and then comes without. A call that a shutdown ends gets none.
"""

import shutil
from pathlib import Path

import structlog

from gateway.config import PostCallSettings
from gateway.errors import GatewayError
from gateway.events import RecordingRequest, RecordingTranscript
from gateway.recording.keeper import CallRecording
from gateway.stt.base import RecordingRecognizer
from gateway.telemetry import POST_CALL_TRANSCRIPTS
from telephony_codecs.formats import AudioFormat

log = structlog.get_logger()


class PostCall:
    """
    What is done with each call's recording.

    Args:
        settings: of this; `profile` is set.
        recordings: recognises them.
        apart: hear each track alone; else the service hears both and tells the speakers apart by itself.
        folder: of all recordings; what an earlier process left there is deleted.
    """

    def __init__(
        self, settings: PostCallSettings, recordings: RecordingRecognizer, folder: Path, *, apart: bool
    ) -> None:
        assert settings.profile is not None
        self.profile = settings.profile
        self.timeout_s = settings.timeout_s
        self._max_s = settings.max_minutes * 60
        self._recordings = recordings
        self._folder = folder
        self._apart = apart
        for left_over in folder.glob("call_*"):
            shutil.rmtree(left_over, ignore_errors=True)

    def record(self, call_id: str, audio_format: AudioFormat) -> CallRecording:
        """Begin to record a call."""
        return CallRecording(self._folder / call_id, audio_format, max_s=self._max_s)

    async def transcribe(self, recording: CallRecording, language: str | None) -> RecordingTranscript | None:
        """The transcript of a call that is over; None if there is none, which is logged. The caller bounds the time."""
        wav = await recording.wav()
        if wav is None:
            self.give_up(recording.failure or "no_audio")
            return None
        wanted = RecordingRequest(language=language, word_times=True, diarize=True, apart=self._apart)
        try:
            transcript = await self._recordings.transcribe(self.profile, wav, wanted)
        except GatewayError as error:
            self.give_up(error.code)
            return None
        POST_CALL_TRANSCRIPTS.labels("made").inc()
        return transcript

    def give_up(self, code: str) -> None:
        """Note that a call ends without its transcript."""
        POST_CALL_TRANSCRIPTS.labels("missing").inc()
        log.warning("post_call_transcript_missing", code=code)
