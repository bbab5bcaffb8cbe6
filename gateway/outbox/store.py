"""
The outbox on disk: one SQLite file, one thread, group commit.

Writes queue up in the event loop; whatever has come together goes into one transaction on the store's thread, so that
one flush to disk serves all of it. The queue is strictly first in, first out: a call's events are committed in the
order in which they were appended. A transaction that fails is tried again, unchanged, until it succeeds; meanwhile
nothing overtakes it, `is_writable` is false and the callers wait.
"""

import asyncio
import os
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar

import structlog

from gateway import telemetry
from gateway.errors import StorageError
from gateway.outbox import database, schema
from gateway.outbox.database import (
    Change,
    Delivery,
    Due,
    Look,
    NewEvent,
    Pruned,
    StoredEvent,
    Totals,
    UnfinishedCall,
    Verdict,
)
from gateway.outbox.schema import FILE_NAME, Connect

T = TypeVar("T")
Listener: TypeAlias = Callable[[Sequence[StoredEvent]], None]

_CAPACITY = 4096
_CLOSE_TIMEOUT_S = 5.0
_BACKOFF_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)

_log = structlog.get_logger()


@dataclass(slots=True)
class _Write:
    """One unit of work of a transaction. `operation` returns its result and how it changes the totals."""

    operation: Callable[[sqlite3.Connection], tuple[Any, Change]]
    done: asyncio.Future[Any]


