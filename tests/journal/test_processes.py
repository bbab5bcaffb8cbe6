"""Real processes: one that is killed while it writes, and one whose files may not grow."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from gateway.config import JournalSettings
from gateway.events import Track
from gateway.journal import Journal
from tests.support.journalled_calls import CHUNK, audio_of, files, sound

PROGRAM = """
import asyncio, resource, sys, time
from pathlib import Path
from gateway.config import JournalSettings
from gateway.journal import Journal
from tests.support.journalled_calls import Line

async def talk(folder, calls):
    async with Journal(folder, JournalSettings()) as journal:
        lines = [Line(journal, f"call_{number}") for number in range(calls)]
        loop = asyncio.get_running_loop()
        said = asyncio.Event()
        while True:
            for line in lines:
                line.feed()
                line.feed(track="outbound")
            print(time.monotonic(), lines[0].tapes["inbound"].end, flush=True)
            loop.call_later(0.1, said.set)
            await said.wait()
            said.clear()

async def fill(folder, limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    async with Journal(folder, JournalSettings(), tick_s=3600) as journal:
        line = Line(journal)
        for _ in range(20):
            line.feed()
            await journal.flush()
        print("trouble:", journal.trouble, flush=True)
        sys.stdin.readline()
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        await journal.flush()
        print("trouble:", journal.trouble, flush=True)

asyncio.run(globals()[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3])))
"""


def start(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )


def answer(lines: Iterable[str]) -> str:
    """What the program says of its trouble, apart from its log."""
    return next(line.removeprefix("trouble: ").strip() for line in lines if line.startswith("trouble: "))


@pytest.fixture
def talker(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Ten calls that are spoken in real time; a line for each tenth of a second: when, and how far the first is."""
    with start("talk", str(tmp_path), "10") as process:
        yield process
        process.kill()


@pytest.mark.parametrize("tenths", [13, 24])
async def test_a_killed_process_leaves_all_but_its_last_second(
    tmp_path: Path, talker: "subprocess.Popen[str]", tenths: int
) -> None:
    assert talker.stdout is not None
    said = [talker.stdout.readline().split() for _ in range(tenths)]
    talker.send_signal(signal.SIGKILL)
    said += [line.split() for line in talker.stdout if line.endswith("\n")]
    talker.wait()
    killed_at = float(said[-1][0])
    must_have = max((int(end) for at, end in said if float(at) <= killed_at - 1.0), default=0)

    async with Journal(tmp_path, JournalSettings()) as journal:
        kept = journal.kept()
        audio = [await audio_of(call) for call in kept]

    assert must_have > 0
    assert len(kept) == 10
    for each in audio:
        for track in Track:
            ((position, payload),) = each[track]
            assert (position, payload) == (0, sound(0, len(payload)))
            assert len(payload) >= must_have


@pytest.mark.parametrize("limit", [1, 5000, 9000])
async def test_a_real_limit_of_the_system_spoils_nothing(tmp_path: Path, limit: int) -> None:
    with start("fill", str(tmp_path), str(limit)) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert answer(process.stdout) == "EFBIG"
        size = sum(map(len, files(tmp_path).values()))
        process.stdin.write("\n")
        process.stdin.flush()
        assert answer(process.stdout) == "None"
        assert process.wait(10) == 0

    assert size <= limit
    async with Journal(tmp_path, JournalSettings()) as journal:
        (kept,) = journal.kept()
        assert await audio_of(kept) == {Track.INBOUND: [(0, sound(0, 20 * CHUNK))]}
