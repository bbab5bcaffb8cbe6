"""
One phone call: from the first message on its socket to `call.ended`.

The call owns everything that lives as long as it does: the reader of the socket, one pipeline and recogniser session
per track, the reporter of its events, the watch over its silence. They are tasks of its groups; when `run` returns,
none is left. Its end is a value (`_End`), not an exception; a failing recogniser never ends it.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

import structlog
from aiohttp import WebSocketError, WSCloseCode, WSMessage, WSMsgType, web

from gateway import telemetry
from gateway.config import LimitSettings, SttSettings
from gateway.dialects.base import Dialect
from gateway.errors import DialectError
from gateway.events import (
    AudioReceived,
    CallInfo,
    DigitPressed,
    Hearing,
    MarkReached,
    RecognizerLost,
    RecognizerRequest,
    Segment,
    StreamStarted,
    StreamStopped,
    TelephonyEvent,
    Track,
    TrackEvent,
    UnknownMessage,
    Untranscribed,
)
from gateway.media.timeline import Gap
from gateway.pipeline import TrackPipeline
from gateway.post_call import PostCall
from gateway.recording.keeper import CallRecording
from gateway.reporter import CallReporter, EventSink
from gateway.stt.base import Recognizers
from gateway.stt.session import TrackSession

log = structlog.get_logger()

SPEAKERS: Mapping[Track, str] = {Track.INBOUND: "caller", Track.OUTBOUND: "agent"}
CLOSE_S = 5.0
"""How long the platform may take to answer our close frame."""


class Outcome(StrEnum):
    """How a call ended, by whose doing."""

    COMPLETED = "completed"
    CALLER_ERROR = "caller_error"
    GATEWAY_ERROR = "gateway_error"
    UPSTREAM_ERROR = "upstream_error"
    INDETERMINATE = "indeterminate"


@dataclass(frozen=True, slots=True)
class _End:
    """Why reading ended, and the close code that tells the platform."""

    outcome: Outcome
    reason: str
    close_code: int = WSCloseCode.OK


class Call:
    """
    One call on one socket.

    Args:
        call_id: ours, `call_…`.
        dialect: of the platform at the other end.
        socket: already upgraded; the call closes it.
        recognizers, sink: the rooms behind it.
        post_call: what is done with its recording; None: it is not recorded.
    """

    def __init__(
        self,
        *,
        call_id: str,
        dialect: Dialect,
        socket: web.WebSocketResponse,
        recognizers: Recognizers,
        sink: EventSink,
        stt: SttSettings,
        limits: LimitSettings,
        post_call: PostCall | None = None,
    ) -> None:
        self.call_id = call_id
        self._dialect = dialect
        self._socket = socket
        self._recognizers = recognizers
        self._stt = stt
        self._limits = limits
        self._post_call = post_call
        self._recording: CallRecording | None = None
        self._language: str | None = None
        self._patience: asyncio.Timeout | None = None  # with the transcript of the recording
        self._report = CallReporter(sink)
        self._pipelines: dict[Track, TrackPipeline] = {}
        self._has_crashed = False
        self._profile = stt.default
        self._origin_ms: int | None = None
        self._started = asyncio.Event()
        self._stopped: _End | None = None
        self._reader: asyncio.Task[_End] | None = None
        self._messages = 0
        self._errors = 0

    async def run(self) -> None:
        """Serve the call to its end; everything it said is then in the sink."""
        with structlog.contextvars.bound_contextvars(call_id=self.call_id, dialect=self._dialect.name):
            telemetry.CALLS_ACTIVE.labels(self._dialect.name).inc()
            end = _End(Outcome.INDETERMINATE, "cancelled")
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._report.run(), name="reporter")
                    try:
                        end = await self._serve(tasks)
                        await self._transcribe_recording(end)
                    except Exception as error:
                        end = _End(Outcome.GATEWAY_ERROR, "internal_error", WSCloseCode.INTERNAL_ERROR)
                        self._has_crashed = True
                        log.exception("call_failed", exc_info=error)
                        await self._close_socket(end.close_code)
                    if self._report.has_started:
                        await self._report_end(end)
                    self._report.close()
            finally:
                if self._recording is not None:
                    self._recording.discard()  # at once: a few files, and nobody may be left to wait for it
                telemetry.CALLS_ACTIVE.labels(self._dialect.name).dec()
                self._log_end(end)

    def stop(self, reason: str, close_code: int = WSCloseCode.GOING_AWAY) -> None:
        """End the call from our side; `run` then finishes it as after any other end."""
        if self._stopped is None:
            outcome = Outcome.GATEWAY_ERROR if close_code == WSCloseCode.GOING_AWAY else Outcome.CALLER_ERROR
            self._stopped = _End(outcome, reason, close_code)
            if self._reader is not None:
                self._reader.cancel()
        if self._patience is not None:
            self._patience.reschedule(0)
            self._patience = None

    async def _serve(self, background: asyncio.TaskGroup) -> _End:
        """Read the call to its end while its recognisers work; returns once they have said everything."""
        async with asyncio.TaskGroup() as tasks:
            watch = tasks.create_task(self._watch(), name="watch")
            end = await self._read_until_stopped(tasks)
            watch.cancel()
            # The platform's answer to our close frame must delay no last word.
            background.create_task(self._close_socket(end.close_code), name="close")
            for pipeline in self._pipelines.values():
                await self._report_lost(pipeline.track, pipeline.finish())
            if self._recording is not None:
                self._recording.close()
        return self._judge(end)

    async def _read_until_stopped(self, tasks: asyncio.TaskGroup) -> _End:
        """Reading is a task of its own: only so can `stop` end it and leave the socket fit for an orderly close."""
        self._reader = tasks.create_task(self._read(tasks), name="reader")
        try:
            return await self._reader
        except asyncio.CancelledError:
            if self._stopped is None or not self._reader.cancelled():
                raise
            return self._stopped

    # ── the socket ──────────────────────────────────────────────────────────────────────────────────────────────

    async def _read(self, tasks: asyncio.TaskGroup) -> _End:
        """Read messages until the stream is over, whoever ends it."""
        while True:
            message = await self._socket.receive()
            self._messages += 1
            if message.type is not WSMsgType.TEXT and message.type is not WSMsgType.BINARY:
                return self._end_of_socket(message)
            try:
                events = self._dialect.receive(message.data)
            except DialectError as error:
                end = self._note_error(error)
                if end is not None:
                    return end
                continue
            self._errors = 0
            for event in events:
                if isinstance(event, AudioReceived):  # fifty times a second and track: no coroutine for it
                    gaps = self._receive_audio(event)
                    if gaps:
                        await self._report_lost(event.track, gaps)
                elif (end := await self._handle(event, tasks)) is not None:
                    return end

    def _receive_audio(self, frame: AudioReceived) -> list[Gap]:
        if self._origin_ms is None:
            self._origin_ms = frame.offset_ms or 0
        return self._pipelines[frame.track].receive(frame, self._origin_ms)

    async def _handle(self, event: TelephonyEvent, tasks: asyncio.TaskGroup) -> _End | None:
        match event:
            case StreamStarted():
                await self._start(event, tasks)
            case DigitPressed():
                await self._report.digit(event, self._duration_s)
            case StreamStopped():
                return _End(Outcome.COMPLETED, "stop")
            case UnknownMessage():
                telemetry.DIALECT_UNKNOWN.labels(self._dialect.name).inc()
                log.debug("dialect_message_unknown", kind=event.kind)
            case MarkReached() | AudioReceived():
                pass
        return None

    def _note_error(self, error: DialectError) -> _End | None:
        """Count a bad message; one does not end a call, a budget of them in a row does."""
        self._errors += 1
        telemetry.DIALECT_ERRORS.labels(self._dialect.name, error.code).inc()
        if self._errors == 1:
            log.warning("dialect_message_refused", code=error.code)
        if error.close_code is not None:
            return _End(Outcome.CALLER_ERROR, error.code, error.close_code)
        if self._errors >= self._limits.error_budget:
            return _End(Outcome.CALLER_ERROR, "too_many_bad_messages", WSCloseCode.PROTOCOL_ERROR)
        return None

    def _end_of_socket(self, message: WSMessage) -> _End:
        if isinstance(message.data, WebSocketError):
            # aiohttp has already closed with the right code: 1009 for a message over the limit, 1007 for bad UTF-8 …
            code = message.data.code
            reason = "message_too_big" if code == WSCloseCode.MESSAGE_TOO_BIG else "bad_frame"
            return _End(Outcome.CALLER_ERROR, reason, code)
        if self._socket.close_code in (WSCloseCode.OK, WSCloseCode.GOING_AWAY, 1005):
            return _End(Outcome.COMPLETED, "closed")
        return _End(Outcome.INDETERMINATE, "connection_lost")

    async def _watch(self) -> None:
        """End a call that does not start, or falls silent."""
        try:
            async with asyncio.timeout(self._limits.start_timeout_s):
                await self._started.wait()
        except TimeoutError:
            self.stop("start_timeout", WSCloseCode.POLICY_VIOLATION)
            return
        seen = -1
        while seen != self._messages:
            seen = self._messages
            await asyncio.sleep(self._limits.idle_timeout_s)
        self.stop("idle_timeout", WSCloseCode.POLICY_VIOLATION)

    async def _close_socket(self, code: int) -> None:
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._socket.close(code=code)
        except (TimeoutError, ConnectionError):
            log.debug("socket_close_unanswered")

    # ── the stream ──────────────────────────────────────────────────────────────────────────────────────────────

    async def _start(self, started: StreamStarted, tasks: asyncio.TaskGroup) -> None:
        parameters = dict(started.parameters)
        self._language = parameters.pop("gw_language", "") or None
        self._profile = self._chosen_profile(parameters.pop("gw_profile", ""))
        speakers = {track: parameters.pop(f"gw_speaker_{track}", "") or SPEAKERS[track] for track in Track}
        info = CallInfo(
            id=self.call_id,
            platform=self._dialect.name,
            platform_call_id=started.platform_call_id,
            stream_id=started.stream_id,
            account_id=started.account_id,
            from_number=started.from_number,
            to_number=started.to_number,
            metadata=parameters,
        )
        await self._report.started(info, started, profile=self._profile, speakers=speakers)
        if self._post_call is not None:
            self._recording = self._post_call.record(self.call_id, started.format)
            tasks.create_task(self._recording.run(), name="recording")
        for track in started.tracks:
            pipeline = self._make_pipeline(track, started)
            self._pipelines[track] = pipeline
            tasks.create_task(pipeline.session.run(), name=f"stt-{track}")
        self._started.set()
        log.info("call_started", stream_id=started.stream_id, tracks=list(started.tracks), profile=self._profile)

    def _chosen_profile(self, wanted: str) -> str:
        if not wanted:
            return self._stt.default
        if wanted in self._stt.profiles and not self._stt.profiles[wanted].is_batch:
            return wanted
        log.warning("call_profile_unknown", used=self._stt.default)
        return self._stt.default

    def _make_pipeline(self, track: Track, started: StreamStarted) -> TrackPipeline:
        profile = self._stt.profiles[self._profile]
        request = RecognizerRequest(
            format=started.format,
            language=self._language,
            call_id=self.call_id,
            track=track,
            platform_call_id=self._report.call.platform_call_id,
            metadata=self._report.call.metadata,
        )
        session = TrackSession(
            self._recognizers,
            self._profile,
            request,
            partial(self._heard, track),
            buffer_s=self._stt.buffer_s,
            drain_s=self._stt.drain_s,
            keepalive_s=profile.keepalive_s,
            chunk_ms=profile.chunk_ms,
        )
        tap = self._recording.tap(track) if self._recording else None
        return TrackPipeline(track, started, session, profile.chunk_ms, tap)

    # ── what comes of it ────────────────────────────────────────────────────────────────────────────────────────

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

    async def _report_lost(self, track: Track, gaps: list[Gap]) -> None:
        for gap in gaps:
            start_s = self._pipelines[track].seconds(gap.position)
            end_s = self._pipelines[track].seconds(gap.position + gap.samples)
            await self._report.gap(track, start_s, end_s, gap.kind)

    async def _transcribe_recording(self, end: _End) -> None:
        """Publish `call.transcript` if the recording's transcript comes in time; `stop` ends the wait."""
        if self._post_call is None or self._recording is None:
            return
        if end.reason == "shutdown":
            self._post_call.give_up("shutdown")
            return
        try:
            async with asyncio.timeout(self._post_call.timeout_s) as self._patience:
                transcript = await self._post_call.transcribe(self._recording, self._language)
        except TimeoutError:
            self._post_call.give_up("timeout")
            return
        finally:
            self._patience = None
        if transcript is not None:
            await self._report.recording(transcript, self._post_call.profile)

    def _judge(self, end: _End) -> _End:
        """A call that the platform completed has still failed if not all of it could be transcribed."""
        if end.outcome is Outcome.COMPLETED and not self._is_complete:
            return _End(Outcome.UPSTREAM_ERROR, "not_all_transcribed", end.close_code)
        return end

    async def _report_end(self, end: _End) -> None:
        await self._report.ended(
            outcome=end.outcome,
            reason=end.reason,
            complete=self._is_complete,
            duration_s=self._duration_s,
            tracks=tuple(each.summary(self._report.transcript) for each in self._pipelines.values()),
        )

    @property
    def _is_complete(self) -> bool:
        return not self._has_crashed and all(each.untranscribed_s == 0 for each in self._pipelines.values())

    @property
    def _duration_s(self) -> float:
        return max((each.position_s for each in self._pipelines.values()), default=0.0)

    def _log_end(self, end: _End) -> None:
        """The one line that tells the whole call."""
        telemetry.CALLS.labels(self._dialect.name, end.outcome).inc()
        audio_s = sum(each.audio_s for each in self._pipelines.values())
        telemetry.AUDIO_SECONDS.labels(self._dialect.name).inc(audio_s)
        log.info(
            "call_ended",
            outcome=end.outcome.value,
            reason=end.reason,
            complete=self._is_complete,
            profile=self._profile,
            duration_s=round(self._duration_s, 3),
            audio_s=round(audio_s, 3),
            lost_s=round(sum(each.lost_s for each in self._pipelines.values()), 3),
            untranscribed_s=round(sum(each.untranscribed_s for each in self._pipelines.values()), 3),
            segments=sum(self._report.transcript.segments(each) for each in self._pipelines),
            messages=self._messages,
        )
