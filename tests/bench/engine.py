"""
How many tracks the embedded recogniser hears at real time, what each costs, and what happens beyond that.

    python -m tests.bench engine [--workers 1] [--sessions 1 --sessions 4 …] [--seconds 20]

Sessions of the pool are fed the demo recording (two speakers, some 40 % of it pauses) in chunks of 100 ms, each from
another place on, for so long. For each number of sessions, in rising order, one row; the first that falls behind is
the last. For sessions per core run it on one core: `taskset -c 1`. Slots are as many as sessions, unless `--slots` says
otherwise: then the pool declines the rest, as it does in the product.
"""

import asyncio
import logging
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import click
import structlog

from gateway.config import EngineSettings
from gateway.engines.pool import SPHINX, EnginePool
from gateway.engines.session import Session
from gateway.errors import RecognizerUnavailable
from gateway.events import Final, RecognizerRequest, Track
from gateway.simulate.recording import PHONE_HZ, load_demo
from telephony_codecs.formats import AudioFormat, Encoding
from tests.bench import machine
from tests.bench.figures import percentile

CHUNK_S = 0.1
CHUNK_BYTES = round(PHONE_HZ * CHUNK_S)
FORMAT = AudioFormat(Encoding.MULAW, PHONE_HZ)
BEHIND_S = 2.0
"""Audio that is so old and unheard when the time is over: the pool did not keep up."""
OPEN_S = 60.0
COUNTS = (1, 2, 4, 6, 8, 10, 12)


@dataclass
class Heard:
    """
    What became of one session.

    Attributes:
        finals_s: by final, from the end of what was said to its arrival.
        backlog_s: greatest age of audio that was due and not heard.
        behind_s: the same in the end.
        code: why the pool declined or ended it; None: it did not.
    """

    finals_s: list[float] = field(default_factory=list)
    backlog_s: float = 0.0
    behind_s: float = 0.0
    audio_s: float = 0.0
    code: str | None = None


@dataclass(frozen=True)
class Row:
    """One number of sessions. Shares of one core; seconds; megabytes of all workers together."""

    sessions: int
    heard: int
    cpu: float
    cpu_per_audio_s: float
    memory_mb: float
    final_p50_s: float | None
    final_p99_s: float | None
    backlog_s: float
    behind_s: float
    codes: Counter[str]

    @property
    def keeps_up(self) -> bool:
        """Whether what was taken was heard in time."""
        return self.behind_s < BEHIND_S


_HEADINGS = (
    "sessions",
    "heard",
    "CPU of workers",
    "CPU s per audio s",
    "memory",
    "finals behind the audio p50 / p99",
    "backlog max / end",
    "the pool said",
)
HEAD = f"| {' | '.join(_HEADINGS)} |\n{'|---' * len(_HEADINGS)}|"


def shown(row: Row) -> str:
    """As a line of a Markdown table."""
    cells = (
        str(row.sessions),
        str(row.heard),
        f"{row.cpu:.0%}",
        f"{row.cpu_per_audio_s:.3f}",
        f"{row.memory_mb:.0f} MB",
        f"{_seconds(row.final_p50_s)} / {_seconds(row.final_p99_s)}",
        f"{row.backlog_s:.1f} / {row.behind_s:.1f} s",
        ", ".join(f"{code} {times}" for code, times in sorted(row.codes.items())) or "-",
    )
    return f"| {' | '.join(cells)} |"


async def measure(sessions: int, seconds: float, settings: EngineSettings, *, engine: str = SPHINX) -> Row:
    """
    Play to so many sessions of a pool of its own.

    Args:
        sessions: asked for at once.
        seconds: of audio, at real time.
        settings: the pool's.
        engine: of its workers.
    """
    recording = load_demo()
    tracks = list(Track)
    heard = [Heard() for _ in range(sessions)]
    # One more party than there are sessions: it looks at the clocks when all are there.
    begin, end = asyncio.Barrier(sessions + 1), asyncio.Barrier(sessions + 1)
    async with (
        EnginePool(settings, engine=engine) as pool,
        asyncio.TaskGroup() as run,
    ):
        for number, each in enumerate(heard):
            audio = recording[tracks[number % 2]]
            place = len(audio) * number // sessions
            speech = audio[place:] + audio[:place]
            run.create_task(_play(pool, number, _Player(speech, seconds, each), begin, end))
        async with asyncio.timeout(OPEN_S):
            await begin.wait()
        before = [machine.cpu_s(pid) for pid in pool.pids]
        async with asyncio.timeout(seconds + OPEN_S):
            await end.wait()
        cpu_s = sum(machine.cpu_s(pid) for pid in pool.pids) - sum(before)
        memory_bytes = sum(machine.resident_bytes(pid) for pid in pool.pids)
    audio_s = sum(each.audio_s for each in heard)
    delays = [delay for each in heard for delay in each.finals_s]
    return Row(
        sessions=sessions,
        heard=sum(each.code is None for each in heard),
        cpu=cpu_s / seconds,
        cpu_per_audio_s=cpu_s / audio_s if audio_s else 0.0,
        memory_mb=memory_bytes / 2**20,
        final_p50_s=percentile(delays, 0.5),
        final_p99_s=percentile(delays, 0.99),
        backlog_s=max(each.backlog_s for each in heard),
        behind_s=max((each.behind_s for each in heard if each.code is None), default=0.0),
        codes=Counter(each.code for each in heard if each.code is not None),
    )


