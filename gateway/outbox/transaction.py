"""
One transaction of the store: what came together, in as few statements as it takes. Runs on the store's thread.

The work of a transaction is done together first. If that fails through a fault of one piece of it, all is undone and
done again one by one, so that the fault stays with its owner.
"""

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import msgspec

from gateway.errors import StorageError
from gateway.outbox import writing
from gateway.outbox.database import Change, Delivery, Due, NewEvent, StoredEvent, Verdict


class Append(msgspec.Struct, frozen=True):
    """Write an event; the result is the `StoredEvent`."""

    event: NewEvent


class Record(msgspec.Struct, frozen=True):
    """Write how an attempt ended; the result is None."""

    delivery: Delivery
    verdict: Verdict


Operation: TypeAlias = Callable[[sqlite3.Connection], tuple[Any, Change]]
"""Anything else: returns its result and how it changes the totals."""
Work: TypeAlias = Append | Record | Operation


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """Lease what is due for an endpoint, see `writing.lease_due`."""

    endpoint: str
    now: float
    lease_s: float
    limit: int
    in_flight: frozenset[str]


class Committed(NamedTuple):
    """
    What a transaction did: per piece of work its result, or the exception that it failed with; how the totals change;
    per claim what it took.
    """

    results: list[Any]
    change: Change
    due: list[Due]


def commit(db: sqlite3.Connection, works: Sequence[Work], claims: Sequence[Claim] = ()) -> Committed:
    """
    Do all of it in one transaction.

    Work that fails through its own fault is undone alone and its result is the error: trying again cannot help, and it
    must not keep the others from the disk. Claims see what the work has written.

    Raises:
        sqlite3.Error: a fault of the disk, which undid everything.
    """
    try:
        return _in_transaction(db, works, claims, _together)
    except Exception as error:  # the edge between callers: what fails here belongs to one of them
        if _is_fault_of_disk(error):
            raise
    return _in_transaction(db, works, claims, _one_by_one)


def claim(db: sqlite3.Connection, wanted: Claim) -> Due:
    """Lease without a flush (WAL mode): a lease that a power cut takes back does no harm, so it need not wait."""
    db.execute("PRAGMA synchronous = NORMAL")
    try:
        return _in_transaction(db, (), (wanted,), _together).due[0]
    finally:
        db.execute("PRAGMA synchronous = FULL")


_Do: TypeAlias = Callable[[sqlite3.Connection, Sequence[Work]], tuple[list[Any], list[Change]]]


def _in_transaction(db: sqlite3.Connection, works: Sequence[Work], claims: Sequence[Claim], do: _Do) -> Committed:
    try:
        db.execute("BEGIN IMMEDIATE")
        results, changes = do(db, works)
        due = [
            writing.lease_due(db, each.endpoint, each.now, each.lease_s, each.limit, each.in_flight) for each in claims
        ]
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    change = Change(sum(each.pending for each in changes), sum(each.dead for each in changes))
    return Committed(results, change, due)


def _together(db: sqlite3.Connection, works: Sequence[Work]) -> tuple[list[Any], list[Change]]:
    """Events first, then ends of attempts: the same comes out as in the order in which they were asked for."""
    events, inserted = writing.insert_events(db, [work.event for work in works if isinstance(work, Append)])
    ended = [(work.delivery, work.verdict) for work in works if isinstance(work, Record)]
    changes = [inserted, writing.record_attempts(db, ended)]
    results: list[Any] = []
    stored = iter(events)
    for work in works:
        match work:
            case Append():
                results.append(next(stored))
            case Record():
                results.append(None)
            case _:
                result, change = work(db)
                results.append(result)
                changes.append(change)
    return results, changes


def _one_by_one(db: sqlite3.Connection, works: Sequence[Work]) -> tuple[list[Any], list[Change]]:
    results: list[Any] = []
    changes: list[Change] = []
    for work in works:
        db.execute("SAVEPOINT operation")
        try:
            result, change = _alone(db, work)
        except Exception as error:  # as in `commit`
            if _is_fault_of_disk(error):
                raise
            db.execute("ROLLBACK TO operation")
            result, change = _conflict(error) if isinstance(error, sqlite3.IntegrityError) else error, Change()
        results.append(result)
        changes.append(change)
        db.execute("RELEASE operation")
    return results, changes


def _alone(db: sqlite3.Connection, work: Work) -> tuple[Any, Change]:
    match work:
        case Append(event):
            there = writing.find_event(db, event)
            return (there, Change()) if there else _append(db, event)
        case Record(delivery, verdict):
            return None, writing.record_attempts(db, [(delivery, verdict)])
        case _:
            return work(db)


def _append(db: sqlite3.Connection, event: NewEvent) -> tuple[StoredEvent, Change]:
    (stored,), change = writing.insert_events(db, [event])
    return stored, change


def _is_fault_of_disk(error: Exception) -> bool:
    """Full, read-only, unreadable, locked: OperationalError; damaged: DatabaseError itself, not one of its kinds."""
    return isinstance(error, sqlite3.OperationalError) or type(error) is sqlite3.DatabaseError


def _conflict(error: sqlite3.Error) -> StorageError:
    conflict = StorageError(f"the event does not fit the store: {error}", code="event_conflict")
    conflict.retryable = False
    return conflict
