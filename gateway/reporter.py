"""What becomes of a call, said to the world: its events made, numbered and kept, in the order in which they came."""

from collections.abc import Mapping
from typing import Protocol

from msgspec import structs

from gateway import telemetry
from gateway.channels import Channel
from gateway.events import (
    CallDtmf,
    CallEnded,
    CallEvent,
    CallGap,
    CallInfo,
    CallStarted,
    CallTranscript,
    DigitPressed,
    Hearing,
    RecognizerLost,
    RecordingTranscript,
    Segment,
    StreamStarted,
    SttDegraded,
    Track,
    TrackSummary,
    TranscriptFinal,
    TranscriptPartial,
)
from gateway.transcript.assembler import Transcript

EVENTS_HELD = 256
"""Events of one call that may wait for the store; then its recognisers wait, and nothing else does."""


class EventSink(Protocol):
    """Where a call's events go; `gateway.outbox` is one."""

    async def publish(self, event: CallEvent) -> object:
        """Keep a durable event; returns once it is on disk."""

    def offer(self, event: TranscriptPartial) -> None:
        """Show a partial to whoever listens now."""


class CallReporter:
    """
    Reports one call. Nothing is said before `started`; nothing after `ended`.

    Args:
        sink: where events go.
    """

    def __init__(self, sink: EventSink) -> None:
        self._sink = sink
        self._events: Channel[CallEvent] = Channel(EVENTS_HELD)
        self._info: CallInfo | None = None
        self._profile = ""
        self._speakers: Mapping[Track, str] = {}
        self.transcript = Transcript()

    async def run(self) -> None:
        """Number the events and keep them one after the other, until `close`."""
        sequence = 0
        async for event in self._events:
            sequence += 1
            await self._sink.publish(structs.replace(event, sequence=sequence))

    def close(self) -> None:
        """No more events; `run` returns when the last one is kept."""
        self._events.close()

    @property
    def has_started(self) -> bool:
        """Whether the world knows of this call, and is owed its end."""
        return self._info is not None

    @property
    def call(self) -> CallInfo:
        """Which call this is."""
        assert self._info is not None, "no event of a call comes before its start"
        return self._info

    async def started(
        self, info: CallInfo, stream: StreamStarted, *, profile: str, speakers: Mapping[Track, str]
    ) -> None:
        """The stream's start was accepted; who hears it, and how the speakers of its tracks are called."""
        self._info = info
        self._profile = profile
        self._speakers = speakers
        await self._events.put(CallStarted(call=info, sequence=None, tracks=stream.tracks, audio=str(stream.format)))

    def hearing(self, track: Track, heard: Hearing) -> None:
        """Somebody is speaking."""
        self._sink.offer(
            TranscriptPartial(
                call=self.call,
                sequence=None,
                track=track,
                speaker=self._speakers[track],
                text=heard.text,
                start_s=heard.start_s,
                provider=self._profile,
            )
        )

    async def segment(self, track: Track, segment: Segment) -> None:
        """Somebody said this."""
        speaker = self._speakers[track]
        self.transcript.add(track, speaker, segment)
        telemetry.SEGMENTS.labels(self._profile, str(segment.forced).lower()).inc()
        await self._events.put(
            TranscriptFinal(
                call=self.call,
                sequence=None,
                track=track,
                speaker=speaker,
                text=segment.text,
                start_s=segment.start_s,
                end_s=segment.end_s,
                language=segment.language,
                confidence=segment.confidence,
                words=segment.words,
                provider=self._profile,
                forced=segment.forced,
            )
        )

    async def recognizer_lost(self, track: Track, lost: RecognizerLost) -> None:
        """The recogniser of a track went away."""
        await self._events.put(
            SttDegraded(
                call=self.call,
                sequence=None,
                track=track,
                provider=self._profile,
                reason=lost.reason,
                at_s=lost.at_s,
            )
        )

    async def gap(self, track: Track, start_s: float, end_s: float, reason: str) -> None:
        """Nothing is known of what was said here."""
        await self._events.put(
            CallGap(call=self.call, sequence=None, track=track, start_s=start_s, end_s=end_s, reason=reason)
        )

    async def digit(self, pressed: DigitPressed, at_s: float) -> None:
        """A digit was pressed."""
        await self._events.put(
            CallDtmf(call=self.call, sequence=None, track=pressed.track, digit=pressed.digit, at_s=at_s)
        )

    async def recording(self, transcript: RecordingTranscript, provider: str) -> None:
        """The recording was transcribed as a whole."""
        await self._events.put(
            CallTranscript(
                call=self.call,
                sequence=None,
                provider=provider,
                text=transcript.text,
                language=transcript.language,
                duration_s=transcript.duration_s,
                utterances=transcript.utterances,
                words=transcript.words,
            )
        )

    async def ended(
        self, *, outcome: str, reason: str, complete: bool, duration_s: float, tracks: tuple[TrackSummary, ...]
    ) -> None:
        """It is over."""
        await self._events.put(
            CallEnded(
                call=self.call,
                sequence=None,
                outcome=outcome,
                reason=reason,
                complete=complete,
                duration_s=duration_s,
                tracks=tracks,
                conversation=self.transcript.conversation,
            )
        )
