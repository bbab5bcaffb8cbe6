"""
The driver of vendors' protocols: their messages over one WebSocket, as a `Recognizer`.

What a vendor's protocol decides is in its own module; here are only the socket, its bounds, and the names of its
failures. A lost session is counted and logged once, and every method raises the same reason from then on; `events`
first gives what had come before.
"""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import cache

import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, InvalidURI, WebSocketException
from websockets.protocol import State

from gateway.config import SttProfile
from gateway.errors import PeerError, RecognizerProtocolError, RecognizerUnavailable, UnavailableError
from gateway.events import Finished, RecognizerEvent
from gateway.stt.frames import Masker
from gateway.stt.protocol import ClientProtocol, Messages, Presuming, closure, refusal
from gateway.telemetry import STT_BAD_MESSAGES, STT_CONNECT_SECONDS, STT_ERRORS, STT_SESSIONS_ACTIVE

log = structlog.get_logger()

# At debug level the library writes whole messages and the key: it gets a logger of its own that never does.
_wire_log = logging.getLogger("gateway.stt.wire")
_wire_log.setLevel(logging.WARNING)


_masker = Masker()
_CLEAR_BYTES = 16384
"""Audio that may wait in memory before a sender has to; half of what the library lets wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """
    Bounds of one session.

    Args:
        ping_interval_s, ping_timeout_s: a peer that is gone without a word is noticed after both, at the latest. The
            answer waits behind audio that the peer has not read yet, so they must not be too short.
        send_timeout_s: how long the vendor may leave audio unread before it counts as gone; in that time 24 KiB must
            pass, 3 s of telephone audio.
        close_timeout_s: of the closing handshake; then the connection is cut.
        max_message_bytes: largest message of the vendor.
        max_queue: its messages held unread; then reading pauses, and with it the answers to pings.
        bad_messages: in a row, at which the session is given up.
    """

    ping_interval_s: float = 10.0
    ping_timeout_s: float = 10.0
    send_timeout_s: float = 20.0
    close_timeout_s: float = 1.0
    max_message_bytes: int = 2**20
    max_queue: int = 16
    bad_messages: int = 10


@asynccontextmanager
async def open_session(
    profile: SttProfile, protocol: ClientProtocol, limits: Limits | None = None
) -> AsyncIterator["WebSocketRecognizer"]:
    """
    Connect a session; leaving the context ends it within `close_timeout_s`, whatever its state.

    Args:
        profile: gives the kind (for metrics) and the time to connect, which includes becoming ready.
        protocol: of this session alone.
        limits: those of `Limits` by default.

    Raises, on entering:
        RecognizerUnavailable, RecognizerProtocolError: no session; see `retryable`.
    """
    limits = limits or Limits()
    started = asyncio.get_running_loop().time()
    async with AsyncExitStack() as stack:
        try:
            async with asyncio.timeout(profile.connect_timeout_s):
                socket = await _dial(protocol, limits)
                stack.push_async_callback(_hang_up, socket, limits.close_timeout_s)
                recognizer = WebSocketRecognizer(socket, protocol, profile.kind, limits)
                stack.callback(recognizer.let_go)
                await recognizer.become_ready()
        except (OSError, WebSocketException, ValueError) as error:
            failure = _unconnected(error)
            _report(profile.kind, failure)
            raise failure from None  # some of those texts hold the whole address, query included
        STT_CONNECT_SECONDS.labels(profile.kind).observe(asyncio.get_running_loop().time() - started)
        with STT_SESSIONS_ACTIVE.labels(profile.kind).track_inprogress():
            yield recognizer


class WebSocketRecognizer:
    """
    A `Recognizer` at a vendor; made by `open_session`.

    Args:
        socket: connected.
        protocol: of this session.
        kind: label of its metrics and log lines.
        limits: bounds.
    """

    def __init__(self, socket: ClientConnection, protocol: ClientProtocol, kind: str, limits: Limits) -> None:
        self._socket = socket
        self._transport, self._frames = socket.transport, socket.protocol
        self._protocol = protocol
        self._kind = kind
        self._limits = limits
        self._early: list[RecognizerEvent] = []
        self._bad_messages = 0
        self._has_ended = False
        self._failure: PeerError | UnavailableError | None = None
        self._loop = asyncio.get_running_loop()
        self._sending_since: float | None = None
        self._watch: asyncio.TimerHandle | None = None

    async def become_ready(self) -> None:
        """Say the protocol's opening, and listen until it may be sent audio."""
        await self._send(self._protocol.opening())
        patience_s = self._protocol.ready_within_s if isinstance(self._protocol, Presuming) else None
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                while not self._protocol.is_ready:
                    self._early += await self._receive()

    async def send(self, audio: bytes) -> None:
        """Send audio; waits while the vendor reads more slowly than it comes."""
        if audio:  # an empty binary message ends the stream at some vendors
            await self._send(self._protocol.audio(audio))

    @property
    def is_clear(self) -> bool:
        """Whether the session is open, and nearly all that was sent is on its way."""
        return (
            self._failure is None
            and self._sending_since is None
            and self._frames.state is State.OPEN
            and not self._transport.is_closing()
            and self._transport.get_write_buffer_size() < _CLEAR_BYTES
        )

    def send_now(self, audio: bytes) -> None:
        """
        Send audio past the library's flow control, which `is_clear` stands for.

        Its frames are whole, so they may stand between any two of the library's own.
        """
        for message in self._protocol.audio(audio):
            self._transport.write(_masker.frame(message))

    async def finalize(self) -> None:
        """Ask for a final of what was heard so far."""
        await self._send(self._protocol.finalize())

    async def keepalive(self) -> None:
        """Say that the session is still wanted."""
        await self._send(self._protocol.keepalive())

    async def end(self) -> None:
        """Ask for the rest; `events` goes on until the vendor has said that it was all."""
        self._has_ended = True
        await self._send(self._protocol.end())

    async def events(self) -> AsyncIterator[RecognizerEvent]:
        """What the vendor says, until it has said everything; how long to wait for that is the caller's to bound."""
        found, self._early = self._early, []
        while True:
            for event in found:
                if isinstance(event, Finished) and (self._failure or not self._has_ended):
                    raise self._lost(closure(1000))  # it has not heard all: nobody asked it to end, or not in time
                yield event
                if isinstance(event, Finished):
                    return
            found = await self._receive()

    async def _send(self, messages: Messages) -> None:
        if self._failure is not None:
            raise self._failure
        try:
            for message in messages:
                self._sending_since = self._loop.time()
                if self._watch is None:
                    self._watch = self._loop.call_later(self._limits.send_timeout_s, self._look)
                await self._socket.send(message)
        except ConnectionClosed as closed:
            self._after_close(closed)
            raise closure(1000) from None  # this vendor ends so; there is nothing left to send to
        finally:
            self._sending_since = None

    def _look(self) -> None:
        """Cut a socket that takes nothing. One timer looks now and then; one for each message would cost too much."""
        self._watch = None
        if self._sending_since is None:
            return
        left_s = self._sending_since + self._limits.send_timeout_s - self._loop.time()
        if left_s > 0:
            self._watch = self._loop.call_later(left_s, self._look)
        else:  # whoever is sending finds the socket closed, and the reason
            self._lost(RecognizerUnavailable("the recogniser stopped reading", code="stt_stalled"))

    def let_go(self) -> None:
        """Nothing is sent any more."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    async def _receive(self) -> list[RecognizerEvent]:
        """The next message's events; none for a message that makes no sense, until that happens too often."""
        try:
            message = await self._socket.recv()
            events = self._protocol.receive(message)
        except ConnectionClosed as closed:
            return self._after_close(closed)
        except RecognizerProtocolError as error:
            self._count_bad_message(error)
            return []
        except RecognizerUnavailable as error:
            raise self._lost(error) from None
        self._bad_messages = 0
        return events

    def _after_close(self, closed: ConnectionClosed) -> list[RecognizerEvent]:
        if self._failure is not None:
            raise self._failure
        try:
            if closed.rcvd is not None:
                return self._protocol.closed(closed.rcvd.code)
            if closed.sent is not None:
                raise _given_up(closed.sent.code)
            return self._protocol.closed(1006)
        except (PeerError, UnavailableError) as error:
            raise self._lost(error) from None

    def _count_bad_message(self, error: RecognizerProtocolError) -> None:
        STT_BAD_MESSAGES.labels(self._kind, error.code).inc()
        self._bad_messages += 1
        if self._bad_messages == self._limits.bad_messages:
            raise self._lost(error)
        if self._bad_messages == 1:
            log.warning("stt_message_rejected", kind=self._kind, code=error.code)

    def _lost(self, error: PeerError | UnavailableError) -> PeerError | UnavailableError:
        """Note why the session is over, and cut the socket so that nobody waits on it; returns the first reason."""
        if self._failure is None:
            self._failure = error
            _report(self._kind, error)
            self._socket.transport.abort()
        return self._failure


