"""The journal writes what calls say, keeps it, finds it again, and lets it go."""

import asyncio
import stat
from collections.abc import Sequence
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.config import JournalSettings
from gateway.errors import StorageError
from gateway.events import Track
from gateway.journal import Journal, writer
from gateway.journal.disk import Batch, write_all
from tests.support.faulty_disk import FaultyDisk
from tests.support.journalled_calls import (
    CHUNK,
    NEVER_S,
    Line,
    audio_of,
    chunk,
    files,
    header,
    heard,
    joined,
    kept_in,
    put,
    sound,
    stream_end,
    until,
)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_audio_is_on_disk_while_the_call_goes_on(folder: Path) -> None:
    async with Journal(folder, JournalSettings(), tick_s=0.01) as journal:
        line = Line(journal)
        line.feed(3)
        await until(lambda: line.unwritten == 0)
        first = await kept_in_copy(folder)
        line.feed(2)
        await until(lambda: line.unwritten == 0)
        second = await kept_in_copy(folder)
    assert first == {"call_1": {Track.INBOUND: [(0, sound(0, 3 * CHUNK))]}}
    assert second == {"call_1": {Track.INBOUND: [(0, sound(0, 5 * CHUNK))]}}


async def kept_in_copy(folder: Path) -> object:
    """As the next process would find it if this one died now."""
    copy = folder.with_name("copy")
    put(copy, files(folder))
    return await kept_in(copy)


@pytest.mark.parametrize("slot_calls", [1, 5, 100])
async def test_every_call_gets_its_turn(folder: Path, monkeypatch: pytest.MonkeyPatch, slot_calls: int) -> None:
    monkeypatch.setattr(writer, "SLOT_CALLS", slot_calls)
    async with Journal(folder, JournalSettings(), tick_s=0.001) as journal:
        lines = [Line(journal, f"call_{number}") for number in range(40)]
        for line in lines:
            line.feed()
        await until(lambda: all(line.unwritten == 0 for line in lines))
    assert len(await kept_in(folder)) == 40


