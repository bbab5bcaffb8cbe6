"""
The journal: one task and one thread that write the audio of all live calls.

The calls are spread over SLOTS; each tick writes one slot, so that every call is written each SLOTS ticks, 0.75 s, and
the loop is never busy long: what a process that is killed has not written is less than a second, the chunk that is
being joined included. A slot is filled before the next one is begun, since each costs a trip to the thread, however few
its calls. Slots are written one after the other: while a slow disk is at work nothing more is asked of it, and memory
holds what comes, within the tapes' bounds. A file that cannot be written costs no other; it is tried again, at the same
place.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from gateway import telemetry
from gateway.config import JournalSettings
from gateway.errors import StorageError
from gateway.events import Track
from gateway.journal.contents import CallHeader
from gateway.journal.disk import Batch, Disk, fault_name, probe, write_all
from gateway.journal.kept import KeptCall
from gateway.journal.live import BACKOFF_S, CallJournal
from gateway.journal.reader import Scanned, scan
from gateway.journal.recording import remove_unfinished
from gateway.journal.shelf import SUFFIX, Shelf
from gateway.media.tape import Tape

log = structlog.get_logger()

TICK_S = 0.05
SLOTS = 15
SLOT_CALLS = 64
"""Calls of one slot before another one is begun; once all have as many, they grow alike. About 0.5 ms of the loop."""
FULL = "max_mb"
"""Why nothing is written when the files have reached their limit; other reasons are names such as ENOSPC."""
_SHARE_OF_WAITING = 0.9


class Journal:
    """
    All files of calls. Use as an async context manager, once per process; every method belongs to the event loop.

    Args:
        folder: of this alone; made if it is not there, for its owner only.
        settings: bounds and flushing.
        clock: Unix seconds.
        disk: replaced in tests.
        tick_s: seconds from one slot to the next.

    Raises:
        StorageError: on entry: the folder cannot be used.
    """

    def __init__(
        self,
        folder: Path,
        settings: JournalSettings,
        *,
        clock: Callable[[], float] = time.time,
        disk: Disk | None = None,
        tick_s: float = TICK_S,
    ) -> None:
        self._folder = folder
        self._settings = settings
        self._clock = clock
        self._disk = disk or Disk()
        self._tick_s = tick_s
        self._max_bytes = settings.max_mb << 20
        self._slots: list[dict[CallJournal, None]] = [{} for _ in range(SLOTS)]
        self._kept: list[KeptCall] = []
        self._writing = asyncio.Lock()
        self._failing: set[CallJournal] = set()
        self._trouble: str | None = None
        self._probe_at = 0.0

    # ── Life ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            self._shelf = Shelf(self._folder, self._disk)
            stack.callback(self._shelf.close)
            await self._open()
            stack.push_async_callback(self._leave_all)
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            stack.callback(tasks.create_task(self._keep_writing(), name="journal").cancel)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        """Write what memory still holds, as far as the disk allows, and close the files; they stay."""
        return await self._stack.__aexit__(kind, error, trace)

    def begin(self, header: CallHeader, tapes: Mapping[Track, Tape]) -> CallJournal:
        """
        Keep a new call's audio from now on; never waits.

        The call then says `end` or `leave`.
        """
        call = CallJournal(
            header,
            tapes,
            self._shelf,
            flush=self._flush_call,
            let_go=self._forget,
            sync=self._settings.sync,
            clock=self._clock,
        )
        self._slot_for_one_more()[call] = None
        return call

    def kept(self) -> list[KeptCall]:
        """The calls that an earlier process left, the oldest first."""
        return list(self._kept)

    async def flush(self) -> None:
        """Write what memory holds now."""
        await self._write(self._live())

    # ── State ───────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def trouble(self) -> str | None:
        """Why audio cannot be written: `max_mb`, or the system's name of the fault such as ENOSPC; None if it can."""
        return FULL if self.used_bytes >= self._max_bytes else self._trouble

    @property
    def is_writable(self) -> bool:
        """Whether the last writes succeeded; no new calls should be taken while it is false."""
        return self.trouble is None

    @property
    def used_bytes(self) -> int:
        """Of all files."""
        return self._shelf.used_bytes

    @property
    def excess_bytes(self) -> int:
        """How much of what waits should go, so that calls in progress have room; 0 if they have."""
        return max(0, self.used_bytes - int(_SHARE_OF_WAITING * self._max_bytes))

    # ── Writing ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def _keep_writing(self) -> None:
        loop = asyncio.get_running_loop()
        began, ticks = loop.time(), 0
        while True:
            await asyncio.sleep(self._tick_s)
            now = loop.time()
            done, ticks = ticks, int((now - began) / self._tick_s)
            for number in range(max(done, ticks - SLOTS), ticks):
                await self._write_slot(list(self._slots[number % SLOTS]), now)
            if self._trouble is not None and not self._failing and self._probe_at <= now:
                await self._look_again(now)

    async def _write_slot(self, calls: list[CallJournal], now: float) -> None:
        await self._write(call for call in calls if call.retry_at <= now)
        for call in calls:
            if call.is_left and call.is_done:
                self._forget(call)
                call.close()

    async def _flush_call(self, call: CallJournal) -> bool:
        await self._write([call])
        return not call.has_unwritten

    async def _write(self, calls: Iterable[CallJournal]) -> None:
        async with self._writing:
            batches: list[tuple[CallJournal, Batch]] = []
            refused: list[CallJournal] = []
            room_bytes = self._max_bytes - self.used_bytes
            is_tight = room_bytes < self._max_bytes // 2
            for call in calls:
                batch = call.collect()
                if batch is None:
                    self._failing.discard(call)
                    continue
                if is_tight:
                    room_bytes -= batch.audio_bytes
                    if room_bytes < 0 and batch.audio_bytes:
                        refused.append(call)
                        continue
                batches.append((call, batch))
            faults = await self._write_batches(batches)
            if refused:
                faults[FULL] = refused
            self._take_note(faults, has_written=bool(batches))

    async def _write_batches(self, batches: list[tuple[CallJournal, Batch]]) -> dict[str, list[CallJournal]]:
        """Returns what could not be written, by fault."""
        faults: dict[str, list[CallJournal]] = {}
        if not batches:
            return faults
        started = time.perf_counter()
        errors = await self._shelf.run(write_all, [batch for _, batch in batches])
        telemetry.JOURNAL_WRITE_SECONDS.observe(time.perf_counter() - started)
        grown_bytes = 0
        for (call, batch), error in zip(batches, errors, strict=True):
            if error is None:
                grown_bytes += call.settle(batch)
                self._failing.discard(call)
            else:
                faults.setdefault(fault_name(error), []).append(call)
        self._shelf.account(grown_bytes)
        return faults

    def _take_note(self, faults: Mapping[str, list[CallJournal]], *, has_written: bool) -> None:
        for calls in faults.values():
            telemetry.JOURNAL_WRITE_ERRORS.inc(len(calls))
            for call in calls:
                call.fail()
                self._failing.add(call)
        if faults:
            reason = next(iter(faults))
            if self._trouble is None:
                log.error("journal_write_failed", reason=reason, calls=len(self._failing))
            self._trouble = reason
        elif has_written and not self._failing:
            self._recovered()

    async def _look_again(self, now: float) -> None:
        """No call is left that would find out whether the disk takes audio again."""
        self._probe_at = now + BACKOFF_S[-1]
        if not self.excess_bytes and await self._shelf.run(probe, self._folder, self._disk) is None:
            self._recovered()

    def _recovered(self) -> None:
        if self._trouble is not None:
            log.info("journal_write_recovered", reason=self._trouble)
            self._trouble = None

    # ── Calls ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _live(self) -> list[CallJournal]:
        return [call for slot in self._slots for call in slot]

    def _slot_for_one_more(self) -> dict[CallJournal, None]:
        """Of those that are in use, unless all of them have calls enough."""
        open_to_all = [slot for slot in self._slots if len(slot) < SLOT_CALLS]
        return max(open_to_all, key=len) if open_to_all else min(self._slots, key=len)

    def _forget(self, call: CallJournal) -> None:
        for slot in self._slots:
            slot.pop(call, None)
        self._failing.discard(call)

    async def _leave_all(self) -> None:
        calls = self._live()
        await self._write(calls)
        for call in calls:
            self._forget(call)
            call.close()

    async def _open(self) -> None:
        try:
            found = await self._shelf.run(_find, self._folder)
        except OSError as error:
            raise StorageError(f"cannot use the journal's folder: {error.strerror}", code="journal_unusable") from error
        for each in found:
            self._shelf.account(each.file.size_bytes)
            self._kept.append(KeptCall(each.header, each.end, each.file, self._shelf, modified_at=each.modified_at))
        self._kept.sort(key=lambda call: call.started_at)


def _find(folder: Path) -> list[Scanned]:
    """In the thread: make the folder, or read what is in it; what cannot be read is deleted."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    remove_unfinished(folder)
    found: list[Scanned] = []
    for path in folder.glob(f"*{SUFFIX}"):
        scanned = scan(path)
        if scanned is None:
            log.warning("journal_file_unreadable", call_id=path.stem, bytes=path.stat().st_size)
            path.unlink()
            continue
        if scanned.damaged_bytes:
            log.warning("journal_file_damaged", call_id=path.stem, bytes=scanned.damaged_bytes)
        found.append(scanned)
    return found
