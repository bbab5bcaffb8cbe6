"""
The writes of the sending path in SQL, for many rows at a time: plain functions on one SQLite connection.

Each takes a constant number of statements for up to 32 rows, not a number per row. Between two statements SQLite gives
the interpreter back, and a thread that wants it again from a busy event loop waits for as long as
`sys.getswitchinterval` (5 ms): with some ten statements per event a saturated core let 44 events a second through, on
one connection that takes a thousand. Rows are bound as parameters, so a body stays exactly the bytes that it is.
"""

import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cache
from typing import Any

import msgspec

from gateway.events import CallEnded
from gateway.outbox.database import Change, Delivery, DeliveryState, Due, NewEvent, StoredEvent, Verdict

_ROWS = 32
"""Per statement: its text depends on the number of rows, and SQLite keeps each prepared (see `schema.connect`)."""

_END = (
    "position",
    "endpoint",
    "call_id",
    "state",
    "attempts",
    "misconfigured",
    "due_at",
    "outcome",
    "status",
    "at",
)


class NotTogether(Exception):
    """These rows cannot be told apart when written together: write them one by one."""


def insert_events(db: sqlite3.Connection, events: Sequence[NewEvent]) -> tuple[list[StoredEvent], Change]:
    """
    Write events with their deliveries, in this order.

    Returns:
        The events, and the deliveries that they added.

    Raises:
        sqlite3.IntegrityError: an id or a sequence number of a call is taken, or a call has ended before. What was
            written of the others is to be undone.
    """
    if not events:
        return [], Change()
    (last,) = db.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'events'").fetchone()
    stored = [
        StoredEvent(
            position=position,
            id=event.id,
            type=event.type,
            call_id=event.call.id,
            sequence=event.sequence,
            created_at=event.created_at,
            body=event.body,
        )
        for position, event in enumerate(events, start=last + 1)
    ]
    _execute(db, _upsert_calls, _calls_of(events))
    _execute(
        db,
        _insert_events,
        [(one.position, one.id, one.call_id, one.sequence, one.type, one.created_at, one.body) for one in stored],
    )
    deliveries = list(_deliveries_of(events, stored))
    _execute(db, _insert_deliveries, deliveries)
    return stored, Change(pending=len(deliveries))


def find_event(db: sqlite3.Connection, event: NewEvent) -> StoredEvent | None:
    """The event if its id is there already: a commit may succeed on disk and still report a failure."""
    row = db.execute("SELECT position FROM events WHERE id = ?", (event.id,)).fetchone()
    if row is None:
        return None
    return StoredEvent(
        position=row[0],
        id=event.id,
        type=event.type,
        call_id=event.call.id,
        sequence=event.sequence,
        created_at=event.created_at,
        body=event.body,
    )


def record_attempts(db: sqlite3.Connection, ended: Sequence[tuple[Delivery, Verdict]]) -> Change:
    """
    Write how attempts ended together with what follows from it; at most one of a call and an endpoint.

    A delivery that is no longer pending is left as it is. One that is not the oldest of its call any more, because an
    operator revived an older one meanwhile, waits for that one.

    Raises:
        NotTogether: some of several were no longer pending, and which is not known.
    """
    if not ended:
        return Change()
    changed = _execute(db, _end_deliveries, [_end_of(delivery, verdict) for delivery, verdict in ended])
    for delivery, verdict in ended:
        if verdict.disables is not None:
            db.execute(
                "UPDATE endpoints SET disabled_at = ?, reason = ? WHERE key = ? AND disabled_at IS NULL",
                (verdict.at, verdict.disables, delivery.endpoint),
            )
    if not changed:
        return Change()
    if changed < len(ended):
        raise NotTogether
    over = [(delivery, verdict) for delivery, verdict in ended if verdict.state is not DeliveryState.PENDING]
    _execute(db, _promote, [(delivery.endpoint, delivery.call_id, verdict.at) for delivery, verdict in over])
    return Change(pending=-len(over), dead=sum(1 for _, verdict in over if verdict.state is DeliveryState.DEAD))


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
    _execute(db, _lease, [(row[0], endpoint, now + lease_s) for row in taken])
    next_at = _next_after(db, endpoint, now) if len(taken) < limit else None
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


def _next_after(db: sqlite3.Connection, endpoint: str, now: float) -> float | None:
    """When the next one falls due that nobody has taken: whoever has taken one will say what became of it."""
    (next_at,) = db.execute(
        "SELECT min(ready_at) FROM deliveries"
        " WHERE endpoint = ? AND due_at IS NOT NULL AND ready_at > ? AND lease_until IS NULL",
        (endpoint, now),
    ).fetchone()
    return None if next_at is None else float(next_at)


# ── Rows ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _calls_of(events: Sequence[NewEvent]) -> list[tuple[Any, ...]]:
    """One row per call: the first event's time, when it ended, the last sequence number, who it is."""
    calls: dict[str, list[Any]] = {}
    for event in events:
        call = calls.get(event.call.id)
        if call is None:
            call = [event.call.id, event.created_at, None, event.sequence, msgspec.json.encode(event.call)]
            calls[event.call.id] = call
        call[3] = max(call[3], event.sequence)
        if event.type == CallEnded.type:
            call[2] = event.created_at
    return [tuple(call) for call in calls.values()]