async def test_few_calls_are_written_together(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []

    def watched(batches: Sequence[Batch]) -> list[OSError | None]:
        written.append(len(batches))
        return write_all(batches)

    monkeypatch.setattr(writer, "write_all", watched)
    async with Journal(folder, JournalSettings(), tick_s=0.001) as journal:
        lines = [Line(journal, f"call_{number}") for number in range(writer.SLOT_CALLS + 1)]
        for line in lines:
            line.feed()
        await until(lambda: all(line.unwritten == 0 for line in lines))
    assert sorted(written) == [1, writer.SLOT_CALLS]


def test_less_than_a_second_lies_between_two_writes_of_a_call() -> None:
    longest_chunk_s = 0.1
    assert writer.SLOTS * writer.TICK_S + longest_chunk_s <= 0.9


async def test_memory_lets_go_of_what_was_written(journal: Journal) -> None:
    line = Line(journal)
    line.feed(3)
    assert line.tapes[Track.INBOUND].oldest == 0
    await journal.flush()
    assert line.tapes[Track.INBOUND].oldest is None


async def test_a_chunk_of_no_length_does_no_harm(journal: Journal) -> None:
    line = Line(journal)
    line.tapes[Track.INBOUND].append(chunk(400, 0))
    line.feed(track=Track.OUTBOUND)
    await journal.flush()
    line.feed()
    kept = await line.call.end(stream_end())
    assert await audio_of(kept) == {Track.INBOUND: [(400, sound(400))], Track.OUTBOUND: [(0, sound(0))]}


async def test_a_call_that_is_over_tells_everything(journal: Journal) -> None:
    line = Line(journal)
    line.feed(2)
    line.feed(1, track=Track.OUTBOUND, pause=400)
    kept = await line.call.end(stream_end())
    assert (kept.header, kept.end, kept.started_at, kept.ended_at) == (header(), stream_end(), 0.0, 1_800_000_100.0)
    assert {track: (kept.extent(track), kept.samples(track), kept.missing(track)) for track in Track} == {
        Track.INBOUND: ((0, 1600), 1600, []),
        Track.OUTBOUND: ((400, 1200), 800, []),
    }
    assert kept.size_bytes == journal.used_bytes > 2400


async def test_the_next_process_finds_the_same(folder: Path) -> None:
    async with Journal(folder, JournalSettings()) as journal:
        line = Line(journal)
        line.feed(2)
        line.feed(1, track=Track.OUTBOUND, pause=400)
        before = await line.call.end(stream_end())
        audio = await audio_of(before)
    async with Journal(folder, JournalSettings()) as journal:
        (after,) = journal.kept()
        assert (after.header, after.end, after.size_bytes) == (before.header, before.end, before.size_bytes)
        assert [after.extent(track) for track in Track] == [before.extent(track) for track in Track]
        assert [after.missing(track) for track in Track] == [[], []]
        assert await audio_of(after) == audio
        assert journal.used_bytes == before.size_bytes


async def test_a_call_that_was_not_ended_has_no_end_but_its_audio(folder: Path) -> None:
    async with Journal(folder, JournalSettings()) as journal:
        line = Line(journal)
        line.feed(4)
    async with Journal(folder, JournalSettings()) as journal:
        (kept,) = journal.kept()
        assert (kept.end, kept.extent(Track.INBOUND)) == (None, (0, 3200))
        assert kept.ended_at == kept.modified_at


async def test_calls_that_were_left_come_oldest_first(folder: Path) -> None:
    async with Journal(folder, JournalSettings()) as journal:
        for number, started_at in enumerate((30.0, 10.0, 20.0)):
            line = Line(journal, f"call_{number}", started_at=started_at)
            line.feed()
            await line.call.end(stream_end())
    async with Journal(folder, JournalSettings()) as journal:
        assert [call.header.call.id for call in journal.kept()] == ["call_1", "call_2", "call_0"]


async def test_a_call_without_audio_leaves_nothing(journal: Journal, folder: Path) -> None:
    kept = await Line(journal).call.end(stream_end())
    assert (kept.size_bytes, kept.extent(Track.INBOUND), files(folder)) == (0, None, {})
    assert await kept.archive(Track.INBOUND).read(0) == []
    await kept.remove()
    assert journal.used_bytes == 0


async def test_a_complete_call_leaves_nothing(journal: Journal, folder: Path) -> None:
    line = Line(journal)
    line.feed(3)
    kept = await line.call.end(stream_end())
    await kept.remove()
    assert (files(folder), journal.used_bytes) == ({}, 0)


async def test_a_call_that_is_cut_off_is_written_and_its_memory_released(folder: Path) -> None:
    async with Journal(folder, JournalSettings(), tick_s=0.01) as journal:
        line = Line(journal)
        line.feed(2)
        line.tapes[Track.INBOUND].append(chunk(1600))  # nobody heard that
        line.call.leave()
        await until(lambda: line.tapes[Track.INBOUND].oldest is None)
    assert await kept_in(folder) == {"call_1": {Track.INBOUND: [(0, sound(0, 2400))]}}


async def test_an_end_that_is_cancelled_can_be_left(folder: Path, disk: FaultyDisk) -> None:
    async with Journal(folder, JournalSettings(), disk=disk, tick_s=0.01) as journal:
        line = Line(journal)
        line.feed(2)
        disk.open_gate.clear()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await line.call.end(stream_end())
        line.call.leave()
        disk.open_gate.set()
        await until(lambda: line.unwritten == 0)
    async with Journal(folder, JournalSettings()) as journal:
        (kept,) = journal.kept()
        assert (kept.end, kept.extent(Track.INBOUND)) == (stream_end(), (0, 1600))


async def test_only_the_owner_can_read_what_was_said(journal: Journal, folder: Path) -> None:
    Line(journal).feed()
    await journal.flush()
    assert [mode(path) for path in (folder, folder / "call_1.journal")] == [0o700, 0o600]


@pytest.mark.parametrize("content", [b"", b"GWJ1", bytes(1000)])
async def test_a_file_that_says_nothing_is_deleted(folder: Path, content: bytes) -> None:
    put(folder, {"call_x.journal": content, "other": b""})
    with capture_logs() as logs:
        async with Journal(folder, JournalSettings()) as journal:
            assert (journal.kept(), journal.used_bytes) == ([], 0)
    assert [(each["event"], each["bytes"]) for each in logs] == [("journal_file_unreadable", len(content))]
    assert files(folder) == {"other": b""}


async def test_a_file_with_damage_is_used_and_its_damage_told(folder: Path) -> None:
    async with Journal(folder, JournalSettings()) as journal:
        line = Line(journal)
        for _ in range(3):
            line.feed()
            await journal.flush()
        await line.call.end(stream_end())
    path = folder / "call_1.journal"
    content = bytearray(path.read_bytes())
    content[content.index(sound(800)) + 5] ^= 1
    path.write_bytes(content)
    with capture_logs() as logs:
        async with Journal(folder, JournalSettings()) as journal:
            (kept,) = journal.kept()
            assert kept.missing(Track.INBOUND) == [(800, 1600)]
            assert await audio_of(kept) == {Track.INBOUND: [(0, sound(0)), (1600, sound(1600))]}
    assert [each["event"] for each in logs] == ["journal_file_damaged"]


async def test_a_damaged_end_of_a_track_is_told(folder: Path) -> None:
    async with Journal(folder, JournalSettings()) as journal:
        line = Line(journal)
        line.feed()
        await journal.flush()
        line.feed()
        await line.call.end(stream_end())
    path = folder / "call_1.journal"
    content = bytearray(path.read_bytes())
    content[content.index(sound(800)) + 5] ^= 1
    path.write_bytes(content)
    async with Journal(folder, JournalSettings()) as journal:
        (kept,) = journal.kept()
    assert (kept.end, kept.missing(Track.INBOUND)) == (stream_end(), [(800, 1600)])


async def test_what_an_earlier_process_had_begun_is_cleared_away(folder: Path) -> None:
    put(folder, {"probe.part": b"x"})
    async with Journal(folder, JournalSettings()):
        assert files(folder) == {}


async def test_a_folder_that_cannot_be_used_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError) as caught:
        async with Journal(tmp_path / "file" / "journal", JournalSettings()):
            pass
    assert caught.value.code == "journal_unusable"


