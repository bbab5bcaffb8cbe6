"""
The SQL of the outbox: plain functions on one SQLite connection, called on the store's thread inside its transactions.
What is written for each event and attempt is in `writing`.

An event and one delivery per receiver are written together (transactional outbox). Of the pending deliveries of a call
to an endpoint only the oldest, the *head*, has a due time; when it ends, the next one becomes head in the same
transaction. So the index of heads has one entry per waiting call, however many events wait behind it.

    delivery   pending ──▶ delivered      taken by the receiver
                      ├──▶ dead           given up; kept, can be made pending again
                      └──▶ dropped        an operator's decision; the same

An endpoint that answered 410 is disabled: its deliveries stay pending and are not tried until an operator enables it.
What operators do is in `operating`; the tables are in `schema`.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple

import msgspec

from gateway.events import CallInfo

_PRUNED_PER_STEP = 500


class Change(NamedTuple):
    """By how much a transaction changes the numbers of pending and of dead deliveries."""

    pending: int = 0
    dead: int = 0


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
    """
    What can be sent now, and when (Unix seconds) the next one falls due: None if nothing waits for its time, and if
    there were as many as asked for, because whoever has sent one asks again.
    """

    deliveries: list[Delivery]
    next_at: float | None


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """
    What follows an attempt: the delivery's new state, and when it is due again while it stays pending.

    `attempts` is how many have counted so far; `disables`: why nothing more may be sent to the endpoint, if so.
    """

    state: DeliveryState
    due_at: float | None
    attempts: int
    outcome: str
    status: int | None
    misconfigured: int
    at: float
    disables: str | None = None


class UnfinishedCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call without `call.ended`: the process that had it died, or it still goes on."""

    info: CallInfo
    started_at: datetime
    last_sequence: int


# ── Writing ──────────────────────────────────────────────────────────────────────────────────────────────────────


def promote(db: sqlite3.Connection, endpoint: str, call_id: str, now: float) -> None:
    """Make the oldest pending delivery of the call the head, if there is one."""
    db.execute(
        "UPDATE deliveries SET due_at = :now WHERE endpoint = :endpoint AND due_at IS NULL AND position ="
        " (SELECT min(position) FROM deliveries WHERE endpoint = :endpoint AND call_id = :call AND state = 'pending')",
        {"now": now, "endpoint": endpoint, "call": call_id},
    )


class Pruned(msgspec.Struct, frozen=True, kw_only=True):
    """
    One step of pruning: events deleted; how many of them not every receiver had taken; the deliveries that went with
    them; the position to go on from, None at the end.
    """

    events: int
    undelivered: int
    change: Change
    resume_after: int | None


def prune(
    db: sqlite3.Connection, after: int, done_before: float, dead_before: float, endpoints: Sequence[str]
) -> Pruned:
    """
    Delete old events, looking at a bounded number of them per step so that commits never wait long.

    Pending deliveries to configured endpoints that are not disabled are kept whatever their age. Dead and dropped ones,
    and those that are not tried, go when they are older than `dead_before`.

    Args:
        after: position to go on from; 0 at first.
        done_before, dead_before: Unix seconds; the age limits of delivered and of undelivered events.
        endpoints: keys of the configured endpoints.
    """
    rows = db.execute(
        "SELECT position, created_at,"
        " (SELECT count(*) FROM deliveries d WHERE d.position = e.position AND state <> 'delivered'),"
        " (SELECT count(*) FROM deliveries d WHERE d.position = e.position AND state = 'pending'"
        "   AND endpoint IN (SELECT value FROM json_each(?))"
        "   AND endpoint NOT IN (SELECT key FROM endpoints WHERE disabled_at IS NOT NULL))"
        " FROM events e WHERE position > ? ORDER BY position LIMIT ?",
        (msgspec.json.encode(endpoints).decode(), after, _PRUNED_PER_STEP),
    ).fetchall()
    old = [row for row in rows if row[1] < done_before]
    gone = [
        (position, undelivered)
        for position, created_at, undelivered, wanted in old
        if not wanted and (not undelivered or created_at < dead_before)
    ]
    change = _delete_events(db, [position for position, _ in gone], dead_before)
    db.execute(
        "DELETE FROM calls WHERE call_id IN (SELECT call_id FROM calls c WHERE ended_at < ?"
        " AND NOT EXISTS (SELECT 1 FROM events e WHERE e.call_id = c.call_id) ORDER BY ended_at LIMIT ?)",
        (done_before, _PRUNED_PER_STEP),
    )
    is_last = len(rows) < _PRUNED_PER_STEP or len(old) < len(rows)
    return Pruned(
        events=len(gone),
        undelivered=sum(1 for _, undelivered in gone if undelivered),
        change=change,
        resume_after=None if is_last else rows[-1][0],
    )


def _delete_events(db: sqlite3.Connection, positions: Sequence[int], now: float) -> Change:
    """Delete events with their deliveries; where a head goes with them, the next of its call follows."""
    numbers = msgspec.json.encode(positions).decode()
    lost = db.execute(
        "SELECT endpoint, call_id, state FROM deliveries WHERE position IN (SELECT value FROM json_each(?))"
        " AND state IN ('pending', 'dead')",
        (numbers,),
    ).fetchall()
    db.execute("DELETE FROM events WHERE position IN (SELECT value FROM json_each(?))", (numbers,))
    waiting = [(endpoint, call_id) for endpoint, call_id, state in lost if state == DeliveryState.PENDING]
    for endpoint, call_id in sorted(set(waiting)):
        promote(db, endpoint, call_id, now)
    return Change(pending=-len(waiting), dead=len(waiting) - len(lost))


def register_endpoints(db: sqlite3.Connection, origins: Mapping[str, str]) -> None:
    """Take note of the configured endpoints: key → origin of the URL, which is all of it that is stored."""
    db.executemany(
        "INSERT INTO endpoints (key, origin) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET origin = excluded.origin",
        list(origins.items()),
    )


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """Deliveries of all endpoints by state, and the keys of the endpoints that are disabled."""

    pending: int
    dead: int
    disabled: frozenset[str]


def read_totals(db: sqlite3.Connection) -> Totals:
    """Count; takes longer the more there is."""
    (pending,) = db.execute("SELECT count(*) FROM deliveries WHERE state = 'pending'").fetchone()
    (dead,) = db.execute("SELECT count(*) FROM deliveries WHERE state = 'dead'").fetchone()
    disabled = db.execute("SELECT key FROM endpoints WHERE disabled_at IS NOT NULL").fetchall()
    return Totals(pending=pending, dead=dead, disabled=frozenset(key for (key,) in disabled))


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """
    A short look at the store. `version` changes with each commit of another process; `oldest_at` is when the oldest
    pending delivery's event was made, in Unix seconds; `totals` are there only if the version was a new one.
    """

    version: int
    oldest_at: float | None
    totals: Totals | None


def look(db: sqlite3.Connection, seen: int) -> Look:
    """
    Look for what another process did since the version `seen`.

    Source: sqlite.org/pragma.html, "PRAGMA data_version": unchanged by commits of the same connection.
    """
    (version,) = db.execute("PRAGMA data_version").fetchone()
    (oldest_at,) = db.execute(
        # By itself SQLite takes the primary key, and reads past all that was ever delivered.
        "SELECT created_at FROM events WHERE position ="
        " (SELECT min(position) FROM deliveries INDEXED BY deliveries_heads WHERE due_at IS NOT NULL)"
        " UNION ALL SELECT NULL LIMIT 1"
    ).fetchone()
    return Look(version=version, oldest_at=oldest_at, totals=read_totals(db) if version != seen else None)


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
