"""
A strict Pulse server that does what a test tells it to: a real WebSocket server on loopback.

    async with PulseServer() as server:                      # recognises by itself
    async with PulseServer(refuse(429, {"Retry-After": "7"}), recognise()) as server:   # first refuses, then works

Each connection plays one act, the n-th connection the n-th act, all further ones the last. An act is a coroutine
function of a `PulseSession`; those that tests share are below. Whatever a client does that the vendor would not accept
is noted in `violations`, and fails the test when the server is left, unless it is made with `strict=False`.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self, TypeAlias
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

KEY = "sk_test_key_of_pulse"
LIVE_PATH = "/waves/v1/stt/live"
PULSE_PATH = "/waves/v1/pulse/get_text"
_BYTES_PER_SAMPLE = {"linear16": 2, "linear32": 4, "mulaw": 1, "alaw": 1}
_RATES_HZ = {"8000", "16000", "22050", "24000", "44100", "48000"}
_CONTROLS = {"finalize", "close_stream", "end", "keepalive"}
_CLOSE_TIMEOUT_S = 0.5

Word: TypeAlias = dict[str, Any]
Hearing: TypeAlias = Callable[[bytes, float, int], list[Word]]
"""Makes words of a piece of audio that begins at so many seconds of the session and has so many bytes per second."""


@dataclass(frozen=True)
class Refusal:
    """An act that ends before the upgrade."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)


Playing: TypeAlias = Callable[["PulseSession"], Awaitable[None]]
Act: TypeAlias = Playing | Refusal


@dataclass
class PulseSession:
    """One connection, from the server's side."""

    server: "PulseServer"
    connection: ServerConnection
    query: dict[str, str]
    request_headers: Headers
    audio: bytearray = field(default_factory=bytearray)
    messages: list[bytes | str] = field(default_factory=list)
    controls: list[str] = field(default_factory=list)
    close_code: int | None = None

    @property
    def bytes_per_s(self) -> int:
        return _BYTES_PER_SAMPLE[self.query["encoding"]] * int(self.query["sample_rate"])

    @property
    def audio_s(self) -> float:
        """Seconds of audio received."""
        return len(self.audio) / self.bytes_per_s

    async def receive(self) -> bytes | str:
        """The client's next message, checked and noted. Raises ConnectionClosed when it has gone."""
        message = await self.connection.recv()
        if "close_stream" in self.controls:
            self.server.note_violation("a message after close_stream")
        self.messages.append(message)
        if isinstance(message, bytes):
            if not message:
                self.server.note_violation("an empty binary message")
            self.audio += message
        else:
            self.controls.append(self._control(message))
        await self.server.notify()
        return message

    async def receive_until(self, control: str) -> None:
        """Receive up to and including this control message."""
        while not (self.controls and self.controls[-1] == control):
            await self.receive()

    async def receive_audio(self, seconds: float) -> None:
        """Receive until the session has had so much audio."""
        while self.audio_s < seconds:
            await self.receive()

    async def send(self, **fields: Any) -> None:
        """Send a JSON message of these fields."""
        await self.connection.send(json.dumps(fields))

    async def send_raw(self, message: str | bytes) -> None:
        """Send a message as it is."""
        await self.connection.send(message)

    async def say(self, text: str, words: list[Word] | None = None, **flags: bool) -> None:
        """Send a result; flags are `is_final`, `is_last` and `from_finalize`."""
        named = {"words": words} if words else {}
        state = {"is_final": False, "is_last": False, **flags}
        language = {"language": self.query["language"]} if state["is_final"] else {}
        await self.send(
            type="transcription",
            status="success",
            session_id="s-1",
            transcript=text,
            **state,
            **language,
            **named,
        )

    async def close(self, code: int = 1000) -> None:
        """Close the socket with this code."""
        await self.connection.close(code)

    def cut(self) -> None:
        """Drop the connection without a close frame."""
        self.connection.transport.abort()

    async def freeze(self) -> None:
        """Stay connected, but read and answer nothing, pings included, for good."""
        self.connection.transport.pause_reading()
        await asyncio.Event().wait()

    def _control(self, message: str) -> str:
        try:
            kind = json.loads(message).get("type")
        except (ValueError, AttributeError):
            kind = None
        if kind not in _CONTROLS:
            self.server.note_violation(f"an unknown control message: {message}")
        return str(kind)


