"""
One who watches: what waits for it, and the way from what is kept to what happens now.

A viewer is registered first and reads the store then, a page at a time. Whatever is announced while a page is read
waits; whatever was announced before is on disk, so the page has it, or the next one. The last page is the one that is
not full: after it come the events that waited, without those that it had. So there is no hole and nothing twice.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.live.feed_item import PARTIAL, Item, kept, reset
from gateway.live.feed_newest import Newest
from gateway.live.feed_past import Extent
from gateway.outbox import StoredEvent

PAGE = 100
"""Events read at once: about a millisecond of the reading thread, and 200 kB."""
MOST_EVENTS = 1000
MOST_BYTES = 4 * 2**20


class Past(Protocol):
    """Where durable events are read again; `feed_past.StoredPast` is one."""

    async def events_after(self, position: int, *, limit: int, call_id: str | None = None) -> list[StoredEvent]:
        """Up to `limit` events after a position, in order."""

    async def extent(self) -> Extent:
        """Which positions there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """
    What somebody wants to see.

    Args:
        after: the last position that it has seen; None: all of the one call, or of all calls what comes from now on.
        call_id: of one call only.
        types: of these types only.
        partials: also what is being said.
    """

    after: int | None = None
    call_id: str | None = None
    types: frozenset[str] | None = None
    partials: bool = True

    def takes(self, item: Item) -> bool:
        """Whether this is among it."""
        if self.call_id is not None and item.call_id != self.call_id:
            return False
        if self.types is not None and item.type not in self.types:
            return False
        return self.partials or item.type != PARTIAL


class Viewer:
    """
    One who watches. Made by `Feed.subscribe`; `begin` first, then `read` over and over.

    Attributes:
        fault: why it is dropped, once it is; None while all is well.
        cut: called when it is, so that nobody waits any longer for it to read.
        sending_since: when what it is being sent now was handed over, by the event loop's time; None: nothing is.
    """

    def __init__(self, wish: Wish, past: Past, newest: Newest) -> None:
        self.wish = wish
        self.fault: str | None = None
        self.sending_since: float | None = None
        self.cut: Callable[[], None] = lambda: None
        self._past = past
        self._newest = newest
        self._seen = 0
        self._cursor = 0
        self._end = 0
        self._is_catching_up = True
        self._missed = False
        self._waiting: deque[Item] = deque()
        self._waiting_bytes = 0
        self._is_over = False
        self._woken = asyncio.Event()

    @property
    def waiting(self) -> int:
        """Durable events that it has not read."""
        return len(self._waiting)

    # ── From the hub ─────────────────────────────────────────────────────────────────────────────────────────────

    def put(self, item: Item) -> bool:
        """A durable event was just committed; returns whether it waits here to be read."""
        assert item.position is not None, "a durable event has a position"
        if item.position <= self._cursor or self.fault is not None or not self.wish.takes(item):
            return False
        if len(self._waiting) >= MOST_EVENTS or self._waiting_bytes >= MOST_BYTES:
            self._overflow()
            return False
        self._waiting.append(item)
        self._waiting_bytes += item.size_bytes
        return True

    def is_stuck(self, now: float, unread_s: float) -> bool:
        """Whether it has not taken for so long what it is being sent; `now` is the event loop's time."""
        return self.sending_since is not None and now - self.sending_since >= unread_s

    def wake(self) -> None:
        """There may be something to read."""
        self._woken.set()

    def end(self) -> None:
        """The feed is over; it does not wait for whoever does not read."""
        self._is_over = True
        if self.sending_since is not None:
            self.cut()
        self._woken.set()

    def drop(self, fault: str) -> None:
        """It is too slow: nothing more is kept for it."""
        self.fault = fault
        self._forget()
        self.cut()
        self._woken.set()

    def _overflow(self) -> None:
        self._forget()
        if self._is_catching_up:  # then it is in the store, and a page that is still to be read has it
            self._missed = True
        else:
            self.drop("overflow")

    def _forget(self) -> None:
        self._waiting.clear()
        self._waiting_bytes = 0

    # ── To the client ────────────────────────────────────────────────────────────────────────────────────────────

    async def begin(self) -> tuple[int | None, Item | None]:
        """
        Find the place to begin at.

        Returns:
            the position from which a client that reconnects before its first event has to go on, None if that is the
            beginning of the call; and the event that says that what it named is not there, if so.

        Raises:
            CapacityError, StorageError: the store cannot be read just now.
        """
        extent = await self._past.extent()
        self._end = extent.last
        after = self.wish.after
        why = _why_not(after, extent)
        if after is not None and why is None:
            self._cursor = after
            return after, None
        # Of a call everything is read again: no position says that it was seen.
        position = extent.last if self.wish.call_id is None else None
        self._cursor = position or 0
        return position, None if why is None else reset(why, position)

    def change(self, wish: Wish) -> None:
        """Watch something else from now on; `begin` again."""
        self.wish = wish
        self._forget()
        self._seen = self._cursor = 0
        self._is_catching_up = True

    async def read(self) -> Sequence[Item] | None:
        """
        What there is to see, waiting for it; now and then the hub says that there is nothing.

        Returns:
            events in order, maybe none; None: there will be none, the feed is over, or the viewer is dropped.

        Raises:
            CapacityError, StorageError: the store cannot be read just now.
        """
        if self._is_done():
            return None
        if self._is_catching_up:
            return await self._page()
        await self._woken.wait()
        self._woken.clear()
        return None if self._is_done() else self._take()

    def _is_done(self) -> bool:
        return self._is_over or self.fault is not None

    async def _page(self) -> Sequence[Item]:
        self._forget()
        self._missed = False
        page = await self._past.events_after(self._cursor, limit=PAGE, call_id=self.wish.call_id)
        if self.wish.call_id is None and not _is_unbroken(self._cursor, page, self._end):
            return await self._start_anew()
        if page:
            self._cursor = page[-1].position
        if len(page) < PAGE and not self._missed:
            self._go_live(self._cursor)
        return [item for item in (kept(event, is_new=False) for event in page) if self.wish.takes(item)]

    async def _start_anew(self) -> Sequence[Item]:
        self._cursor = self._end = (await self._past.extent()).last
        return [reset("pruned", self._end)]

    def _go_live(self, position: int) -> None:
        """From here on what happens is shown as it is announced."""
        self._cursor = position
        self._is_catching_up = False
        left = [item for item in self._waiting if item.position is not None and item.position > position]
        self._waiting = deque(left)
        self._waiting_bytes = sum(item.size_bytes for item in left)
        self.wake()

    def _take(self) -> list[Item]:
        found = list(self._waiting)
        self._forget()
        found += [item for item in self._newest.since(self._seen) if self.wish.takes(item)]
        self._seen = self._newest.version
        return found


def _why_not(after: int | None, extent: Extent) -> str | None:
    """Why the feed cannot go on after this position: it was never given, or what came then is not kept any more."""
    if after is None or after == extent.last:
        return None
    if after > extent.last:
        return "unknown"
    return "pruned" if extent.oldest is None or after < extent.oldest - 1 else None


def _is_unbroken(cursor: int, page: Sequence[StoredEvent], end: int) -> bool:
    """Whether nothing is missing in a page of all events. The store gives out positions without leaving any out."""
    if not page:
        return cursor >= end
    return page[0].position == cursor + 1 and page[-1].position - page[0].position == len(page) - 1
