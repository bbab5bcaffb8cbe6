"""The file of rules while the gateway runs: read at the start, and again when it has changed."""

import asyncio
from pathlib import Path
from typing import TypeAlias

import structlog

from gateway import telemetry
from gateway.assist.rules import MAX_FILE_BYTES, RuleBook, parse
from gateway.errors import ConfigError

log = structlog.get_logger()

LOOK_S = 2.0
_Mark: TypeAlias = tuple[int, int, int, int] | None


class RulesFile:
    """
    Rules that follow their file.

    Args:
        path: of the file.
        look_s: between two looks whether it has changed.

    Attributes:
        book: the rules that were read last and can be used.

    Raises:
        ConfigError: the file cannot be read, or has faults; each is named.
    """

    def __init__(self, path: Path, *, look_s: float = LOOK_S) -> None:
        self._path = path
        self._look_s = look_s
        self._seen = _mark(path)
        self.book = _read(path)
        telemetry.CUE_RULES.set(len(self.book.rules))
        telemetry.CUE_RULES_FAULTY.set(0)

    async def run(self) -> None:
        """Look at the file again and again, until cancelled."""
        while True:
            await asyncio.sleep(self._look_s)
            await self.refresh()

    async def refresh(self) -> None:
        """Read the file again if it has changed; one that cannot be used is reported, and the old rules stay."""
        mark = await asyncio.to_thread(_mark, self._path)
        if mark == self._seen:
            return
        self._seen = mark
        try:
            book = await asyncio.to_thread(_read, self._path)
        except ConfigError as error:
            telemetry.CUE_RULES_FAULTY.set(1)
            log.error("cue_rules_unusable", faults=error.faults)  # noqa: TRY400 - the faults say it all
            return
        self.book = book
        telemetry.CUE_RULES.set(len(book.rules))
        telemetry.CUE_RULES_FAULTY.set(0)
        log.info("cue_rules_read", rules=len(book.rules))


def _read(path: Path) -> RuleBook:
    """The rules of a file, or every fault in it."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError([f"assist.rules_file: {path}: {error.strerror}"]) from None
    try:
        return parse(content)
    except ConfigError as error:
        raise ConfigError([f"assist.rules_file: {path}: {fault}" for fault in error.faults]) from None


def _mark(path: Path) -> _Mark:
    """What changes when a file does, or who may read it: inode, size, both times; None: it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
