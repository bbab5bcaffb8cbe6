"""The fault scenarios, short: `scripts/chaos` plays them in full, and many times."""

import asyncio

import pytest

from tests.chaos.__main__ import play
from tests.chaos.outcome import Outcome, table

# They mostly wait, for sound that is spoken at its own pace: so those of a group are played at the same time.
GROUPS = {
    "the speech service": (("stt_cut", 1), ("stt_down", 1), ("stt_down", 2), ("stt_faults", 1), ("stt_lies", 1)),
    "the gateway, the receiver and the disk": (("sigkill", 1), ("receiver_slow", 1), ("disk_full", 1)),
}


@pytest.mark.timeout(240)
@pytest.mark.parametrize("broken", GROUPS)
async def test_nothing_is_lost_whatever_happens_to(broken: str) -> None:
    async with asyncio.TaskGroup() as tasks:
        playing = {f"{name} {seed}": tasks.create_task(play(name, seed, short=True)) for name, seed in GROUPS[broken]}
    outcomes = {name: each.result() for name, each in playing.items()}
    assert {name: each.faults or each.shown for name, each in outcomes.items() if not each.ok} == {}


@pytest.mark.timeout(240)
async def test_slow_peers_do_not_delay_calls() -> None:
    outcome = await play("slow_peers", 1, short=True)
    assert outcome.ok, outcome.faults


def test_the_table_tells_what_is_not_as_promised() -> None:
    rows = table([Outcome("a fault", "a figure", ok=True), Outcome("another", "worse", ok=False)])
    assert rows.splitlines()[2:] == ["| a fault | a figure | yes |", "| another | worse | NO |"]


def test_scenarios_may_return_plain_dicts() -> None:
    result = {"fault": "a", "shown": "b", "ok": False, "figures": {"c": 1}, "more": None}
    assert Outcome.of(result) == Outcome("a", "b", ok=False, figures={"c": 1})
