"""
The receiver takes 30 s for each answer while 64 calls go on.

What cannot be delivered lies on disk: memory must stay flat, and the calls must not notice. At the end the receiver is
well again, and everything must come.
"""

import asyncio

from tests.chaos.judge import Expected, judge
from tests.chaos.outcome import Outcome
from tests.chaos.phones import Placed
from tests.chaos.supervisor import Life, Stage, staged

ANSWER_S = 30.0
GROWTH_MB = 8.0
"""Beyond the first quarter of the calls. Their transcripts are kept until they end, and audio on its way."""
CLOSED_WITHIN_S = 5.0
DELIVERED_S = 120.0


async def run(seed: int, *, short: bool = False) -> Outcome:
    """64 calls of a minute; short: 16 of 6 s."""
    calls, seconds = (16, 6) if short else (64, 60)
    async with staged(seed) as stage:
        environ = {"GATEWAY_WEBHOOK__TIMEOUT_S": "60", "GATEWAY_WEBHOOK__CONCURRENCY": "16"}
        async with stage.life(**environ) as life:
            await stage.receiver.tell("slow", delay_s=ANSWER_S)
            placed, memory_mb = await _talk(stage, life, calls, seconds)
            pending = await stage.metric(life, "gateway_outbox_pending")
            await stage.receiver.tell("recover")
            is_delivered = await stage.until_ended(calls, DELIVERED_S)
        verdict = judge([_owed(each) for each in placed], stage.deliveries())
        for fault in stage.faults:
            verdict.fault(fault)
    if not is_delivered:
        verdict.fault(f"not everything was delivered {DELIVERED_S:.0f} s after the receiver was well again")
    growth_mb = max(memory_mb[len(memory_mb) // 4 :]) - memory_mb[len(memory_mb) // 4]
    if growth_mb > GROWTH_MB:
        verdict.fault(f"memory grew by {growth_mb:.1f} MB")
    slowest_s = max(each.closed_after_s if each.closed_after_s is not None else 60.0 for each in placed)
    if slowest_s > CLOSED_WITHIN_S or any(each.close_code != 1000 for each in placed):
        verdict.fault(f"a stream was closed {slowest_s:.1f} s after its stop, or not in order")
    figures = {**verdict.figures, "growth_mb": growth_mb, "pending": pending, "slowest_close_s": slowest_s}
    return Outcome(
        fault=f"{calls} calls of {seconds} s, the receiver answers in {ANSWER_S:.0f} s",
        shown=f"memory grows by {growth_mb:.1f} MB; {pending:.0f} events waited; {figures['words']:.0f} of"
        f" {figures['words_owed']:.0f} words; streams closed within {slowest_s:.1f} s of their stop",
        ok=verdict.is_good,
        figures=figures,
        faults=tuple(verdict.faults),
    )


async def _talk(stage: Stage, life: Life, calls: int, seconds: int) -> tuple[list[Placed], list[float]]:
    """All calls, and the gateway's memory once a second meanwhile."""
    memory_mb: list[float] = []

    async def watch() -> None:
        while True:
            memory_mb.append(life.resident_mb)
            await asyncio.sleep(seconds / 60)

    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(watch())
        async with asyncio.TaskGroup() as talking:
            placing = [
                talking.create_task(stage.phones.place(life.stream_url, stage.phones.plan(seconds, tracks=1)))
                for _ in range(calls)
            ]
        watching.cancel()
    return [each.result() for each in placing], memory_mb


def _owed(placed: Placed) -> Expected:
    values = {track: placed.plan.values(track) for track in placed.plan.first}
    return Expected(placed.plan.call_sid, values, owed=placed.plan.seconds, must_be_complete=True)
