"""
The search over all finals, of calls that are over and of those that go on.

What it knows lies in a file of its own beside the store (see `search_file`), filled after commits by reading on in the
store: the outbox's transactions cost nothing more, and after a start, a crash or the loss of the file the same reading
brings it up to date. What was deleted from the store is never shown, and leaves the file with the next sweep.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import msgspec
import structlog

from gateway.errors import CapacityError, StorageError
from gateway.live import calls
from gateway.live.answers import Hit, Hits
from gateway.live.reading import MOST_WAITING, StoreReader
from gateway.live.search_file import FILE_NAME, Fed, SearchFile, has_fts5
from gateway.live.search_query import expression
from gateway.live.transcripts import Final, final_of
from gateway.outbox import StoredEvent

T = TypeVar("T")

MOST_HITS = 200
GATHER_S = 0.25
"""Finals that come within it are written together."""
RETRY_S = 5.0
SWEEP_EVERY_S = 3600.0
_STEP = 500
_ROUNDS = 20
"""How often to look on when what was found is no longer in the store."""
_FINAL = "transcript.final"

_log = structlog.get_logger()


class NoSearch(StorageError):
    """This Python's SQLite has no full-text search."""

    default_code = "search_unavailable"


class _Batch(msgspec.Struct, frozen=True):
    """Finals that follow in the store, as positions with texts; how far they reach; whether more may follow."""

    finals: list[tuple[int, str]]
    fed: Fed
    is_last: bool


class Search:
    """
    Finds finals. Use as an async context manager; `run` keeps it up to date, `note` listens to the outbox.

    Args:
        folder: the data folder.
        reader: reads the store, as viewers may see it.
        mask: names what they may not see, see `redacted.mask_key`.
    """

    def __init__(self, folder: Path, reader: StoreReader, mask: str = "") -> None:
        self._file = SearchFile(folder / FILE_NAME, mask)
        self._recordings = folder / "recordings"
        self._reader = reader
        self._bell = asyncio.Event()
        self._waiting = 0
        self._is_complete = False
        self._swept_at: float | None = None
        self._is_there = has_fts5()

    async def __aenter__(self) -> Self:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="search")
        if not self._is_there:
            _log.warning("search_unavailable", reason="no_fts5")
            return self
        with suppress(StorageError):  # `run` meets it again, and says so
            await self._in_thread(self._file.fed)  # a file that is there, or made, from the start
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._waiting = 0
        await self._in_thread(self._file.close)
        self._thread.shutdown()

    def note(self, events: Sequence[StoredEvent]) -> None:
        """The outbox committed events."""
        if any(event.type == _FINAL for event in events):
            self._bell.set()

    async def find(self, text: str, limit: int) -> Hits:
        """
        Finals in which all of the words occur, the newest first.

        Args:
            text: as it was typed, see `search_query`.
            limit: at most `MOST_HITS` are taken.

        Raises:
            TooLong: the text is.
            NoSearch: there is no search here.
            CapacityError, StorageError: not now.
        """
        if not self._is_there:
            raise NoSearch("SQLite was built without FTS5 here")
        wanted = expression(text)
        is_complete = self._is_complete
        hits = () if wanted is None else await self._find(wanted, min(limit, MOST_HITS))
        return Hits(hits=hits, complete=is_complete)

    async def run(self) -> None:
        """Keep the file up to date, for ever; what fails is tried again."""
        has_failed = False
        while self._is_there:
            try:
                await self.catch_up()
                await self._sweep_if_due()
                has_failed = False
                await self._wait()
            except (StorageError, CapacityError) as error:
                # A file that was thrown away is filled at once, but not over and over on a disk that spoils it.
                is_soon = error.code == "search_index_lost" and not has_failed
                if not has_failed:
                    _log.warning("search_index_failed", code=error.code)
                has_failed = True
                await asyncio.sleep(0 if is_soon else RETRY_S)

    async def catch_up(self) -> None:
        """Read on in the store to its end."""
        while True:
            self._bell.clear()
            fed = await self._in_thread(self._file.fed)
            batch = await self._reader.read(_select_batch, fed)
            if batch is None:
                self._is_complete = False
                await self._in_thread(self._file.start_over, "other_store")
            elif batch.fed != fed:
                await self._in_thread(self._file.add, batch.finals, batch.fed)
            if batch is not None and batch.is_last and not self._bell.is_set():
                self._is_complete = True
                return

    async def sweep(self) -> None:
        """Forget what the store has deleted."""
        after = 0
        while positions := await self._in_thread(self._file.positions, after, _STEP):
            if gone := await self._reader.read(_select_gone, positions):
                await self._in_thread(self._file.remove, gone)
            after = positions[-1]

    async def _sweep_if_due(self) -> None:
        if self._swept_at is None or time.monotonic() >= self._swept_at + SWEEP_EVERY_S:
            await self.sweep()
            self._swept_at = time.monotonic()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(SWEEP_EVERY_S):
                await self._bell.wait()
        except TimeoutError:
            return
        await asyncio.sleep(GATHER_S)

    async def _find(self, wanted: str, limit: int) -> tuple[Hit, ...]:
        hits: list[Hit] = []
        before = 1 << 62
        for _ in range(_ROUNDS):
            positions = await self._in_thread(self._file.find, wanted, before, limit)
            hits += await self._reader.read(_select_hits, self._recordings, positions)
            if len(hits) >= limit or len(positions) < limit:
                break
            before = positions[-1]
        return tuple(hits[:limit])

    async def _in_thread(self, work: Callable[..., T], *args: object) -> T:
        if self._waiting >= MOST_WAITING:
            raise CapacityError("too many search at once", code="search_busy")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)
        except StorageError as error:
            if error.code == "search_index_lost":
                self._is_complete = False
                self._bell.set()
            raise
        finally:
            self._waiting -= 1


