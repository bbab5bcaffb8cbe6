"""Waking one coroutine: when something happens, or at a time."""

import asyncio


class Bell:
    """
    Rung by whoever has news; one coroutine waits for it.

    The deadline of a wait is moved on with nearly each piece of audio, and hardly ever reached. So the timer is not
    moved with it: it fires when an earlier deadline would have been, sees the later one, and is set anew.
    """

    def __init__(self) -> None:
        self._waiter: asyncio.Future[None] | None = None
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def ring(self) -> None:
        """Wake whoever waits."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits, and nothing has woken them yet."""
        return self._waiter is not None and not self._waiter.done()

    def wait(self, until: float) -> asyncio.Future[None]:
        """What is done with the next ring, or at a time of the loop's clock; to be awaited at once."""
        self._deadline = until
        if self._timer is None or self._timer.when() > until:
            self.silence()
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(until, self._look, loop)
        self._waiter = asyncio.get_running_loop().create_future()
        return self._waiter

    def silence(self) -> None:
        """No timer is needed any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        if self._waiter is None or self._waiter.done():
            return
        if loop.time() >= self._deadline:
            self.ring()
        else:
            self._timer = loop.call_at(self._deadline, self._look, loop)
