"""
The file of the search: every final's text in an FTS5 table whose row numbers are positions in the store.

It is made from the store and can be made again from it at any time: a file that is damaged, of another version, of
another store, or of texts that were masked otherwise is thrown away. Blocks; belongs to one thread.
"""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import structlog

from gateway.errors import StorageError
from gateway.live.search_words import parted

FILE_NAME = "search.sqlite3"
LIMIT_S = 5.0
_VERSION = 2
_LOOK_EVERY = 10_000
_BROKEN = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_TABLES = (
    "CREATE VIRTUAL TABLE finals USING fts5(text,"
    " tokenize = \"unicode61 remove_diacritics 2 categories 'L* N* M* Co'\", prefix = '1 2 3')",
    "CREATE TABLE fed (position INTEGER NOT NULL, event_id TEXT NOT NULL, mask TEXT NOT NULL)",
    f"PRAGMA user_version = {_VERSION}",
)
"""
Letters are found without their accents and in either case; short beginnings of words have an index of their own. Signs
above and below letters (M*) belong to them: of Hindi or Thai they are the vowels.
"""

_log = structlog.get_logger()


class Fed(msgspec.Struct, frozen=True):
    """How far the store was read: the position of the last event, and its id, by which the store is known again."""

    position: int
    event_id: str


def has_fts5() -> bool:
    """Whether this Python's SQLite can search."""
    db = sqlite3.connect(":memory:")
    try:
        db.execute("CREATE VIRTUAL TABLE probe USING fts5(text)")
    except sqlite3.OperationalError:
        return False
    finally:
        db.close()
    return True


class SearchFile:
    """
    The file; opened, or made, when it is first used. Every method may raise StorageError: `search_index_lost` if it
    has to be filled again from the beginning, `search_index_failed` if the disk does not do what it should,
    `search_too_slow`.

    Args:
        path: of the file.
        mask: names what is hidden in the texts; those that hid less, or more, are of no use.
    """

    def __init__(self, path: Path, mask: str = "") -> None:
        self._path = path
        self._mask = mask
        self._db: sqlite3.Connection | None = None
        self._deadline = 0.0

    def fed(self) -> Fed:
        """How far the store was read."""
        with self._use() as db:
            return Fed(*db.execute("SELECT position, event_id FROM fed").fetchone())

    def add(self, finals: Sequence[tuple[int, str]], fed: Fed) -> None:
        """Add positions with their texts, also again; `fed`: how far the store was read with them."""
        with self._use() as db:
            db.execute("BEGIN IMMEDIATE")
            db.executemany(
                "INSERT OR REPLACE INTO finals (rowid, text) VALUES (?, ?)",
                [(position, parted(text)) for position, text in finals],
            )
            db.execute(
                "UPDATE fed SET position = :position, event_id = :id WHERE position < :position",
                {"position": fed.position, "id": fed.event_id},
            )
            db.execute("COMMIT")

    def find(self, expression: str, before: int, limit: int) -> list[int]:
        """Positions below `before` whose text matches, the newest first."""
        with self._use() as db:
            rows = db.execute(
                "SELECT rowid FROM finals WHERE finals MATCH ? AND rowid < ? ORDER BY rowid DESC LIMIT ?",
                (expression, before, limit),
            )
            return [position for (position,) in rows]

    def positions(self, after: int, limit: int) -> list[int]:
        """Positions that are in it, in order."""
        with self._use() as db:
            rows = db.execute("SELECT rowid FROM finals WHERE rowid > ? ORDER BY rowid LIMIT ?", (after, limit))
            return [position for (position,) in rows]

    def remove(self, positions: Sequence[int]) -> None:
        """Forget texts."""
        with self._use() as db:
            db.execute("BEGIN IMMEDIATE")
            db.executemany("DELETE FROM finals WHERE rowid = ?", [(position,) for position in positions])
            db.execute("COMMIT")

    def start_over(self, reason: str) -> None:
        """Throw the file away; the next use makes an empty one."""
        _log.warning("search_index_made_again", reason=reason)
        self.close()
        try:
            for suffix in ("", "-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        except OSError as error:
            raise StorageError("the search's file cannot be used", code="search_index_failed") from error

    def close(self) -> None:
        """Close the file, if it is open."""
        if self._db is not None:
            self._db.close()
            self._db = None

    @contextmanager
    def _use(self) -> Iterator[sqlite3.Connection]:
        self._deadline = time.monotonic() + LIMIT_S
        try:
            if self._db is None:
                self._db = self._open()
            yield self._db
        except sqlite3.Error as error:
            self.close()  # which undoes what was begun
            raise self._failure(error) from error

    def _failure(self, error: sqlite3.Error) -> StorageError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the other bits say more about it
        if code in _BROKEN:
            self.start_over("damaged")
            return StorageError("the search's file was damaged and is made again", code="search_index_lost")
        if code == sqlite3.SQLITE_INTERRUPT:
            return StorageError("that took too long to find", code="search_too_slow")
        return StorageError("the search's file cannot be used", code="search_index_failed")

    def _open(self) -> sqlite3.Connection:
        db = self._connect()
        if misfit := self._misfit(db):
            self.start_over(misfit)
            db = self._connect()
        if not _version(db):
            self._make_tables(db)
        db.set_progress_handler(lambda: time.monotonic() > self._deadline, _LOOK_EVERY)
        return db

    def _connect(self) -> sqlite3.Connection:
        self._db = db = sqlite3.connect(self._path, isolation_level=None)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")  # what a power cut takes is read from the store again
        return db

    def _misfit(self, db: sqlite3.Connection) -> str | None:
        """Why a file is of no use; None: it is good, or empty."""
        version = _version(db)
        if version not in (0, _VERSION):
            return "version"
        if version and db.execute("SELECT mask FROM fed").fetchone() != (self._mask,):
            return "redaction"
        return None

    def _make_tables(self, db: sqlite3.Connection) -> None:
        db.execute("BEGIN")
        for statement in _TABLES:
            db.execute(statement)
        db.execute("INSERT INTO fed VALUES (0, '', ?)", (self._mask,))
        db.execute("COMMIT")


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])