async def test_batches_are_flushed_to_the_disk_itself_only_if_wanted(folder: Path) -> None:
    plain, synced = FaultyDisk(), FaultyDisk()
    for disk, sync in ((plain, False), (synced, True)):
        async with Journal(folder, JournalSettings(sync=sync), disk=disk, tick_s=NEVER_S) as journal:
            line = Line(journal)
            for _ in range(2):
                line.feed()
                await journal.flush()
            await (await line.call.end(stream_end())).remove()
    assert (plain.synced, synced.synced) == ([], ["journal", *["call_1.journal"] * 3])


async def test_a_file_that_cannot_be_deleted_is_logged_and_still_counted(journal: Journal, disk: FaultyDisk) -> None:
    line = Line(journal)
    line.feed()
    kept = await line.call.end(stream_end())
    disk.is_rigid = True
    with capture_logs() as logs:
        await kept.remove()
    assert [(each["event"], each["reason"]) for each in logs] == [("journal_remove_failed", "EIO")]
    assert journal.used_bytes == kept.size_bytes > 0


async def test_a_live_call_is_read_while_it_is_written(journal: Journal) -> None:
    line = Line(journal)
    archive = line.call.archive(Track.INBOUND)
    assert await archive.read(0) == []
    line.feed(2)
    assert await archive.read(0) == []
    await journal.flush()
    assert joined(await heard(archive)) == [(0, sound(0, 1600))]
    assert await archive.read(1600) == []
    line.feed(1)
    await journal.flush()
    assert await archive.read(1600) == [chunk(1600)]