async def _play(pool: EnginePool, number: int, player: "_Player", begin: asyncio.Barrier, end: asyncio.Barrier) -> None:
    """One session, from its opening until all others are done, too; also if it is declined."""
    # As a call's session asks: the pool may end it, because its audio is kept.
    request = RecognizerRequest(format=FORMAT, call_id=f"bench-{number}", track=Track.INBOUND)
    async with AsyncExitStack() as stack:
        try:
            session = await stack.enter_async_context(pool.open(request))
        except RecognizerUnavailable as error:
            player.heard.code = error.code
            await begin.wait()
        else:
            await begin.wait()
            await player.play(session)
        await end.wait()


class _Player:
    """
    Plays to one session at real time, and notes what comes of it.

    Args:
        speech: repeated when it is over.
        seconds: how long.
        heard: filled in.
    """

    def __init__(self, speech: bytes, seconds: float, heard: Heard) -> None:
        self._speech = speech
        self._seconds = seconds
        self._sent_bytes = 0
        self.heard = heard

    async def play(self, session: Session) -> None:
        """Until the time is over, or the session lost."""
        began = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as tasks:
            work = [tasks.create_task(do(session, began)) for do in (self._send, self._listen)]
            await self._watch(session, began)
            for task in work:
                task.cancel()

    async def _send(self, session: Session, began: float) -> None:
        """Chunk after chunk when it is due, or later, where the session makes its sender wait."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                await asyncio.sleep(began + (self._sent_bytes + CHUNK_BYTES) / PHONE_HZ - loop.time())
                place = self._sent_bytes % (len(self._speech) - CHUNK_BYTES)
                await session.send(self._speech[place : place + CHUNK_BYTES])
                self._sent_bytes += CHUNK_BYTES
        except RecognizerUnavailable as error:
            self.heard.code = error.code

    async def _listen(self, session: Session, began: float) -> None:
        loop = asyncio.get_running_loop()
        try:
            async for event in session.events():
                if isinstance(event, Final) and event.words:
                    self.heard.finals_s.append(loop.time() - began - event.words[-1].end_s)
        except RecognizerUnavailable as error:
            self.heard.code = error.code

    async def _watch(self, session: Session, began: float) -> None:
        loop = asyncio.get_running_loop()
        while self.heard.code is None and (now_s := loop.time() - began) < self._seconds:
            heard_s = (self._sent_bytes - session.unheard_bytes) / PHONE_HZ
            self.heard.audio_s = heard_s
            self.heard.behind_s = now_s - heard_s
            self.heard.backlog_s = max(self.heard.backlog_s, self.heard.behind_s)
            await asyncio.sleep(CHUNK_S)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"


@click.command(name="engine", help="How many tracks the embedded recogniser hears at real time, and what they cost.")
@click.option("--workers", default=1, show_default=True, help="worker processes")
@click.option(
    "--sessions", multiple=True, type=int, default=COUNTS, show_default=True, help="how many at once; in turn"
)
@click.option("--slots", type=int, help="sessions that one worker takes; default: as many as there are")
@click.option("--seconds", default=20.0, show_default=True, help="of audio, for each number of sessions")
def command(workers: int, sessions: tuple[int, ...], slots: int | None, seconds: float) -> None:
    """Print the table, row by row."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    click.echo(f"{machine.description()}, {workers} worker{'' if workers == 1 else 's'}, {seconds:g} s each\n\n{HEAD}")
    for count in sessions:
        settings = EngineSettings(workers=workers, sessions_per_worker=slots or min(64, count))
        row = asyncio.run(measure(count, seconds, settings))
        click.echo(shown(row))
        if not row.keeps_up:
            break
