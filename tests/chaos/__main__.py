"""
Break everything, and see what is lost: all scenarios, again and again until the time is over.

    python -m tests.chaos --minutes 2 [--seed 7] [--only sigkill] [--full]

The first round is in full with `--full`, or if there are 30 minutes or more; every other one is short, with new seeds.
Whatever is random comes from the seed, which is printed. Exit code 1 if anything was not as promised.
"""

import argparse
import asyncio
import importlib
import logging
import platform
import random
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import structlog

from tests.chaos.outcome import Outcome, table
from tests.chaos.supervisor import KEEP_IN

SCENARIOS = (
    "stt_cut",
    "stt_down",
    "stt_faults",
    "stt_lies",
    "sigkill",
    "receiver_down",
    "receiver_slow",
    "mutations",
    "soak",
    "disk_full",
    "slow_peers",
)
FULL_FROM_MINUTES = 30.0
SHORT_S, FULL_S = 180.0, 1800.0
"""Bounds of one scenario."""


async def run(minutes: float, seed: int, names: Sequence[str], *, full: bool) -> int:
    """Returns the exit code."""
    until = time.monotonic() + minutes * 60
    rng = random.Random(seed)
    when = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    say(head := f"seed {seed}, {when}, Python {platform.python_version()}, {platform.machine()}")
    first = [await play(name, seed, short=not full) for name in names]
    later: list[Outcome] = []
    while time.monotonic() < until:
        name = names[len(later) % len(names)]
        later.append(await play(name, rng.randrange(1_000_000), short=True))
    print(f"{head}\n\n{table(first)}")
    bad = sum(not each.ok for each in first), sum(not each.ok for each in later)
    say(f"{len(first)} scenarios, {bad[0]} not as promised; {len(later)} further short runs, {bad[1]} not as promised")
    return 1 if any(bad) else 0


async def play(name: str, seed: int, *, short: bool) -> Outcome:
    """One scenario, in bounded time; what it meets is its outcome."""
    began = time.monotonic()
    say(f"{name} (seed {seed}{', short' if short else ''}) …")
    try:
        async with asyncio.timeout(SHORT_S if short else FULL_S):
            outcome = Outcome.of(await importlib.import_module(f"tests.chaos.{name}").run(seed, short=short))
    except Exception as error:  # noqa: BLE001 - the edge: the other scenarios are still to be seen
        traceback.print_exc()
        outcome = Outcome(name, f"did not come to its end: {type(error).__name__}", ok=False)
    seconds = time.monotonic() - began
    say(f"  {'as promised' if outcome.ok else 'NOT AS PROMISED'} after {seconds:.0f} s: {outcome.shown}")
    for fault in outcome.faults:
        say(f"    {fault}")
    if not outcome.ok:
        say(f"    again: scripts/chaos --only {name} --seed {seed}{'' if short else ' --full'}")
    return outcome


def say(text: str) -> None:
    """Progress goes to standard error; the table alone to standard output."""
    print(text, file=sys.stderr, flush=True)


async def _until_terminated(minutes: float, seed: int, names: Sequence[str], *, full: bool) -> int:
    """As `run`; SIGTERM ends it as Ctrl-C does, so that nothing which it started or wrote is left."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await run(minutes, seed, names, full=full)


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/chaos", description="Break everything, and see what is lost.")
    parser.add_argument("--minutes", type=float, default=2.0, help="go on for so long (default 2)")
    parser.add_argument("--seed", type=int, default=None, help="repeat a run")
    parser.add_argument("--only", choices=SCENARIOS, action="append", help="this scenario; may be repeated")
    parser.add_argument("--keep", type=Path, help="copy logs and data of each scenario into this folder")
    parser.add_argument("--full", action="store_true", help="the first round in full, also in a short run")
    arguments = parser.parse_args()
    # Scenarios that play within this process: what they log is not for standard output.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    if arguments.keep is not None:
        arguments.keep.mkdir(parents=True, exist_ok=True)
        KEEP_IN.set(arguments.keep)
    seed = random.SystemRandom().randrange(1_000_000) if arguments.seed is None else arguments.seed
    full = arguments.full or arguments.minutes >= FULL_FROM_MINUTES
    try:
        return asyncio.run(_until_terminated(arguments.minutes, seed, arguments.only or SCENARIOS, full=full))
    except (KeyboardInterrupt, asyncio.CancelledError):
        say("interrupted")
        return 130


if __name__ == "__main__":
    sys.exit(main())
