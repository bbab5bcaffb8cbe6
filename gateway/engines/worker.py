"""
The worker process: `python -m gateway.engines.worker --engine MODULE:FACTORY --pause-ms N`.

One thread reads requests, gives every session its turn and writes replies. It ends when standard input does, so it
never outlives the gateway. Sessions take turns by slices of audio: one that sends a whole file at once delays a live
call by one slice at a time.
"""

import argparse
import contextlib
import importlib
import os
import select
import signal
from collections import deque
from collections.abc import Callable
from typing import Protocol, cast

from gateway.engines import wire
from gateway.engines.base import Engine
from gateway.events import RecognizerEvent, RecognizerRequest

SLICE_MS = 200
_READ_BYTES = 1 << 16
_INPUT_FD, _OUTPUT_FD, _ERROR_FD = 0, 1, 2


class Engines(Protocol):
    """Makes the engines of one worker process. The factory that `--engine` names is called with `pause_ms`."""

    def open(self, request: RecognizerRequest) -> Engine:
        """
        An engine for a new session.

        Raises:
            ValueError: it cannot hear this format.
        """

    def close(self, engine: Engine) -> None:
        """The session is over; not called for an engine that raised."""


class _Session:
    """A session's engine, and what it has still to do."""

    def __init__(self, number: int, engine: Engine, slice_bytes: int) -> None:
        self.number = number
        self.engine = engine
        self._slice_bytes = slice_bytes
        self._todo: deque[wire.Audio | wire.Finalize | wire.End] = deque()
        self._sent_bytes = 0  # how much of the first request's audio was heard

    @property
    def is_idle(self) -> bool:
        return not self._todo

    def add(self, request: wire.Audio | wire.Finalize | wire.End) -> None:
        self._todo.append(request)

    def work(self) -> wire.Said:
        """Do the next slice of audio, or the next other request."""
        match self._todo[0]:
            case wire.Audio(audio=audio):
                piece = audio[self._sent_bytes : self._sent_bytes + self._slice_bytes]
                self._sent_bytes += len(piece)
                if self._sent_bytes == len(audio):
                    self._next()
                return wire.Said.of(self.number, len(piece), self.engine.accept(piece))
            case wire.Finalize():
                self._next()
                return self._said(self.engine.finalize())
            case wire.End():
                self._next()
                return self._said(self.engine.end())

    def _next(self) -> None:
        self._todo.popleft()
        self._sent_bytes = 0

    def _said(self, events: list[RecognizerEvent]) -> wire.Said:
        return wire.Said.of(self.number, 0, events)


class Worker:
    """
    Hosts sessions.

    Args:
        engines: makes their engines.
        reply: sends a message to the gateway.
    """

    def __init__(self, engines: Engines, reply: Callable[[wire.Reply], None]) -> None:
        self._engines = engines
        self._reply = reply
        self._sessions: dict[int, _Session] = {}
        self._turns: deque[_Session] = deque()  # sessions with something to do, each once

    @property
    def is_idle(self) -> bool:
        return not self._turns

    def take(self, request: wire.Request) -> None:
        """Note a request; recognition is left to `work`. What is for a session that failed or was closed is dropped."""
        if isinstance(request, wire.Open):
            self._open(request)
            return
        session = self._sessions.get(request.session)
        if session is None:
            return
        if isinstance(request, wire.Close):
            self._drop(session)
            self._engines.close(session.engine)
            return
        if session.is_idle:
            self._turns.append(session)
        session.add(request)

    def work(self) -> None:
        """Give the session whose turn it is one slice."""
        session = self._turns.popleft()
        try:
            said = session.work()
        except Exception as error:  # noqa: BLE001 - the edge: an engine's error ends its session, not the worker
            self._drop(session)
            self._reply(wire.Failed(session.number, type(error).__name__, refused=False))
            return
        if not session.is_idle:
            self._turns.append(session)
        self._reply(said)

    def _open(self, request: wire.Open) -> None:
        form = request.request.format
        try:
            engine = self._engines.open(request.request)
        except Exception as error:  # noqa: BLE001 - the edge, as above
            self._reply(wire.Failed(request.session, type(error).__name__, refused=isinstance(error, ValueError)))
            return
        slice_bytes = max(1, form.rate_hz * SLICE_MS // 1000) * form.bytes_per_sample
        self._sessions[request.session] = _Session(request.session, engine, slice_bytes)
        self._reply(wire.Opened(request.session))

    def _drop(self, session: _Session) -> None:
        del self._sessions[session.number]
        if session in self._turns:
            self._turns.remove(session)


def serve(worker: Worker, input_fd: int) -> None:
    """
    Read all there is, do one slice of work, and so on until the input ends.

    What can be there to read is bounded by the gateway: so much audio per session.
    """
    unpacker = wire.Unpacker()
    while True:
        while select.select([input_fd], [], [], None if worker.is_idle else 0)[0]:
            chunk = os.read(input_fd, _READ_BYTES)
            if not chunk:
                return
            for body in unpacker.feed(chunk):
                worker.take(wire.unpack_request(body))
        worker.work()


def main() -> None:
    """Run the process."""
    # Whoever stops the gateway may signal its whole group; sessions must be able to finish. The closed input ends us.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    parser = argparse.ArgumentParser()
    parser.add_argument("--engine", required=True)
    parser.add_argument("--pause-ms", type=int, required=True)
    arguments = parser.parse_args()
    # Replies have standard output for themselves; whatever a library prints goes to standard error.
    output_fd = os.dup(_OUTPUT_FD)
    os.dup2(_ERROR_FD, _OUTPUT_FD)
    # Audio that arrives is more urgent than its recognition.
    os.nice(5)

    def reply(message: wire.Reply) -> None:
        rest = memoryview(wire.pack(message))
        while rest:
            rest = rest[os.write(output_fd, rest) :]

    module, _, factory = arguments.engine.partition(":")
    engines = cast("Engines", getattr(importlib.import_module(module), factory)(arguments.pause_ms))
    with contextlib.suppress(BrokenPipeError):  # the gateway has gone
        serve(Worker(engines, reply), _INPUT_FD)


if __name__ == "__main__":
    main()