class PulseServer:
    """
    The server; an async context manager.

    Args:
        acts: one per connection, the last for all further ones; recognition by default.
        path: served path; decides which query is required.
        strict: fail the test on leaving if a client broke the rules.

    `sessions` are all that were accepted, in order; `attempts` counts connections that were refused, too.
    """

    def __init__(self, *acts: Act, path: str = LIVE_PATH, strict: bool = True) -> None:
        self._acts = acts or (recognise(),)
        self._path = path
        self._strict = strict
        self._changed = asyncio.Condition()
        self._admitted: dict[ServerConnection, Playing] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._server: Server | None = None
        self.sessions: list[PulseSession] = []
        self.violations: list[str] = []
        self.attempts = 0

    @property
    def url(self) -> str:
        """Where it listens, without a query."""
        assert self._server is not None
        host, port = next(iter(self._server.sockets)).getsockname()[:2]
        return f"ws://{host}:{port}{self._path}"

    async def __aenter__(self) -> Self:
        self._server = await serve(
            self._play,
            "127.0.0.1",
            0,
            process_request=self._admit,
            compression=None,
            ping_interval=None,
            close_timeout=_CLOSE_TIMEOUT_S,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        for task in self._tasks:
            task.cancel()
        for session in self.sessions:
            session.connection.transport.abort()  # a frozen one would not even notice a close
        self._server.close()
        await self._server.wait_closed()
        if self._strict and kind is None:
            assert not self.violations, self.violations

    def note_violation(self, what: str) -> None:
        """A client did what the vendor does not accept."""
        self.violations.append(what)

    async def notify(self) -> None:
        """Something has happened that `until` may wait for."""
        async with self._changed:
            self._changed.notify_all()

    async def until(self, condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
        """Wait until this is true; it is tried after every message and every end of a connection."""
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(condition)

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        act = self._acts[min(self.attempts, len(self._acts) - 1)]
        self.attempts += 1
        if isinstance(act, Refusal):
            return _answer(connection, act.status, act.headers)
        address = urlsplit(request.path)
        query = {name: values[-1] for name, values in parse_qs(address.query, keep_blank_values=True).items()}
        if address.path != self._path:
            return _answer(connection, 404)
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return _answer(connection, 401)
        if fault := _fault(query, is_live=self._path == LIVE_PATH):
            self.note_violation(fault)
            return _answer(connection, 400)
        self._admitted[connection] = act
        return None

    async def _play(self, connection: ServerConnection) -> None:
        request = connection.request
        assert request is not None
        query = {name: values[-1] for name, values in parse_qs(urlsplit(request.path).query).items()}
        session = PulseSession(self, connection, query, request.headers)
        act = self._admitted.pop(connection)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.sessions.append(session)
        await self.notify()
        try:
            await act(session)
            await connection.wait_closed()  # the act may leave the client waiting
        except ConnectionClosed:
            pass
        finally:
            self._tasks.discard(task)
            session.close_code = connection.close_code
            await self.notify()


# ── Acts ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def refuse(status: int, headers: Mapping[str, str] | None = None) -> Refusal:
    """Answer the upgrade with this status."""
    return Refusal(status, headers or {})


def recognise(*, every_s: float = 1.0, hear: Hearing | None = None, last_when: asyncio.Event | None = None) -> Playing:
    """
    Recognise as Pulse does, with words that follow from the audio.

    Args:
        every_s: audio per final; a partial comes at half of it.
        hear: words of a piece of audio; by default one per final, `second <n>`, over the whole piece.
        last_when: the answer to `close_stream` waits for this.
    """
    listen = hear or count_seconds

    async def act(session: PulseSession) -> None:
        step = int(every_s * session.bytes_per_s)
        done = 0

        def words(end: int) -> list[Word]:
            rate = session.bytes_per_s
            return listen(bytes(session.audio[done:end]), done / rate, rate) if end > done else []

        while True:
            message = await session.receive()
            match session.controls[-1] if isinstance(message, str) else "audio":
                case "audio":
                    while len(session.audio) >= done + step:
                        await _say_words(session, words(done + step // 2))
                        await _say_words(session, words(done + step), is_final=True)
                        done += step
                case "keepalive":
                    await session.send(type="pong")
                case "finalize":
                    await _say_words(session, words(len(session.audio)), is_final=True, from_finalize=True)
                    done = len(session.audio)
                case _:
                    if last_when is not None:
                        await last_when.wait()
                    await _say_words(session, words(len(session.audio)), is_final=True, is_last=True)
                    await session.close()
                    return

    return act


def cut_after(seconds: float) -> Playing:
    """Take so much audio, say nothing, drop the connection."""

    async def act(session: PulseSession) -> None:
        await session.receive_audio(seconds)
        session.cut()

    return act


def say_nothing() -> Playing:
    """Take everything, answer nothing, also not `close_stream`."""

    async def act(session: PulseSession) -> None:
        while True:
            await session.receive()

    return act


def count_seconds(audio: bytes, start_s: float, bytes_per_s: int) -> list[Word]:
    """`second <n>` for the piece that begins at second n - 1."""
    end_s = start_s + len(audio) / bytes_per_s
    middle_s = (start_s + end_s) / 2
    return [
        {"word": "second", "start": start_s, "end": middle_s, "confidence": 0.5},
        {"word": str(int(start_s) + 1), "start": middle_s, "end": end_s, "confidence": 0.75},
    ]


def read_content(audio: bytes, start_s: float, bytes_per_s: int) -> list[Word]:
    """
    One word `b<value>` per run of equal bytes, with its times: what was heard names the audio itself, so that lost,
    repeated and shifted audio shows in the transcript, also across sessions. 0xff is silence.
    """
    words: list[Word] = []
    begin = 0
    for index in range(1, len(audio) + 1):
        if index == len(audio) or audio[index] != audio[begin]:
            if audio[begin] != 0xFF:
                start, end = start_s + begin / bytes_per_s, start_s + index / bytes_per_s
                words.append({"word": f"b{audio[begin]}", "start": start, "end": end, "confidence": 1.0})
            begin = index
    return words


async def _say_words(session: PulseSession, words: list[Word], **flags: bool) -> None:
    await session.say(" ".join(word["word"] for word in words), words, **flags)


def _answer(connection: ServerConnection, status: int, headers: Mapping[str, str] | None = None) -> Response:
    response = connection.respond(HTTPStatus(status), "no\n")
    for name, value in (headers or {}).items():
        if name in response.headers:
            del response.headers[name]
        response.headers[name] = value
    return response


def _fault(query: Mapping[str, str], *, is_live: bool) -> str | None:
    """What the vendor would answer 400 to, or what makes a transcript worthless."""
    if is_live and query.get("model") != "pulse":
        return "live without model=pulse"
    if not query.get("language"):
        return "no language"
    if query.get("encoding") not in _BYTES_PER_SAMPLE or query.get("sample_rate") not in _RATES_HZ:
        return "encoding or sample_rate missing or unknown"
    if query.get("word_timestamps") != "true":
        return "no word times asked for"
    return None
