"""
The recogniser seams: what a track's session needs of any speech engine, near or far, and what a recording does.

Implementations: `stt.client` (vendors over WebSockets) and `engines.pool` (worker processes of this machine). They do
not share code; they share this shape.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol, runtime_checkable

from gateway.events import RecognizerEvent, RecognizerRequest, RecordingRequest, RecordingTranscript
from gateway.media.timeline import Stretch
from telephony_codecs.formats import AudioFormat


class Recognizer(Protocol):
    """
    One live recognition session on one track of audio.

    Every method may raise `RecognizerUnavailable` (the session is lost) or `RecognizerProtocolError`. `send` waits
    while the engine is behind: that is its back-pressure.
    """

    async def send(self, audio: bytes) -> None:
        """Send audio in the format that the session was opened with. Never empty."""

    async def finalize(self) -> None:
        """Ask for a final of what was heard so far; answered by one `Final` with `from_finalize`."""

    async def keepalive(self) -> None:
        """Say that the session is still wanted although no audio flows."""

    async def end(self) -> None:
        """Say that no more audio comes; the remaining finals and then `Finished` follow."""

    def events(self) -> AsyncIterator[RecognizerEvent]:
        """What the engine says, in order; ends after `Finished`. To be iterated by one task only."""


@runtime_checkable
class PromptRecognizer(Recognizer, Protocol):
    """
    A recogniser that can mostly be sent audio without waiting: then no task has to be woken for it.

    `send_now` is `send`, and is called only where `is_clear`; not while another method is under way.
    """

    @property
    def is_clear(self) -> bool:
        """Whether audio can be sent at once; if not, `send` waits until it can, or says why it cannot."""

    def send_now(self, audio: bytes) -> None:
        """Send audio, on the spot."""


class Recognizers(Protocol):
    """Opens sessions by profile name."""

    def audio_format(self, profile: str, source: AudioFormat) -> AudioFormat:
        """The format in which this profile wants audio that arrives as `source`."""

    def open(self, profile: str, request: RecognizerRequest) -> AbstractAsyncContextManager[Recognizer]:
        """
        Connect a session; leaving the context releases it, whatever its state.

        Raises, on entering:
            RecognizerUnavailable: refused, not reached within the profile's connect time-out, or no capacity.
        """


class Archive(Protocol):
    """The audio of one track that was kept on disk; `gateway.journal` has one per track."""

    async def read(self, position: int) -> Sequence[Stretch]:
        """
        The next audio at or after a position, in order, a few seconds at a time; empty if there is none.

        What is still only in memory may be missing. Damaged and missing places are left out: then positions jump.
        """


class RecordingRecognizer(Protocol):
    """Recognises whole recordings by profile name; `stt.recordings` is one."""

    async def transcribe(
        self,
        profile: str,
        recording: Path,
        request: RecordingRequest,
        *,
        on_progress: Callable[[float], None] = lambda _heard_s: None,
    ) -> RecordingTranscript:
        """
        Recognise a recording, within the time that the settings give.

        Args:
            profile: of any kind.
            recording: a file that `gateway.recordings` can read.
            request: what is wanted.
            on_progress: told now and then how many seconds were heard.

        Raises:
            RecordingRefused: it is no recording that can be heard.
            RecognizerUnavailable, RecognizerProtocolError: no transcript; see `retryable`.
        """
