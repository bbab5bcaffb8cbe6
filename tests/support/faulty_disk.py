"""A disk for the journal that fails on command; what it takes goes to real files."""

import errno
import os
import threading
from pathlib import Path

from gateway.journal.disk import Disk


class FaultyDisk(Disk):
    """
    Attributes:
        fault: error number that every write fails with; None: writes succeed.
        room_bytes: how much more it takes; a write that does not fit is cut short, the next one fails as full.
        broken: path whose writes fail with EIO.
        is_rigid: cutting a file back fails, too.
        open_gate: cleared, writes wait until it is set.
        writes: how many have begun; `arrived` is released at each.
        synced: paths and folders that were flushed, in order.
    """

    def __init__(self) -> None:
        self.fault: int | None = None
        self.room_bytes: int | None = None
        self.broken: Path | None = None
        self.is_rigid = False
        self.open_gate = threading.Event()
        self.open_gate.set()
        self.arrived = threading.Semaphore(0)
        self.writes = 0
        self.synced: list[str] = []
        self._paths: dict[int, Path] = {}

    def create(self, path: Path) -> int:
        descriptor = super().create(path)
        self._paths[descriptor] = path
        return descriptor

    def write(self, descriptor: int, data: bytes | memoryview, offset: int) -> int:
        self.writes += 1
        self.arrived.release()
        assert self.open_gate.wait(10)
        if self._paths[descriptor] == self.broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if self.fault is not None:
            raise OSError(self.fault, os.strerror(self.fault))
        if self.room_bytes is None:
            return super().write(descriptor, data, offset)
        if self.room_bytes <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = super().write(descriptor, data[: self.room_bytes], offset)
        self.room_bytes -= written
        return written

    def truncate(self, descriptor: int, size: int) -> None:
        if self.is_rigid:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().truncate(descriptor, size)

    def sync(self, descriptor: int) -> None:
        self.synced.append(self._paths[descriptor].name)
        super().sync(descriptor)

    def sync_folder(self, folder: Path) -> None:
        self.synced.append(folder.name)
        super().sync_folder(folder)

    def remove(self, path: Path) -> None:
        if self.is_rigid:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().remove(path)
