"""
What strict vendor servers share: a real WebSocket server on loopback that does what a test tells it to.

Each connection plays one act, the n-th connection the n-th act, all further ones the last. An act is a coroutine
function of that vendor's session. Whatever a client does that the vendor would not accept is noted in `violations`, and
fails the test when the server is left, unless it is made with `strict=False`.

A vendor's server is a subclass of `StrictServer` (`session_type`, `refusal_status`) and one of `StrictSession`
(`check`, and what acts need); `pulse_server` is the first.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from types import TracebackType
from typing import Any, ClassVar, Generic, Self, TypeAlias, TypeVar
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

_CLOSE_TIMEOUT_S = 0.5


@dataclass(frozen=True)
class Refusal:
    """An act that ends before the upgrade."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class StrictSession:
    """One connection, from the server's side. `query` holds the last value of each parameter."""

    server: "StrictServer[Any]"
    connection: ServerConnection
    query: dict[str, str]
    request_headers: Headers
    messages: list[bytes | str] = field(default_factory=list)
    close_code: int | None = None

    async def receive(self) -> bytes | str:
        """The client's next message, checked and noted. Raises ConnectionClosed when it has gone."""
        message = await self.connection.recv()
        self.messages.append(message)
        await self.check(message)
        await self.server.notify()
        return message

    async def check(self, message: bytes | str) -> None:
        """Note what the vendor would not accept; close as it would, where it would."""

    async def send(self, **fields: Any) -> None:
        """Send a JSON message of these fields."""
        await self.connection.send(json.dumps(fields))

    async def send_raw(self, message: str | bytes) -> None:
        """Send a message as it is."""
        await self.connection.send(message)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the socket with this code."""
        await self.connection.close(code, reason)

    def cut(self) -> None:
        """Drop the connection without a close frame."""
        self.connection.transport.abort()

    async def freeze(self) -> None:
        """Stay connected, but read and answer nothing, pings included, for good."""
        self.connection.transport.pause_reading()
        await asyncio.Event().wait()

    async def expect_silence(self, until: asyncio.Event) -> None:
        """Wait for this; a client that says anything meanwhile has not waited for the vendor."""

        async def listen() -> None:
            with suppress(ConnectionClosed):
                await self.receive()
                self.violate("a message before the session was ready")

        async with asyncio.TaskGroup() as tasks:
            listener = tasks.create_task(listen())
            await until.wait()
            listener.cancel()

    async def hear_out(self) -> None:
        """Return when everything that the client has written up to now has arrived: its pong comes behind it."""
        await (await self.connection.ping())

    def violate(self, what: str) -> None:
        """Note that the client did what the vendor does not accept."""
        self.server.note_violation(what)


S = TypeVar("S", bound=StrictSession)
Playing: TypeAlias = Callable[[S], Awaitable[None]]


class StrictServer(Generic[S]):
    """
    The server; an async context manager.

    Args:
        acts: one per connection, the last for all further ones.
        path: served path; every other one is answered with 404.
        strict: fail the test on leaving if a client broke the rules.

    `sessions` are all that were accepted, in order; `attempts` counts connections that were refused, too.
    """

    session_type: ClassVar[type[Any]]

    def __init__(self, *acts: "Playing[S] | Refusal", path: str, strict: bool = True) -> None:
        assert acts
        self._acts = acts
        self._path = path
        self._strict = strict
        self._changed = asyncio.Condition()
        self._admitted: dict[ServerConnection, Playing[S]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._server: Server | None = None
        self.sessions: list[S] = []
        self.violations: list[str] = []
        self.attempts = 0

    def refusal_status(self, query: Mapping[str, str], headers: Headers) -> int | None:
        """The status with which the vendor refuses this upgrade, None if it accepts it; notes violations."""
        return None

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
        """Wait until this is true; tried after every message, and every attempt at and end of a connection."""
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(condition)

    async def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        act = self._acts[min(self.attempts, len(self._acts) - 1)]
        self.attempts += 1
        await self.notify()
        if isinstance(act, Refusal):
            return _answer(connection, act.status, act.headers)
        if urlsplit(request.path).path != self._path:
            return _answer(connection, 404)
        status = self.refusal_status(query_of(request), request.headers)
        if status is not None:
            return _answer(connection, status)
        self._admitted[connection] = act
        return None

    async def _play(self, connection: ServerConnection) -> None:
        request = connection.request
        assert request is not None
        session = self.session_type(self, connection, query_of(request), request.headers)
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


def query_of(request: Request) -> dict[str, str]:
    """The last value of each parameter."""
    pairs = parse_qs(urlsplit(request.path).query, keep_blank_values=True)
    return {name: values[-1] for name, values in pairs.items()}


def refuse(status: int, headers: Mapping[str, str] | None = None) -> Refusal:
    """Answer the upgrade with this status."""
    return Refusal(status, headers or {})


def _answer(connection: ServerConnection, status: int, headers: Mapping[str, str] | None = None) -> Response:
    response = connection.respond(HTTPStatus(status), "no\n")
    for name, value in (headers or {}).items():
        if name in response.headers:
            del response.headers[name]
        response.headers[name] = value
    return response
