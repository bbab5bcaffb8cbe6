"""What operators do, on a connection of their own beside an open store."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.outbox import operating
from gateway.outbox.database import Delivery, DeliveryState, Verdict
from gateway.outbox.schema import open_beside
from gateway.outbox.store import Store
from tests.support.stored_events import ENDPOINT, NOW, event

LATER = NOW + 1000
DEAD, DELIVERED, DROPPED, PENDING = (DeliveryState(name) for name in ("dead", "delivered", "dropped", "pending"))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with Store(tmp_path) as opened:
        await opened.register({ENDPOINT: "https://example.com"})
        yield opened


@pytest.fixture
def desk(store: Store, tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(open_beside(tmp_path)) as db:
        yield db


async def lease(store: Store, now: float = LATER) -> list[Delivery]:
    return (await store.lease_due(ENDPOINT, now=now, lease_s=60, limit=100, in_flight=())).deliveries


async def finish(store: Store, delivery: Delivery, state: DeliveryState, *, disables: str | None = None) -> None:
    due_at = NOW + 5000 if state is PENDING else None
    await store.record(
        delivery,
        Verdict(
            state=state,
            due_at=due_at,
            attempts=delivery.attempt,
            outcome="rejected",
            status=422,
            misconfigured=0,
            at=NOW,
            disables=disables,
        ),
    )


async def ended(store: Store, *states: DeliveryState, call_id: str = "call_1") -> None:
    """Events of a call from number 1, each of which has ended like this."""
    for sequence, state in enumerate(states, start=1):
        await store.append(event(call_id, sequence))
        if state is not PENDING:
            (delivery,) = [each for each in await lease(store) if each.call_id == call_id]
            await finish(store, delivery, state)


def states(db: sqlite3.Connection) -> dict[str, str]:
    return {each.event_id: each.state.value for each in operating.select_deliveries(db, states=list(DeliveryState))}


async def delivered(store: Store, now: float = LATER) -> list[str]:
    """Deliver all that is due; the ids in the order in which they went out."""
    ids = []
    while due := await lease(store, now):
        for delivery in due:
            ids.append(delivery.event_id)
            await finish(store, delivery, DELIVERED)
    return ids


async def test_a_retried_event_goes_out_before_those_of_its_call_that_wait(
    store: Store, desk: sqlite3.Connection
) -> None:
    await ended(store, DELIVERED, DEAD, DELIVERED, PENDING, PENDING)

    (changed,) = operating.retry(desk, "evt_call_1_2", None, LATER)

    assert (changed.found, changed.is_done) == (DEAD, True)
    assert await delivered(store) == [f"evt_call_1_{number}" for number in (2, 4, 5)]


async def test_a_retried_event_has_all_its_attempts_again(store: Store, desk: sqlite3.Connection) -> None:
    await ended(store, DEAD)
    operating.retry(desk, "evt_call_1_1", None, LATER)

    (delivery,) = await lease(store)

    assert delivery.attempt == 1


@pytest.mark.parametrize("end", [PENDING, DELIVERED, DEAD])
async def test_a_retry_while_a_later_event_is_under_way_leaves_the_call_one_oldest(
    store: Store, desk: sqlite3.Connection, end: DeliveryState
) -> None:
    await ended(store, DEAD, PENDING)
    (under_way,) = await lease(store)
    operating.retry(desk, "evt_call_1_1", None, LATER)

    await finish(store, under_way, end)

    heads = [each.event_id for each in operating.select_deliveries(desk, states=[PENDING]) if each.due_at is not None]
    assert heads == ["evt_call_1_1"]
    assert await delivered(store) == ["evt_call_1_1"] + (["evt_call_1_2"] if end is PENDING else [])


async def test_a_pending_event_is_retried_without_waiting(store: Store, desk: sqlite3.Connection) -> None:
    await ended(store, PENDING)
    (delivery,) = await lease(store)
    await finish(store, delivery, PENDING)
    assert await lease(store) == []

    operating.retry(desk, "evt_call_1_1", None, LATER)

    assert [(each.event_id, each.attempt) for each in await lease(store)] == [("evt_call_1_1", 2)]


async def test_a_delivered_event_is_not_sent_again(store: Store, desk: sqlite3.Connection) -> None:
    await ended(store, DELIVERED)

    (changed,) = operating.retry(desk, "evt_call_1_1", None, LATER)

    assert not changed.is_done
    assert await lease(store) == []


async def test_all_dead_deliveries_are_retried_each_call_in_order(
    store: Store, desk: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.outbox.operating._CALLS_PER_STEP", 10)
    for number in range(25):  # more than two steps
        await ended(store, DEAD, DELIVERED, DEAD, call_id=f"call_{number:03d}")

    count = operating.retry_all_dead(desk, None, LATER)

    assert count == 50
    assert operating.retry_all_dead(desk, None, LATER) == 0
    ids = await delivered(store)
    assert len(ids) == 50
    for number in range(25):
        assert [each[-1] for each in ids if each.startswith(f"evt_call_{number:03d}_")] == ["1", "3"]


async def test_all_dead_of_one_endpoint_are_retried_and_no_others(store: Store, desk: sqlite3.Connection) -> None:
    await ended(store, DEAD)

    assert operating.retry_all_dead(desk, "another", LATER) == 0
    assert operating.retry_all_dead(desk, ENDPOINT, LATER) == 1


async def test_what_dies_during_a_retry_of_all_is_left_alone(store: Store, desk: sqlite3.Connection) -> None:
    await ended(store, DEAD)

    assert operating.retry_all_dead(desk, None, NOW) == 0


async def test_the_next_event_follows_one_that_is_dropped(store: Store, desk: sqlite3.Connection) -> None:
    await ended(store, PENDING, PENDING)

    (changed,) = operating.drop(desk, "evt_call_1_1", None, LATER)

    assert (changed.found, changed.is_done) == (PENDING, True)
    assert await delivered(store) == ["evt_call_1_2"]
    assert states(desk) == {"evt_call_1_1": "dropped", "evt_call_1_2": "delivered"}


async def test_an_attempt_under_way_does_not_change_what_was_dropped(store: Store, desk: sqlite3.Connection) -> None:
    await ended(store, PENDING, PENDING)
    (under_way,) = await lease(store)
    operating.drop(desk, "evt_call_1_1", None, LATER)

    await finish(store, under_way, DELIVERED)

    assert states(desk) == {"evt_call_1_1": "dropped", "evt_call_1_2": "pending"}
    assert await delivered(store) == ["evt_call_1_2"]


async def test_a_dropped_event_can_be_taken_back(store: Store, desk: sqlite3.Connection) -> None:
    await ended(store, PENDING)
    operating.drop(desk, "evt_call_1_1", None, LATER)
    operating.retry(desk, "evt_call_1_1", None, LATER)

    assert await delivered(store) == ["evt_call_1_1"]


async def test_the_store_notices_what_was_done_beside_it(store: Store, desk: sqlite3.Connection) -> None:
    await ended(store, DEAD, PENDING)
    assert (await store.look()).totals is None

    operating.retry(desk, "evt_call_1_1", None, LATER)
    seen = await store.look()

    assert seen.totals is not None
    assert (store.pending, store.dead) == (2, 0)
    assert seen.oldest_at == NOW
    assert (await store.look()).totals is None


async def test_a_disabled_endpoint_stays_so_until_it_is_enabled(store: Store, desk: sqlite3.Connection) -> None:
    await ended(store, PENDING)
    (delivery,) = await lease(store)
    await finish(store, delivery, PENDING, disables="gone")

    (view,) = operating.select_endpoints(desk)
    assert (view.disabled_at, view.reason, view.pending, view.oldest_pending_at) == (NOW, "gone", 1, NOW)
    assert await store.register({ENDPOINT: "https://example.com"}) == {ENDPOINT}

    assert operating.enable(desk, ENDPOINT)
    assert not operating.enable(desk, ENDPOINT)
    seen = await store.look()
    assert seen.totals is not None
    assert seen.totals.disabled == frozenset()


async def test_the_store_waits_while_a_command_writes(tmp_path: Path) -> None:
    begun = threading.Semaphore(0)

    class Connection(sqlite3.Connection):
        def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
            if sql.startswith("BEGIN"):
                begun.release()
            return super().execute(sql, *arguments)

    def connect(path: Path) -> sqlite3.Connection:
        return sqlite3.connect(path, isolation_level=None, factory=Connection)

    with capture_logs() as logs:
        async with Store(tmp_path, connect=connect) as store, asyncio.TaskGroup() as tasks:
            with closing(open_beside(tmp_path)) as desk, operating.transaction(desk):
                append = tasks.create_task(store.append(event()))
                assert await asyncio.get_running_loop().run_in_executor(None, begun.acquire, True, 10.0)
                assert not append.done()
            await append

    assert logs == []


async def test_deliveries_are_found_by_state_endpoint_and_call(store: Store, desk: sqlite3.Connection) -> None:
    await ended(store, DEAD, PENDING, call_id="a")
    await ended(store, PENDING, call_id="b")

    def found(**filters: str | int) -> list[str]:
        chosen = {"states": list(DeliveryState), **filters}
        return [each.event_id for each in operating.select_deliveries(desk, **chosen)]  # type: ignore[arg-type]

    assert found() == ["evt_a_1", "evt_a_2", "evt_b_1"]
    assert found(limit=2) == ["evt_a_1", "evt_a_2"]
    assert found(call_id="b") == ["evt_b_1"]
    assert found(endpoint="another") == []
    assert found(event_id="evt_a_2") == ["evt_a_2"]
    assert [each.event_id for each in operating.select_deliveries(desk, states=[DEAD])] == ["evt_a_1"]


async def test_what_was_delivered_is_not_read_to_list_what_was_not(store: Store, desk: sqlite3.Connection) -> None:
    await ended(store, DELIVERED, DEAD, PENDING)
    asked: list[str] = []
    desk.set_trace_callback(asked.append)
    views = operating.select_deliveries(desk, states=[PENDING, DEAD, DROPPED], limit=10)
    operating.select_endpoints(desk)
    desk.set_trace_callback(None)
    steps = [row[3] for sql in asked for row in desk.execute(f"EXPLAIN QUERY PLAN {sql}")]
    read_whole = [step for step in steps if step.startswith(("SCAN d", "SCAN e"))]
    assert [view.event_id for view in views] == ["evt_call_1_2", "evt_call_1_3"]
    assert [step for step in read_whole if " INDEX deliveries_" not in step and step != "SCAN endpoints"] == []


async def test_a_state_that_is_named_twice_counts_once(store: Store, desk: sqlite3.Connection) -> None:
    await ended(store, DEAD)

    assert len(operating.select_deliveries(desk, states=[DEAD, DEAD])) == 1
    assert operating.select_deliveries(desk, states=[]) == []


async def test_the_gateway_writes_between_the_steps_of_a_long_retry(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.outbox.operating._CALLS_PER_STEP", 1)
    for number in range(30):
        await ended(store, DEAD, call_id=f"call_{number}")
    begun = threading.Event()

    def retry() -> int:
        with closing(open_beside(tmp_path)) as db:
            db.set_trace_callback(lambda _sql: begun.set())
            return operating.retry_all_dead(db, None, LATER)

    async with asyncio.TaskGroup() as tasks:
        retried = tasks.create_task(asyncio.to_thread(retry))
        assert await asyncio.to_thread(begun.wait, 10.0)
        await store.append(event("call_new"))
        assert not retried.done()
    assert retried.result() == 30
