"""A track's audio can be heard again from any position, also while its file grows."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway.config import JournalSettings
from gateway.events import Track
from gateway.journal import Journal
from gateway.journal import reader as journal_reader
from gateway.journal.archive import TrackArchive
from gateway.media.tape import Tape
from gateway.media.timeline import Stretch
from telephony_codecs.formats import AudioFormat
from tests.support.journalled_calls import CHUNK, Line, chunk, header, heard, joined, sound, stream_end

NEVER_S = 3600.0
SECOND = 8000


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    async with Journal(tmp_path, JournalSettings(), tick_s=NEVER_S) as opened:
        yield opened


async def spoken(journal: Journal, seconds: int) -> tuple[Line, TrackArchive]:
    """A call of two tracks, written every half second."""
    line = Line(journal)
    for _ in range(seconds * 2):
        line.feed(5)
        line.feed(5, track=Track.OUTBOUND)
        await journal.flush()
    return line, line.call.archive(Track.INBOUND)


async def test_reading_goes_a_few_seconds_at_a_time(journal: Journal) -> None:
    _, archive = await spoken(journal, 12)
    lengths: list[int] = []
    position = 0
    while stretches := await archive.read(position):
        assert stretches[0].position == position
        lengths.append(sum(len(each.payload) for each in stretches))
        position += lengths[-1]
    assert lengths == [5 * SECOND, 5 * SECOND, 2 * SECOND]


async def test_reading_can_begin_in_mid_record(journal: Journal) -> None:
    _, archive = await spoken(journal, 2)
    assert joined(await archive.read(5001)) == [(5001, sound(5001, 2 * SECOND - 5001))]


async def test_reading_can_go_back(journal: Journal) -> None:
    _, archive = await spoken(journal, 12)
    await heard(archive)
    assert joined(await archive.read(3 * SECOND)) == [(3 * SECOND, sound(3 * SECOND, 5 * SECOND))]


async def test_a_pause_is_stepped_over(journal: Journal) -> None:
    line = Line(journal)
    line.feed()
    line.feed(pause=80_000)
    kept = await line.call.end(stream_end())
    archive = kept.archive(Track.INBOUND)
    assert await archive.read(CHUNK) == [chunk(80_000 + CHUNK)]
    assert await archive.read(40_000) == [chunk(80_000 + CHUNK)]


async def test_nothing_is_there_after_the_end(journal: Journal) -> None:
    line, archive = await spoken(journal, 1)
    assert await archive.read(SECOND) == []
    assert await archive.read(SECOND * 1000) == []
    line.feed()
    await journal.flush()
    assert await archive.read(SECOND) == [chunk(SECOND)]


async def test_a_cut_never_splits_a_sample(journal: Journal) -> None:
    linear = AudioFormat.parse("linear16-8000")
    tape = Tape(linear, 10_000, is_archived=True)
    tape.append(Stretch(0, bytes(range(200))))
    call = journal.begin(header(audio="linear16-8000"), {Track.INBOUND: tape})
    await journal.flush()
    assert await call.archive(Track.INBOUND).read(10) == [Stretch(10, bytes(range(20, 200)))]


async def test_going_on_reads_nothing_twice(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    _, archive = await spoken(journal, 30)
    await archive.read(0)
    starts: list[int] = []
    pread = journal_reader.os.pread

    def watched(descriptor: int, size: int, offset: int) -> bytes:
        starts.append(offset)
        return pread(descriptor, size, offset)

    monkeypatch.setattr(journal_reader.os, "pread", watched)
    await archive.read(5 * SECOND)
    assert starts[0] > 9 * SECOND


async def test_a_file_that_is_gone_is_told_and_has_nothing(journal: Journal, tmp_path: Path) -> None:
    _, archive = await spoken(journal, 1)
    (tmp_path / "call_1.journal").unlink()
    with capture_logs() as logs:
        assert await archive.read(0) == []
    assert [(each["event"], each["reason"]) for each in logs] == [("journal_read_failed", "ENOENT")]


@given(data=st.data())
async def test_any_order_of_reading_gives_what_was_said(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    async with Journal(tmp_path_factory.mktemp("journal"), JournalSettings(), tick_s=NEVER_S) as journal:
        line = Line(journal)
        archive = line.call.archive(Track.INBOUND)
        pieces = st.tuples(st.integers(1, 3), st.sampled_from([0, 0, 10, 5000]), st.sampled_from(Track))
        written: list[Stretch] = []
        for chunks, pause, track in data.draw(st.lists(pieces, min_size=1, max_size=12)):
            line.feed(chunks, track=track, pause=pause)
            if data.draw(st.booleans()):
                await journal.flush()
                written = list(line.fed[Track.INBOUND])
            position = data.draw(st.integers(0, (line.tapes[Track.INBOUND].end or 0) + 10))
            expected = [
                Stretch(max(position, each.position), each.payload[max(0, position - each.position) :])
                for each in written
                if each.position + CHUNK > position
            ]
            assert joined(await heard(archive, position)) == joined(expected)
