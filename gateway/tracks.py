"""The tracks of one call: a pipeline and a recogniser session each, the journal of their audio, what became of it."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from functools import partial

from gateway.events import (
    AudioFrame,
    AudioReceived,
    Hearing,
    RecognizerBack,
    RecognizerLost,
    RecognizerRequest,
    Segment,
    StreamStarted,
    Track,
    TrackEvent,
    TrackReading,
    TrackSummary,
    Untranscribed,
)
from gateway.journal import CallHeader, CallJournal, KeptCall, StreamEnd
from gateway.media.framing import Joiner
from gateway.media.tape import Tape
from gateway.media.timeline import Gap
from gateway.pipeline import TrackPipeline
from gateway.reporter import CallReporter
from gateway.rooms import Rooms
from gateway.shared import shared
from gateway.stt.session import TrackSession, Unheard


class CallTracks:
    """
    All tracks of one call; empty until `start`.

    Args:
        rooms: behind the call.
        report: where what is heard goes.
    """

    def __init__(self, rooms: Rooms, report: CallReporter) -> None:
        self._rooms = rooms
        self._report = report
        self._pipelines: dict[Track, TrackPipeline] = {}
        self._listening: dict[Track, asyncio.Task[Unheard | None]] = {}
        self._unheard: dict[Track, Unheard] = {}
        self._journal: CallJournal | None = None
        self._origin_ms: int | None = None
        self._chunk_s = 0.0

    def start(self, started: StreamStarted, header: CallHeader, tasks: asyncio.TaskGroup) -> None:
        """Begin to journal and to listen; the sessions are tasks of this group."""
        self._chunk_s = shared(self._rooms.stt.profiles[header.profile].chunk_ms / 1000)
        first_chunk_s = self._rooms.arrivals.first_chunk() * self._chunk_s
        tapes = {track: self._make_tape(started) for track in started.tracks}
        if self._rooms.journal is not None:
            self._journal = self._rooms.journal.begin(header, tapes)
        for track, tape in tapes.items():
            self._pipelines[track] = pipeline = self._make_pipeline(track, started, header, tape, first_chunk_s)
            self._listening[track] = tasks.create_task(pipeline.session.run(), name=f"stt-{track}")

    def receive(self, frame: AudioReceived) -> list[Gap]:
        """Take one frame; returns the gaps that showed, which are then to be reported."""
        if self._origin_ms is None:
            self._origin_ms = frame.offset_ms or 0
        return self._pipelines[frame.track].receive(frame, self._origin_ms)

    def follow(self, frames: Mapping[Track, Sequence[AudioFrame]]) -> bool:
        """
        The short way of frames that follow on the last ones of their tracks, as nearly all do.

        Returns:
            False: not all do, nothing has changed, and `receive` has to take them.
        """
        ends: list[tuple[TrackPipeline, Sequence[AudioFrame], int]] = []
        for track, run in frames.items():
            pipeline = self._pipelines[track]
            end = pipeline.expects(run)
            if end is None:
                return False
            ends.append((pipeline, run, end))
        for pipeline, run, end in ends:
            pipeline.follow(run, end)
        return True

    def progress(self) -> tuple[float, float]:
        """
        The audio that came since this was asked last, and how much more has to come until the next chunk is complete.

        Both in seconds of a track, on average of those on which something came; the others do not count. Tracks of a
        call are sent at the same time: one on which less came is expected to catch up first.
        """
        came = [(came_s, each.lacking_s()) for each in self._pipelines.values() if (came_s := each.came_s())]
        if len(came) == 1:
            return came[0]
        if not came:
            return 0.0, self._chunk_s
        most_s = max(came_s for came_s, _ in came)
        mean_s = sum(came_s for came_s, _ in came) / len(came)
        then_s = max(0.0, min(lacking_s - (most_s - came_s) for came_s, lacking_s in came))
        return mean_s, most_s - mean_s + then_s

    async def report_lost(self, track: Track, gaps: list[Gap]) -> None:
        """Say that this audio never arrived."""
        pipeline = self._pipelines[track]
        for gap in gaps:
            start_s, end_s = pipeline.seconds(gap.position), pipeline.seconds(gap.position + gap.samples)
            await self._report.gap(track, start_s, end_s, gap.kind)

    async def finish(self) -> None:
        """The stream is over: what is held goes to the recognisers, which then end."""
        for track, pipeline in self._pipelines.items():
            await self.report_lost(track, pipeline.finish())

    def note_unheard(self) -> None:
        """The sessions have ended: what did they leave?"""
        for track, listening in self._listening.items():
            unheard = listening.result()
            if unheard is not None:
                self._unheard[track] = unheard

    async def close_journal(self, outcome: str, reason: str, *, has_crashed: bool) -> KeptCall | None:
        """
        Write the last of the audio and how the stream ended; from then on others can finish the call.

        Args:
            has_crashed: nobody knows how far the sessions came.

        Returns:
            None if there is no journal.
        """
        if self._journal is None:
            return None
        return await self._journal.end(
            StreamEnd(
                outcome=outcome,
                reason=reason,
                duration_s=self.duration_s,
                ended_at=time.time(),
                tracks=self.summaries(),
                heard={} if has_crashed else {track: self._heard_until(track) for track in self._pipelines},
            )
        )

    def release(self, kept: KeptCall | None) -> None:
        """
        Hold nothing any more.

        Args:
            kept: what `close_journal` gave; None if it was not reached: then the journal writes what memory still
                holds, and the next start goes on with it.
        """
        if self._journal is not None and kept is None:
            for pipeline in self._pipelines.values():
                pipeline.finish()
            self._journal.leave()
            return
        for pipeline in self._pipelines.values():
            pipeline.release()

    # ── what became of the audio ────────────────────────────────────────────────────────────────────────────────

    @property
    def is_heard(self) -> bool:
        """Whether nothing waits for a recogniser."""
        return not self._unheard

    @property
    def is_complete(self) -> bool:
        """Whether every second that came went through a recogniser."""
        return self.is_heard and not self.untranscribed_s

    @property
    def duration_s(self) -> float:
        """Call time reached."""
        return max((each.position_s for each in self._pipelines.values()), default=0.0)

    @property
    def audio_s(self) -> float:
        """Audio that came, all tracks together; likewise the others."""
        return sum(each.audio_s for each in self._pipelines.values())

    @property
    def lost_s(self) -> float:
        return sum(each.lost_s for each in self._pipelines.values())

    @property
    def untranscribed_s(self) -> float:
        return sum(each.untranscribed_s for each in self._pipelines.values())

    @property
    def unheard_s(self) -> float:
        return sum(self._pipelines[track].seconds_after(each.position) for track, each in self._unheard.items())

    @property
    def segments(self) -> int:
        return sum(self._report.transcript.segments(track) for track in self._pipelines)

    def summaries(self) -> tuple[TrackSummary, ...]:
        """What `call.ended` says of each track."""
        return tuple(each.summary(self._report.transcript) for each in self._pipelines.values())

    def readings(self) -> dict[Track, TrackReading]:
        """How each track is now."""
        return {track: each.reading() for track, each in self._pipelines.items()}

    # ── inside ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _heard_until(self, track: Track) -> int:
        return self._unheard[track].position if track in self._unheard else self._pipelines[track].position

    def _make_tape(self, started: StreamStarted) -> Tape:
        second_bytes = started.format.rate_hz * started.format.bytes_per_sample
        return Tape(
            started.format,
            shared(int(self._rooms.stt.buffer_s * second_bytes)),
            is_archived=self._rooms.journal is not None,
            budget=self._rooms.budget,
        )

    def _make_pipeline(
        self, track: Track, started: StreamStarted, header: CallHeader, tape: Tape, first_chunk_s: float
    ) -> TrackPipeline:
        request = RecognizerRequest(
            format=started.format,
            language=header.language,
            call_id=header.call.id,
            track=track,
            platform_call_id=header.call.platform_call_id,
            metadata=header.call.metadata,
        )
        session = TrackSession(
            self._rooms.recognizers,
            self._rooms.stt,
            header.profile,
            request,
            tape,
            partial(self._heard, track),
            archive=self._journal.archive(track) if self._journal is not None else None,
            outages=self._rooms.outages,
            soon=self._rooms.arrivals.soon,
        )
        width = started.format.bytes_per_sample
        chunk_bytes, first_bytes = (
            shared(round(started.format.rate_hz * seconds) * width) for seconds in (self._chunk_s, first_chunk_s)
        )
        return TrackPipeline(track, started, session, tape, Joiner(chunk_bytes, width, first_bytes))

    async def _heard(self, track: Track, event: TrackEvent) -> None:
        match event:
            case Hearing():
                self._report.hearing(track, event)
            case Segment():
                await self._report.segment(track, event)
            case Untranscribed():
                self._pipelines[track].untranscribed_s += event.end_s - event.start_s
                await self._report.gap(track, event.start_s, event.end_s, event.reason)
            case RecognizerLost():
                await self._report.recognizer_lost(track, event)
            case RecognizerBack():
                await self._report.recognizer_back(track, event)
