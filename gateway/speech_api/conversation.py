"""
The driver of a served session: one WebSocket, one protocol, one recogniser.

    client ─▶ _read ─▶ session ─▶ inbound ─▶ _feed ─▶ recogniser ─▶ _listen ─▶ session ─▶ outbound ─▶ _write ─▶ client

The recogniser is opened as soon as the session knows for what; what comes earlier waits in `inbound`.

Reading never waits for writing or recognising until a queue is full, because clients exist that send a whole file
before they read a word. Every decision is the session's; `_apply` carries it out.
"""

import asyncio
import contextlib
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TypeAlias

import structlog
from aiohttp import WSMsgType, web

from gateway.channels import Channel
from gateway.errors import GatewayError, RecognizerUnavailable
from gateway.events import Final, Finished, RecognizerRequest
from gateway.speech_api.base import (
    CLIENT_LEFT,
    INTERNAL_ERROR,
    NORMAL_CLOSURE,
    POLICY_VIOLATION,
    Action,
    Close,
    End,
    Finalize,
    Hear,
    KeepAlive,
    RecognizerAction,
    Report,
    Say,
    Session,
)
from gateway.speech_api.outbound import Outbound, Pong
from gateway.stt.base import Recognizer
from gateway.telemetry import SPEECH_API_ERRORS
from telephony_codecs.convert import Converter

# A recogniser that makes no progress for so long is lost; noticed at most as much later.
STALL_S = 30.0
# A client that reads nothing for so long while there is something to read has gone.
UNREAD_S = 120.0
# aiohttp waits 10 s for the client's half of the closing; this bounds the rest, too.
CLOSE_S = 15.0
# Large messages are fed in pieces of about a second, so that each is quickly heard.
_PIECE_BYTES = 16_384
_CONTROL_BYTES = 64
_OUTCOMES = {
    NORMAL_CLOSURE: "completed",
    CLIENT_LEFT: "client_left",
    POLICY_VIOLATION: "client_error",
    INTERNAL_ERROR: "upstream_error",
}

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Engine:
    """A recogniser that is open, and what turns the client's audio into its own."""

    recognizer: Recognizer
    converter: Converter


EngineOpener: TypeAlias = Callable[[RecognizerRequest], AbstractAsyncContextManager[Engine]]
"""Opens the engine for a session's request; entering may raise what `stt.base.Recognizers.open` raises."""


