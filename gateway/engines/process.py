"""One worker process seen from the gateway: started when first wanted and again when it dies, ended with the pool."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process

import msgspec
import structlog

from gateway.engines import wire
from gateway.engines.overload import Overload
from gateway.engines.session import Session
from gateway.errors import RecognizerUnavailable
from gateway.telemetry import ENGINE_DECLINED, ENGINE_RESTARTS

# A worker that dies young is started again only after a while, which doubles each time.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 10.0
# A worker ends when its input does, but only after the slice that it is at.
_EXIT_S = 2.0
_READ_BYTES = 1 << 16

_log = structlog.get_logger()


class WorkerProcess:
    """
    Owns one worker process at a time. `run` does the work and is to be cancelled at the end.

    Args:
        arguments: command line of `gateway.engines.worker`.
        max_behind_s: how far it may be behind with live audio; then the newest sessions of calls give way.
    """

    def __init__(self, arguments: list[str], max_behind_s: float) -> None:
        self._arguments = arguments
        self._process: Process | None = None
        self._wanted = asyncio.Event()
        self._running = asyncio.Event()
        self.sessions: dict[int, Session] = {}
        self._overload = Overload(max_behind_s)

    @property
    def pid(self) -> int | None:
        """The process now running, None if none is."""
        return self._process.pid if self._process is not None else None

    @property
    def behind_s(self) -> float:
        """How far it is behind with the live audio that it is most behind with."""
        return max((session.behind_s for session in self.sessions.values() if session.is_live), default=0.0)

    def want(self) -> None:
        """Let the process be started."""
        self._wanted.set()

    async def start(self) -> None:
        """Wait until the process runs; it may still be loading, and reads what is posted once it has."""
        self.want()
        await self._running.wait()

    def post(self, request: wire.Request) -> None:
        """Hand a message over. How much can wait in the pipe's buffer is bounded by what sessions may have ahead."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(wire.pack(request))

    def kill(self) -> None:
        """End a process that hangs; `run` starts the next one."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def run(self) -> None:
        """Keep a process running from the first time it is wanted."""
        await self._wanted.wait()
        pause_s = _FIRST_PAUSE_S
        while True:
            said_something = await self._run_once()
            pause_s = _FIRST_PAUSE_S if said_something else min(2 * pause_s, _LONGEST_PAUSE_S)
            await asyncio.sleep(pause_s)

    async def _run_once(self) -> bool:
        """One process from start to end; whether it ever replied."""
        said_something = False
        try:
            process = await self._spawn()
        except OSError as error:
            _log.error("engine_worker_not_started", reason=error.strerror)
            return False
        try:
            said_something = await self._read(process)
        except asyncio.CancelledError:
            if process.returncode is None:
                process.kill()  # it keeps nothing, and may be loading its model for a while yet
            raise
        finally:
            # Also when cancelled: the process must be gone before we are.
            self._running.clear()
            self._process = None
            self._lose_sessions()
            await _reap(process)
        ENGINE_RESTARTS.inc()
        _log.error("engine_worker_died", pid=process.pid, exit_status=process.returncode)
        return said_something

    async def _spawn(self) -> Process:
        # The worker imports what this process can import, however that was arranged.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        command = [sys.executable, "-m", "gateway.engines.worker", *self._arguments]
        process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, env=environment)
        _log.info("engine_worker_started", pid=process.pid)
        self._process = process
        self._running.set()
        return process

    async def _read(self, process: Process) -> bool:
        """Hand replies to their sessions until the process closes its output; whether there was any."""
        assert process.stdout is not None
        unpacker = wire.Unpacker()
        said_something = False
        while chunk := await process.stdout.read(_READ_BYTES):
            said_something = True
            try:
                for body in unpacker.feed(chunk):
                    self._hand_over(wire.unpack_reply(body))
            except (ValueError, msgspec.DecodeError):
                _log.error("engine_worker_garbled", pid=process.pid)
                break
        return said_something

    def _hand_over(self, reply: wire.Reply) -> None:
        # Replies to a session that was closed meanwhile are of no interest.
        if session := self.sessions.get(reply.session):
            session.take(reply)
            self._relieve()

    def _relieve(self) -> None:
        """Give up sessions if there are too many to be heard in time: then at least the others are."""
        going_on = [session for session in self.sessions.values() if not session.is_lost]
        behind_s = self.behind_s
        surplus = self._overload.surplus(behind_s, len(going_on), asyncio.get_running_loop().time())
        for newest in [session for session in reversed(going_on) if session.is_kept][:surplus]:
            ENGINE_DECLINED.labels("engine_overloaded").inc()
            _log.warning("engine_session_shed", pid=self.pid, sessions=len(going_on), behind_s=round(behind_s, 1))
            newest.shed()

    def _lose_sessions(self) -> None:
        for session in self.sessions.values():
            session.fail(RecognizerUnavailable("the engine's process died", code="engine_crashed"))


async def _reap(process: Process) -> None:
    """Let the process end by itself for a while, then end it; it is gone afterwards, also if this is cancelled."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        # Reads on, so that a worker in the midst of a reply can finish it and notice.
        async with asyncio.timeout(_EXIT_S):
            await process.communicate()
    except TimeoutError:
        _log.warning("engine_worker_killed", pid=process.pid)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
