"""A whole track through a vendor's profile, as a call does it: `TrackSession`, the real client and a real socket."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.config import SttProfile, SttSettings
from gateway.events import RecognizerRequest, Segment, TrackEvent
from gateway.media.tape import Tape
from gateway.media.timeline import Stretch
from gateway.stt.base import Recognizer, Recognizers
from gateway.stt.profiles import ProfiledRecognizers
from gateway.stt.session import TrackSession
from telephony_codecs.formats import AudioFormat

MULAW = AudioFormat.parse("mulaw-8000")


def recognizers(profile: SttProfile) -> Recognizers:
    """Sessions of this profile alone, under the name `vendor`."""
    return ProfiledRecognizers({"vendor": profile}, _no_local)


class VendorTrack:
    """
    A track of mu-law audio whose session transcribes it with this profile.

    Args:
        profile: of the vendor.
        chunk_ms: audio per chunk, as `media` frames it.
    """

    def __init__(self, profile: SttProfile, chunk_ms: int = 100) -> None:
        self.events: list[TrackEvent] = []
        self._chunk_bytes = chunk_ms * 8
        self._session = TrackSession(
            recognizers(profile),
            SttSettings(drain_s=5, profiles={"vendor": profile}),
            "vendor",
            RecognizerRequest(format=MULAW, language="en", track="inbound"),
            Tape(MULAW, 30 * MULAW.rate_hz),
            self._note,
        )
        self._position = 0

    @property
    def segments(self) -> list[Segment]:
        return [event for event in self.events if isinstance(event, Segment)]

    def feed(self, audio: bytes) -> None:
        """Audio of the call, in chunks."""
        for at in range(0, len(audio), self._chunk_bytes):
            chunk = audio[at : at + self._chunk_bytes]
            self._session.feed(Stretch(self._position, chunk))
            self._position += len(chunk)

    def close(self) -> None:
        """The call is over."""
        self._session.close()

    async def run(self) -> None:
        """Transcribe until the end."""
        async with asyncio.timeout(10):
            await self._session.run()

    async def _note(self, event: TrackEvent) -> None:
        self.events.append(event)


async def transcribe(profile: SttProfile, audio: bytes, chunk_ms: int = 100) -> list[TrackEvent]:
    """What a track of this mu-law audio emits."""
    track = VendorTrack(profile, chunk_ms)
    track.feed(audio)
    track.close()
    await track.run()
    return track.events


@asynccontextmanager
async def _no_local(request: RecognizerRequest) -> AsyncIterator[Recognizer]:
    raise AssertionError(f"the local recogniser was asked for: {request.call_id}")
    yield
