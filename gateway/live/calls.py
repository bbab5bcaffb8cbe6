"""
Calls and their events as the store has them: plain functions on a connection that only reads.

A page costs a constant number of statements, each of which goes along an index that the outbox has anyway. Calls that
go on come first, by their start; then those that are over, by their end. So nothing moves while a reader turns pages:
calls that begin, or end, do so before the place where the reader is. A call that ends meanwhile may be seen twice, but
never not at all.
"""

import base64
import binascii
import sqlite3
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from gateway.events import CallInfo, Track
from gateway.live.answers import Call, CallPage, CallStory

MOST_CALLS = 200
_EVENTS_PER_STEP = 500
_COLUMNS = (
    "c.call_id, c.info, c.started_at, c.ended_at,"
    # `main.events` also where viewers see less (`redacted`): nothing that was said is taken of these two, and to mask
    # the whole conversation at the end of every call on a page would take seconds.
    " (SELECT body FROM main.events e WHERE e.call_id = c.call_id AND e.sequence = 1 AND e.type = 'call.started'),"
    " (SELECT body FROM main.events e WHERE e.call_id = c.call_id AND e.type = 'call.ended'),"
    # The end of a call tells the number; there is none while it goes on, or after it was deleted before the rest.
    " CASE WHEN NOT EXISTS (SELECT 1 FROM main.events e WHERE e.call_id = c.call_id AND e.type = 'call.ended') THEN"
    "   (SELECT count(*) FROM main.events e WHERE e.call_id = c.call_id AND e.type = 'transcript.final') END"
)


class Which(StrEnum):
    """Calls that go on, that are over, or both."""

    LIVE = "live"
    ENDED = "ended"
    ALL = "all"


class Recording(msgspec.Struct, frozen=True):
    """The file in which a call was kept, and the tracks of the call with the seconds of audio that each had."""

    path: Path
    told: tuple[tuple[Track, float | None], ...]


class BadCursor(ValueError):
    """A cursor that this version did not make."""


class _Place(msgspec.Struct, frozen=True, array_like=True):
    """Where a page ended: in which part of the list, and the last call that was on it."""

    part: Which
    at: float
    id: str


class _StartData(msgspec.Struct):
    tracks: tuple[Track, ...]


class _Start(msgspec.Struct):
    data: _StartData


class _EndTrack(msgspec.Struct):
    track: Track
    finals: int
    audio_s: float | None


class _EndData(msgspec.Struct):
    outcome: str
    reason: str
    complete: bool
    duration_s: float | None
    tracks: tuple[_EndTrack, ...]
    recording: str | None = None


class _End(msgspec.Struct):
    data: _EndData


_INFO = msgspec.json.Decoder(CallInfo)
_START = msgspec.json.Decoder(_Start)
_END = msgspec.json.Decoder(_End)
_PLACE = msgspec.json.Decoder(_Place)


def select_page(db: sqlite3.Connection, recordings: Path, which: Which, limit: int, before: str | None) -> CallPage:
    """
    A page of calls, the newest first.

    Args:
        recordings: folder in which recordings are kept.
        limit: from 1; at most `MOST_CALLS` are taken.
        before: `next` of the page before this one.

    Raises:
        BadCursor: `before` is none.
    """
    limit = min(limit, MOST_CALLS)
    place = None if before is None else _read_cursor(before)
    rows: list[Any] = []
    for part in (Which.LIVE, Which.ENDED):
        is_behind = part is Which.LIVE and place is not None and place.part is Which.ENDED
        if which in (part, Which.ALL) and not is_behind:
            here = place if place is not None and place.part is part else None
            rows += _select_part(db, part, limit + 1 - len(rows), here)
    calls = tuple(_call(row, recordings) for row in rows[:limit])
    return CallPage(calls=calls, next=_cursor(rows[limit - 1]) if len(rows) > limit else None)


def select_calls(db: sqlite3.Connection, recordings: Path, ids: Sequence[str]) -> dict[str, Call]:
    """Calls by their ids; those that there are."""
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM calls c WHERE c.call_id IN (SELECT value FROM json_each(?))",  # noqa: S608 - constants
        (msgspec.json.encode(ids).decode(),),
    )
    return {row[0]: _call(row, recordings) for row in rows}


