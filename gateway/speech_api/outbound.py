"""What a client is still to be sent, held while it does not read."""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TypeAlias

from gateway.speech_api.base import Close, Say

# An entry costs memory beyond its text; counting it bounds floods of tiny messages, too.
_ENTRY_BYTES = 100


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to a WebSocket ping; it waits its turn, so that the reader need not."""

    payload: bytes


Outgoing: TypeAlias = Say | Pong | Close


class Outbound:
    """
    A queue to one writer, bounded in bytes; never gives up anything but partials.

    A partial that is still waiting gives way to whatever follows it, so a client that reads slowly gets the newest.
    `put` waits for room. Nothing follows a `Close`.

    Args:
        capacity_bytes: of messages held; one message is always accepted into an empty queue.
    """

    def __init__(self, capacity_bytes: int) -> None:
        self._capacity_bytes = capacity_bytes
        self._items: deque[Outgoing] = deque()
        self._held_bytes = 0
        self._closed = False
        self._changed = asyncio.Condition()
        self.merged_partials = 0

    async def put(self, item: Outgoing) -> None:
        """Add an item, waiting for room; dropped if a `Close` went before."""
        async with self._changed:
            self._drop_waiting_partial()
            await self._changed.wait_for(lambda: self._closed or self._has_room(item))
            self._append(item)

    async def close(self, code: int) -> None:
        """Add a `Close`, whether there is room or not."""
        async with self._changed:
            self._append(Close(code))

    async def get(self) -> Outgoing:
        """The oldest item, waiting for one."""
        async with self._changed:
            await self._changed.wait_for(lambda: bool(self._items))
            item = self._items.popleft()
            self._held_bytes -= _size(item)
            self._changed.notify_all()
            return item

    def _has_room(self, item: Outgoing) -> bool:
        return not self._items or self._held_bytes + _size(item) <= self._capacity_bytes

    def _drop_waiting_partial(self) -> None:
        if self._items and isinstance(last := self._items[-1], Say) and last.is_partial:
            self._items.pop()
            self._held_bytes -= _size(last)
            self.merged_partials += 1

    def _append(self, item: Outgoing) -> None:
        if self._closed:
            return
        self._items.append(item)
        self._held_bytes += _size(item)
        self._closed = isinstance(item, Close)
        self._changed.notify_all()


def _size(item: Outgoing) -> int:
    match item:
        case Say(text=text):
            return len(text) + _ENTRY_BYTES
        case Pong(payload=payload):
            return len(payload) + _ENTRY_BYTES
        case Close():
            return _ENTRY_BYTES
