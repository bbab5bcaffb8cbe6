"""The command that measures calls: what they cost, how late they come out, and whether any of them is lost."""

import asyncio
import platform
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import click

from gateway.config import AUDIO_FORMS
from tests.bench import machine, report, starting
from tests.bench.programs import ProgramFailed
from tests.bench.run import PRODUCT, SKETCH, Run, measure
from tests.bench.scenarios import NAMES, START, Scenario, chosen

STARTS = 5
"""Of each command."""
_FAULTS_SHOWN = 10
_RUN_S = 180.0
"""Bound of one run, beyond its own window."""


class Bench:
    """
    Measures, and keeps what came of it.

    Args:
        scenarios: the loads.
        servers: what is measured: `PRODUCT`, and perhaps `SKETCH`.
        starts: how often the commands are started.
        measuring: one run of a load against a server.
    """

    def __init__(
        self,
        scenarios: Sequence[Scenario],
        servers: Sequence[str],
        starts: int = 0,
        measuring: Callable[[Scenario, str], Awaitable[Run]] = measure,
    ) -> None:
        self._scenarios = scenarios
        self._servers = servers
        self._starts = starts
        self._measuring = measuring
        self.results: dict[tuple[Scenario, str], list[Run]] = {}
        self.starts: list[starting.Start] = []
        self.faults: list[str] = []

    @property
    def exit_code(self) -> int:
        """1 if anything was lost, complained of, or did not come to its end; figures are not judged."""
        return 1 if self.faults else 0

    async def run(self, rounds: int) -> None:
        """Everything, so many times; the servers take turns, so that what else the machine does hits both."""
        for number in range(rounds):
            for scenario in self._scenarios:
                for server in self._servers:
                    if server == PRODUCT or scenario.has_baseline:
                        await self._load(scenario, server, number)
        for number in range(self._starts):
            await self._start(number)

    async def _load(self, scenario: Scenario, server: str, number: int) -> None:
        began = time.monotonic()
        say(f"{scenario.name}, {server}, run {number + 1} …")
        try:
            async with asyncio.timeout(scenario.total_s + scenario.dialling_s + scenario.settle_s + _RUN_S):
                run = await self._measuring(scenario, server)
        except TimeoutError:
            run = Run(None, ("the run did not come to its end in time",))
        self.results.setdefault((scenario, server), []).append(run)
        say(f"  {time.monotonic() - began:.0f} s: {_in_short(run)}")
        for fault in run.faults[:_FAULTS_SHOWN]:
            say(f"    FAULT {fault}")
        if more := len(run.faults[_FAULTS_SHOWN:]):
            say(f"    and {more} more")
        self.faults += [f"{scenario.name}, {server}: {fault}" for fault in run.faults]

    async def _start(self, number: int) -> None:
        say(f"{START}, {number + 1} …")
        try:
            self.starts.append(start := await starting.measure())
        except ProgramFailed as error:
            say(f"    FAULT {error}")
            self.faults.append(f"{START}: {error}")
        else:
            say(f"  serve {start.ready_s:.2f} s, --help {start.help_s:.2f} s")


def _in_short(run: Run) -> str:
    if run.figures is None or run.figures.cpu is None:
        return "no figures"
    late = "-" if run.figures.beyond_p99 is None else f"{run.figures.beyond_p99:.1f}"
    return f"{run.figures.cpu:.3f} CPU ms per track-second, p99 beyond the chunk {late} ms"


def say(text: str) -> None:
    """Progress goes to standard error; the tables alone to standard output."""
    print(text, file=sys.stderr, flush=True)


async def _until_terminated(bench: Bench, rounds: int) -> None:
    """SIGTERM ends it as Ctrl-C does, so that nothing which it started or wrote is left."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with machine.on_core(machine.OTHERS):
        await bench.run(rounds)


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise click.BadParameter(f"{text!r} is not of the form NAME=VALUE", param_hint="--set")
    return name, value


@click.command("calls")
@click.option("--only", multiple=True, type=click.Choice(NAMES), help="This load; may be repeated.")
@click.option("--calls", type=click.IntRange(1, 10_000), help="So many calls, instead of the load's own number.")
@click.option("--seconds", type=click.FloatRange(0.5, 3600), help="Measure for so long, instead.")
@click.option("--tracks", type=click.IntRange(1, 2), help="So many tracks in each socket, instead.")
@click.option("--format", "audio", type=click.Choice(AUDIO_FORMS), help="What the speech service wants, instead.")
@click.option("--runs", type=click.IntRange(1, 100), default=1, show_default=True, help="So often; medians are shown.")
@click.option("--baseline", is_flag=True, help="Measure the sketch as well, in turn.")
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="NAME=VALUE",
    help="Of the gateway, such as GATEWAY_JOURNAL__ENABLED=false.",
)
@click.option("--quick", is_flag=True, help="Small loads, half a minute in all: only to see that it works.")
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Everything, run by run.")
@click.option("--markdown", "markdown_file", type=click.Path(path_type=Path, dir_okay=False), help="The tables.")
@click.option("--plot", "plot_file", type=click.Path(path_type=Path, dir_okay=False), help="Of the load at many sizes.")
def command(
    only: tuple[str, ...],
    calls: int | None,
    seconds: float | None,
    tracks: int | None,
    audio: str | None,
    runs: int,
    baseline: bool,
    changes: tuple[str, ...],
    quick: bool,
    json_file: Path | None,
    markdown_file: Path | None,
    plot_file: Path | None,
) -> None:
    """
    Measure what calls cost, how late they come out and whether any is lost: the gateway, and beside it a sketch.

    Prints tables; exit code 1 if audio was lost, the gateway complained or a run did not come to its end. The figures
    themselves are not judged. Without --only: everything; with --calls, --tracks or --format alone: one load of that.
    """
    machine.allow_many_files()
    loads = [name for name in only if name != START]
    is_own = not only and any(value is not None for value in (calls, tracks, audio))
    scenarios = (
        chosen(tuple(loads), quick=quick, calls=calls, seconds=seconds, tracks=tracks, audio=audio)
        if loads or not only
        else []
    )
    starts = (1 if quick else STARTS) if START in only or not (only or is_own) else 0
    settings = dict(_setting(text) for text in changes)
    measuring = partial(measure, settings=settings)
    bench = Bench(scenarios, (PRODUCT, SKETCH) if baseline else (PRODUCT,), starts, measuring)
    try:
        asyncio.run(_until_terminated(bench, runs))
    except (KeyboardInterrupt, asyncio.CancelledError):
        say("interrupted")
        sys.exit(130)
    head = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": machine.description(),
        "kernel": platform.release(),
        "settings": " ".join(changes),
    }
    title = ", ".join(filter(None, (head["date"], head["machine"], head["settings"])))
    parts = (
        *(make(bench.results) for make in (report.table, report.growth_table, report.comparisons)),
        report.starts_table(bench.starts),
    )
    text = "\n\n".join((f"{title}; {runs} runs", *(part for part in parts if part.count("\n") > 1)))
    print(text)
    if json_file is not None:
        json_file.write_text(report.as_json(head, bench.results, bench.starts))
    if markdown_file is not None:
        markdown_file.write_text(f"{text}\n")
    if plot_file is not None:
        report.plot(title, bench.results, plot_file)
    say(f"{len(bench.faults)} faults" if bench.faults else "nothing was lost")
    sys.exit(bench.exit_code)
