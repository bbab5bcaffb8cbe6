"""
Calls that were over before every word of them was heard: the recogniser was away, or the process died.

What was said is in the store, what was not yet heard in the journal. Recovery goes on from there until all of it is
transcribed, and gives the call its end. A call that waits longer than the journal may keep it, is given up: its end
then says what is missing. Every call that was announced ends in exactly one `call.ended`.
"""

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog
from msgspec import structs

from gateway import telemetry
from gateway.assist.finder import CueFinder
from gateway.config import JournalSettings, SttSettings
from gateway.events import (
    Hearing,
    Outcome,
    RecognizerBack,
    RecognizerLost,
    RecognizerRequest,
    Segment,
    Track,
    TrackEvent,
    TrackSummary,
    Untranscribed,
)
from gateway.journal import Journal, KeptCall
from gateway.media.tape import Tape
from gateway.outbox import Outbox, StoredEvent, UnfinishedCall
from gateway.post_call import PostCall
from gateway.reporter import CallReporter
from gateway.story import Story
from gateway.stt.base import Recognizers, RecordingRecognizer
from gateway.stt.outages import Outages
from gateway.stt.remainder import transcribe_remainder
from gateway.stt.session import TrackSession
from telephony_codecs.formats import AudioFormat

log = structlog.get_logger()

