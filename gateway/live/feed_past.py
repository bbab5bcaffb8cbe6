"""What the store keeps, read in order by those who watch: a page at a time, and few at once."""

import asyncio
import sqlite3

import msgspec

from gateway.live.reading import StoreReader
from gateway.outbox import StoredEvent

AT_ONCE = 8
"""Viewers that read; the others wait here, and none is refused when all of them come back at the same time."""

_AFTER = (
    "SELECT position, id, type, call_id, sequence, created_at, body FROM events"
    " WHERE position > ? ORDER BY position LIMIT ?"
)
# Of a call the order of sequence numbers is that of positions, and there is an index of it.
_AFTER_OF_CALL = (
    "SELECT position, id, type, call_id, sequence, created_at, body FROM events"
    " WHERE call_id = ? AND position > ? ORDER BY sequence LIMIT ?"
)


class Extent(msgspec.Struct, frozen=True, kw_only=True):
    """Which positions there are: the oldest that is kept, None if none is; the last that was ever given, 0 at first."""

    oldest: int | None
    last: int


class StoredPast:
    """
    Reads for the feed; its own connection, so that no search keeps it waiting.

    Args:
        reader: of the store.
    """

    def __init__(self, reader: StoreReader) -> None:
        self._reader = reader
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def events_after(self, position: int, *, limit: int, call_id: str | None = None) -> list[StoredEvent]:
        """
        Up to `limit` events after a position, of one call or of all, in the order of their commits.

        Raises:
            StorageError: the store cannot be read just now.
        """
        async with self._turns:
            return await self._reader.read(_select_after, position, limit, call_id)

    async def extent(self) -> Extent:
        """Which positions there are now; raises as `events_after`."""
        async with self._turns:
            return await self._reader.read(_select_extent)

    async def knows(self, call_id: str) -> bool:
        """Whether there is such a call; raises as `events_after`."""
        async with self._turns:
            return await self._reader.read(_has_call, call_id)


def _select_after(db: sqlite3.Connection, position: int, limit: int, call_id: str | None) -> list[StoredEvent]:
    if call_id is None:
        rows = db.execute(_AFTER, (position, limit))
    else:
        rows = db.execute(_AFTER_OF_CALL, (call_id, position, limit))
    return [
        StoredEvent(position=at, id=id_, type=type_, call_id=call, sequence=number, created_at=made, body=body)
        for at, id_, type_, call, number, made, body in rows.fetchall()
    ]


def _select_extent(db: sqlite3.Connection) -> Extent:
    oldest, last = db.execute(
        "SELECT (SELECT min(position) FROM events),"
        " (SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'events')"
    ).fetchone()
    return Extent(oldest=oldest, last=last)


def _has_call(db: sqlite3.Connection, call_id: str) -> bool:
    return db.execute("SELECT 1 FROM calls WHERE call_id = ?", (call_id,)).fetchone() is not None
