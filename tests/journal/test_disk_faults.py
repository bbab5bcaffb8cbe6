"""A disk that is full, broken or slow costs what memory cannot hold, says so, and spoils no file."""

import asyncio
import errno
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway import telemetry
from gateway.config import JournalSettings
from gateway.events import Track
from gateway.journal import Journal, live, writer
from tests.support.faulty_disk import FaultyDisk
from tests.support.journalled_calls import CHUNK, NEVER_S, Line, audio_of, files, kept_in, put, sound, stream_end, until

RECORD = CHUNK + 40


def missed_s() -> float:
    value = telemetry.REGISTRY.get_sample_value("gateway_journal_missed_audio_seconds_total")
    assert value is not None
    return value


def samples_kept(audio: dict[Track, list[tuple[int, bytes]]]) -> int:
    return sum(len(payload) for runs in audio.values() for _, payload in runs)


@pytest.mark.parametrize("room_bytes", [0, 1, 20, 300, 1000, RECORD - 1, RECORD, RECORD + 1, 2000])
async def test_a_disk_that_fills_up_costs_nothing_once_there_is_room_again(
    folder: Path, disk: FaultyDisk, room_bytes: int
) -> None:
    async with Journal(folder, JournalSettings(), disk=disk, tick_s=NEVER_S) as journal:
        line = Line(journal)
        line.feed(2)
        await journal.flush()
        disk.room_bytes = room_bytes
        for _ in range(4):
            line.feed()
            await journal.flush()
        assert not journal.is_writable
        assert len(files(folder)["call_1.journal"]) == journal.used_bytes
        assert samples_kept((await kept_in_copy(folder))["call_1"]) == 3200 + 1600 - line.unwritten * CHUNK
        disk.room_bytes = None
        line.feed()
        await journal.flush()
        assert journal.is_writable
        await line.call.end(stream_end())
    assert await kept_in(folder) == {"call_1": {Track.INBOUND: [(0, sound(0, 7 * CHUNK))]}}


@pytest.mark.parametrize("room_bytes", [0, 1, 100, 700])
async def test_a_disk_that_is_full_from_the_start_leaves_no_file(
    journal: Journal, folder: Path, disk: FaultyDisk, room_bytes: int
) -> None:
    disk.room_bytes = room_bytes
    Line(journal).feed()
    await journal.flush()
    assert (files(folder), journal.is_writable, journal.used_bytes) == ({}, False, 0)


async def kept_in_copy(folder: Path) -> dict[str, dict[Track, list[tuple[int, bytes]]]]:
    """As the next process would find it if this one died now."""
    copy = folder.with_name("copy")
    put(copy, files(folder))
    return await kept_in(copy)


async def test_torn_bytes_that_cannot_be_cut_off_are_written_over(folder: Path, disk: FaultyDisk) -> None:
    async with Journal(folder, JournalSettings(), disk=disk, tick_s=NEVER_S) as journal:
        line = Line(journal)
        line.feed()
        await journal.flush()
        disk.is_rigid = True
        disk.room_bytes = RECORD + 100
        line.feed()
        line.feed(2, track=Track.OUTBOUND)  # the first record fits, the second does not
        await journal.flush()
        assert (await kept_in_copy(folder))["call_1"][Track.INBOUND] == [(0, sound(0, 2 * CHUNK))]
        disk.room_bytes = None
        line.feed()
        await journal.flush()
        await line.call.end(stream_end())
    async with Journal(folder, JournalSettings()) as journal:
        (kept,) = journal.kept()
        assert [kept.missing(track) for track in Track] == [[], []]
        assert await audio_of(kept) == {
            Track.INBOUND: [(0, sound(0, 3 * CHUNK))],
            Track.OUTBOUND: [(0, sound(0, 2 * CHUNK))],
        }


async def test_trouble_is_told_once_and_its_end_too(journal: Journal, disk: FaultyDisk) -> None:
    lines = [Line(journal, f"call_{number}") for number in range(3)]
    disk.fault = errno.ENOSPC
    with capture_logs() as logs:
        for _ in range(3):
            for line in lines:
                line.feed()
            await journal.flush()
        assert (journal.is_writable, journal.trouble) == (False, "ENOSPC")
        disk.fault = None
        await journal.flush()
        assert (journal.is_writable, journal.trouble) == (True, None)
    assert [(each["event"], each["log_level"], each["reason"]) for each in logs] == [
        ("journal_write_failed", "error", "ENOSPC"),
        ("journal_write_recovered", "info", "ENOSPC"),
    ]