class _Dial(connect):
    """`connect` that stays where it was sent: a redirect would carry audio to an address nobody configured."""

    def process_redirect(self, exc: Exception) -> Exception:
        return exc


@cache
def _trust() -> ssl.SSLContext:
    """The system's authorities, read once: each time takes 20 ms, and each context 0.8 MB."""
    return ssl.create_default_context()


async def _dial(protocol: ClientProtocol, limits: Limits) -> ClientConnection:
    return await _Dial(
        protocol.url,
        additional_headers=protocol.headers,
        user_agent_header="media-stream-gateway",
        compression=None,  # audio does not shrink, and results are short
        ssl=_trust() if protocol.url.startswith("wss:") else None,
        proxy=None,  # by default the environment may name one
        open_timeout=None,  # the caller's covers more
        ping_interval=limits.ping_interval_s,
        ping_timeout=limits.ping_timeout_s,
        close_timeout=limits.close_timeout_s,
        max_size=limits.max_message_bytes,
        max_queue=limits.max_queue,
        logger=_wire_log,
    )


async def _hang_up(socket: ClientConnection, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await socket.close()
    except TimeoutError:
        pass  # the peer does not answer, or does not even read
    finally:
        socket.transport.abort()


def _unconnected(error: Exception) -> RecognizerUnavailable:
    """Why there is no connection, without the address, which may hold a key."""
    match error:
        case InvalidStatus():
            headers = {name.lower(): value for name, value in error.response.headers.raw_items()}
            return refusal(error.response.status_code, headers)
        case TimeoutError():
            return RecognizerUnavailable("the recogniser did not answer in time", code="stt_connect_timeout")
        case ssl.SSLError():
            trusted = not isinstance(error, ssl.SSLCertVerificationError)
            return RecognizerUnavailable(
                "no TLS connection to the recogniser", code="stt_tls_failed", retryable=trusted
            )
        case OSError():
            return RecognizerUnavailable("the recogniser cannot be reached", code="stt_unreachable")
        case InvalidURI() | ValueError():
            return RecognizerUnavailable(
                "the recogniser's URL cannot be called", code="stt_url_invalid", retryable=False
            )
        case _:
            return RecognizerUnavailable(
                "the recogniser did not answer as a WebSocket server", code="stt_handshake_failed"
            )


def _given_up(code: int) -> PeerError | UnavailableError:
    """Why our side closed, by the code that the library closed with."""
    match code:
        case 1009:
            return RecognizerProtocolError("the recogniser's message was too big", code="stt_message_too_big")
        case 1002 | 1007:
            return RecognizerProtocolError("the recogniser broke the WebSocket protocol", code="stt_frame_invalid")
        case 1011:
            return RecognizerUnavailable("the recogniser no longer answers pings", code="stt_ping_timeout")
        case _:
            return closure(1006)


def _report(kind: str, error: PeerError | UnavailableError) -> None:
    STT_ERRORS.labels(kind, error.code).inc()
    # Who holds the session logs what its loss means; this line adds the details.
    log.debug("stt_session_failed", kind=kind, code=error.code, retryable=error.retryable)