def _select_batch(db: sqlite3.Connection, fed: Fed) -> _Batch | None:
    """What follows in the store; None: it is not the store that was read so far."""
    row = db.execute("SELECT id FROM events WHERE position = ?", (fed.position,)).fetchone()
    (last,) = db.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'events'").fetchone()
    if fed.position > last or (row is not None and row[0] != fed.event_id):
        return None
    rows = db.execute(
        "SELECT position, id, CASE WHEN type = ? THEN body END FROM events"
        " WHERE position > ? ORDER BY position LIMIT ?",
        (_FINAL, fed.position, _STEP),
    ).fetchall()
    finals = [(position, final_of(body).text) for position, _, body in rows if body is not None]
    reached = Fed(rows[-1][0], rows[-1][1]) if rows else fed
    return _Batch(finals, reached, len(rows) < _STEP)


def _select_gone(db: sqlite3.Connection, positions: Sequence[int]) -> list[int]:
    """Which of them are not in the store."""
    rows = db.execute(
        "SELECT value FROM json_each(?)"
        " WHERE value NOT IN (SELECT position FROM events WHERE position BETWEEN ? AND ?)",
        (msgspec.json.encode(positions).decode(), positions[0], positions[-1]),
    )
    return [position for (position,) in rows]


def _select_hits(db: sqlite3.Connection, recordings: Path, positions: Sequence[int]) -> list[Hit]:
    rows = db.execute(
        "SELECT call_id, body FROM events WHERE position IN (SELECT value FROM json_each(?)) AND type = ?"
        " ORDER BY position DESC",
        (msgspec.json.encode(positions).decode(), _FINAL),
    ).fetchall()
    found = calls.select_calls(db, recordings, list(dict.fromkeys(call_id for call_id, _ in rows)))
    finals: list[tuple[str, Final]] = [(call_id, final_of(body)) for call_id, body in rows]
    return [
        Hit(
            call=found[call_id],
            sequence=final.sequence,
            track=final.track,
            speaker=final.speaker,
            text=final.text,
            start_s=final.start_s,
            end_s=final.end_s,
        )
        for call_id, final in finals
    ]