async def test_a_file_that_cannot_be_written_costs_no_other(journal: Journal, folder: Path, disk: FaultyDisk) -> None:
    broken, sound_one = Line(journal, "call_broken"), Line(journal, "call_sound")
    disk.broken = folder / "call_broken.journal"
    broken.feed()
    sound_one.feed()
    await journal.flush()
    assert (broken.unwritten, sound_one.unwritten, journal.trouble) == (1, 0, "EIO")


async def test_failed_writes_are_tried_again_at_growing_intervals(
    folder: Path, disk: FaultyDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "BACKOFF_S", (0.01, NEVER_S))
    disk.fault = errno.EIO
    async with Journal(folder, JournalSettings(), disk=disk, tick_s=0.001) as journal:
        line = Line(journal)
        line.feed()
        await until(lambda: disk.writes == 2)
        other = Line(journal, "call_2")
        other.feed()
        await until(lambda: disk.writes == 4)  # the other call's; the first one waits
        assert line.unwritten == 1


async def test_what_memory_had_to_give_up_is_told_as_missing_at_its_place(journal: Journal, disk: FaultyDisk) -> None:
    before = missed_s()
    line = Line(journal, capacity_bytes=4 * CHUNK)
    line.feed()
    await journal.flush()
    disk.fault = errno.ENOSPC
    line.feed(7)
    await journal.flush()
    disk.fault = None
    line.feed()
    kept = await line.call.end(stream_end())
    assert kept.missing(Track.INBOUND) == [(CHUNK, 5 * CHUNK)]
    assert await audio_of(kept) == {Track.INBOUND: [(0, sound(0)), (5 * CHUNK, sound(5 * CHUNK, 4 * CHUNK))]}
    assert missed_s() - before == pytest.approx(0.4)


async def test_the_next_process_knows_what_is_missing(folder: Path, disk: FaultyDisk) -> None:
    async with Journal(folder, JournalSettings(), disk=disk, tick_s=NEVER_S) as journal:
        line = Line(journal, capacity_bytes=2 * CHUNK)
        line.feed(5)
        await line.call.end(stream_end())
    async with Journal(folder, JournalSettings()) as journal:
        (kept,) = journal.kept()
        assert (kept.missing(Track.INBOUND), kept.extent(Track.INBOUND)) == ([(0, 2400)], (2400, 4000))


async def test_what_memory_gave_up_while_it_was_being_written_is_not_missing(
    journal: Journal, disk: FaultyDisk
) -> None:
    line = Line(journal, capacity_bytes=2 * CHUNK)
    line.feed(2)
    disk.open_gate.clear()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(journal.flush())
        await until(lambda: disk.writes == 1)
        line.feed(pause=8000)
        line.feed(2)  # the two that are on their way are given up, and one that is not
        disk.open_gate.set()
    kept = await line.call.end(stream_end())
    assert kept.missing(Track.INBOUND) == [(9600, 9600 + CHUNK)]


async def test_nothing_more_is_asked_of_a_slow_disk_and_memory_stays_bounded(folder: Path, disk: FaultyDisk) -> None:
    disk.open_gate.clear()
    async with Journal(folder, JournalSettings(), disk=disk, tick_s=0.001) as journal:
        lines = [Line(journal, f"call_{number}", capacity_bytes=5 * CHUNK) for number in range(10)]
        for line in lines:
            line.feed()
        await until(lambda: disk.writes == 1)
        for line in lines:
            line.feed(20)
        held = max(line.unwritten for line in lines)
        writes = disk.writes
        disk.open_gate.set()
        await until(lambda: all(line.unwritten == 0 for line in lines))
    assert (held, writes) == (5, 1)


