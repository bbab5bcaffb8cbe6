"""Which calls are in progress, whether one more may come, and how all of them come to an end."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import structlog

from gateway import telemetry
from gateway.call import Call
from gateway.errors import CapacityError
from gateway.events import CallReading
from gateway.media.tape import Budget

log = structlog.get_logger()


class Calls:
    """
    The registry of calls, and the owner of their tasks: a call outlives the request that brought it.

    Used as a context; leaving it waits for the calls in progress, so drain first.

    Args:
        max_calls: how many may be in progress at once.
        budget: memory for their audio; while it is short, no further call may come.
    """

    def __init__(self, max_calls: int, budget: Budget | None = None) -> None:
        self._max_calls = max_calls
        self._budget = budget
        self._tasks = asyncio.TaskGroup()
        self._active: dict[Call, asyncio.Task[None]] = {}
        self._reserved = 0
        self._draining = False
        self._changed = asyncio.Condition()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._tasks.__aexit__(kind, error, traceback)

    def __len__(self) -> int:
        return self._reserved

    @property
    def is_draining(self) -> bool:
        return self._draining

    def readings(self) -> list[CallReading]:
        """How the calls in progress are now."""
        return [reading for call in self._active if (reading := call.reading()) is not None]

    @contextmanager
    def place(self) -> Iterator[None]:
        """
        Hold a call's place, from before the upgrade to its end.

        Raises:
            CapacityError: draining, as many calls as allowed, or no memory for more audio.
        """
        if self._draining:
            raise CapacityError("the gateway is shutting down", code="draining")
        if self._reserved >= self._max_calls:
            raise CapacityError("as many calls as allowed are in progress", code="max_calls")
        if self._budget is not None and self._budget.is_short:
            raise CapacityError("the buffers for audio are nearly full", code="buffers_full")
        self._reserved += 1
        try:
            yield
        finally:
            self._reserved -= 1

    async def run(self, call: Call) -> None:
        """Run a call to its end; if the caller is cancelled, the call is not."""
        self._active[call] = task = self._tasks.create_task(self._run(call), name=call.call_id)
        await asyncio.shield(task)

    async def _run(self, call: Call) -> None:
        try:
            await call.run()
        except Exception:  # the edge: whatever one call meets, the others go on
            log.exception("call_failed", call_id=call.call_id)
        finally:
            del self._active[call]
            async with self._changed:
                self._changed.notify_all()

    async def drain(self, patience_s: float, last_words_s: float) -> None:
        """
        Take no more calls, let those in progress finish, then end the rest.

        What has not ended then (the store cannot be written, for one) is cut off, and gets its end after the next
        start.

        Args:
            patience_s: how long they may go on by themselves.
            last_words_s: how long those that are then ended may take for their last finals.
        """
        self._draining = True
        telemetry.ACCEPTING_CALLS.set(0)
        if await self._wait_until_empty(patience_s):
            return
        for call in list(self._active):
            call.stop("shutdown")
        if not await self._wait_until_empty(last_words_s):
            for call, task in self._active.items():
                log.error("call_cut_off", call_id=call.call_id)
                task.cancel()

    async def _wait_until_empty(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait_for(lambda: not self._active)
        except TimeoutError:
            return False
        return True