AT_ONCE, AT_ONCE_HERE = 8, 2
"""Calls that are transcribed at the same time, by speech services and by the engine of this machine, which calls in
progress need, too."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
_PAGE = 1000
_HOUR_S = 3600.0


class Recovery:
    """
    Ends calls in the place of whoever could not. Use as an async context manager; leaving it leaves what is not done
    to the next start.

    Args:
        outbox: what was said, and where the rest goes.
        journal: None: calls that a dead process left are ended with what the store has.
        recognizers, recordings: hear what is left; `recordings` if `stt.recovery_profile` takes recordings.
        stt, settings: profiles, and how long a call may wait.
        folder: for recordings on their way.
        post_call: what is made of a call's recording.
        cues: makes what looks for cues in one call; None: there are none.
        clock: Unix seconds.
        draw: uniform in [0, 1), for jitter.
    """

    def __init__(
        self,
        outbox: Outbox,
        journal: Journal | None,
        recognizers: Recognizers,
        recordings: RecordingRecognizer,
        *,
        stt: SttSettings,
        settings: JournalSettings,
        folder: Path,
        outages: Outages,
        post_call: PostCall | None = None,
        cues: Callable[[], CueFinder] | None = None,
        clock: Callable[[], float] = time.time,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._outbox = outbox
        self._journal = journal
        self._recognizers = recognizers
        self._recordings = recordings
        self._stt = stt
        self._settings = settings
        self._folder = folder
        self._outages = outages
        self._post_call = post_call
        self._cues = cues
        self._clock = clock
        self._draw = draw
        self._tasks = asyncio.TaskGroup()
        self._waiting: dict[KeptCall, asyncio.Task[None]] = {}
        is_here = stt.profiles[stt.recovery_profile or stt.default].kind == "local"
        self._places = asyncio.Semaphore(AT_ONCE_HERE if is_here else AT_ONCE)

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._waiting.values():
            task.cancel()
        await self._tasks.__aexit__(None, None, None)

    def __len__(self) -> int:
        return len(self._waiting)

    async def resume(self) -> None:
        """Take up what an earlier process left. To be called before new calls come."""
        kept = {call.header.call.id: call for call in self._journal.kept()} if self._journal is not None else {}
        for orphan in await self._outbox.unfinished_calls():
            if orphan.info.id not in kept:
                await self._end_without_journal(orphan)
        for call in kept.values():
            self.take(call)

    def take(self, call: KeptCall) -> None:
        """Go on with a call that is over."""
        self._waiting[call] = self._tasks.create_task(self._run(call), name=f"recovery-{call.header.call.id}")
        telemetry.RECOVERY_WAITING.set(len(self._waiting))

    async def _run(self, call: KeptCall) -> None:
        info = call.header.call
        with structlog.contextvars.bound_contextvars(call_id=info.id, dialect=info.platform):
            try:
                try:
                    await self._finish(call)
                except Exception as error:  # the edge: whatever one call meets, the others go on
                    log.exception("recovery_failed", exc_info=error)
                    await self._finish(call, give_up="internal_error")
            except Exception as error:  # not even that: the next start tries again
                log.exception("recovery_failed", exc_info=error)
            finally:
                del self._waiting[call]
                telemetry.RECOVERY_WAITING.set(len(self._waiting))

    async def _finish(self, call: KeptCall, *, give_up: str | None = None) -> None:
        """Hear what is left, unless that is given up, and end the call."""
        story = await _story(self._outbox, call.header.call.id)
        if story.has_ended:  # the process died between the end and the removal of the file
            await call.remove()
            return
        log.info("recovery_began", ended=call.end is not None, bytes=call.size_bytes)
        report = CallReporter(
            self._outbox,
            sequence=story.sequence,
            transcript=story.transcript,
            cues=self._cues() if self._cues else None,
        )
        report.begin(call.header.call, call.header.speakers)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(report.run(), name="reporter")
            if not story.tracks:
                await report.started(call.header.tracks, call.header.format)
            await report.recall(story.finals, story.cued)
            await self._hear_all(call, story, report, give_up)
            await self._end(call, story, report)
            report.close()
        await call.remove()

    # ── hearing what is left ────────────────────────────────────────────────────────────────────────────────────

    async def _hear_all(self, call: KeptCall, story: Story, report: CallReporter, give_up: str | None) -> None:
        rate_hz = AudioFormat.parse(call.header.format).rate_hz
        done = _done(call, story, rate_hz)
        await self._tell_missing(call, done, story, report, rate_hz)
        left = _unheard(call, done)
        attempts = 0
        while left:
            if (reason := give_up or self._reason_to_give_up(call)) is not None:
                await self._give_up(call, left, story, report, reason, rate_hz)
                return
            async with self._places:
                left = await self._hear(call, left, story, report)
            if left:
                pause_s = min(FIRST_PAUSE_S * 2**attempts, LONGEST_PAUSE_S) * (0.5 + self._draw())
                attempts = min(attempts + 1, 16)
                await asyncio.sleep(pause_s)

    async def _tell_missing(
        self, call: KeptCall, done: Mapping[Track, int], story: Story, report: CallReporter, rate_hz: int
    ) -> None:
        """Audio that nobody has heard and that the journal does not have."""
        for track, position in done.items():
            for start, end in call.missing(track):
                if end > position:
                    start_s = max(start, position) / rate_hz
                    gone = Untranscribed(start_s=start_s, end_s=end / rate_hz, reason="not_held")
                    await _tell(gone, track, story, report)

    async def _hear(
        self, call: KeptCall, left: Mapping[Track, int], story: Story, report: CallReporter
    ) -> dict[Track, int]:
        """One attempt on each track; returns from where on there is still something to be heard."""
        async with asyncio.TaskGroup() as tasks:
            attempts = {
                track: tasks.create_task(self._hear_track(call, track, position, story, report))
                for track, position in left.items()
            }
        return {track: position for track, task in attempts.items() if (position := task.result()) is not None}

    async def _hear_track(
        self, call: KeptCall, track: Track, position: int, story: Story, report: CallReporter
    ) -> int | None:
        header = call.header
        audio_format = AudioFormat.parse(header.format)
        request = RecognizerRequest(
            format=audio_format,
            language=header.language,
            call_id=header.call.id,
            track=track,
            platform_call_id=header.call.platform_call_id,
            metadata=header.call.metadata,
        )

        async def tell(event: TrackEvent) -> None:
            await _tell(event, track, story, report)

        profile = self._stt.recovery_profile or header.profile
        if profile not in self._stt.profiles:
            profile = self._stt.default  # the settings may have changed since
        if self._stt.profiles[profile].is_batch:
            return await transcribe_remainder(
                self._recordings, profile, request, call.archive(track), position, self._folder, tell
            )
        session = TrackSession(
            self._recognizers,
            self._stt,
            profile,
            request,
            Tape(audio_format, 0, is_archived=True),
            tell,
            archive=call.archive(track),
            heard=position,
            is_recovery=True,
            outages=self._outages,
        )
        session.close()
        unheard = await session.run()
        return None if unheard is None else unheard.position

    def _reason_to_give_up(self, call: KeptCall) -> str | None:
        if self._clock() - call.ended_at > self._settings.max_age_h * _HOUR_S:
            return "journal_too_old"
        is_oldest = call is next(iter(self._waiting))
        if is_oldest and self._journal is not None and self._journal.excess_bytes:
            return "journal_full"
        return None

    async def _give_up(
        self,
        call: KeptCall,
        left: Mapping[Track, int],
        story: Story,
        report: CallReporter,
        reason: str,
        rate_hz: int,
    ) -> None:
        log.error("recovery_given_up", code=reason)
        for track, position in left.items():
            extent = call.extent(track)
            if extent is not None:
                lost = Untranscribed(start_s=position / rate_hz, end_s=extent[1] / rate_hz, reason=reason)
                await _tell(lost, track, story, report)

    # ── the end ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def _end(self, call: KeptCall, story: Story, report: CallReporter) -> None:
        recording = None
        if self._post_call is not None:
            recording = await self._post_call.make(
                call.header.call.id, call, report, call.header.language, transcribe=True
            )
        is_heard = all(story.untranscribed_s(track) == 0 for track in call.header.tracks)
        outcome, reason = Outcome.INDETERMINATE.value, "gateway_restarted"
        if call.end is not None:
            outcome, reason = call.end.outcome, call.end.reason
            if outcome == Outcome.COMPLETED and not is_heard:
                outcome, reason = Outcome.UPSTREAM_ERROR.value, "not_all_transcribed"
        # What came in the last moment before a process died may not have reached its journal.
        is_complete = is_heard and call.end is not None
        telemetry.RECOVERED_CALLS.labels("complete" if is_complete else "incomplete").inc()
        log.info("call_recovered", outcome=outcome, reason=reason, complete=is_complete)
        await report.ended(
            outcome=outcome,
            reason=reason,
            complete=is_complete,
            duration_s=_duration_s(call),
            tracks=tuple(_summary(call, track, story) for track in call.header.tracks),
            recording=recording,
        )

    async def _end_without_journal(self, orphan: UnfinishedCall) -> None:
        story = await _story(self._outbox, orphan.info.id)
        report = CallReporter(self._outbox, sequence=story.sequence, transcript=story.transcript)
        report.begin(orphan.info, {})
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(report.run(), name="reporter")
            await report.ended(
                outcome=Outcome.INDETERMINATE,
                reason="gateway_restarted",
                complete=False,
                duration_s=None,
                tracks=tuple(
                    TrackSummary(
                        track=track,
                        audio_s=None,
                        lost_s=None,
                        untranscribed_s=None,
                        finals=story.transcript.segments(track),
                    )
                    for track in story.tracks
                ),
            )
            report.close()
        log.warning("call_orphan_ended", call_id=orphan.info.id, events=story.sequence)


async def _tell(event: TrackEvent, track: Track, story: Story, report: CallReporter) -> None:
    match event:
        case Segment():
            if track in story.degraded:
                story.degraded.discard(track)
                await report.recognizer_back(track, RecognizerBack(provider=event.provider, at_s=event.end_s))
            await report.segment(track, event)
        case Untranscribed():
            if story.add_gap(track, event.start_s, event.end_s, event.reason):
                await report.gap(track, event.start_s, event.end_s, event.reason)
        case Hearing() | RecognizerLost() | RecognizerBack():
            pass  # nobody watches a call that is over; that its recogniser was lost has been said


def _done(call: KeptCall, story: Story, rate_hz: int) -> dict[Track, int]:
    """Up to where each track is told."""
    heard = call.end.heard if call.end is not None else {}
    return {
        track: max(round(story.committed_s.get(track, 0.0) * rate_hz), heard.get(track, 0))
        for track in call.header.tracks
    }


def _unheard(call: KeptCall, done: Mapping[Track, int]) -> dict[Track, int]:
    """From where on each track has something to be heard."""
    extents = {track: call.extent(track) for track in done}
    return {
        track: max(position, extent[0])
        for track, position in done.items()
        if (extent := extents[track]) is not None and position < extent[1]
    }


def _duration_s(call: KeptCall) -> float:
    if call.end is not None:
        return call.end.duration_s
    rate_hz = AudioFormat.parse(call.header.format).rate_hz
    return max((extent[1] for track in call.header.tracks if (extent := call.extent(track))), default=0) / rate_hz


def _summary(call: KeptCall, track: Track, story: Story) -> TrackSummary:
    """As the call itself counted it, if it still could; else what the journal holds, filled pauses included."""
    counted = {each.track: each for each in call.end.tracks} if call.end is not None else {}
    rate_hz = AudioFormat.parse(call.header.format).rate_hz
    known = counted.get(track) or TrackSummary(
        track=track,
        audio_s=call.samples(track) / rate_hz,
        lost_s=story.lost_s(track),
        untranscribed_s=0.0,
        finals=0,
    )
    return structs.replace(known, untranscribed_s=story.untranscribed_s(track), finals=story.transcript.segments(track))


async def _story(outbox: Outbox, call_id: str) -> Story:
    """What the store knows of a call; decoding one of hours takes 30 ms, for which other calls need not wait."""
    events: list[StoredEvent] = []
    while page := await outbox.events_of(call_id, after=events[-1].sequence if events else 0, limit=_PAGE):
        events += page
    return await asyncio.to_thread(Story, events)