async def test_the_end_of_a_call_does_not_wait_for_ever(
    journal: Journal, folder: Path, disk: FaultyDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "PATIENCE_S", 0.05)
    monkeypatch.setattr(live, "BACKOFF_S", (0.01,))
    line = Line(journal)
    line.feed(2)
    await journal.flush()
    disk.fault = errno.ENOSPC
    line.feed(3)
    before = missed_s()
    with capture_logs() as logs:
        kept = await line.call.end(stream_end())
    assert (kept.end, kept.extent(Track.INBOUND), kept.missing(Track.INBOUND)) == (
        stream_end(),
        (0, 1600),
        [(1600, 4000)],
    )
    assert [each["event"] for each in logs] == ["journal_write_failed", "journal_cut_short"]
    assert missed_s() - before == pytest.approx(0.3)
    assert line.tapes[Track.INBOUND].unwritten() == []


async def test_a_call_that_is_cut_off_waits_a_moment_for_the_disk(
    folder: Path, disk: FaultyDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "BACKOFF_S", (0.001,))
    disk.fault = errno.ENOSPC
    async with Journal(folder, JournalSettings(), disk=disk, tick_s=0.001) as journal:
        line = Line(journal)
        line.feed(2)
        line.call.leave()
        await until(lambda: disk.writes > 2)
        disk.fault = None
        await until(lambda: line.unwritten == 0)
    assert await kept_in(folder) == {"call_1": {Track.INBOUND: [(0, sound(0, 2 * CHUNK))]}}


async def test_a_disk_that_takes_audio_again_is_noticed_without_any_call(
    folder: Path, disk: FaultyDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "PATIENCE_S", 0.0)
    monkeypatch.setattr(writer, "BACKOFF_S", (0.001,))
    disk.fault = errno.ENOSPC
    async with Journal(folder, JournalSettings(), disk=disk, tick_s=0.001) as journal:
        line = Line(journal)
        line.feed()
        await (await line.call.end(stream_end())).remove()
        writes = disk.writes
        await until(lambda: disk.writes > writes + 2)
        assert not journal.is_writable
        disk.fault = None
        await until(lambda: journal.is_writable)
        assert files(folder) == {}


async def test_beyond_its_limit_no_audio_is_written_until_something_goes(
    folder: Path, disk: FaultyDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Journal(folder, JournalSettings(max_mb=1), disk=disk, tick_s=NEVER_S) as journal:
        waiting = Line(journal, "call_waiting", capacity_bytes=1 << 20)
        waiting.feed(1160)
        await journal.flush()
        kept = await waiting.call.end(stream_end())
        assert (journal.is_writable, journal.excess_bytes > 0) == (True, False)
        line = Line(journal, capacity_bytes=1 << 20)
        line.feed(140)
        await journal.flush()
        assert journal.excess_bytes == journal.used_bytes - int(0.9 * (1 << 20)) > 0
        line.feed(20)
        with capture_logs() as logs:
            await journal.flush()
        assert (journal.trouble, line.unwritten, journal.used_bytes <= 1 << 20) == ("max_mb", 20, True)
        assert [(each["event"], each["reason"]) for each in logs] == [("journal_write_failed", "max_mb")]
        await kept.remove()
        await journal.flush()
        assert (journal.is_writable, line.unwritten, journal.excess_bytes) == (True, 0, 0)


async def test_what_the_limit_refused_is_told_in_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "PATIENCE_S", 0.0)
    async with Journal(folder, JournalSettings(max_mb=1), tick_s=NEVER_S) as journal:
        line = Line(journal, capacity_bytes=1 << 20)
        line.feed(1280)
        await journal.flush()
        line.feed(100)
        await line.call.end(stream_end())
    async with Journal(folder, JournalSettings()) as journal:
        (kept,) = journal.kept()
    assert (kept.end, kept.missing(Track.INBOUND)) == (stream_end(), [(1280 * CHUNK, 1380 * CHUNK)])


async def test_what_cannot_be_written_at_the_end_of_the_process_is_told(folder: Path, disk: FaultyDisk) -> None:
    with capture_logs() as logs:
        async with Journal(folder, JournalSettings(), disk=disk, tick_s=NEVER_S) as journal:
            line = Line(journal)
            line.feed(3)
            disk.fault = errno.ENOSPC
    assert [each["event"] for each in logs] == ["journal_write_failed", "journal_cut_short"]
