"""What goes on beside the calls as long as the process: begun together, ended together."""

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

import structlog

log = structlog.get_logger()

PAUSE_S = 5.0
"""Between a failure and the next try."""


class Background:
    """
    Tasks that end with the context.

    A fault of one of them is reported, and it is begun again: none of them is worth a call in progress.

    Args:
        pause_s: before that.
    """

    def __init__(self, *, pause_s: float = PAUSE_S) -> None:
        self._pause_s = pause_s
        self._tasks = asyncio.TaskGroup()
        self._running: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._running:
            task.cancel()
        await self._tasks.__aexit__(None, None, None)

    def start(self, work: Callable[[], Awaitable[None]], *, name: str) -> None:
        """Run `work` until the context is left, or it returns."""
        self._running.append(self._tasks.create_task(self._run(work, name), name=name))

    async def _run(self, work: Callable[[], Awaitable[None]], name: str) -> None:
        while True:
            try:
                await work()
            except Exception as error:  # the edge: a task group would end the process, with all its calls
                log.exception("background_failed", task=name, exc_info=error)
                await asyncio.sleep(self._pause_s)
            else:
                return
