"""
A disk that can be filled and freed while the gateway lives on it.

As root: a small file system in memory of its own, filled for real. Elsewhere: the kernel is told to let no file of the
gateway grow (RLIMIT_FSIZE, which gives EFBIG instead of ENOSPC); overwriting goes on, growing fails.
"""

import asyncio
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

SIZE_MB = 16
_BLOCK = bytes(64 * 1024)


class Disk(Protocol):
    """Where the data folder lies."""

    name: str
    folder: Path

    async def fill(self, pid: int) -> None:
        """Nothing can be written any more, until `free`; keeps on filling what becomes free."""

    def free(self, pid: int) -> None:
        """There is room again."""


class MountedDisk:
    """A file system in memory."""

    name = "a full file system"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"
        self._is_filling = False

    async def fill(self, _pid: int) -> None:
        self._is_filling = True
        while self._is_filling:
            self._fill_up()
            await asyncio.sleep(0.05)

    def free(self, _pid: int) -> None:
        self._is_filling = False
        self._filler.unlink(missing_ok=True)

    def _fill_up(self) -> None:
        with self._filler.open("ab", buffering=0) as file:
            for size in (len(_BLOCK), 4096, 1):
                try:
                    while file.write(_BLOCK[:size]):
                        pass
                except OSError:
                    continue


class LimitedDisk:
    """Any file system, and a process whose files may not grow."""

    name = "no file may grow (RLIMIT_FSIZE)"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def fill(self, pid: int) -> None:
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))

    def free(self, pid: int) -> None:
        with suppress(ProcessLookupError):  # it may be dead, and its limit with it
            _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))


@contextmanager
def small_disk(folder: Path, *, mount: bool = True) -> Iterator[Disk]:
    """A disk that can be filled, mounted at this (empty) folder if that is wanted and the system lets us."""
    options = ["-t", "tmpfs", "-o", f"size={SIZE_MB}m,mode=700", "gateway-chaos", str(folder)]
    try:
        command = ["mount", *options]
        is_mounted = mount and subprocess.run(command, check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        is_mounted = False
    try:
        yield MountedDisk(folder) if is_mounted else LimitedDisk(folder)
    finally:
        if is_mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True, capture_output=True)