def select_call(db: sqlite3.Connection, recordings: Path, call_id: str) -> Call | None:
    """A call; None: there is none of that id."""
    return select_calls(db, recordings, [call_id]).get(call_id)


def select_story(db: sqlite3.Connection, recordings: Path, call_id: str) -> CallStory | None:
    """A call with all its events; None: there is none of that id."""
    call = select_call(db, recordings, call_id)
    if call is None:
        return None
    events = tuple(msgspec.Raw(body) for body in bodies_of(db, call_id))
    return CallStory(**{name: getattr(call, name) for name in call.__struct_fields__}, events=events)


def bodies_of(db: sqlite3.Connection, call_id: str) -> Iterator[bytes]:
    """The bodies of a call's events, in order."""
    sequence = 0
    while True:
        rows = db.execute(
            "SELECT sequence, body FROM events WHERE call_id = ? AND sequence > ? ORDER BY sequence LIMIT ?",
            (call_id, sequence, _EVENTS_PER_STEP),
        ).fetchall()
        for sequence, body in rows:  # noqa: B007 - the last one is where the next step begins
            yield bytes(body)
        if len(rows) < _EVENTS_PER_STEP:
            return


def select_recording(db: sqlite3.Connection, recordings: Path, call_id: str) -> Recording | None:
    """A call's recording; None: there is none, or none any more."""
    row = db.execute("SELECT body FROM main.events WHERE call_id = ? AND type = 'call.ended'", (call_id,)).fetchone()
    if row is None:
        return None
    end = _END.decode(row[0]).data
    path = _recording(recordings, end.recording)
    return None if path is None else Recording(path, tuple((each.track, each.audio_s) for each in end.tracks))


def _select_part(db: sqlite3.Connection, part: Which, limit: int, after: _Place | None) -> list[Any]:
    column, over = ("started_at", "IS NULL") if part is Which.LIVE else ("ended_at", "IS NOT NULL")
    where = f"c.ended_at {over}" + (f" AND (c.{column}, c.call_id) < (?, ?)" if after else "")
    return db.execute(
        f"SELECT {_COLUMNS} FROM calls c WHERE {where}"  # noqa: S608 - constants of this module
        f" ORDER BY c.{column} DESC, c.call_id DESC LIMIT ?",
        (*((after.at, after.id) if after else ()), limit),
    ).fetchall()


def _call(row: Any, recordings: Path) -> Call:
    call_id, info_json, started_at, ended_at, start_body, end_body, counted = row
    info = _INFO.decode(info_json)
    start = None if start_body is None else _START.decode(start_body).data
    end = None if end_body is None else _END.decode(end_body).data
    told = () if end is None else end.tracks
    return Call(
        id=call_id,
        platform=info.platform,
        platform_call_id=info.platform_call_id,
        from_number=info.from_number,
        to_number=info.to_number,
        metadata=info.metadata,
        started_at=_iso(started_at),
        ended_at=None if ended_at is None else _iso(ended_at),
        duration_s=None if end is None else end.duration_s,
        outcome=None if end is None else end.outcome,
        reason=None if end is None else end.reason,
        complete=None if end is None else end.complete,
        tracks=start.tracks if start is not None else tuple(each.track for each in told),
        finals=counted if counted is not None else sum(each.finals for each in told),
        has_recording=end is not None and _recording(recordings, end.recording) is not None,
    )


def _recording(folder: Path, name: str | None) -> Path | None:
    """The file, if the name is one that the gateway gives (`call_….wav`) and not a way to somewhere else."""
    if name is None or Path(name).name != name or not name.endswith(".wav"):
        return None
    path = folder / name
    return path if path.is_file() else None


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _cursor(row: Any) -> str:
    call_id, _, started_at, ended_at = row[:4]
    place = _Place(Which.LIVE, started_at, call_id) if ended_at is None else _Place(Which.ENDED, ended_at, call_id)
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def _read_cursor(text: str) -> _Place:
    try:
        place = _PLACE.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        raise BadCursor("not a cursor") from None
    if place.part is Which.ALL:
        raise BadCursor("not a cursor")
    return place
