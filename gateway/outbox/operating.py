"""
What operators see and do: plain functions on a connection of their own, also while a gateway sends from the same file.

SQLite keeps the transactions of both apart; the gateway notices a commit of another process within a second or two.
What is under way at that moment ends by itself: an event that is dropped then may still arrive.
"""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec

from gateway.outbox.database import DeliveryState, promote

_CALLS_PER_STEP = 100
_PAUSE_S = 0.03
"""After a step: who waits for SQLite's lock looks only every few milliseconds, and calls wait for the gateway."""
_COLUMNS = (
    "e.id, e.type, e.call_id, e.sequence, e.created_at, d.endpoint, d.state, d.attempts, d.last_outcome, d.last_status,"
    " d.last_attempt_at, d.due_at, d.lease_until, p.disabled_at IS NOT NULL"
)
_INDEXES = {
    # By itself SQLite reads the deliveries in the order that is asked for, past all that were ever made.
    DeliveryState.PENDING: "INDEXED BY deliveries_pending",
    DeliveryState.DEAD: "INDEXED BY deliveries_given_up",
    DeliveryState.DROPPED: "INDEXED BY deliveries_given_up",
    DeliveryState.DELIVERED: "",
}


class DeliveryView(msgspec.Struct, frozen=True, kw_only=True):
    """
    A delivery as operators see it; times are Unix seconds. `attempts` are those that count (see `breaker`). `due_at` is
    None unless it is the oldest that its call has waiting; `lease_until` is set while an attempt may be under way.
    """

    event_id: str
    type: str
    call_id: str
    sequence: int
    created_at: float
    endpoint: str
    state: DeliveryState
    attempts: int
    last_outcome: str | None
    last_status: int | None
    last_attempt_at: float | None
    due_at: float | None
    lease_until: float | None
    is_disabled: bool


