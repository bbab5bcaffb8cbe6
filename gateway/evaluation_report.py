"""What `gateway evaluate` shows: a table for people, CSV for programs, a plot for slides."""

import csv
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from gateway.config import Settings
from gateway.errors import ConfigError
from gateway.evaluate import NORMALISATION, Figures, Heard, Sample, Variant, evaluate, normalise

_PANELS: tuple[tuple[str, Callable[[Figures], float | None]], ...] = (
    ("word error rate, %", lambda row: 100 * row.word_error_rate),
    ("first partial, s (median)", lambda row: row.first_partial_s),
    ("final, s (median)", lambda row: row.final_s),
    ("real-time factor", lambda row: row.real_time_factor),
)


async def run(
    settings: Settings,
    samples: Sequence[Sample],
    chosen: Sequence[Variant],
    speed: float,
    csv_file: Path | None,
    plot_file: Path | None,
    *,
    verbose: bool = False,
) -> int:
    """Evaluate with a progress bar, print the table and write the files. Returns the exit code: 1 if one failed."""
    console, errors = Console(highlight=False, soft_wrap=True), Console(stderr=True, highlight=False, soft_wrap=True)
    faults: list[str] = []
    with Progress(console=errors, transient=True, disable=verbose or not errors.is_terminal) as progress:
        shown = progress.add_task("recognising", total=len(samples) * len(chosen))

        def on_heard(variant: Variant, heard: Heard) -> None:
            name = f"{variant.profile} {variant.form} {heard.sample.name}"
            progress.update(shown, advance=1, description=name)
            if heard.fault is not None:
                faults.append(f"{name}: {heard.fault}")
            if verbose:
                said, got = normalise(heard.sample.words), normalise(heard.text)
                console.print(f"{name}\n  said   {said}\n  heard  {got}", markup=False)

        rows = await evaluate(settings, samples, chosen, speed=speed, on_heard=on_heard)
    Console().print(table(rows, speed))
    for fault in faults:
        errors.print(f"gateway: not heard to its end: {fault}", markup=False)
    if csv_file is not None:
        write_csv(csv_file, rows)
    if plot_file is not None:
        write_plot(plot_file, rows)
    return int(bool(faults))


def table(rows: Sequence[Figures], speed: float) -> Table:
    """The figures, one row per profile and audio form, with what they mean below."""
    pace = (
        "Latencies are median / 95th percentile: of the first partial since its utterance began, of finals since their "
        "last word. The real-time factor needs --speed 0."
        if speed
        else "The real-time factor is time taken by length of audio. Latencies need --speed 1."
    )
    paced = ("first partial s", "final s") if speed else ("real-time factor",)
    some_failed = any(row.failed for row in rows)
    shown = Table(
        *("profile", "audio", "files", "words", "WER %", "errors", *paced, *(["failed"] if some_failed else [])),
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),  # fits a terminal of 80 columns
        pad_edge=False,
        caption=f"Errors are wrong + missing + added words of all files; {NORMALISATION}. {pace}",
        caption_justify="left",
    )
    for row in rows:
        latencies = (
            _pair(row.first_partial_s, row.first_partial_p95_s),
            _pair(row.final_s, row.final_p95_s),
        )
        shown.add_row(
            row.profile,
            row.audio,
            str(row.recordings),
            str(row.words),
            f"{100 * row.word_error_rate:.1f}",
            f"{row.substitutions}+{row.deletions}+{row.insertions}",
            *(latencies if speed else (_figure(row.real_time_factor),)),
            *([str(row.failed)] if some_failed else []),
        )
    return shown


def write_csv(path: Path, rows: Sequence[Figures]) -> None:
    """One line per profile and audio form; columns are the fields of `Figures`, unknown values empty."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [each.name for each in fields(Figures)])
        writer.writeheader()
        for row in rows:
            writer.writerow({name: round(v, 4) if isinstance(v, float) else v for name, v in asdict(row).items()})


def require_plotting() -> None:
    """
    Raises:
        ConfigError: matplotlib, an optional part of the installation, is not there.
    """
    if find_spec("matplotlib") is None:
        raise ConfigError(["--plot needs matplotlib: pip install 'media-stream-gateway[plot]'"])


def write_plot(path: Path, rows: Sequence[Figures]) -> None:
    """A PNG with a panel of bars for each figure that is known."""
    from matplotlib.figure import Figure

    names = [f"{row.profile}\n{row.audio}" for row in rows]
    panels = [(title, values) for title, value in _PANELS if any(values := [value(row) or 0.0 for row in rows])]
    figure = Figure(figsize=(3.2 * max(1, len(panels)), 1.5 + 0.6 * len(rows)), layout="constrained")
    axes: Any = figure.subplots(1, max(1, len(panels)), sharey=True, squeeze=False)[0]
    for axis, (title, values) in zip(axes, panels, strict=False):
        bars = axis.barh(names, values, height=0.6)
        axis.bar_label(bars, fmt="%.2f", padding=2)
        axis.margins(x=0.2)
        axis.set_title(title, fontsize="medium")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].invert_yaxis()
    figure.savefig(path, format="png", dpi=150)


def _pair(median: float | None, p95: float | None) -> str:
    return f"{_figure(median)}/{_figure(p95)}" if median is not None else ""


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
