"""
The speech service lies: three of ten finals come late, twice, out of order, or with words beyond the audio.

Nobody can know then what is true. But nothing that was said may be lost, each call must come to its orderly end, and a
call that is not lied about, in the same process, must be as it should.
"""

import asyncio

from tests.chaos.judge import Expected, judge
from tests.chaos.outcome import Outcome
from tests.chaos.phones import Placed
from tests.chaos.supervisor import staged

SHARE = 0.3
HONEST_S = 3
END_S = 60.0


async def run(seed: int, *, short: bool = False) -> Outcome:
    """Four calls of a minute that are lied about, then one that is not; short: two of 5 s."""
    calls, seconds = (2, 5) if short else (4, 60)
    async with staged(seed) as stage:
        async with stage.life() as life:
            await stage.stt.tell("lie", share=SHARE)
            async with asyncio.TaskGroup() as tasks:
                for _ in range(calls):
                    tasks.create_task(stage.phones.place(life.stream_url, stage.phones.plan(seconds)))
            lied_about = list(stage.phones.placed)
            await stage.stt.tell("recover")
            honest = await stage.phones.place(life.stream_url, stage.phones.plan(HONEST_S))
            is_ended = await stage.until_ended(calls + 1, END_S)
        owed = [*(_owed(each, lied_about=True) for each in lied_about), _owed(honest, lied_about=False)]
        verdict = judge(owed, stage.deliveries())
        for fault in stage.faults:
            verdict.fault(fault)
    if not is_ended:
        verdict.fault(f"a call did not end within {END_S:.0f} s")
    figures = verdict.figures
    return Outcome(
        fault=f"STT lies about {calls} calls of {seconds} s: finals late, twice, out of order, beyond the audio",
        shown=f"{figures['words_lost']:.0f} of {figures['words_owed']:.0f} words lost,"
        f" {figures['words_doubled']:.0f} told twice as the service did; every call ended in order, and one that"
        " was not lied about has each word once",
        ok=verdict.is_good,
        figures=figures,
        faults=tuple(verdict.faults),
    )


def _owed(placed: Placed, *, lied_about: bool) -> Expected:
    values = {track: placed.plan.values(track) for track in placed.plan.first}
    return Expected(
        placed.plan.call_sid,
        values,
        owed=placed.plan.seconds,
        must_be_complete=not lied_about,
        was_lied_about=lied_about,
    )
