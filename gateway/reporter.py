"""What becomes of a call, said to the world: its events made, numbered and kept, in the order in which they came."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from msgspec import structs

from gateway import telemetry
from gateway.assist.finder import Cue, CueFinder
from gateway.channels import Channel
from gateway.events import (
    AssistCue,
    CallDtmf,
    CallEnded,
    CallEvent,
    CallGap,
    CallInfo,
    CallStarted,
    CallTranscript,
    DigitPressed,
    Hearing,
    RecognizerBack,
    RecognizerLost,
    RecordingTranscript,
    Segment,
    SttDegraded,
    SttRecovered,
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
    Reports one call. Nothing is said before `begin`; nothing after `ended`.

    Args:
        sink: where events go.
        sequence: of the last event that is kept already; 0 for a new call.
        transcript: what was said in those.
        cues: looks for cues in what is said; None: there are none.
    """

    def __init__(
        self,
        sink: EventSink,
        *,
        sequence: int = 0,
        transcript: Transcript | None = None,
        cues: CueFinder | None = None,
    ) -> None:
        self._sink = sink
        self._cues = cues
        self._events: Channel[CallEvent | Sequence[CallEvent] | asyncio.Event] = Channel(EVENTS_HELD)
        self._info: CallInfo | None = None
        self._speakers: Mapping[Track, str] = {}
        self._sequence = sequence
        self.transcript = transcript or Transcript()

    async def run(self) -> None:
        """Number the events and keep them one after the other, until `close`."""
        async for item in self._events:
            if isinstance(item, asyncio.Event):
                item.set()
                continue
            for event in (item,) if isinstance(item, CallEvent) else item:
                await self._sink.publish(structs.replace(event, sequence=self._sequence + 1))
                self._sequence += 1

    async def settled(self) -> None:
        """Wait until everything that was said so far is kept."""
        reached = asyncio.Event()
        await self._events.put(reached)
        await reached.wait()

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

    def begin(self, info: CallInfo, speakers: Mapping[Track, str]) -> None:
        """Which call it is, and how the speakers of its tracks are called."""
        self._info = info
        self._speakers = speakers

    async def started(self, tracks: tuple[Track, ...], audio: str) -> None:
        """The stream's start was accepted; `audio` is its format."""
        await self._events.put(CallStarted(call=self.call, sequence=None, tracks=tracks, audio=audio))

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
                provider=heard.provider,
            )
        )

    async def segment(self, track: Track, segment: Segment) -> None:
        """Somebody said this."""
        speaker = self._speakers[track]
        self.transcript.add(track, speaker, segment)
        telemetry.SEGMENTS.labels(segment.provider, str(segment.forced).lower()).inc()
        final = TranscriptFinal(
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
            provider=segment.provider,
            recovered=segment.recovered,
            forced=segment.forced,
        )
        cues = self._cues.hear(track, segment) if self._cues is not None else ()
        # In one piece: no event of the other track comes between a final and its cues.
        await self._events.put((final, *(self._cue(track, cue, segment) for cue in cues)) if cues else final)

    async def recall(self, finals: Sequence[tuple[Track, Segment]], cued: Collection[str] | None) -> None:
        """
        Go on with a call of which these finals are kept: what cues look for may have begun in them.

        Args:
            finals: in the order in which they were kept.
            cued: names of the cues that were kept after the last one; a process that died there may owe the others.
                None: something else was kept after them, so none is owed.
        """
        if self._cues is None:
            return
        found: list[Cue] = []
        for track, segment in finals:
            found = self._cues.hear(track, segment)
            await asyncio.sleep(0)  # a call of hours has thousands, and calls in progress must not wait for all of them
        if cued is not None and [cue.name for cue in found[: len(cued)]] == list(cued):
            for cue in found[len(cued) :]:
                track, segment = finals[-1]
                await self._events.put(self._cue(track, cue, structs.replace(segment, recovered=True)))

    def _cue(self, track: Track, cue: Cue, segment: Segment) -> AssistCue:
        telemetry.CUES.labels(cue.name).inc()
        return AssistCue(
            call=self.call,
            sequence=None,
            track=track,
            speaker=self._speakers[track],
            cue=cue.name,
            text=cue.text,
            note=cue.note,
            start_s=cue.start_s,
            end_s=cue.end_s,
            recovered=segment.recovered,
        )

    async def recognizer_lost(self, track: Track, lost: RecognizerLost) -> None:
        """The recogniser of a track went away."""
        await self._events.put(
            SttDegraded(
                call=self.call,
                sequence=None,
                track=track,
                provider=lost.provider,
                reason=lost.reason,
                at_s=lost.at_s,
            )
        )

    async def recognizer_back(self, track: Track, back: RecognizerBack) -> None:
        """A recogniser hears the track again."""
        await self._events.put(
            SttRecovered(call=self.call, sequence=None, track=track, provider=back.provider, at_s=back.at_s)
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
        self,
        *,
        outcome: str,
        reason: str,
        complete: bool,
        duration_s: float | None,
        tracks: tuple[TrackSummary, ...],
        recording: str | None = None,
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
                recording=recording,
            )
        )
