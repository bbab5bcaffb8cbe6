"""
Reading the store beside its writer: a connection that cannot write, on a thread of its own.

In WAL mode a reader sees what was committed before it began, and neither waits for the writer nor makes it wait. Every
reading has a time limit, and only so many may wait: whoever asks too much is refused, calls never notice.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Concatenate, ParamSpec, Self, TypeVar

import msgspec

from gateway.errors import CapacityError, StorageError
from gateway.outbox.schema import FILE_NAME

P = ParamSpec("P")
T = TypeVar("T")

LIMIT_S = 5.0
MOST_WAITING = 100
_LOOK_EVERY = 10_000
"""Steps of SQLite's machine between two looks at the clock: about a tenth of a millisecond."""


class StoreReader:
    """
    Reads the outbox's store, one reading at a time. Use as an async context manager, after the outbox was entered.

    Args:
        folder: the data folder.
        limit_s: how long one reading may take.
        prepare: gets the connection first.
    """

    def __init__(
        self, folder: Path, *, limit_s: float = LIMIT_S, prepare: Callable[[sqlite3.Connection], None] | None = None
    ) -> None:
        self._prepare = prepare
        self._path = folder / FILE_NAME
        self._limit_s = limit_s
        self._waiting = 0
        self._deadline = 0.0

    async def __aenter__(self) -> Self:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="history")
        self._db: sqlite3.Connection = await self._in_thread(self._open)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._limit_s = self._deadline = 0.0  # what is under way, and what waits, need not be answered any more
        await self._in_thread(self._db.close)
        self._thread.shutdown()

    async def read(self, work: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **more: P.kwargs) -> T:
        """
        Do `work` with the connection, all of it on the same state of the store.

        Raises:
            CapacityError: `history_busy`: too many wait already.
            StorageError: `history_too_slow`, `history_unreadable`.
        """
        if self._waiting >= MOST_WAITING:
            raise CapacityError("too many look at the history at once", code="history_busy")
        self._waiting += 1
        try:
            return await self._in_thread(lambda: self._read(lambda db: work(db, *args, **more)))
        finally:
            self._waiting -= 1

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        if self._prepare is not None:
            self._prepare(db)
        db.execute("PRAGMA query_only = ON")
        db.execute("SELECT count(*) FROM sqlite_master").fetchone()  # opens its files now
        db.set_progress_handler(lambda: time.monotonic() > self._deadline, _LOOK_EVERY)
        return db

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        self._deadline = time.monotonic() + self._limit_s
        try:
            self._db.execute("BEGIN")
            return work(self._db)
        except (sqlite3.Error, msgspec.MsgspecError) as error:
            if time.monotonic() > self._deadline:
                raise StorageError("that took too long to read", code="history_too_slow") from error
            raise StorageError("the store cannot be read", code="history_unreadable") from error
        finally:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
