"""Spreads sessions over worker processes: recognition does not block the event loop, and uses every processor."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

from gateway.config import EngineSettings
from gateway.engines.process import WorkerProcess
from gateway.engines.session import Session
from gateway.errors import RecognizerUnavailable
from gateway.events import RecognizerRequest
from gateway.telemetry import ENGINE_BEHIND_SECONDS, ENGINE_DECLINED

SPHINX = "gateway.engines.sphinx:SphinxEngines"
# From the request for a session to an engine that can hear: includes the start of a process and loading its model.
_OPEN_S = 30.0


class EnginePool:
    """
    The embedded recogniser: `async with EnginePool(settings) as pool`, then `async with pool.open(request) as session`.

    Workers start when sessions need them, the first one with the pool if it is to be warm. A worker that dies is
    replaced; its sessions raise `RecognizerUnavailable` with the code `engine_crashed`.

    Args:
        settings: number of workers, sessions per worker, how far they may be behind, pause.
        engine: `module:factory` of the workers' engines; see `worker.Engines`.
        warm: load a first model at once, because a session will come soon.
    """

    def __init__(self, settings: EngineSettings, *, engine: str = SPHINX, warm: bool = True) -> None:
        self._warm = warm
        arguments = ["--engine", engine, "--pause-ms", str(settings.pause_ms)]
        count = settings.workers or os.cpu_count() or 1
        self._workers = [WorkerProcess(arguments, settings.max_behind_s) for _ in range(count)]
        self._sessions_per_worker = settings.sessions_per_worker
        self._declines_behind_s = settings.max_behind_s / 2
        self._numbers = itertools.count(1)
        self._tasks = asyncio.TaskGroup()
        self._runs: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        self._runs = [self._tasks.create_task(worker.run(), name="engine-worker") for worker in self._workers]
        if self._warm:
            self._workers[0].want()
        ENGINE_BEHIND_SECONDS.set_function(lambda: self.behind_s)
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        ENGINE_BEHIND_SECONDS.set_function(lambda: 0.0)
        for worker in self._workers:
            for session in worker.sessions.values():
                session.fail(RecognizerUnavailable("the engine is stopping", code="engine_stopped", retryable=False))
        for run in self._runs:
            run.cancel()
        # Not given the body's error, which a task group would wrap in a group.
        await self._tasks.__aexit__(None, None, None)

    @property
    def pids(self) -> list[int]:
        """Processes of workers now running."""
        return [worker.pid for worker in self._workers if worker.pid is not None]

    @property
    def behind_s(self) -> float:
        """How far the worker is behind that is furthest behind with live audio."""
        return max(worker.behind_s for worker in self._workers)

    @asynccontextmanager
    async def open(self, request: RecognizerRequest) -> AsyncIterator[Session]:
        """
        A session, released on leaving, whatever its state.

        Raises, on entering:
            RecognizerUnavailable: `engine_busy`: every slot is taken; `engine_overloaded`: there is one, but the engine
                is behind already; `engine_refused`: no way to hear this format; `engine_crashed`,
                `engine_not_started`: the worker process died or did not answer in time.
        """
        worker = self._choose()
        session = Session(next(self._numbers), request, worker.post, worker.kill)
        worker.sessions[session.number] = session
        try:
            try:
                async with asyncio.timeout(_OPEN_S):
                    await worker.start()
                    await session.open()
            except TimeoutError:
                raise RecognizerUnavailable("the engine did not start", code="engine_not_started") from None
            yield session
        finally:
            session.close()
            del worker.sessions[session.number]

    def _choose(self) -> WorkerProcess:
        """The least busy worker that keeps up; among equals one that runs already."""
        free = [worker for worker in self._workers if len(worker.sessions) < self._sessions_per_worker]
        keeping_up = [worker for worker in free if worker.behind_s <= self._declines_behind_s]
        if not keeping_up:
            code = "engine_overloaded" if free else "engine_busy"
            ENGINE_DECLINED.labels(code).inc()
            raise RecognizerUnavailable("the engine can hear no further session", code=code, retryable=True)
        return min(keeping_up, key=lambda each: (len(each.sessions), each.pid is None))
