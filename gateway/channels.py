"""Bounded, closable queues between tasks. Every one has a capacity, a policy and a count of what it dropped."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from enum import StrEnum
from typing import Generic, TypeVar

T = TypeVar("T")


class Overflow(StrEnum):
    """What happens to an item that finds the channel full."""

    BLOCK = "block"
    DROP_OLDEST = "drop_oldest"


class Channel(Generic[T]):
    """
    A queue from one or more producers to one consumer, in one event loop.

    Args:
        capacity: sum of the weights that it holds; one item is always accepted into an empty channel.
        overflow: BLOCK makes `put` wait; DROP_OLDEST makes `put_nowait` give up the oldest items.
        weight: size of an item; 1 by default.
        on_drop: told of each item given up.

    `dropped` counts items given up. Iterating yields items until the channel is closed and empty.
    """

    def __init__(
        self,
        capacity: int,
        overflow: Overflow = Overflow.BLOCK,
        *,
        weight: Callable[[T], int] | None = None,
        on_drop: Callable[[T], None] | None = None,
    ) -> None:
        self._capacity = capacity
        self._overflow = overflow
        self._weight = weight
        self._on_drop = on_drop
        self._items: deque[T] = deque()
        self._held = 0
        self._closed = False
        self._ready: asyncio.Future[None] | None = None
        self._space: deque[asyncio.Future[None]] = deque()
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._items)

    @property
    def is_closed(self) -> bool:
        return self._closed

    def put_nowait(self, item: T) -> None:
        """
        Add an item at once; with DROP_OLDEST the oldest ones make room, with BLOCK the channel may exceed its capacity.

        An item put after `close` is dropped and counted: the consumer has gone.
        """
        if self._closed:
            self._drop(item)
            return
        size = self._weight(item) if self._weight else 1
        if self._overflow is Overflow.DROP_OLDEST:
            while self._items and self._held + size > self._capacity:
                self._drop(self._take())
        self._items.append(item)
        self._held += size
        if self._ready is not None and not self._ready.done():
            self._ready.set_result(None)

    async def put(self, item: T) -> None:
        """Add an item, waiting for room (BLOCK)."""
        size = self._weight(item) if self._weight else 1
        while self._items and self._held + size > self._capacity and not self._closed:
            waiter = asyncio.get_running_loop().create_future()
            self._space.append(waiter)
            try:
                await waiter
            finally:
                if waiter in self._space:
                    self._space.remove(waiter)
        self.put_nowait(item)

    def close(self) -> None:
        """No more items; the consumer still gets those that are held."""
        self._closed = True
        if self._ready is not None and not self._ready.done():
            self._ready.set_result(None)
        while self._space:
            self._wake(self._space.popleft())

    async def get(self) -> T | None:
        """The next item; None once the channel is closed and empty."""
        while not self._items:
            if self._closed:
                return None
            self._ready = asyncio.get_running_loop().create_future()
            try:
                await self._ready
            finally:
                self._ready = None
        item = self._take()
        while self._space and self._held < self._capacity:
            self._wake(self._space.popleft())
        return item

    async def __aiter__(self) -> AsyncIterator[T]:
        while True:
            item = await self.get()
            if item is None:
                return
            yield item

    def drain(self) -> list[T]:
        """Take everything that is held, now."""
        items = list(self._items)
        self._items.clear()
        self._held = 0
        while self._space:
            self._wake(self._space.popleft())
        return items

    def _take(self) -> T:
        item = self._items.popleft()
        self._held -= self._weight(item) if self._weight else 1
        return item

    def _drop(self, item: T) -> None:
        self.dropped += 1
        if self._on_drop is not None:
            self._on_drop(item)

    @staticmethod
    def _wake(waiter: asyncio.Future[None]) -> None:
        if not waiter.done():
            waiter.set_result(None)
