"""
The SQL of the outbox: plain functions on one SQLite connection, called on the store's thread inside its transactions.

An event and one delivery per receiver are written together (transactional outbox). Of the pending deliveries of a call
to an endpoint only the oldest, the *head*, has a due time; when it ends, the next one becomes head in the same
transaction. So the index of heads has one entry per waiting call, however many events wait behind it.

    delivery   pending ──▶ delivered      taken by the receiver
                      └──▶ dead           given up; kept, can be made pending again
"""

import sqlite3
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

import msgspec

from gateway.errors import StorageError
from gateway.events import CallEnded, CallInfo

Connect: TypeAlias = Callable[[Path], sqlite3.Connection]

SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE calls (
    call_id TEXT PRIMARY KEY,
    started_at REAL NOT NULL,
    ended_at REAL,
    last_sequence INTEGER NOT NULL,
    info BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX calls_unfinished ON calls (started_at) WHERE ended_at IS NULL;
CREATE INDEX calls_ended ON calls (ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE events (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    call_id TEXT NOT NULL REFERENCES calls,
    sequence INTEGER NOT NULL,
    type TEXT NOT NULL,
    created_at REAL NOT NULL,
    body BLOB NOT NULL,
    UNIQUE (call_id, sequence)
);
CREATE UNIQUE INDEX events_end_once ON events (call_id) WHERE type = 'call.ended';

CREATE TABLE deliveries (
    position INTEGER NOT NULL REFERENCES events ON DELETE CASCADE,
    endpoint TEXT NOT NULL,
    call_id TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'dead', 'dropped')),
    attempts INTEGER NOT NULL DEFAULT 0,
    misconfigured INTEGER NOT NULL DEFAULT 0,
    due_at REAL CHECK (due_at IS NULL OR state = 'pending'),
    lease_until REAL,
    ready_at REAL AS (coalesce(lease_until, due_at)),
    last_outcome TEXT,
    last_status INTEGER,
    last_attempt_at REAL,
    PRIMARY KEY (position, endpoint)
) WITHOUT ROWID;
CREATE INDEX deliveries_heads ON deliveries (endpoint, ready_at) WHERE due_at IS NOT NULL;
CREATE INDEX deliveries_pending ON deliveries (endpoint, call_id, position) WHERE state = 'pending';
"""
_PRUNED_PER_STEP = 500


class DeliveryState(StrEnum):
    """What has become of a delivery; `dropped` is an operator's decision."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"
    DROPPED = "dropped"


class NewEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event to be written. `created_at` is Unix seconds; `endpoints` are the keys of those that want it."""

    id: str
    type: str
    call: CallInfo
    sequence: int
    created_at: float
    body: bytes
    endpoints: tuple[str, ...]


class StoredEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A committed event. `position` counts all events of the store in the order of their commits."""

    position: int
    id: str
    type: str
    call_id: str
    sequence: int
    created_at: float
    body: bytes


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One leased delivery. `attempt` is the number of the attempt to be made, from 1; see `schedule.next_step`."""

    position: int
    endpoint: str
    call_id: str
    event_id: str
    type: str
    attempt: int
    misconfigured: int
    body: bytes


class Due(msgspec.Struct, frozen=True):
    """What can be sent now, and when (Unix seconds) the next one falls due; None if nothing waits for its time."""

    deliveries: list[Delivery]
    next_at: float | None


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What follows an attempt: the delivery's new state, and when it is due again while it stays pending."""

    state: DeliveryState
    due_at: float | None
    outcome: str
    status: int | None
    misconfigured: int
    at: float


class UnfinishedCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call without `call.ended`: the process that had it died, or it still goes on."""

    info: CallInfo
    started_at: datetime
    last_sequence: int


# ── Opening ──────────────────────────────────────────────────────────────────────────────────────────────────────


def connect(path: Path) -> sqlite3.Connection:
    """A connection in autocommit mode; the store begins and ends the transactions."""
    return sqlite3.connect(path, timeout=5.0, isolation_level=None)


def open_database(path: Path, connect: Connect) -> sqlite3.Connection:
    """
    Open the database, make its tables if it is new, and take back the leases of a process that died.

    Raises:
        StorageError: it cannot be used, or a newer version of the gateway made it.
    """
    db: sqlite3.Connection | None = None
    try:
        db = connect(path)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("PRAGMA busy_timeout = 5000")
        _bring_up_to_date(db, path)
        db.execute("UPDATE deliveries SET lease_until = NULL WHERE due_at IS NOT NULL AND lease_until IS NOT NULL")
        return db
    except (sqlite3.Error, StorageError) as error:
        if db is not None:
            db.close()
        if isinstance(error, StorageError):
            raise
        raise StorageError(f"cannot use {path}: {error}", code="store_unusable") from error


def _bring_up_to_date(db: sqlite3.Connection, path: Path) -> None:
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise StorageError(f"{path} was made by a newer version of the gateway", code="store_too_new")
    if version == 0:
        db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")


# ── Writing ──────────────────────────────────────────────────────────────────────────────────────────────────────


def insert_event(db: sqlite3.Connection, event: NewEvent) -> tuple[StoredEvent, int]:
    """
    Write an event with its deliveries. An event whose id is there already is left alone: a commit may succeed on disk
    and still report a failure, and is then repeated.

    Returns:
        The event, and how many deliveries it added.

    Raises:
        sqlite3.IntegrityError: another event has this sequence number of the call, or the call has ended before.
    """
    stored = StoredEvent(
        position=0,
        id=event.id,
        type=event.type,
        call_id=event.call.id,
        sequence=event.sequence,
        created_at=event.created_at,
        body=event.body,
    )
    ended_at = event.created_at if event.type == CallEnded.type else None
    db.execute(
        "INSERT INTO calls (call_id, started_at, ended_at, last_sequence, info) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (call_id) DO UPDATE SET ended_at = coalesce(ended_at, excluded.ended_at),"
        " last_sequence = max(last_sequence, excluded.last_sequence)",
        (event.call.id, event.created_at, ended_at, event.sequence, msgspec.json.encode(event.call)),
    )
    row = db.execute(
        "INSERT INTO events (id, call_id, sequence, type, created_at, body) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (id) DO NOTHING RETURNING position",
        (event.id, event.call.id, event.sequence, event.type, event.created_at, event.body),
    ).fetchone()
    if row is None:
        (position,) = db.execute("SELECT position FROM events WHERE id = ?", (event.id,)).fetchone()
        return msgspec.structs.replace(stored, position=position), 0
    for endpoint in event.endpoints:
        db.execute(
            "INSERT INTO deliveries (position, endpoint, call_id, state, due_at)"
            " VALUES (:position, :endpoint, :call, 'pending', CASE WHEN EXISTS"
            " (SELECT 1 FROM deliveries WHERE endpoint = :endpoint AND call_id = :call AND state = 'pending')"
            " THEN NULL ELSE :at END)",
            {"position": row[0], "endpoint": endpoint, "call": event.call.id, "at": event.created_at},
        )
    return msgspec.structs.replace(stored, position=row[0]), len(event.endpoints)


def record_attempt(db: sqlite3.Connection, delivery: Delivery, verdict: Verdict) -> bool:
    """
    Write how an attempt ended together with what follows from it.

    Returns:
        Whether the delivery ended with it. One that is no longer pending is left as it is.
    """
    changed = db.execute(
        "UPDATE deliveries SET state = ?, due_at = ?, lease_until = NULL, attempts = ?, misconfigured = ?,"
        " last_outcome = ?, last_status = ?, last_attempt_at = ?"
        " WHERE position = ? AND endpoint = ? AND state = 'pending'",
        (
            verdict.state,
            verdict.due_at,
            delivery.attempt,
            verdict.misconfigured,
            verdict.outcome,
            verdict.status,
            verdict.at,
            delivery.position,
            delivery.endpoint,
        ),
    ).rowcount
    if not changed or verdict.state is DeliveryState.PENDING:
        return False
    _promote(db, delivery.endpoint, delivery.call_id, verdict.at)
    return True


def _promote(db: sqlite3.Connection, endpoint: str, call_id: str, now: float) -> None:
    """Make the oldest pending delivery of the call the head, if there is one."""
    db.execute(
        "UPDATE deliveries SET due_at = :now WHERE endpoint = :endpoint AND due_at IS NULL AND position ="
        " (SELECT min(position) FROM deliveries WHERE endpoint = :endpoint AND call_id = :call AND state = 'pending')",
        {"now": now, "endpoint": endpoint, "call": call_id},
    )


def lease_due(
    db: sqlite3.Connection,
    endpoint: str,
    now: float,
    lease_s: float,
    limit: int,
    in_flight: Collection[str],
) -> Due:
    """
    Take up to `limit` heads that are due, the longest waiting first, and mark them as taken for `lease_s`.

    Args:
        in_flight: ids of calls to leave out, because an attempt is under way whose end has not been recorded yet.
    """
    rows = db.execute(
        "SELECT d.position, d.call_id, e.id, e.type, d.attempts, d.misconfigured, e.body"
        " FROM deliveries d JOIN events e ON e.position = d.position"
        " WHERE d.endpoint = ? AND d.due_at IS NOT NULL AND d.ready_at <= ? ORDER BY d.ready_at LIMIT ?",
        (endpoint, now, limit + len(in_flight)),
    ).fetchall()
    taken = [row for row in rows if row[1] not in in_flight][:limit]
    db.executemany(
        "UPDATE deliveries SET lease_until = ? WHERE position = ? AND endpoint = ?",
        [(now + lease_s, row[0], endpoint) for row in taken],
    )
    (next_at,) = db.execute(
        "SELECT min(ready_at) FROM deliveries WHERE endpoint = ? AND due_at IS NOT NULL AND ready_at > ?",
        (endpoint, now),
    ).fetchone()
    deliveries = [
        Delivery(
            position=position,
            endpoint=endpoint,
            call_id=call_id,
            event_id=event_id,
            type=type_,
            attempt=attempts + 1,
            misconfigured=misconfigured,
            body=body,
        )
        for position, call_id, event_id, type_, attempts, misconfigured, body in taken
    ]
    return Due(deliveries, next_at)


class Pruned(msgspec.Struct, frozen=True, kw_only=True):
    """
    One step of pruning: events deleted; how many of them not every receiver had taken; pending deliveries (to endpoints
    no longer configured) that went with them; the position to go on from, None at the end.
    """

    events: int
    undelivered: int
    pending: int
    resume_after: int | None


def prune(
    db: sqlite3.Connection, after: int, done_before: float, dead_before: float, endpoints: Sequence[str]
) -> Pruned:
    """
    Delete old events, looking at a bounded number of them per step so that commits never wait long.

    Pending deliveries to configured endpoints are kept whatever their age. Dead and dropped ones, and those to
    endpoints that are no longer configured, go when they are older than `dead_before`.

    Args:
        after: position to go on from; 0 at first.
        done_before, dead_before: Unix seconds; the age limits of delivered and of undelivered events.
        endpoints: keys of the configured endpoints.
    """
    rows = db.execute(
        "SELECT position, created_at,"
        " (SELECT count(*) FROM deliveries d WHERE d.position = e.position AND state <> 'delivered'),"
        " (SELECT count(*) FROM deliveries d WHERE d.position = e.position AND state = 'pending'),"
        " (SELECT count(*) FROM deliveries d WHERE d.position = e.position AND state = 'pending'"
        "   AND endpoint IN (SELECT value FROM json_each(?)))"
        " FROM events e WHERE position > ? ORDER BY position LIMIT ?",
        (msgspec.json.encode(endpoints).decode(), after, _PRUNED_PER_STEP),
    ).fetchall()
    old = [row for row in rows if row[1] < done_before]
    gone = [
        (position, undelivered, pending)
        for position, created_at, undelivered, pending, wanted in old
        if not wanted and (not undelivered or created_at < dead_before)
    ]
    db.executemany("DELETE FROM events WHERE position = ?", [(position,) for position, _, _ in gone])
    db.execute(
        "DELETE FROM calls WHERE call_id IN (SELECT call_id FROM calls c WHERE ended_at < ?"
        " AND NOT EXISTS (SELECT 1 FROM events e WHERE e.call_id = c.call_id) ORDER BY ended_at LIMIT ?)",
        (done_before, _PRUNED_PER_STEP),
    )
    is_last = len(rows) < _PRUNED_PER_STEP or len(old) < len(rows)
    return Pruned(
        events=len(gone),
        undelivered=sum(1 for _, undelivered, _ in gone if undelivered),
        pending=sum(pending for _, _, pending in gone),
        resume_after=None if is_last else rows[-1][0],
    )


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────────────


def count_pending(db: sqlite3.Connection) -> int:
    """Deliveries not yet made."""
    (count,) = db.execute("SELECT count(*) FROM deliveries WHERE state = 'pending'").fetchone()
    return int(count)


def select_unfinished_calls(db: sqlite3.Connection) -> list[UnfinishedCall]:
    """Calls without `call.ended`, the oldest first."""
    rows = db.execute(
        "SELECT info, started_at, last_sequence FROM calls WHERE ended_at IS NULL ORDER BY started_at, call_id"
    )
    return [
        UnfinishedCall(
            info=msgspec.json.decode(info, type=CallInfo),
            started_at=datetime.fromtimestamp(started_at, UTC),
            last_sequence=last_sequence,
        )
        for info, started_at, last_sequence in rows
    ]


def select_events(db: sqlite3.Connection, call_id: str, after: int, limit: int) -> list[StoredEvent]:
    """A call's events with a sequence number above `after`, in order."""
    rows = db.execute(
        "SELECT position, id, type, call_id, sequence, created_at, body FROM events"
        " WHERE call_id = ? AND sequence > ? ORDER BY sequence LIMIT ?",
        (call_id, after, limit),
    )
    return [
        StoredEvent(position=position, id=id_, type=type_, call_id=call, sequence=number, created_at=at, body=body)
        for position, id_, type_, call, number, at, body in rows
    ]
