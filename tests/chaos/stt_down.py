"""
The speech service is away for a whole call and comes back afterwards.

It is away in several ways, and in one of them the gateway is stopped meanwhile and started again. The call must not end
before it was heard; then it must be complete, and every final marked as recovered.
"""

import asyncio
import signal
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from tests.chaos.judge import Expected, Verdict, judge
from tests.chaos.outcome import Outcome
from tests.chaos.supervisor import Stage, staged

TOO_EARLY_S = 1.0
"""For so long after the call its end must not come: nobody has heard it."""
BACK_S = 120.0


@dataclass(frozen=True)
class _Way:
    """How the service is away."""

    name: str
    command: str
    arguments: dict[str, Any]
    restarts: bool = False


WAYS = (
    _Way("refuses with 503", "refuse", {"status": 503}),
    _Way("refuses with 429", "refuse", {"status": 429, "retry_after": 2}),
    _Way("does not listen, gateway restarted", "close_port", {}, restarts=True),
    _Way("accepts, then never answers", "become", {"act": "half_open"}),
    _Way("listens and says nothing", "become", {"act": "silent"}),
)
QUICK_WAYS = WAYS[:3]


async def run(seed: int, *, short: bool = False) -> Outcome:
    """A call of a minute for each way of being away, at the same time; short: of 4 s, in one way."""
    ways, seconds = ([QUICK_WAYS[seed % len(QUICK_WAYS)]], 4) if short else (WAYS, 60)
    async with asyncio.TaskGroup() as tasks:
        parts = [tasks.create_task(_run_part(seed + number, way, seconds)) for number, way in enumerate(ways)]
    verdict = Verdict()
    for part in parts:
        verdict.merge(part.result())
    figures = verdict.figures
    return Outcome(
        fault=f"STT down for a whole call of {seconds} s ({'; '.join(way.name for way in ways)}), back afterwards",
        shown=f"{figures['words']:.0f} of {figures['words_owed']:.0f} words, {figures['words_doubled']:.0f} doubled,"
        f" all marked recovered, {figures['complete']:.0f} of {figures['calls']:.0f} calls complete",
        ok=verdict.is_good,
        figures=figures,
        faults=tuple(verdict.faults),
    )


async def _run_part(seed: int, way: _Way, seconds: int) -> Verdict:
    async with staged(seed) as stage, AsyncExitStack() as stack:
        await stage.stt.tell(way.command, **way.arguments)
        life = await stack.enter_async_context(stage.life(GATEWAY_STT__DRAIN_S="2"))
        placed = await stage.phones.place(life.stream_url, stage.phones.plan(seconds))
        is_early = await stage.until_ended(1, TOO_EARLY_S)
        if way.restarts:
            life.process.send_signal(signal.SIGTERM)
            stopped = await life.process.exit_code()
            await stack.aclose()
            await stack.enter_async_context(stage.life())
        else:
            stopped = 0
        await stage.stt.tell("recover")
        is_back = await stage.until_ended(1, BACK_S)
        await stack.aclose()
        values = {track: placed.plan.values(track) for track in placed.plan.first}
        owed = Expected(placed.plan.call_sid, values, owed=seconds, must_be_complete=True, must_be_recovered=True)
        verdict = judge([owed], stage.deliveries())
        _note(stage, verdict, {"early": is_early, "late": not is_back, "exit": stopped != 0}, way)
    return verdict


def _note(stage: Stage, verdict: Verdict, faults: dict[str, bool], way: _Way) -> None:
    texts = {
        "early": "call.ended came although nobody had heard the call",
        "late": f"the call was not ended {BACK_S:.0f} s after the service was back",
        "exit": "the gateway did not stop in order",
    }
    for name, is_so in faults.items():
        if is_so:
            verdict.fault(f"{way.name}: {texts[name]}")
    for fault in stage.faults:
        verdict.fault(f"{way.name}: {fault}")
    ends = [each["event"]["data"] for each in stage.deliveries() if each["event"]["type"] == "call.ended"]
    verdict.add("complete", sum(each["complete"] is True for each in ends[:1]))
    if left := stage.leftovers():
        verdict.fault(f"{way.name}: {len(left)} journal files are left")
