"""Where the files of all calls stand: the folder, the thread that works in it, and what they take together."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from gateway import telemetry
from gateway.journal.disk import Disk
from gateway.journal.hand import Hand
from gateway.journal.index import Index

T = TypeVar("T")

SUFFIX = ".journal"


@dataclass(slots=True, eq=False)
class CallFile:
    """
    What can be read of a call's file.

    `size_bytes`: of what was written completely; readers go no further.
    """

    path: Path
    tag: bytes
    index: Index
    size_bytes: int = 0


class Shelf:
    """
    Belongs to the event loop, but for what its threads do.

    Args:
        folder: of the files.
        disk: the way to them.
    """

    def __init__(self, folder: Path, disk: Disk) -> None:
        self.folder = folder
        self.disk = disk
        self._used_bytes = 0
        self._hand = Hand("journal")
        self._slow_thread = ThreadPoolExecutor(1, thread_name_prefix="journal-recording")

    def path(self, call_id: str) -> Path:
        return self.folder / f"{call_id}{SUFFIX}"

    @property
    def used_bytes(self) -> int:
        """Of all files."""
        return self._used_bytes

    def account(self, change_bytes: int) -> None:
        """Files have grown, or are gone."""
        self._used_bytes += change_bytes
        telemetry.JOURNAL_BYTES.set(self._used_bytes)

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Do something short in the thread; one after the other."""
        return await self._hand.run(function, *arguments)

    def run_later(self, function: Callable[[], None]) -> None:
        """Do something in the thread after what it has to do already; nobody waits for it, and it never fails."""
        self._hand.run_later(function)

    async def run_slow(self, function: Callable[..., T], *arguments: Any) -> T:
        """Do something that takes seconds and must not delay writing; one after the other as well."""
        return await asyncio.get_running_loop().run_in_executor(self._slow_thread, function, *arguments)

    def close(self) -> None:
        """Wait for the threads."""
        self._hand.close()
        self._slow_thread.shutdown()
