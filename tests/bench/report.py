"""Figures as people and programs read them: Markdown tables, JSON, a plot."""

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from tests.bench.figures import Figures, medians
from tests.bench.growth import LIMIT
from tests.bench.run import PRODUCT, SKETCH, Run
from tests.bench.scenarios import Scenario
from tests.bench.starting import Start

Results: TypeAlias = Mapping[tuple[Scenario, str], Sequence[Run]]
"""Runs by load and server."""
_CORE_SHARE = 0.7
"""Of a core, as one would load it."""
_COLUMNS: Sequence[tuple[str, Callable[[Figures], str]]] = (
    ("CPU ms per track-second", lambda f: _number(f.cpu, 3)),
    ("tracks per core at 70 %", lambda f: _number(_CORE_SHARE * 1000 / f.cpu if f.cpu else None, 0)),
    ("added latency ms: p50 / p99 / max", lambda f: _three(f.added_p50, f.added_p99, f.added_max)),
    ("beyond the chunk", lambda f: _three(f.beyond_p50, f.beyond_p99, f.beyond_max)),
    ("frames lost (first)", lambda f: f"{f.frames_lost:.0f} ({f.first_frames_lost:.0f})"),
    ("kB per call", lambda f: _number(f.memory_per_call, 0)),
    ("longest block ms", lambda f: _number(f.block, 0)),
    ("upgrade ms: p99 / max", lambda f: f"{_number(f.connect_p99, 0)} / {_number(f.connect_max, 0)}"),
    ("final to webhook ms: p50 / p99 / max", lambda f: _three(f.final_p50, f.final_p99, f.final_max)),
    ("final to viewer ms: p50 / p99 / max", lambda f: _three(f.shown_p50, f.shown_p99, f.shown_max)),
    ("generator: CPU %, late ms", lambda f: f"{_number(f.generator_cpu, 0)}, {_number(f.generator_late_p99, 1)}"),
    ("others' CPU %", lambda f: _number(f.foreign_cpu, 0)),
)


def table(results: Results) -> str:
    """The figures of each load and server: medians of the runs that came to their end; what was lost, summed."""
    head = ["load", "server", "calls x tracks", "audio", *(name for name, _ in _COLUMNS), "runs"]
    rows = [head, ["---"] * len(head)]
    for (scenario, server), figures, count in _medians(results):
        what = [scenario.name, server, f"{scenario.calls} x {scenario.tracks}", scenario.audio]
        rows.append([*what, *(shown(figures) for _, shown in _COLUMNS), str(count)])
    return _lines(rows)


def growth_table(results: Results) -> str:
    """What viewers did to each call, run by run; empty if there were none."""
    head = ["load", "latency of each call", "p99 ms without viewers: median call"]
    for what in ("with viewers / without", "control: without / without"):
        head += [f"{what}, p99: median / max", f"calls > +{LIMIT - 1:.0%}"]
    rows = [head, ["---"] * len(head)]
    for (scenario, _), runs in results.items():
        for each in (growth for run in runs for growth in run.growth):
            row = [scenario.name, each.what, _number(each.p99_ms, 1)]
            for change in (each.watched, each.control):
                row += [f"{change.median:.2f} / {change.greatest:.2f}", f"{change.above} of {each.calls}"]
            rows.append(row)
    return _lines(rows) if len(rows) > 2 else ""


def comparisons(results: Results) -> str:
    """CPU per track beside CPU per track, as far as both were measured; empty if there is nothing to compare."""
    measured = [(*key, figures.cpu) for key, figures, _ in _medians(results)]
    rows = [["CPU per track", "ratio"], ["---", "---"]]
    for one, server, above in measured:
        for other, which, below in measured:
            what = _compared(one, server, other, which)
            if what and above and below:
                rows.append([what, f"{above / below:.2f}"])
    return _lines(rows) if len(rows) > 2 else ""


def _compared(one: Scenario, server: str, other: Scenario, which: str) -> str | None:
    """What it tells to divide one by the other; None: nothing."""
    if one == other and (server, which) == (PRODUCT, SKETCH):
        return f"{one.name}: {server} / {which}"
    if server != which or other.name != "mulaw" or one.calls * one.tracks != other.calls * other.tracks:
        return None
    if one.name == "linear16":
        return f"{one.audio} / {other.audio}, {server}"
    if one.name == "two-tracks" and one.audio == other.audio:
        return f"two tracks in a socket / one, {server}"
    return None


def starts_table(starts: Sequence[Start]) -> str:
    """How long the commands take; empty if that was not measured."""
    if not starts:
        return ""
    rows = [["command", "s: median", "runs"], ["---"] * 3]
    for command, values in (
        ("`gateway serve` until ready", sorted(start.ready_s for start in starts)),
        ("`gateway --help`", sorted(start.help_s for start in starts)),
    ):
        rows.append([command, _number(values[len(values) // 2], 2), str(len(values))])
    return _lines(rows)


def as_json(head: Mapping[str, str], results: Results, starts: Sequence[Start]) -> str:
    """Everything that was measured, run by run."""
    loads: list[dict[str, Any]] = [
        {
            "scenario": dataclasses.asdict(scenario),
            "server": server,
            "runs": [dataclasses.asdict(run) for run in runs],
        }
        for (scenario, server), runs in results.items()
    ]
    return json.dumps({**head, "loads": loads, "starts": [dataclasses.asdict(start) for start in starts]}, indent=1)


def plot(head: str, results: Results, path: Path) -> None:
    """CPU and lateness against calls; the format is the file's name's."""
    import matplotlib as mpl  # a second, and 40 MB, for those who want it

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for server in (PRODUCT, SKETCH):
        points = sorted(
            (scenario.calls, figures.cpu, figures.beyond_p99)
            for (scenario, which), figures, _ in _medians(results)
            if which == server and scenario.is_of_sweep and figures.cpu is not None and figures.beyond_p99 is not None
        )
        if points:
            calls, cpu, beyond = zip(*points, strict=True)
            left.plot(calls, cpu, marker="o", label=server)
            right.plot(calls, beyond, marker="o", label=server)
    for axes, what in ((left, "CPU ms per track-second"), (right, "added latency beyond the chunk, p99, ms")):
        axes.set_xlabel("calls")
        axes.set_ylabel(what)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend()
    figure.suptitle(head, fontsize=8)
    figure.savefig(path)
    plt.close(figure)


def _medians(results: Results) -> Iterable[tuple[tuple[Scenario, str], Figures, int]]:
    for key, runs in results.items():
        whole = [run.figures for run in runs if run.figures is not None]
        if whole:
            yield key, medians(whole), len(whole)


def _number(value: float | None, places: int) -> str:
    return "-" if value is None else f"{value:.{places}f}"


def _three(p50: float | None, p99: float | None, greatest: float | None) -> str:
    return "-" if p50 is None else f"{_number(p50, 1)} / {_number(p99, 1)} / {_number(greatest, 1)}"


def _lines(rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
