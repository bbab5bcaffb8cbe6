"""
When Python looks for garbage: for objects that only refer to one another. Everything stands still while it looks.

Left to itself it looks through *all* objects whenever their number has grown by a quarter, which is while calls begin:
with 1,000 of them that took 0.3 to 0.6 s, in which no frame is served, and found nothing. Here it looks by itself at
what is new alone, a few milliseconds each time. Through everything it looks when few calls are in progress; where there
is never such a moment, once so much has come that it must be done: a call that has ended leaves about a hundred objects
(a connection of the HTTP server and what hangs on it).

Measured with CPython 3.13, which has no incremental collector.
"""

import asyncio
import gc
from collections.abc import Callable
from types import TracebackType
from typing import Self

YOUNG_OBJECTS = 5_000
"""Containers that may come, less those that went, before the new ones are looked at: 3 to 5 ms."""
LOOK_S = 1.0
QUIET_CALLS = 50
"""So few that looking through everything of theirs holds up the loop for some 20 ms."""
MOST_YOUNG = 120
"""Looks at what is new after which everything is looked at in any case: about 100 MB of garbage, if it all is."""
_NEVER = 1_000_000


class GarbageWatch:
    """
    Decides when everything is looked at, while the context lasts; one per process.

    Args:
        active: how many calls are in progress.
        look_s: between two decisions.
    """

    def __init__(self, active: Callable[[], int], *, look_s: float = LOOK_S) -> None:
        self._active = active
        self._look_s = look_s
        self._young = 0
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        self._before = gc.get_threshold()
        gc.set_threshold(YOUNG_OBJECTS, _NEVER, _NEVER)
        gc.callbacks.append(self._note)
        await self._tasks.__aenter__()
        self._running = self._tasks.create_task(self._run(), name="garbage")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        gc.callbacks.remove(self._note)
        gc.set_threshold(*self._before)
        self._running.cancel()
        await self._tasks.__aexit__(None, None, None)

    @property
    def is_due(self) -> bool:
        """Whether it is time to look through everything."""
        return self._young >= MOST_YOUNG or (self._young > 0 and self._active() <= QUIET_CALLS)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._look_s)
            if self.is_due:
                gc.collect()

    def _note(self, phase: str, info: dict[str, int]) -> None:
        if phase == "stop":
            self._young = 0 if info["generation"] == 2 else self._young + 1
