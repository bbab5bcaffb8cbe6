"""What a transaction makes due is sent without another look at the store; nothing is forgotten between the two."""

import asyncio
import random
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.commands import running
from gateway.outbox import Outbox
from gateway.outbox.client import Attempt
from gateway.outbox.database import Due
from gateway.outbox.endpoint import Endpoint
from gateway.outbox.schedule import Outcome
from gateway.outbox.store import Store
from tests.support import call_events
from tests.support.webhook_receiver import DEADLINE_S, settings_for

CALLS, EVENTS = 30, 8


class Poster:
    """
    A receiver without a network.

    Args:
        turns: how many turns of the loop an attempt takes.
    """

    def __init__(self, turns: Callable[[], int] = lambda: 0) -> None:
        self.posted: list[tuple[str, int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self._turns = turns
        self._arrived = asyncio.Condition()

    async def post(self, _event_id: str, body: bytes) -> Attempt:
        data = msgspec.json.decode(body)["data"]
        async with self._arrived:
            self.posted.append((data["call"]["id"], data["sequence"]))
            self._arrived.notify_all()
        for _ in range(self._turns()):
            await asyncio.sleep(0)
        await self.gate.wait()
        return Attempt(Outcome.DELIVERED, 204)

    async def has(self, count: int) -> None:
        async with asyncio.timeout(DEADLINE_S), self._arrived:
            await self._arrived.wait_for(lambda: len(self.posted) >= count)

    @asynccontextmanager
    async def opened(self, _endpoint: Endpoint) -> AsyncIterator["Poster"]:
        yield self


def outbox_to(folder: Path, poster: Poster, **changes: Any) -> Outbox:
    return Outbox(folder, (settings_for("http://127.0.0.1:1/", **changes),), open_client=poster.opened)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("concurrency", [1, 3, 100])
async def test_every_event_is_sent_once_and_in_order_however_commits_and_attempts_interleave(
    tmp_path: Path, seed: int, concurrency: int
) -> None:
    """Nobody asks for it: it is not the look of `drain` that finds them."""
    draw = random.Random(seed)
    poster = Poster(turns=lambda: draw.choice((0, 0, 1, 3, 40)))

    async def call(outbox: Outbox, call_id: str) -> None:
        for sequence in range(1, EVENTS + 1):
            await outbox.publish(call_events.final(call_id, sequence))
            for _ in range(draw.choice((0, 2, 30))):
                await asyncio.sleep(0)

    async with outbox_to(tmp_path, poster, concurrency=concurrency) as outbox:
        async with asyncio.TaskGroup() as tasks:
            for number in range(CALLS):
                tasks.create_task(call(outbox, f"call_{number}"))
        await poster.has(CALLS * EVENTS)
        assert await outbox.drain(DEADLINE_S)
        assert outbox.pending() == 0

    for number in range(CALLS):
        sent = [sequence for call_id, sequence in poster.posted if call_id == f"call_{number}"]
        assert sent == list(range(1, EVENTS + 1))


async def test_an_event_takes_two_transactions_and_no_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    look = Store.lease_due

    async def counted(store: Store, *arguments: Any, **named: Any) -> Due:
        nonlocal looks
        looks += 1
        return await look(store, *arguments, **named)

    monkeypatch.setattr(Store, "lease_due", counted)
    poster = Poster()
    async with outbox_to(tmp_path, poster) as outbox:
        await outbox.publish(call_events.final("call_0"))  # after it, the worker sleeps until that lease would end
        assert await outbox.drain(DEADLINE_S)
        looks_before, commits_before = looks, outbox._store.commits
        for number in range(1, 6):
            await outbox.publish(call_events.final(f"call_{number}"))
            await poster.has(number + 1)
        looks_after, commits_after = looks, outbox._store.commits

    assert looks_after == looks_before
    assert commits_after - commits_before <= 10


async def test_what_falls_due_while_a_look_is_under_way_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look began when the call's first event was in flight, and is over when that has ended."""
    look, looking, going_on = Store.lease_due, asyncio.Event(), asyncio.Event()
    going_on.set()

    async def slow(store: Store, *arguments: Any, **named: Any) -> Due:
        looking.set()
        await going_on.wait()
        return await look(store, *arguments, **named)

    monkeypatch.setattr(Store, "lease_due", slow)
    poster = Poster()
    async with outbox_to(tmp_path, poster) as outbox:
        assert await outbox.drain(DEADLINE_S)
        poster.gate.clear()
        await outbox.publish(call_events.final(sequence=1))
        await poster.has(1)
        await outbox.publish(call_events.final(sequence=2))
        going_on.clear()
        looking.clear()
        outbox._sender.wake()
        await looking.wait()
        poster.gate.set()
        commits = outbox._store.commits
        async with asyncio.timeout(DEADLINE_S):
            while outbox._store.commits == commits:  # noqa: ASYNC110 - the end of the first attempt, within the deadline
                await asyncio.sleep(0)
        going_on.set()
        await poster.has(2)

    assert poster.posted == [("call_1", 1), ("call_1", 2)]


async def test_what_is_committed_while_the_answer_of_a_look_is_on_its_way_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, looked, going_on = Store.lease_due, asyncio.Event(), asyncio.Event()
    going_on.set()

    async def slow(store: Store, *arguments: Any, **named: Any) -> Due:
        due = await look(store, *arguments, **named)
        looked.set()
        await going_on.wait()
        return due

    monkeypatch.setattr(Store, "lease_due", slow)
    poster = Poster()
    async with outbox_to(tmp_path, poster) as outbox:
        assert await outbox.drain(DEADLINE_S)
        going_on.clear()
        looked.clear()
        outbox._sender.wake()
        await looked.wait()
        await outbox.publish(call_events.final())
        going_on.set()
        await poster.has(1)

    assert poster.posted == [("call_1", 1)]


async def test_what_a_look_that_waits_behind_the_commit_leaves_out_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its list of calls in flight is older than the commit that it waits for."""
    poster = Poster()
    async with outbox_to(tmp_path, poster) as outbox:
        assert await outbox.drain(DEADLINE_S)
        poster.gate.clear()
        for sequence in (1, 2):
            await outbox.publish(call_events.final(sequence=sequence))
        await poster.has(1)
        (worker,) = outbox._sender._workers.values()
        submit = outbox._store._submit

        def look_first() -> None:
            worker._is_claiming = True  # as if a look were under way when the transaction begins
            submit()
            worker._end_claim()

        monkeypatch.setattr(outbox._store, "_submit", look_first)
        poster.gate.set()
        await poster.has(2)

    assert poster.posted == [("call_1", 1), ("call_1", 2)]


def test_a_thread_gets_the_interpreter_from_a_busy_loop_within_a_millisecond(monkeypatch: pytest.MonkeyPatch) -> None:
    """With 5 ms, which a loop full of short system calls never lets pass, the store waited for a second and longer."""
    told: list[float] = []
    monkeypatch.setattr(sys, "setswitchinterval", told.append)

    async def main() -> int:
        return 0

    with pytest.raises(SystemExit):
        running.run(main())

    assert len(told) == 1
    assert 0 < told[0] < 0.001
