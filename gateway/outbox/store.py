"""
The outbox on disk: one SQLite file, one thread, group commit.

Writes queue up in the event loop; whatever has come together goes into one transaction on the store's thread, so that
one flush to disk serves all of it. The queue is strictly first in, first out: a call's events are committed in the
order in which they were appended. A transaction that fails is tried again, unchanged, until it succeeds; meanwhile
nothing overtakes it, `is_writable` is false and the callers wait.

The same transaction leases what it made due, for whoever sends to those endpoints (`Claimer`): one turn of the thread
instead of two, which counts when the event loop is busy and each turn has to wait for the interpreter.
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
from typing import Any, Protocol, Self, TypeAlias, TypeVar

import structlog

from gateway import telemetry
from gateway.errors import StorageError
from gateway.outbox import database, schema, transaction
from gateway.outbox.database import (
    Change,
    Delivery,
    DeliveryState,
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
from gateway.outbox.transaction import Append, Claim, Committed, Record, Work

T = TypeVar("T")
Listener: TypeAlias = Callable[[Sequence[StoredEvent]], None]

_CAPACITY = 4096
_CLOSE_TIMEOUT_S = 5.0
_BACKOFF_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
# How long the end of an attempt may wait for a transaction that is made anyway, while nothing waits behind it.
_COMPANY_S = 0.025

_log = structlog.get_logger()


class Claimer(Protocol):
    """Who sends to one endpoint, and takes what a transaction made due there."""

    def claim(self, ended: Collection[str]) -> Claim | None:
        """
        What to lease in the transaction that begins now; None: nothing.

        Args:
            ended: calls whose attempt's end is written in this transaction.
        """

    def take(self, due: Due) -> None:
        """The claim was committed."""

    def missed(self) -> None:
        """The claim was undone with its transaction."""


@dataclass(slots=True)
class _Write:
    """One piece of work of a transaction."""

    work: Work
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
        self._claimers: dict[str, Claimer] = {}
        self._claiming: list[Claimer] = []
        self._is_scheduled = False
        self._is_urgent = False
        self._later: asyncio.TimerHandle | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._failures = 0
        self._is_closed = False
        self._is_hurried = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._listeners: list[Listener] = []
        self._version = 0
        self._ending = 0
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
        if self._later is not None:
            self._hasten()
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

    def add_claimer(self, endpoint: str, claimer: Claimer) -> None:
        """Let `claimer` take what transactions make due for this endpoint."""
        self._claimers[endpoint] = claimer

    # ── Writing ──────────────────────────────────────────────────────────────────────────────────────────────

    async def append(self, event: NewEvent) -> StoredEvent:
        """
        Write an event and its deliveries; return once they are on disk.

        If the caller is cancelled while it waits, the event is written all the same.

        Raises:
            StorageError: `event_conflict`: the sequence number is taken or the call has ended; `store_closed`.
        """
        started = time.perf_counter()
        stored: StoredEvent = await self._write(Append(event))
        telemetry.OUTBOX_COMMIT_SECONDS.observe(time.perf_counter() - started)
        telemetry.OUTBOX_EVENTS.labels(type=event.type).inc()
        return stored

    async def record(self, delivery: Delivery, verdict: Verdict) -> None:
        """
        Write how an attempt ended and what follows; return once it is on disk.

        A success behind which nothing waits keeps `_COMPANY_S` for others to share its transaction.
        """
        is_patient = verdict.state is DeliveryState.DELIVERED and self.pending <= self._ending + 1
        self._ending += 1
        try:
            await self._write(Record(delivery, verdict), is_patient=is_patient)
        finally:
            self._ending -= 1

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
        Take deliveries that are due: of each call only its oldest, see `writing.lease_due`.

        Raises:
            StorageError: the store cannot be written just now.
        """
        wanted = Claim(endpoint=endpoint, now=now, lease_s=lease_s, limit=limit, in_flight=frozenset(in_flight))
        return await self._read(lambda db: transaction.claim(db, wanted))

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

    async def _write(self, work: Work, *, is_patient: bool = False) -> Any:
        await self._room.acquire()
        if self._is_closed:
            self._room.release()
            raise _closed()
        write = _Write(work, self._loop.create_future())
        self._queue.append(write)
        self._idle.clear()
        if not is_patient:
            self._hasten()
        elif self._later is None and not self._is_urgent:
            self._later = self._loop.call_later(_COMPANY_S, self._hasten)
        return await write.done

    def _hasten(self) -> None:
        """What is in the queue waits for nothing but the transaction before it."""
        self._is_urgent = True
        self._schedule()

    def _schedule(self) -> None:
        """Begin a transaction once every task that is ready now has added its writes."""
        if not self._batch and not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        self._is_scheduled = self._is_urgent = False
        if self._later is not None:
            self._later.cancel()
            self._later = None
        self._batch = list(self._queue)
        self._queue.clear()
        self._submit()

    def _submit(self) -> None:
        self._retry = None
        works = [write.work for write in self._batch]
        claims = self._collect_claims(works)
        self._loop.run_in_executor(self._thread, transaction.commit, self._db, works, claims).add_done_callback(
            self._finish
        )

    def _collect_claims(self, works: Sequence[Work]) -> list[Claim]:
        """Ask whoever sends to the endpoints that this transaction is about."""
        ended: dict[str, set[str]] = {}
        for work in works:
            if isinstance(work, Append):
                for endpoint in work.event.endpoints:
                    ended.setdefault(endpoint, set())
            elif isinstance(work, Record):
                ended.setdefault(work.delivery.endpoint, set()).add(work.delivery.call_id)
        claims: list[Claim] = []
        self._claiming = []
        for endpoint, calls in ended.items():
            claimer = self._claimers.get(endpoint)
            claim = claimer.claim(calls) if claimer else None
            if claimer and claim:
                self._claiming.append(claimer)
                claims.append(claim)
        return claims

    def _finish(self, done: "asyncio.Future[Committed]") -> None:
        claiming, self._claiming = self._claiming, []
        if not self._batch:
            return  # closed meanwhile; the callers have been told
        error = done.exception()
        if error is not None:
            for claimer in claiming:
                claimer.missed()
            self._try_again(error)
            return
        batch, self._batch = self._batch, []
        committed = done.result()
        self._announce(committed)
        for write, result in zip(batch, committed.results, strict=True):
            self._settle(write, result)
        for claimer, due in zip(claiming, committed.due, strict=True):
            claimer.take(due)
        if not self._queue:
            self._idle.set()
        elif self._is_urgent:
            self._schedule()

    def _announce(self, committed: Committed) -> None:
        """Take note of a commit and tell the listeners of its events."""
        if self._failures:
            _log.info("outbox_write_recovered", failures=self._failures)
            self._failures = 0
        self.commits += 1
        self._count(self.pending + committed.change.pending, self.dead + committed.change.dead)
        events = [result for result in committed.results if isinstance(result, StoredEvent)]
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


def _closed() -> StorageError:
    return StorageError("the outbox has been closed", code="store_closed")
