"""
One thread that does one thing after the other for an event loop.

A `ThreadPoolExecutor` of one does the same, but the journal goes to its thread twenty times a second for as long as
there are calls: a trip through the executor's locks and its two futures took 185 µs of processor time, this one 60.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeAlias, TypeVar

T = TypeVar("T")

_Work: TypeAlias = tuple[Callable[..., Any], tuple[Any, ...], asyncio.AbstractEventLoop, "asyncio.Future[Any]"]
_Later: TypeAlias = Callable[[], None]


class Hand:
    """
    Belongs to the event loop; whoever made it closes it.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._queue: SimpleQueue[_Work | _Later | None] = SimpleQueue()
        self._is_closed = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """
        Do something in the thread; returns or raises what it does.

        Whoever is cancelled waits no more; what was begun, or waits its turn, is done all the same.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        self._put((function, arguments, loop, done))
        return await done

    def run_later(self, function: Callable[[], None]) -> None:
        """Do something, which may not raise, after what waits already; nobody waits for it."""
        self._put(function)

    def close(self) -> None:
        """Wait until everything is done that was asked for; nothing may be asked for afterwards."""
        if not self._is_closed:
            self._is_closed = True
            self._queue.put(None)
        self._thread.join()

    def _put(self, work: "_Work | _Later") -> None:
        if self._is_closed:
            raise RuntimeError("the thread has ended")
        self._queue.put(work)

    def _work(self) -> None:
        while (work := self._queue.get()) is not None:
            if not isinstance(work, tuple):
                work()
                continue
            function, arguments, loop, done = work
            try:
                found = function(*arguments)
            except BaseException as error:  # noqa: BLE001 - it is raised again, where it is waited for
                _tell(loop, _fail, done, error)
            else:
                _tell(loop, _succeed, done, found)
            del work, function, arguments, done  # a thread that waits holds nobody's audio


def _tell(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *arguments: Any) -> None:
    with suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(function, *arguments)


def _succeed(done: "asyncio.Future[Any]", found: object) -> None:
    if not done.done():  # whoever waited was cancelled
        done.set_result(found)


def _fail(done: "asyncio.Future[Any]", error: BaseException) -> None:
    if not done.done():
        done.set_exception(error)
