"""
The gateway is killed at random points, and started again on the same data folder.

Several calls are in progress at any time; those of a killed gateway are over, as with a real platform. Some lives end
before they have begun, some in the middle of an orderly shutdown; in some the speech service is away, so that all they
have is the journal. The receiver drops every tenth connection, before it has kept the event, after, or within its
answer. The last life is left alone until everything is told.
"""

import asyncio
import random
import signal

from tests.chaos.judge import Expected, Verdict, judge
from tests.chaos.outcome import Outcome
from tests.chaos.phones import Placed
from tests.chaos.supervisor import Life, Stage, eventually, staged

GRACE_S = 1.0
"""Audio that arrived so long before the kill must have been kept."""
LIFE_S = (0.2, 5.0)
STILLBORN, TERMINATED, DEAF = 0.15, 0.15, 0.2
CUT_SHARE = 0.1
SETTLE_S = 120.0


async def run(seed: int, *, short: bool = False) -> Outcome:
    """200 kills on three data folders at once; short: 4 on one."""
    kills = [3] if short else [67, 67, 66]
    async with asyncio.TaskGroup() as tasks:
        parts = [
            tasks.create_task(_run_part(seed + 1_000_000 * part, count, calls=3 if short else 4))
            for part, count in enumerate(kills)
        ]
    verdict = Verdict()
    for part in parts:
        verdict.merge(part.result())
    figures = {"kills": sum(kills), **verdict.figures}
    return Outcome(
        fault=f"SIGKILL at {figures['kills']} random points of a gateway with calls in progress, restart",
        shown=f"{figures['calls']:.0f} calls, {figures['words_owed']:.0f} words owed (sent up to {GRACE_S:g} s before"
        f" the kill), {figures['words_lost']:.0f} lost, {figures['words_doubled']:.0f} doubled,"
        f" {figures['two_bodies']:.0f} webhook-ids with two bodies",
        ok=verdict.is_good,
        figures=figures,
        faults=tuple(verdict.faults),
    )


async def _run_part(seed: int, kills: int, calls: int) -> Verdict:
    owed: list[Expected] = []
    async with staged(seed) as stage:
        await stage.receiver.tell("cut", share=CUT_SHARE)
        for _ in range(kills):
            owed += await _live_and_die(stage, calls)
        async with stage.life() as life:
            settled_s = await eventually(lambda: _is_settled(stage, life), SETTLE_S)
            waiting = await stage.metric(life, "gateway_recovery_waiting")
        verdict = judge(owed, stage.deliveries())
        if settled_s is None:
            verdict.fault(f"seed {seed}: not everything was told within {SETTLE_S:.0f} s, {waiting:.0f} calls wait")
        if left := stage.leftovers():
            verdict.fault(f"seed {seed}: {len(left)} journal files are left")
        for fault in stage.faults:
            verdict.fault(f"seed {seed}: {fault}")
    return verdict


async def _live_and_die(stage: Stage, calls: int) -> list[Expected]:
    """One life; returns what it owes to its calls."""
    rng = stage.rng
    if rng.random() < STILLBORN:
        await stage.stillborn(after_s=rng.uniform(0, 1.0))
        return []
    if rng.random() < DEAF:
        await stage.stt.tell("refuse", status=503)
    before = len(stage.phones.placed)
    async with stage.life() as life, asyncio.TaskGroup() as tasks:
        for _ in range(calls):
            tasks.create_task(_talk(stage, life, random.Random(rng.random())))
        await asyncio.sleep(rng.uniform(*LIFE_S))
        if rng.random() < TERMINATED:
            life.process.send_signal(signal.SIGTERM)
            await asyncio.sleep(rng.uniform(0, 1.0))
        await life.kill()
    await stage.stt.tell("recover")
    return [_owed(placed, life) for placed in stage.phones.placed[before:]]


async def _talk(stage: Stage, life: Life, rng: random.Random) -> None:
    """One call after the other, as long as there is a gateway."""
    while life.killed_at is None:
        seconds, tracks, speed = rng.randint(1, 12), rng.randint(1, 2), rng.choice((1.0, 1.0, 2.0))
        placed = await stage.phones.place(life.stream_url, stage.phones.plan(seconds, tracks=tracks, speed=speed))
        if placed.started_at is None:
            return  # draining, or gone


def _owed(placed: Placed, life: Life) -> Expected:
    assert life.killed_at is not None
    values = {track: placed.plan.values(track) for track in placed.plan.first}
    kept_until = life.killed_at - GRACE_S
    return Expected(
        placed.plan.call_sid,
        values,
        owed=placed.words_sent_by(kept_until),
        must_exist=placed.started_at is not None and placed.started_at <= kept_until,
    )


async def _is_settled(stage: Stage, life: Life) -> bool:
    """Whether nothing waits any more: no call to be recovered, no event to be delivered."""
    return all([await stage.metric(life, name) == 0 for name in ("gateway_recovery_waiting", "gateway_outbox_pending")])