def _deliveries_of(events: Sequence[NewEvent], stored: Sequence[StoredEvent]) -> Iterator[tuple[Any, ...]]:
    """
    One row per event and endpoint; the due time is None behind another event of this call: rows that are written
    together do not see one another.
    """
    heads: set[tuple[str, str]] = set()
    for event, one in zip(events, stored, strict=True):
        for endpoint in event.endpoints:
            due_at = None if (endpoint, one.call_id) in heads else one.created_at
            heads.add((endpoint, one.call_id))
            yield one.position, endpoint, one.call_id, due_at


def _end_of(delivery: Delivery, verdict: Verdict) -> tuple[Any, ...]:
    return (
        delivery.position,
        delivery.endpoint,
        delivery.call_id,
        verdict.state,
        verdict.attempts,
        verdict.misconfigured,
        verdict.due_at,
        verdict.outcome,
        verdict.status,
        verdict.at,
    )


def _execute(db: sqlite3.Connection, statement: Callable[[int], str], rows: Sequence[tuple[Any, ...]]) -> int:
    """Run the statement for all rows, some at a time; the number of rows that it changed."""
    changed = 0
    for at in range(0, len(rows), _ROWS):
        some = rows[at : at + _ROWS]
        changed += db.execute(statement(len(some)), [value for row in some for value in row]).rowcount
    return changed


# ── Statements, by the number of their rows ──────────────────────────────────────────────────────────────────────


@cache
def _upsert_calls(rows: int) -> str:
    return (
        f"INSERT INTO calls (call_id, started_at, ended_at, last_sequence, info) {_values(5, rows)}"
        " ON CONFLICT (call_id) DO UPDATE SET ended_at = coalesce(ended_at, excluded.ended_at),"
        " last_sequence = max(last_sequence, excluded.last_sequence)"
    )


@cache
def _insert_events(rows: int) -> str:
    return f"INSERT INTO events (position, id, call_id, sequence, type, created_at, body) {_values(7, rows)}"


@cache
def _insert_deliveries(rows: int) -> str:
    given = _table("new", ("position", "endpoint", "call_id", "due_at"), rows)
    return (
        "INSERT INTO deliveries (position, endpoint, call_id, state, due_at)"  # noqa: S608
        " SELECT position, endpoint, call_id, 'pending', CASE WHEN EXISTS (SELECT 1 FROM deliveries older"
        " WHERE older.endpoint = new.endpoint AND older.call_id = new.call_id AND older.state = 'pending')"
        f" THEN NULL ELSE due_at END FROM {given}"
    )


@cache
def _end_deliveries(rows: int) -> str:
    return (
        "UPDATE deliveries SET state = ended.state, lease_until = NULL, attempts = ended.attempts,"  # noqa: S608
        " misconfigured = ended.misconfigured, due_at = CASE WHEN EXISTS (SELECT 1 FROM deliveries older"
        " WHERE older.endpoint = ended.endpoint AND older.call_id = ended.call_id AND older.state = 'pending'"
        " AND older.position < ended.position) THEN NULL ELSE ended.due_at END,"
        " last_outcome = ended.outcome, last_status = ended.status, last_attempt_at = ended.at"
        f" FROM {_table('ended', _END, rows)} WHERE deliveries.position = ended.position"
        " AND deliveries.endpoint = ended.endpoint AND deliveries.state = 'pending'"
    )


@cache
def _promote(rows: int) -> str:
    """Make the oldest pending delivery of each call the head, if there is one."""
    return (
        f"UPDATE deliveries SET due_at = ended.at FROM {_table('ended', ('endpoint', 'call_id', 'at'), rows)}"  # noqa: S608
        " WHERE deliveries.endpoint = ended.endpoint AND deliveries.due_at IS NULL AND deliveries.position ="
        " (SELECT min(position) FROM deliveries next WHERE next.endpoint = ended.endpoint"
        " AND next.call_id = ended.call_id AND next.state = 'pending')"
    )


@cache
def _lease(rows: int) -> str:
    return (
        "UPDATE deliveries SET lease_until = taken.until"  # noqa: S608
        f" FROM {_table('taken', ('position', 'endpoint', 'until'), rows)}"
        " WHERE deliveries.position = taken.position AND deliveries.endpoint = taken.endpoint"
    )


def _table(name: str, columns: Sequence[str], rows: int) -> str:
    """The given rows as a table of a FROM clause."""
    named = ", ".join(f"column{number} AS {column}" for number, column in enumerate(columns, start=1))
    return f"(SELECT {named} FROM ({_values(len(columns), rows)})) AS {name}"  # noqa: S608


def _values(columns: int, rows: int) -> str:
    row = f"({', '.join('?' * columns)})"
    return f"VALUES {', '.join([row] * rows)}"
