"""
What is not durable: of each kind only the newest counts, and it is kept once for everybody who watches.

A viewer remembers how far it has seen. So to show something new costs the same however many watch, a slow viewer gets
fewer of them and never older ones, and somebody who comes later sees at once what is being said.
"""

from collections import OrderedDict
from collections.abc import Hashable

from gateway.live.feed_item import Item

CAPACITY = 4096
"""Tracks and other keys; beyond it the one that has not changed for longest is forgotten."""


class Newest:
    """The newest of each key, in the order in which they came."""

    def __init__(self) -> None:
        self._items: OrderedDict[Hashable, tuple[int, Item]] = OrderedDict()
        self.version = 0

    def __len__(self) -> int:
        return len(self._items)

    def put(self, key: Hashable, item: Item) -> None:
        """This takes the place of what had the key before."""
        self.version += 1
        self._items[key] = (self.version, item)
        self._items.move_to_end(key)
        if len(self._items) > CAPACITY:
            self._items.popitem(last=False)

    def get(self, key: Hashable) -> Item | None:
        found = self._items.get(key)
        return found[1] if found else None

    def discard(self, key: Hashable) -> None:
        self._items.pop(key, None)

    def discard_call(self, call_id: str) -> None:
        """Nothing more is to be said of this call."""
        for key in [key for key, (_, item) in self._items.items() if item.call_id == call_id]:
            del self._items[key]

    def since(self, version: int) -> list[Item]:
        """What came after a version and still counts, the oldest first."""
        found: list[Item] = []
        for number, item in reversed(self._items.values()):
            if number <= version:
                break
            found.append(item)
        found.reverse()
        return found

    def clear(self) -> None:
        """Nobody watches any more. The version goes on, so that nobody takes new for old."""
        self._items.clear()
