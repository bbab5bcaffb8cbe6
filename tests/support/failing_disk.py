"""SQLite connections to a disk that fails or takes its time."""

import asyncio
import sqlite3
import threading
from pathlib import Path
from typing import Any

DEADLINE_S = 60.0


class Disk:
    """
    Opens connections that fail on command: at the statement that begins with `fails_at`, or at a size in pages; or that
    commit only once the gate is open; or that commit and report a failure, `lies` times.
    """

    def __init__(self) -> None:
        self.fails_at: str | None = None
        self.failed = threading.Semaphore(0)
        self.page_limit: int | None = None
        self.lies = 0
        self.gate = threading.Event()
        self.gate.set()

    def connect(self, path: Path) -> sqlite3.Connection:
        disk = self

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
                if disk.page_limit is not None and sql.startswith("BEGIN"):
                    super().execute(f"PRAGMA max_page_count = {disk.page_limit}")
                if sql == "COMMIT" and not disk.gate.is_set():
                    disk.failed.release()
                    assert disk.gate.wait(DEADLINE_S)
                if disk.fails_at is not None and sql.startswith(disk.fails_at):
                    disk.failed.release()
                    raise sqlite3.OperationalError("disk I/O error")
                if sql == "COMMIT" and disk.lies:
                    disk.lies -= 1
                    super().execute(sql, *arguments)
                    raise sqlite3.OperationalError("disk I/O error")
                try:
                    return super().execute(sql, *arguments)
                except sqlite3.OperationalError:
                    disk.failed.release()
                    raise

        return sqlite3.connect(path, isolation_level=None, factory=Connection)

    async def has_failed(self) -> None:
        """Return once a statement has failed and the store has heard of it."""
        await self.fails(2)  # the second one is a repetition, which only comes after the first was heard of

    async def fails(self, times: int) -> None:
        """Return once so many statements have failed or wait at the gate."""
        loop = asyncio.get_running_loop()
        for _ in range(times):
            assert await loop.run_in_executor(None, self.failed.acquire, True, DEADLINE_S)
