"""
The speech service fails in every way it can, one after the other, during one call.

Refusals, a closed port, garbage, sessions that stall, fall silent or are half open: each lasts a while, then all is
well for a moment. Sessions that went bad stay bad: the gateway has to notice. However long that takes, every word must
come, once and at its time.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.judge import Expected, judge
from tests.chaos.outcome import Outcome
from tests.chaos.supervisor import Stage, staged

WELL_S = 2.0
END_S = 90.0


@dataclass(frozen=True)
class _Fault:
    """Commands that begin it, and how long it lasts; then the service recovers."""

    name: str
    lasts_s: float
    command: str
    arguments: dict[str, Any] = field(default_factory=dict)
    cuts: bool = False


QUICK = (
    _Fault("refused with 503", 1.0, "refuse", {"status": 503}, cuts=True),
    _Fault("refused with 429 and Retry-After", 1.5, "refuse", {"status": 429, "retry_after": 1}, cuts=True),
    _Fault("port closed", 1.0, "close_port"),
    _Fault("garbage", 1.0, "become", {"act": "garble", "now": True}),
    _Fault("results late by 1 s", 2.0, "slow", {"delay_s": 1.0}),
)
LASTING = (
    _Fault("silent", 20.0, "become", {"act": "silent", "now": True}),
    _Fault("half open", 20.0, "become", {"act": "half_open", "now": True}),
    _Fault("stalled", 20.0, "become", {"act": "stall", "now": True}),
    _Fault("half open when opened", 10.0, "become", {"act": "half_open"}, cuts=True),
)


async def run(seed: int, *, short: bool = False) -> Outcome:
    """All of them in a random order, in one call of two tracks at real time; short: two of the quick ones."""
    async with staged(seed) as stage:
        faults = stage.rng.sample(QUICK, 2) if short else stage.rng.sample(QUICK + LASTING, len(QUICK + LASTING))
        seconds = round(sum(each.lasts_s + WELL_S for each in faults)) + 2
        async with stage.life() as life:
            async with asyncio.TaskGroup() as tasks:
                talking = tasks.create_task(stage.phones.place(life.stream_url, stage.phones.plan(seconds)))
                for each in faults:
                    await _break(stage, each)
            is_ended = await stage.until_ended(1, END_S)
            outages = len(life.logged("stt_lost"))
        plan = talking.result().plan
        values = {track: plan.values(track) for track in plan.first}
        verdict = judge([Expected(plan.call_sid, values, owed=seconds, must_be_complete=True)], stage.deliveries())
        for fault in stage.faults:
            verdict.fault(fault)
        violations = (await stage.stt.tell("state"))["violations"]
    if not is_ended:
        verdict.fault(f"the call did not end within {END_S:.0f} s")
    if violations:
        verdict.fault(f"the service was not spoken to as it wants: {violations[:3]}")
    figures = {**verdict.figures, "faults": len(faults), "outages": outages}
    return Outcome(
        fault=f"STT fails in {len(faults)} ways in a call of {seconds} s: {', '.join(each.name for each in faults)}",
        shown=f"{figures['words']:.0f} of {figures['words_owed']:.0f} words, {figures['words_doubled']:.0f} doubled,"
        f" at most {figures['worst_time_s'] * 1000:.0f} ms from their time",
        ok=verdict.is_good,
        figures=figures,
        faults=tuple(verdict.faults),
    )


async def _break(stage: Stage, fault: _Fault) -> None:
    await asyncio.sleep(WELL_S)
    await stage.stt.tell(fault.command, **fault.arguments)
    if fault.cuts:
        await stage.stt.tell("cut", how="abort")
    await asyncio.sleep(fault.lasts_s)
    await stage.stt.tell("recover")
