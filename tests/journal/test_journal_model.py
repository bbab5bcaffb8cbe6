"""
The journal against a model: whatever the disk does and whenever the process dies, each sample that came is in the file
at its place, or told as missing there, or still in memory.
"""

import asyncio
import errno
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from gateway.config import JournalSettings
from gateway.events import Track
from gateway.journal import CallJournal, Journal, KeptCall, live
from tests.support.faulty_disk import FaultyDisk
from tests.support.journalled_calls import CHUNK, Line, files, heard, joined, put, sound, stream_end

NEVER_S = 3600.0
Runs: TypeAlias = list[tuple[int, bytes]]


class JournalMachine(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.runner = asyncio.Runner()
        self.place = tempfile.TemporaryDirectory()
        self.folder = Path(self.place.name) / "journal"
        self.copies = 0
        self.disk = FaultyDisk()
        self.journal = Journal(self.folder, JournalSettings(), disk=self.disk, tick_s=NEVER_S)
        self.run(self.journal.__aenter__())
        self.line = Line(self.journal, capacity_bytes=6 * CHUNK)

    def run(self, work: Any) -> Any:
        return self.runner.run(work)

    @rule(track=st.sampled_from(Track), chunks=st.integers(1, 4), pause=st.sampled_from([0, 0, 0, 13, 9000]))
    def speak(self, track: Track, chunks: int, pause: int) -> None:
        self.line.feed(chunks, track=track, pause=pause)

    @rule()
    def write(self) -> None:
        self.run(self.journal.flush())

    @rule(room_bytes=st.none() | st.integers(0, 6000), is_rigid=st.booleans())
    def fill_up(self, room_bytes: int | None, is_rigid: bool) -> None:
        self.disk.room_bytes = room_bytes
        self.disk.is_rigid = is_rigid

    @rule(fault=st.sampled_from([None, errno.EIO]))
    def break_disk(self, fault: int | None) -> None:
        self.disk.fault = fault

    @rule()
    def die(self) -> None:
        """The next process would find all that this one knows to be written."""
        copy = Path(self.place.name) / f"copy{self.copies}"
        self.copies += 1
        put(copy, files(self.folder))
        found = self.run(_reopened(copy))
        for track in Track:
            written = _positions(self.run(_audio(self.line.call, track)))
            audio = found.audio[track] if found is not None else []
            self.check_audio(audio)
            assert written <= _positions(audio)

    def teardown(self) -> None:
        if not hasattr(self, "line"):
            return
        patience_s, live.PATIENCE_S = live.PATIENCE_S, 0.0
        try:
            kept = self.run(self.line.call.end(stream_end()))
        finally:
            live.PATIENCE_S = patience_s
        before = self.run(_contents(kept))
        self.check_whole(before)
        self.run(self.journal.__aexit__(None, None, None))
        after = self.run(_reopened(self.folder))
        if after is not None and after.has_end:
            assert after == before
        self.place.cleanup()
        self.runner.close()

    def check_audio(self, audio: Runs) -> None:
        for position, payload in audio:
            assert payload == sound(position, len(payload))

    def check_whole(self, contents: "Contents") -> None:
        for track in Track:
            came = {at for each in self.line.fed[track] for at in range(each.position, each.position + CHUNK)}
            there = _positions(contents.audio[track])
            told = {at for start, stop in contents.missing[track] for at in range(start, stop)}
            self.check_audio(contents.audio[track])
            assert there <= came
            assert not there & told
            assert len(came) == len(there) + len(told)


@dataclass
class Contents:
    """Everything that a kept call says of its audio."""

    audio: dict[Track, Runs]
    missing: dict[Track, list[tuple[int, int]]]
    has_end: bool


async def _audio(call: CallJournal | KeptCall, track: Track) -> Runs:
    return joined(await heard(call.archive(track)))


async def _contents(kept: KeptCall) -> Contents:
    return Contents(
        audio={track: await _audio(kept, track) for track in Track},
        missing={track: kept.missing(track) for track in Track},
        has_end=kept.end is not None,
    )


async def _reopened(folder: Path) -> Contents | None:
    async with Journal(folder, JournalSettings(), tick_s=NEVER_S) as journal:
        return await _contents(*journal.kept()) if journal.kept() else None


def _positions(audio: Runs) -> set[int]:
    return {at for position, payload in audio for at in range(position, position + len(payload))}


TestJournal = JournalMachine.TestCase
TestJournal.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
