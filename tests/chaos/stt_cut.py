"""
The speech service is cut off again and again during a call.

Two calls of the same length run side by side at real time through two profiles: one whose sessions are cut at random
moments in random ways, and one that is left alone. Both must have every word, once, and at the same times.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from tests.chaos import tones
from tests.chaos.judge import Event, Expected, Verdict, finals_of, judge, kept_events, words_of
from tests.chaos.outcome import Outcome
from tests.chaos.phones import Placed
from tests.chaos.supervisor import Life, Stage, moments, staged

WAYS = ("abort", "abort", "close", "garble")
END_S = 60.0
SAME_TIME_S = 0.05


async def run(seed: int, *, short: bool = False) -> Outcome:
    """20 cuts in 2 minutes; short: 3 in 7 s."""
    cuts, seconds = (3, 7) if short else (20, 120)
    async with staged(seed) as stage, stage.life() as life:
        async with asyncio.TaskGroup() as tasks:
            cut = tasks.create_task(_call(stage, life, seconds, "cut"))
            steady = tasks.create_task(_call(stage, life, seconds, "steady"))
            tasks.create_task(_cut(stage, cuts, seconds))
        ended = await stage.until_ended(2, END_S)
        deliveries = stage.deliveries()
        degraded = len(life.logged("stt_lost"))
    verdict = judge([_owed(cut.result()), _owed(steady.result())], deliveries)
    if not ended:
        verdict.fault("a call did not end in time")
    worst_s = _compare(cut.result(), steady.result(), deliveries, verdict)
    for fault in stage.faults:
        verdict.fault(fault)
    figures = {**verdict.figures, "cuts": cuts, "outages": degraded, "worst_difference_s": worst_s}
    return Outcome(
        fault=f"STT cut {cuts} times in a call of {seconds} s (real time, two tracks)",
        shown=f"{figures['words']:.0f} words, {figures['words_lost']:.0f} lost, {figures['words_doubled']:.0f} doubled,"
        f" at most {worst_s * 1000:.0f} ms from their time in the uninterrupted call",
        ok=verdict.is_good,
        figures=figures,
        faults=tuple(verdict.faults),
    )


async def _call(stage: Stage, life: Life, seconds: int, tag: str) -> Placed:
    return await stage.phones.place(life.stream_url, stage.phones.plan(seconds, tag=tag))


async def _cut(stage: Stage, cuts: int, seconds: int) -> None:
    """Cut one of the call's sessions, or all, at random moments of its length."""
    async for _ in moments(stage.rng, cuts, seconds):
        await stage.stt.tell("cut", how=stage.rng.choice(WAYS), match="tag=cut")


def _owed(placed: Placed) -> Expected:
    values = {track: placed.plan.values(track) for track in placed.plan.first}
    return Expected(placed.plan.call_sid, values, owed=placed.plan.seconds, must_be_complete=True)


def _compare(cut: Placed, steady: Placed, deliveries: list[dict[str, Any]], verdict: Verdict) -> float:
    """The greatest difference between a word's time in the two calls, which said the same numbers each from its own."""
    worst_s = 0.0
    times = [_times(placed, deliveries) for placed in (cut, steady)]
    for place in times[1].keys() & times[0].keys():
        worst_s = max(worst_s, *(abs(a - b) for a, b in zip(times[0][place], times[1][place], strict=True)))
    if missing := times[1].keys() - times[0].keys():
        verdict.fault(f"{len(missing)} words of the uninterrupted call are missing")
    if worst_s > SAME_TIME_S:
        verdict.fault(f"a word is {worst_s:.3f} s from its time in the uninterrupted call")
    return worst_s


def _times(placed: Placed, deliveries: list[dict[str, Any]]) -> Mapping[tuple[str, int], tuple[float, float]]:
    """By track and second: start and end of its word."""
    found: dict[tuple[str, int], tuple[float, float]] = {}
    for events in kept_events(deliveries).values():
        if events[0]["data"]["call"]["platform_call_id"] == placed.plan.call_sid:
            for track in placed.plan.first:
                places = {tones.word(value): place for place, value in enumerate(placed.plan.values(track))}
                found |= _times_of(track, events, places)
    return found


def _times_of(track: str, events: list[Event], places: Mapping[str, int]) -> dict[tuple[str, int], tuple[float, float]]:
    return {
        (track, places[each["word"]]): (each["start_s"], each["end_s"])
        for each in words_of(finals_of(events, track))
        if each["word"] in places
    }