class EndpointView(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint that the store knows. `origin` is None if it was never seen configured by this version."""

    key: str
    origin: str | None
    disabled_at: float | None
    reason: str | None
    pending: int
    dead: int
    dropped: int
    oldest_pending_at: float | None


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    """What a command did with a delivery: the state that it found, and whether it could do something about it."""

    event_id: str
    endpoint: str
    found: DeliveryState
    is_done: bool


def select_deliveries(
    db: sqlite3.Connection,
    *,
    states: Sequence[DeliveryState],
    endpoint: str | None = None,
    call_id: str | None = None,
    event_id: str | None = None,
    limit: int = -1,
) -> list[DeliveryView]:
    """
    Deliveries in the order of their events, the oldest first; `limit` -1 is no limit.

    What has been delivered is not read unless it is asked for: an outbox that somebody watches is listed all the time.
    """
    if not states:
        return []
    found = " UNION ALL ".join(map(_select_in, dict.fromkeys(states)))
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM ({found}) f"  # noqa: S608 - constants of this module
        " CROSS JOIN deliveries d ON d.position = f.position AND d.endpoint = f.endpoint"
        " CROSS JOIN events e ON e.position = d.position LEFT JOIN endpoints p ON p.key = d.endpoint"
        " ORDER BY f.position, f.endpoint LIMIT :limit",
        {"endpoint": endpoint, "call": call_id, "event": event_id, "limit": limit},
    )
    names = DeliveryView.__struct_fields__
    return [msgspec.convert(dict(zip(names, row, strict=True)), DeliveryView, strict=False) for row in rows]


def _select_in(state: DeliveryState) -> str:
    return (
        f"SELECT * FROM (SELECT position, endpoint FROM deliveries {_INDEXES[state]} WHERE state = '{state}'"  # noqa: S608
        " AND (:endpoint IS NULL OR endpoint = :endpoint) AND (:call IS NULL OR call_id = :call)"
        " AND (:event IS NULL OR position = (SELECT position FROM events WHERE id = :event))"
        " ORDER BY position, endpoint LIMIT :limit)"
    )


def select_body(db: sqlite3.Connection, event_id: str) -> bytes | None:
    """The exact bytes that receivers get; None if there is no such event."""
    row = db.execute("SELECT body FROM events WHERE id = ?", (event_id,)).fetchone()
    return None if row is None else bytes(row[0])


def select_endpoints(db: sqlite3.Connection) -> list[EndpointView]:
    """All endpoints that the store knows, by key. Reads every delivery that has not been made, and no other."""
    rows = db.execute(
        "SELECT k.key, p.origin, p.disabled_at, p.reason,"
        " (SELECT count(*) FROM deliveries d WHERE d.endpoint = k.key AND d.state = 'pending'),"
        " (SELECT count(*) FROM deliveries d WHERE d.endpoint = k.key AND d.state = 'dead'),"
        " (SELECT count(*) FROM deliveries d WHERE d.endpoint = k.key AND d.state = 'dropped'),"
        " (SELECT created_at FROM events WHERE position ="
        "   (SELECT min(d.position) FROM deliveries d WHERE d.endpoint = k.key AND d.due_at IS NOT NULL))"
        " FROM (SELECT key FROM endpoints UNION SELECT endpoint FROM deliveries WHERE state = 'pending'"
        "   UNION SELECT endpoint FROM deliveries WHERE state = 'dead' OR state = 'dropped') k"
        " LEFT JOIN endpoints p ON p.key = k.key ORDER BY k.key"
    )
    names = EndpointView.__struct_fields__
    return [EndpointView(**dict(zip(names, row, strict=True))) for row in rows]


def retry(db: sqlite3.Connection, event_id: str, endpoint: str | None, now: float) -> list[Changed]:
    """
    Try the event's deliveries again: dead and dropped ones become pending, with the same id and body and all their
    attempts; a pending one that waits for its next attempt is due now.

    An event that was given up keeps its place: it goes out before the events of its call that still wait, and after
    those that have arrived.
    """
    with transaction(db):
        found = _deliveries_of(db, event_id, endpoint)
        for position, key, call_id, state in found:
            if state is DeliveryState.PENDING:
                _hasten(db, position, key, now)
            elif state is not DeliveryState.DELIVERED:
                _revive(db, [position], key, call_id, now)
    return [
        Changed(event_id=event_id, endpoint=key, found=state, is_done=state is not DeliveryState.DELIVERED)
        for _, key, _, state in found
    ]


def retry_all_dead(db: sqlite3.Connection, endpoint: str | None, now: float) -> int:
    """
    Make every delivery pending again that was dead before `now`; returns how many. Blocks.

    A call's are in one transaction; between two transactions a gateway that writes to the same file has its turn.
    """
    total = 0
    while True:
        with transaction(db):
            calls = db.execute(
                "SELECT DISTINCT endpoint, call_id FROM deliveries WHERE state = 'dead' AND last_attempt_at < :now"
                " AND (:endpoint IS NULL OR endpoint = :endpoint) LIMIT :limit",
                {"endpoint": endpoint, "now": now, "limit": _CALLS_PER_STEP},
            ).fetchall()
            for key, call_id in calls:
                rows = db.execute(
                    "SELECT position FROM deliveries WHERE state = 'dead' AND last_attempt_at < ? AND endpoint = ?"
                    " AND position IN (SELECT position FROM events WHERE call_id = ?)",
                    (now, key, call_id),
                )
                positions = [position for (position,) in rows]
                _revive(db, positions, key, call_id, now)
                total += len(positions)
        if len(calls) < _CALLS_PER_STEP:
            return total
        time.sleep(_PAUSE_S)  # noqa: TID251 - never on an event loop


def drop(db: sqlite3.Connection, event_id: str, endpoint: str | None, now: float) -> list[Changed]:
    """Give the event's pending and dead deliveries up for good; the next event of the call follows."""
    with transaction(db):
        found = _deliveries_of(db, event_id, endpoint)
        for position, key, call_id, state in found:
            if state in (DeliveryState.PENDING, DeliveryState.DEAD):
                db.execute(
                    "UPDATE deliveries SET state = 'dropped', due_at = NULL, lease_until = NULL"
                    " WHERE position = ? AND endpoint = ?",
                    (position, key),
                )
                promote(db, key, call_id, now)
    return [
        Changed(event_id=event_id, endpoint=key, found=state, is_done=state is not DeliveryState.DELIVERED)
        for _, key, _, state in found
    ]


def enable(db: sqlite3.Connection, key: str) -> bool:
    """Send to an endpoint again that answered 410; returns whether it was disabled."""
    with transaction(db):
        return bool(
            db.execute(
                "UPDATE endpoints SET disabled_at = NULL, reason = NULL WHERE key = ? AND disabled_at IS NOT NULL",
                (key,),
            ).rowcount
        )


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All or nothing; waits for another process's transaction as long as the connection was told to."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _deliveries_of(
    db: sqlite3.Connection, event_id: str, endpoint: str | None
) -> list[tuple[int, str, str, DeliveryState]]:
    rows = db.execute(
        "SELECT d.position, d.endpoint, d.call_id, d.state FROM events e JOIN deliveries d ON d.position = e.position"
        " WHERE e.id = :event AND (:endpoint IS NULL OR d.endpoint = :endpoint) ORDER BY d.endpoint",
        {"event": event_id, "endpoint": endpoint},
    )
    return [(position, key, call_id, DeliveryState(state)) for position, key, call_id, state in rows]


def _hasten(db: sqlite3.Connection, position: int, endpoint: str, now: float) -> None:
    db.execute(
        "UPDATE deliveries SET due_at = min(due_at, ?) WHERE position = ? AND endpoint = ? AND due_at IS NOT NULL",
        (now, position, endpoint),
    )


def _revive(db: sqlite3.Connection, positions: Sequence[int], endpoint: str, call_id: str, now: float) -> None:
    """Make deliveries of one call pending again; the oldest pending one becomes the head in place of a younger one."""
    db.executemany(
        "UPDATE deliveries SET state = 'pending', attempts = 0, misconfigured = 0, due_at = NULL, lease_until = NULL"
        " WHERE position = ? AND endpoint = ?",
        [(position, endpoint) for position in positions],
    )
    db.execute(
        "UPDATE deliveries SET due_at = NULL, lease_until = NULL WHERE endpoint = :endpoint AND call_id = :call"
        " AND state = 'pending' AND due_at IS NOT NULL AND position >"
        " (SELECT min(position) FROM deliveries WHERE endpoint = :endpoint AND call_id = :call AND state = 'pending')",
        {"endpoint": endpoint, "call": call_id},
    )
    promote(db, endpoint, call_id, now)
