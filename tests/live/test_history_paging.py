"""Turning the pages of a long history: no call is left out and none told twice, also while calls begin and end."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway.events import CallEvent
from gateway.live.calls import MOST_CALLS
from gateway.outbox.schema import FILE_NAME
from tests.support.history_house import House, ended, history, short_call, started

LIVE, OVER = 110, 130
AT_ONCE = 40
"""Calls that begin, or end, at the very same moment."""


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with history(tmp_path) as served:
        yield served


async def together(house: House, events: Iterable[CallEvent]) -> None:
    async with asyncio.TaskGroup() as tasks:
        for event in events:
            tasks.create_task(house.outbox.publish(event))
    house.clock.now += 1


async def fill(house: House) -> tuple[set[str], set[str]]:
    """Many calls; the ids of those that go on, and of those that are over."""
    live, over = ({f"{kind}_{n:03}" for n in range(count)} for kind, count in (("live", LIVE), ("over", OVER)))
    waiting = sorted(live | over, key=lambda id_: id_[-3:])  # of each kind some in every moment
    for at in range(0, len(waiting), AT_ONCE):
        await together(house, (started(id_) for id_ in waiting[at : at + AT_ONCE]))
    waiting = sorted(over, key=lambda id_: id_[::-1])  # they end in another order than they began
    for at in range(0, len(waiting), AT_ONCE):
        await together(house, (ended(id_, 2) for id_ in waiting[at : at + AT_ONCE]))
    return live, over


async def pages(house: House, limit: int, state: str = "all") -> AsyncIterator[list[Any]]:
    """The calls of one page after the other."""
    cursor = ""
    while True:
        status, page = await house.get_json(f"/api/calls?state={state}&limit={limit}{cursor}")
        assert status == 200
        yield page["calls"]
        if page["next"] is None:
            return
        cursor = f"&before={page['next']}"


@pytest.mark.parametrize("limit", [7, 100, 120, MOST_CALLS])
async def test_each_of_hundreds_of_calls_is_on_one_page(house: House, limit: int) -> None:
    live, over = await fill(house)
    told = [page async for page in pages(house, limit)]
    calls = [call for page in told for call in page]
    assert {len(page) for page in told[:-1]} == {limit}
    assert sorted(call["id"] for call in calls) == sorted(live | over)
    going_on, done = calls[:LIVE], calls[LIVE:]
    assert {call["id"] for call in going_on} == live
    for part, time in ((going_on, "started_at"), (done, "ended_at")):
        times = [call[time] for call in part]
        assert times == sorted(times, reverse=True)


@pytest.mark.parametrize(("state", "count"), [("live", LIVE), ("ended", OVER)])
async def test_so_is_each_of_a_kind(house: House, state: str, count: int) -> None:
    await fill(house)
    ids = [call["id"] async for page in pages(house, 30, state) for call in page]
    assert (len(ids), len(set(ids))) == (count, count)


async def test_a_page_is_never_longer_than_the_most(house: House) -> None:
    await fill(house)
    _, page = await house.get_json("/api/calls?limit=100000")
    assert (len(page["calls"]), page["next"] is None) == (MOST_CALLS, False)


async def test_no_call_is_missed_while_others_begin_and_end(house: House) -> None:
    live, over = await fill(house)
    leaving = sorted(live)
    ended_meanwhile: set[str] = set()
    seen: list[str] = []
    turned = pages(house, 9)

    async def read() -> None:
        seen.extend(call["id"] for call in await anext(turned, []))

    async def go_on(number: int) -> None:
        """A call begins, another one begins and ends, and one that went on ends: the oldest or the youngest."""
        going = leaving.pop(0 if number % 2 else -1)
        ended_meanwhile.update((going, f"short_{number}"))
        await house.publish(started(f"new_{number}"), *short_call(f"short_{number}"), ended(going, 2))

    before, number = -1, 0
    while len(seen) > before:
        before, number = len(seen), number + 1
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(read())
            tasks.create_task(go_on(number))
    assert live | over <= set(seen)
    assert {id_ for id_ in seen if seen.count(id_) > 1} <= ended_meanwhile
    assert all(seen.count(id_) <= 2 for id_ in ended_meanwhile)


async def test_reading_goes_on_behind_a_call_that_is_deleted_meanwhile(house: House) -> None:
    _, over = await fill(house)
    _, first = await house.get_json("/api/calls?state=ended&limit=60")
    last = first["calls"][-1]["id"]
    with closing(sqlite3.connect(house.folder / FILE_NAME)) as db:
        db.execute("DELETE FROM events WHERE call_id = ?", (last,))
        db.execute("DELETE FROM calls WHERE call_id = ?", (last,))
        db.commit()
    _, rest = await house.get_json(f"/api/calls?state=ended&limit=200&before={first['next']}")
    told = [call["id"] for call in (*first["calls"], *rest["calls"])]
    assert sorted(told) == sorted(over)