class Store:
    """
    The durable rows of the outbox. Use as an async context manager; every method belongs to the event loop.

    Args:
        folder: made if it is not there; at most one process may have it open.
        connect: opens the file; replaced in tests.
        backoff_s: pauses after failed commits; the last one repeats.
        capacity: writes that may wait; further callers wait for room.

    Raises:
        StorageError: on entry: the folder cannot be used, and why.
    """

    def __init__(
        self,
        folder: Path,
        *,
        connect: Connect = schema.connect,
        backoff_s: Sequence[float] = _BACKOFF_S,
        capacity: int = _CAPACITY,
    ) -> None:
        self._folder = folder
        self._connect = connect
        self._backoff_s = backoff_s
        self._room = asyncio.Semaphore(capacity)
        self._queue: deque[_Write] = deque()
        self._batch: list[_Write] = []
        self._is_scheduled = False
        self._retry: asyncio.TimerHandle | None = None
        self._failures = 0
        self._is_closed = False
        self._is_hurried = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._listeners: list[Listener] = []
        self._version = 0
        self.pending = 0
        self.dead = 0
        self.commits = 0

    # ── Life ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="outbox")
        try:
            self._lock, self._db, self._version, totals = await self._run(_open, self._folder, self._connect)
        except StorageError:
            self._thread.shutdown()
            raise
        self._count(totals.pending, totals.dead)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """
        Commit what waits, as long as the disk allows; then close. Writes that never made it raise StorageError.

        When the process is to end at once (cancelled), a commit that fails is not tried again.
        """
        self._is_closed = True
        self._is_hurried = kind is not None and issubclass(kind, asyncio.CancelledError)
        if self._is_hurried and self._failures:
            self._idle.set()
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await self._idle.wait()
        except TimeoutError:
            pass  # what is left is told below
        finally:
            if writes := len(self._queue) + len(self._batch):
                _log.error("outbox_closed_with_unwritten_events", writes=writes)
            self._abandon()
            await self._run(self._db.close)
            self._thread.shutdown()
            os.close(self._lock)

    @property
    def is_writable(self) -> bool:
        """Whether the last commit succeeded."""
        return self._failures == 0

    def add_listener(self, listener: Listener) -> None:
        """Call `listener` after each commit with the events in it, in the order of commits."""
        self._listeners.append(listener)

    # ── Writing ──────────────────────────────────────────────────────────────────────────────────────────────

    async def append(self, event: NewEvent) -> StoredEvent:
        """
        Write an event and its deliveries; return once they are on disk.

        If the caller is cancelled while it waits, the event is written all the same.

        Raises:
            StorageError: `event_conflict`: the sequence number is taken or the call has ended; `store_closed`.
        """
        started = time.perf_counter()
        stored: StoredEvent = await self._write(lambda db: database.insert_event(db, event))
        telemetry.OUTBOX_COMMIT_SECONDS.observe(time.perf_counter() - started)
        telemetry.OUTBOX_EVENTS.labels(type=event.type).inc()
        return stored

    async def record(self, delivery: Delivery, verdict: Verdict) -> None:
        """Write how an attempt ended and what follows; return once it is on disk."""

        await self._write(lambda db: (None, database.record_attempt(db, delivery, verdict)))

    async def prune(self, *, done_before: float, dead_before: float, endpoints: Sequence[str]) -> int:
        """Delete old events, see `database.prune`; return how many."""
        total, undelivered = 0, 0
        after: int | None = 0
        while after is not None:
            step = await self._write(partial(_prune, after, done_before, dead_before, endpoints))
            total += step.events
            undelivered += step.undelivered
            after = step.resume_after
        if undelivered:
            _log.warning("outbox_undelivered_events_pruned", events=undelivered)
        return total

    # ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────

    async def lease_due(
        self, endpoint: str, *, now: float, lease_s: float, limit: int, in_flight: Collection[str]
    ) -> Due:
        """
        Take deliveries that are due: of each call only its oldest, see `database.lease_due`.

        Raises:
            StorageError: the store cannot be written just now.
        """
        return await self._read(partial(_lease_without_flush, endpoint, now, lease_s, limit, frozenset(in_flight)))

    async def register(self, origins: Mapping[str, str]) -> frozenset[str]:
        """
        Take note of the configured endpoints (key → origin); return the keys of those that are disabled.

        Raises:
            StorageError: the store cannot be written just now.
        """
        return await self._read(partial(_register, origins))

    async def look(self) -> Look:
        """
        Notice what another process did: `totals` are set if it did anything since the last look.

        Raises:
            StorageError: the store cannot be read just now.
        """
        seen = await self._read(partial(database.look, seen=self._version))
        self._version = seen.version
        if seen.totals is not None:
            self._count(seen.totals.pending, seen.totals.dead)
        return seen

    async def unfinished_calls(self) -> list[UnfinishedCall]:
        """Calls without `call.ended`, the oldest first. At start-up: those that a dead process left behind."""
        return await self._read(database.select_unfinished_calls)

    async def events_of(self, call_id: str, *, after: int = 0, limit: int = 1000) -> list[StoredEvent]:
        """Up to `limit` events of a call with a sequence number above `after`, in order."""
        return await self._read(lambda db: database.select_events(db, call_id, after, limit))

    async def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return await self._run(query, self._db)
        except sqlite3.Error as error:
            raise StorageError(f"the outbox cannot be used: {error}") from error

    async def _run(self, function: Callable[..., T], *arguments: Any) -> T:
        return await self._loop.run_in_executor(self._thread, function, *arguments)

    # ── Group commit ─────────────────────────────────────────────────────────────────────────────────────────

    async def _write(self, operation: Callable[[sqlite3.Connection], tuple[T, Change]]) -> T:
        await self._room.acquire()
        if self._is_closed:
            self._room.release()
            raise _closed()
        write = _Write(operation, self._loop.create_future())
        self._queue.append(write)
        self._schedule()
        result: T = await write.done
        return result

    def _schedule(self) -> None:
        """Begin a transaction once every task that is ready now has added its writes."""
        if not self._batch and not self._is_scheduled:
            self._is_scheduled = True
            self._idle.clear()
            self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        self._is_scheduled = False
        self._batch = list(self._queue)
        self._queue.clear()
        self._submit()

    def _submit(self) -> None:
        self._retry = None
        operations = [write.operation for write in self._batch]
        self._loop.run_in_executor(self._thread, _commit, self._db, operations).add_done_callback(self._finish)

    def _finish(self, transaction: "asyncio.Future[list[tuple[Any, Change]]]") -> None:
        if not self._batch:
            return  # closed meanwhile; the callers have been told
        error = transaction.exception()
        if error is not None:
            self._try_again(error)
            return
        batch, self._batch = self._batch, []
        results = transaction.result()
        self._announce(results)
        for write, (result, _) in zip(batch, results, strict=True):
            self._settle(write, result)
        if self._queue:
            self._schedule()
        else:
            self._idle.set()

    def _announce(self, results: list[tuple[Any, Change]]) -> None:
        """Take note of a commit and tell the listeners of its events."""
        if self._failures:
            _log.info("outbox_write_recovered", failures=self._failures)
            self._failures = 0
        self.commits += 1
        pending = sum(change.pending for _, change in results)
        dead = sum(change.dead for _, change in results)
        self._count(self.pending + pending, self.dead + dead)
        events = [result for result, _ in results if isinstance(result, StoredEvent)]
        if events:
            for listener in self._listeners:
                # In a turn of its own, so that a listener's fault is reported by the loop and stops nothing here.
                self._loop.call_soon(listener, events)

    def _try_again(self, error: BaseException) -> None:
        telemetry.OUTBOX_WRITE_ERRORS.inc()
        if not self._failures:
            _log.error("outbox_write_failed", reason=str(error), writes=len(self._batch))
        delay_s = self._backoff_s[min(self._failures, len(self._backoff_s) - 1)]
        self._failures += 1
        self._retry = self._loop.call_later(delay_s, self._submit)
        if self._is_hurried:
            self._idle.set()

    def _settle(self, write: _Write, result: Any) -> None:
        self._room.release()
        if write.done.done():
            return  # the caller was cancelled
        if isinstance(result, Exception):
            write.done.set_exception(result)
        else:
            write.done.set_result(result)

    def _abandon(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
        for write in (*self._batch, *self._queue):
            self._settle(write, _closed())
        self._batch, self._queue = [], deque()

    def _count(self, pending: int, dead: int) -> None:
        # Between what another process did and the look that notices it, our own sums can be a little off.
        self.pending, self.dead = max(0, pending), max(0, dead)
        telemetry.OUTBOX_PENDING.set(self.pending)
        telemetry.OUTBOX_DEAD.set(self.dead)


def _commit(
    db: sqlite3.Connection, operations: Sequence[Callable[[sqlite3.Connection], tuple[Any, Change]]]
) -> list[tuple[Any, Change]]:
    """
    Run the operations in one transaction.

    An operation that fails through its own fault is undone alone and its result is the error: trying again cannot help,
    and it must not keep the others from the disk. A fault of the disk undoes all of them and is raised.
    """
    results: list[tuple[Any, Change]] = []
    try:
        db.execute("BEGIN IMMEDIATE")
        for operation in operations:
            db.execute("SAVEPOINT operation")
            try:
                results.append(operation(db))
            except Exception as error:  # the edge between callers: what fails here belongs to one of them
                if _is_fault_of_disk(error):
                    raise
                db.execute("ROLLBACK TO operation")
                results.append((_conflict(error) if isinstance(error, sqlite3.IntegrityError) else error, Change()))
            db.execute("RELEASE operation")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    return results


def _is_fault_of_disk(error: Exception) -> bool:
    """Full, read-only, unreadable, locked: OperationalError; damaged: DatabaseError itself, not one of its kinds."""
    return isinstance(error, sqlite3.OperationalError) or type(error) is sqlite3.DatabaseError


def _prune(
    after: int, done_before: float, dead_before: float, endpoints: Sequence[str], db: sqlite3.Connection
) -> tuple[Pruned, Change]:
    pruned = database.prune(db, after, done_before, dead_before, endpoints)
    return pruned, pruned.change


def _register(origins: Mapping[str, str], db: sqlite3.Connection) -> frozenset[str]:
    db.execute("BEGIN IMMEDIATE")
    try:
        database.register_endpoints(db, origins)
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    return database.read_totals(db).disabled


def _lease_without_flush(
    endpoint: str, now: float, lease_s: float, limit: int, in_flight: frozenset[str], db: sqlite3.Connection
) -> Due:
    """A lease that a power cut takes back does no harm, so it does not wait for the disk (no flush in WAL mode)."""
    db.execute("PRAGMA synchronous = NORMAL")
    try:
        db.execute("BEGIN IMMEDIATE")
        due = database.lease_due(db, endpoint, now, lease_s, limit, in_flight)
        db.execute("COMMIT")
        return due
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    finally:
        db.execute("PRAGMA synchronous = FULL")


def _open(folder: Path, connect: Connect) -> tuple[int, sqlite3.Connection, int, Totals]:
    """Lock the folder and open the file in it; return the lock, the connection, its version and what it holds."""
    with ExitStack() as undo:
        lock = schema.lock_folder(folder)
        undo.callback(os.close, lock)
        db = schema.open_database(folder / FILE_NAME, connect)
        undo.callback(db.close)
        seen = database.look(db, seen=-1)
        assert seen.totals is not None, "no version is negative"
        undo.pop_all()
    return lock, db, seen.version, seen.totals


def _conflict(error: sqlite3.Error) -> StorageError:
    conflict = StorageError(f"the event does not fit the store: {error}", code="event_conflict")
    conflict.retryable = False
    return conflict


def _closed() -> StorageError:
    return StorageError("the outbox has been closed", code="store_closed")