class Conversation:
    """
    Runs a session to its end.

    Args:
        socket: already upgraded, without automatic pongs: they would make the reader wait for the writer.
        abort: cuts the socket's connection at once.
        session: the protocol's state.
        open_engine: called once, when the session's request is known.
        buffer_bytes: held in each direction before the other side is made to wait.
        route: label of logs and metrics.

    Attributes:
        audio_bytes, finals: what passed, for the log.
        outcome: completed, client_left, client_error, upstream_error or gateway_error once `run` has returned.
    """

    def __init__(
        self,
        socket: web.WebSocketResponse,
        abort: Callable[[], None],
        session: Session,
        open_engine: EngineOpener,
        *,
        buffer_bytes: int,
        route: str,
    ) -> None:
        self._socket = socket
        self._abort = abort
        self._session = session
        self._open_engine = open_engine
        self._route = route
        self._inbound: Channel[RecognizerAction] = Channel(buffer_bytes, weight=_weight)
        self._outbound = Outbound(buffer_bytes)
        self._loop = asyncio.get_running_loop()
        self._is_requested = asyncio.Event()  # the session knows what it wants a recogniser for
        self._reported: set[str] = set()
        self._is_client_gone = False
        self._is_recognizer_lost = False
        self._has_ended = False  # the recogniser knows that no more audio comes
        self._waiting_since: float | None = None  # for the recogniser
        self._alarm_at = -math.inf
        self._alarm_moved = asyncio.Event()
        self.audio_bytes = 0
        self.finals = 0
        self.outcome = "gateway_error"

    async def run(self) -> None:
        """Serve the client until the socket is closed and the recogniser needs no more."""
        async with asyncio.TaskGroup() as tasks:
            others = [tasks.create_task(work()) for work in (self._read, self._recognize, self._keep_time)]
            try:
                await self._write()
            finally:
                for task in others:
                    task.cancel()

    async def stop(self, code: int) -> None:
        """Close the socket once what is waiting to be sent was sent."""
        await self._outbound.close(code)

    async def _apply(self, actions: Sequence[Action]) -> None:
        self._move_alarm()
        if self._session.request is not None:
            self._is_requested.set()
        for action in actions:
            match action:
                case Hear() | Finalize() | KeepAlive() | End():
                    await self._inbound.put(action)
                case Say() | Close():
                    await self._outbound.put(action)
                case Report(code=code):
                    self._report(code)

    def _report(self, code: str) -> None:
        """Count each fault, but log its kind once: a client repeats its mistakes."""
        SPEECH_API_ERRORS.labels(self._route, code).inc()
        if code not in self._reported:
            self._reported.add(code)
            log.warning("speech_api_message_faulted", route=self._route, code=code)

    # ── The client ──────────────────────────────────────────────────────────────────────────────────────────────

    async def _read(self) -> None:
        async for message in self._socket:
            if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                await self._apply(self._session.receive(message.data, self._loop.time()))
            elif message.type is WSMsgType.PING:
                await self._outbound.put(Pong(message.data))
        self._is_client_gone = True
        await self._apply(self._session.disconnected())

    async def _write(self) -> None:
        while True:
            item = await self._outbound.get()
            if isinstance(item, Close):
                self.outcome = _OUTCOMES.get(item.code, "gateway_error")
                await self._close(item.code)
                return
            if not self._is_client_gone:  # else the session only runs on so that nothing that was said is lost
                await self._send(item)

    async def _send(self, item: Say | Pong) -> None:
        try:
            async with asyncio.timeout(UNREAD_S):
                if isinstance(item, Say):
                    await self._socket.send_str(item.text)
                else:
                    await self._socket.pong(item.payload)
        except (TimeoutError, ConnectionError):
            self._is_client_gone = True
            self._abort()  # the reader notices and tells the session

    async def _close(self, code: int) -> None:
        if self._is_client_gone:
            return
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._socket.close(code=code)
        except TimeoutError:
            self._abort()

    # ── The recogniser ──────────────────────────────────────────────────────────────────────────────────────────

    async def _recognize(self) -> None:
        """Open the recogniser once it is known for what, and let it hear and speak."""
        await self._apply(())  # the request may be known before the client says anything
        await self._is_requested.wait()
        assert self._session.request is not None
        self._expect_recognizer()
        async with contextlib.AsyncExitStack() as stack:
            try:
                engine = await stack.enter_async_context(self._open_engine(self._session.request))
            except GatewayError as error:
                await self._lose_recognizer(error)
                return
            self._waiting_since = None
            await self._apply(self._session.opened())
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._feed(engine))
                tasks.create_task(self._listen(engine.recognizer))

    async def _feed(self, engine: Engine) -> None:
        try:
            async for action in self._inbound:
                self._expect_recognizer()
                await self._hand_over(action, engine)
                self._waiting_since = None
                if isinstance(action, End):
                    self._has_ended = True
                    self._expect_recognizer()
                    return
        except GatewayError as error:
            await self._lose_recognizer(error)

    async def _hand_over(self, action: RecognizerAction, engine: Engine) -> None:
        recognizer, converter = engine.recognizer, engine.converter
        match action:
            case Hear(audio=audio):
                self.audio_bytes += len(audio)
                await self._send_audio(recognizer, converter.convert(audio))
            case Finalize():
                await recognizer.finalize()
            case KeepAlive():
                await recognizer.keepalive()
            case End():
                await self._send_audio(recognizer, converter.flush())
                await recognizer.end()

    async def _send_audio(self, recognizer: Recognizer, audio: bytes) -> None:
        for at in range(0, len(audio), _PIECE_BYTES):
            self._expect_recognizer()
            await recognizer.send(audio[at : at + _PIECE_BYTES])

    def _expect_recognizer(self) -> None:
        """From now on it has `STALL_S` to make progress."""
        self._waiting_since = self._loop.time()

    async def _listen(self, recognizer: Recognizer) -> None:
        try:
            async for event in recognizer.events():
                self.finals += isinstance(event, Final)
                await self._apply(self._session.recognized(event, self._loop.time()))
                if isinstance(event, Finished):
                    self._waiting_since = None
                    return
                if self._has_ended:
                    self._expect_recognizer()
            raise RecognizerUnavailable("the recogniser stopped without having finished")
        except GatewayError as error:
            await self._lose_recognizer(error)

    async def _lose_recognizer(self, error: GatewayError) -> None:
        if self._is_recognizer_lost:
            return
        self._is_recognizer_lost = True
        self._waiting_since = None
        SPEECH_API_ERRORS.labels(self._route, error.code).inc()
        log.warning("speech_api_recognizer_lost", route=self._route, code=error.code)
        self._inbound.close()
        await self._apply(self._session.failed("the recogniser was lost"))

    # ── Time ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _move_alarm(self) -> None:
        """Deadlines move with every message, mostly to later: only an earlier one must wake the clock."""
        deadline = self._session.next_deadline()
        if deadline is not None and deadline < self._alarm_at:
            self._alarm_moved.set()

    async def _keep_time(self) -> None:
        while True:
            deadline = self._session.next_deadline()
            self._alarm_at = min(self._loop.time() + STALL_S, math.inf if deadline is None else deadline)
            self._alarm_moved.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._alarm_at):
                    await self._alarm_moved.wait()
            await self._act_on_time(self._loop.time())

    async def _act_on_time(self, now: float) -> None:
        deadline = self._session.next_deadline()
        if deadline is not None and deadline <= now:
            await self._apply(self._session.handle_timeout(now))
        if self._waiting_since is not None and self._waiting_since + STALL_S <= now:
            stalled = RecognizerUnavailable("the recogniser makes no progress", code="recognizer_stalled")
            await self._lose_recognizer(stalled)


def _weight(action: RecognizerAction) -> int:
    return len(action.audio) if isinstance(action, Hear) else _CONTROL_BYTES
