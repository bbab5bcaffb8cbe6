"""
The tables of the outbox, and how a file becomes one that this version can use.

The file is opened by `gateway serve`, which holds the folder's lock, and by `gateway deliveries`, which does not:
SQLite keeps their transactions apart. Only a process with the lock may change the tables.
"""

import fcntl
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from gateway.errors import StorageError

Connect: TypeAlias = Callable[[Path], sqlite3.Connection]

FILE_NAME = "outbox.sqlite3"
_LOCK_NAME = "outbox.lock"
_BUSY_S = 5.0
# More than the statements of `writing` in all their sizes; a small one takes about a kilobyte, the largest ten.
_STATEMENTS_KEPT = 256

# The n-th script brings a file of version n to version n + 1; a new file goes through all of them.
_STEPS = (
    """
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
""",
    """
CREATE TABLE endpoints (
    key TEXT PRIMARY KEY,
    origin TEXT NOT NULL,
    disabled_at REAL,
    reason TEXT
) WITHOUT ROWID;
CREATE INDEX deliveries_given_up ON deliveries (state, position) WHERE state = 'dead' OR state = 'dropped';
""",
)
SCHEMA_VERSION = len(_STEPS)


def connect(path: Path) -> sqlite3.Connection:
    """A connection in autocommit mode; the store begins and ends the transactions."""
    return sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, cached_statements=_STATEMENTS_KEPT)


def open_database(path: Path, connect: Connect) -> sqlite3.Connection:
    """
    Open the database of a folder that is locked, make or change its tables, and take back the leases of a process that
    died.

    Raises:
        StorageError: it cannot be used, or a newer version of the gateway made it.
    """

    def prepare(db: sqlite3.Connection) -> None:
        db.execute("PRAGMA journal_mode = WAL")
        _set_up(db)
        _bring_up_to_date(db, path)
        db.execute("UPDATE deliveries SET lease_until = NULL WHERE due_at IS NOT NULL AND lease_until IS NOT NULL")

    return _open(path, connect, prepare)


def open_beside(folder: Path) -> sqlite3.Connection:
    """
    Open the database of a folder that another process may be serving from. Nothing is created.

    Raises:
        StorageError: there is none, it cannot be used, or another version of the gateway made it and uses it.
    """
    path = folder / FILE_NAME

    def prepare(db: sqlite3.Connection) -> None:
        _set_up(db)
        if _version(db) < SCHEMA_VERSION:
            lock = lock_folder(folder)
            try:
                _bring_up_to_date(db, path)
            finally:
                os.close(lock)
        _bring_up_to_date(db, path)

    if not path.is_file():
        raise StorageError(f"no store in the data folder {folder}", code="store_missing")
    return _open(path, connect, prepare)


def _open(path: Path, connect: Connect, prepare: Callable[[sqlite3.Connection], None]) -> sqlite3.Connection:
    db: sqlite3.Connection | None = None
    try:
        db = connect(path)
        prepare(db)
        return db
    except (sqlite3.Error, StorageError) as error:
        if db is not None:
            db.close()
        if isinstance(error, StorageError):
            raise
        raise StorageError(f"cannot use {path}: {error}", code="store_unusable") from error


def _set_up(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA foreign_keys = ON")
    db.execute(f"PRAGMA busy_timeout = {int(_BUSY_S * 1000)}")


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _bring_up_to_date(db: sqlite3.Connection, path: Path) -> None:
    version = _version(db)
    if version > SCHEMA_VERSION:
        raise StorageError(f"{path} was made by a newer version of the gateway", code="store_too_new")
    for number, step in enumerate(_STEPS[version:], start=version + 1):
        db.executescript(f"BEGIN IMMEDIATE; {step} PRAGMA user_version = {number}; COMMIT;")


def lock_folder(folder: Path) -> int:
    """
    Make the folder, readable by its owner alone, and lock it for this process; return the lock's descriptor.

    Raises:
        StorageError: it cannot be made, or another process has the lock.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(folder / _LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StorageError(f"cannot use the data folder {folder}: {error.strerror}", code="store_unusable") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise StorageError(f"another process uses the data folder {folder}", code="store_in_use") from error
    return lock
