"""
One phone call: from the first message on its socket to `call.ended`.

The call owns everything that lives as long as it does: the reader of the socket, its tracks (`tracks`), the reporter of
its events, the watch over its silence. They are tasks of its groups; when `run` returns, none is left. Its end is a
value (`_End`), not an exception; a failing recogniser never ends it. What no recogniser has heard by its end stays in
the journal, and recovery ends the call in its place.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

import structlog
from aiohttp import WebSocketError, WSCloseCode, WSMessage, WSMsgType

from gateway import telemetry
from gateway.dialects.base import Dialect
from gateway.errors import DialectError
from gateway.events import (
    AudioReceived,
    CallInfo,
    CallReading,
    DigitPressed,
    MarkReached,
    Outcome,
    StreamStarted,
    StreamStopped,
    TelephonyEvent,
    Track,
    UnknownMessage,
)
from gateway.journal import CallHeader, KeptCall
from gateway.media_socket import MediaSocket
from gateway.reporter import CallReporter
from gateway.rooms import Rooms
from gateway.tracks import CallTracks

log = structlog.get_logger()

SPEAKERS: Mapping[Track, str] = {Track.INBOUND: "caller", Track.OUTBOUND: "agent"}
CLOSE_S = 5.0
"""How long the platform may take to answer our close frame."""


@dataclass(frozen=True, slots=True)
class _End:
    """Why reading ended, and the close code that tells the platform."""

    outcome: Outcome
    reason: str
    close_code: int = WSCloseCode.OK


_CRASHED = _End(Outcome.GATEWAY_ERROR, "internal_error", WSCloseCode.INTERNAL_ERROR)


class Call:
    """
    One call on one socket.

    Args:
        call_id: ours, `call_…`.
        dialect: of the platform at the other end.
        socket: already upgraded; the call closes it.
        rooms: behind it.
    """

    def __init__(self, *, call_id: str, dialect: Dialect, socket: MediaSocket, rooms: Rooms) -> None:
        self.call_id = call_id
        self._dialect = dialect
        self._socket = socket
        self._rooms = rooms
        self._limits = rooms.limits
        self._report = CallReporter(rooms.sink, cues=rooms.cues() if rooms.cues else None)
        self._tracks = CallTracks(rooms, self._report)
        self._language: str | None = None
        self._profile = rooms.stt.default
        self._patience: asyncio.Timeout | None = None  # with the transcript of the recording
        self._has_crashed = False
        self._started = asyncio.Event()
        self._stopped: _End | None = None
        self._reader: asyncio.Task[_End] | None = None
        self._messages = 0
        self._errors = 0

    async def run(self) -> None:
        """Serve the call to its end; everything it said is then in the sink, and what it did not, with recovery."""
        with structlog.contextvars.bound_contextvars(call_id=self.call_id, dialect=self._dialect.name):
            telemetry.CALLS_ACTIVE.labels(self._dialect.name).inc()
            end = _End(Outcome.INDETERMINATE, "cancelled")
            kept: KeptCall | None = None
            is_heard = True
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._report.run(), name="reporter")
                    try:
                        end = await self._serve(tasks)
                    except Exception as error:
                        log.exception("call_failed", exc_info=error)
                        self._has_crashed, end = True, _CRASHED
                        await self._close_socket(end.close_code)
                    if self._report.has_started:
                        await self._report.settled()  # the journal may say only then how far the call is told
                        kept = await self._tracks.close_journal(end.outcome, end.reason, has_crashed=self._has_crashed)
                        is_heard = kept is None or (self._tracks.is_heard and not self._has_crashed)
                        if is_heard:
                            end = await self._finish(end, kept)
                    self._report.close()
                if kept is not None and is_heard:
                    await kept.remove()
                elif kept is not None:
                    log.warning("call_handed_over", unheard_s=round(self._tracks.unheard_s, 3))
                    self._rooms.hand_over(kept)
            finally:
                self._socket.keep()
                self._tracks.release(kept)
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

    def reading(self) -> CallReading | None:
        """How the call is now; None before its stream's start was accepted."""
        if not self._started.is_set():
            return None
        return CallReading(call_id=self.call_id, at_s=self._tracks.duration_s, tracks=self._tracks.readings())

    async def _serve(self, background: asyncio.TaskGroup) -> _End:
        """Read the call to its end while its recognisers work; returns once they have said what they can."""
        async with asyncio.TaskGroup() as tasks:
            watch = tasks.create_task(self._watch(), name="watch")
            end = await self._read_until_stopped(tasks)
            watch.cancel()
            self._socket.keep()
            # The platform's answer to our close frame must delay no last word.
            background.create_task(self._close_socket(end.close_code), name="close")
            await self._tracks.finish()
        self._tracks.note_unheard()
        return end

    # ── the end ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def _finish(self, end: _End, kept: KeptCall | None) -> _End:
        """Everything was heard, or is known to be lost: what is made of the whole call, and its end."""
        recording = None
        if kept is not None and self._rooms.post_call is not None:
            try:
                async with asyncio.timeout(None) as self._patience:
                    recording = await self._rooms.post_call.make(
                        self.call_id, kept, self._report, self._language, transcribe=end.reason != "shutdown"
                    )
            except TimeoutError:
                log.warning("post_call_interrupted")
            except Exception as error:
                log.exception("call_failed", exc_info=error)
                self._has_crashed, end = True, _CRASHED
            finally:
                self._patience = None
        end = self._judge(end)
        await self._report.ended(
            outcome=end.outcome,
            reason=end.reason,
            complete=self._is_complete,
            duration_s=self._tracks.duration_s,
            tracks=self._tracks.summaries(),
            recording=recording,
        )
        return end

    @property
    def _is_complete(self) -> bool:
        return self._tracks.is_complete and not self._has_crashed

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
            try:
                message = await self._socket.receive()
            except ConnectionError:  # a ping is answered inside, and its sender may have gone
                return _End(Outcome.INDETERMINATE, "connection_lost")
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
                    gaps = self._tracks.receive(event)
                    if gaps:
                        await self._tracks.report_lost(event.track, gaps)
                elif (end := await self._handle(event, tasks)) is not None:
                    return end

    def _follow(self, messages: list[bytes]) -> bool:
        """Take messages on the spot if all are audio that follows on, as nearly always; else `_read` gets them."""
        frames = self._dialect.audio(messages)
        if not frames or not self._tracks.follow(frames):
            return False
        self._messages += len(messages)
        self._errors = 0
        return True

    async def _handle(self, event: TelephonyEvent, tasks: asyncio.TaskGroup) -> _End | None:
        match event:
            case StreamStarted():
                await self._start(event, tasks)
                self._socket.hand_over(self._follow, self._tracks.progress)
            case DigitPressed():
                await self._report.digit(event, self._tracks.duration_s)
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
        # aiohttp says 0 for a close frame without a status, which RFC 6455 (7.1.5) calls 1005.
        if self._socket.close_code in (WSCloseCode.OK, WSCloseCode.GOING_AWAY, 1005, 0):
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
        self._report.begin(info, speakers)
        await self._report.started(started.tracks, str(started.format))
        header = CallHeader(
            call=info,
            tracks=started.tracks,
            format=str(started.format),
            profile=self._profile,
            language=self._language,
            speakers=speakers,
            started_at=time.time(),
        )
        self._tracks.start(started, header, tasks)
        self._started.set()
        log.info("call_started", stream_id=started.stream_id, tracks=list(started.tracks), profile=self._profile)

    def _chosen_profile(self, wanted: str) -> str:
        if not wanted:
            return self._rooms.stt.default
        if wanted in self._rooms.stt.profiles and not self._rooms.stt.profiles[wanted].is_batch:
            return wanted
        log.warning("call_profile_unknown", used=self._rooms.stt.default)
        return self._rooms.stt.default

    def _judge(self, end: _End) -> _End:
        """A call that the platform completed has still failed if not all of it could be transcribed."""
        if end.outcome is Outcome.COMPLETED and not self._is_complete:
            return _End(Outcome.UPSTREAM_ERROR, "not_all_transcribed", end.close_code)
        return end

    def _log_end(self, end: _End) -> None:
        """The one line that tells the whole call."""
        telemetry.CALLS.labels(self._dialect.name, end.outcome).inc()
        telemetry.AUDIO_SECONDS.labels(self._dialect.name).inc(self._tracks.audio_s)
        log.info(
            "call_ended",
            outcome=end.outcome.value,
            reason=end.reason,
            complete=self._is_complete,
            profile=self._profile,
            duration_s=round(self._tracks.duration_s, 3),
            audio_s=round(self._tracks.audio_s, 3),
            lost_s=round(self._tracks.lost_s, 3),
            untranscribed_s=round(self._tracks.untranscribed_s, 3),
            unheard_s=round(self._tracks.unheard_s, 3),
            segments=self._tracks.segments,
            messages=self._messages,
        )
