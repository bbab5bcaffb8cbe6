import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Collection, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
from structlog.testing import capture_logs

from gateway.errors import StorageError
from gateway.outbox import operating, schema
from gateway.outbox.database import Delivery, DeliveryState, Due, StoredEvent, Verdict
from gateway.outbox.schema import FILE_NAME
from gateway.outbox.store import Store
from gateway.outbox.transaction import Claim
from tests.support import call_events
from tests.support.failing_disk import DEADLINE_S, Disk
from tests.support.stored_events import ENDPOINT, NOW, event

T = TypeVar("T")


def verdict(state: DeliveryState, due_at: float | None = None, at: float = NOW) -> Verdict:
    return Verdict(state=state, due_at=due_at, attempts=1, outcome="unavailable", status=500, misconfigured=0, at=at)


async def lease(
    store: Store, now: float = NOW, *, limit: int = 100, in_flight: frozenset[str] = frozenset()
) -> list[Delivery]:
    due = await store.lease_due(ENDPOINT, now=now, lease_s=60, limit=limit, in_flight=in_flight)
    return due.deliveries


async def test_an_appended_event_is_on_disk_when_append_returns(tmp_path: Path) -> None:
    async with Store(tmp_path) as store:
        stored = await store.append(event(body=b'{"a":1}'))

        with sqlite3.connect(tmp_path / FILE_NAME) as other:
            rows = other.execute("SELECT position, id, call_id, sequence, body FROM events").fetchall()
        other.close()

    assert rows == [(stored.position, "evt_call_1_1", "call_1", 1, b'{"a":1}')]


async def test_every_commit_is_flushed_to_the_disk(tmp_path: Path) -> None:
    """Write-ahead log, flushed per transaction: what was acknowledged survives a power cut (SQLite, `synchronous`)."""
    async with Store(tmp_path) as store:
        await lease(store)
        modes = await store._read(
            lambda db: [db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
        )

    assert modes == ["wal", 2]


async def test_appends_that_come_together_share_a_transaction(tmp_path: Path) -> None:
    async with Store(tmp_path) as store:
        async with asyncio.TaskGroup() as tasks:
            for number in range(64):
                tasks.create_task(store.append(event(f"call_{number}")))

        assert store.commits <= 2
        assert store.pending == 64


async def test_a_group_takes_no_more_statements_than_one_event_and_one_end(tmp_path: Path) -> None:
    """
    Between two statements the thread lets go of the interpreter, and a busy event loop is slow to give it back: with
    statements per event the outbox fell 25 s behind, at a rate of which an idle one can take many times as much.
    """
    counted: list[int] = []
    for size in (1, 32):
        seen, connect = traced()
        async with Store(tmp_path / str(size), connect=connect) as store:
            await together(store.append(event(f"call_{number}")) for number in range(size))
            taken = await lease(store)
            await together(store.append(event(f"call_{number}", 2)) for number in range(size))
            await together(record(store, each) for each in taken)
            assert len(await lease(store)) == size
            counted.append(len(seen))

    assert counted[0] == counted[1]


async def test_the_positions_of_a_group_follow_the_last_ever_given(tmp_path: Path) -> None:
    """Also if that one was deleted: whoever reads on from a position misses nothing."""
    async with Store(tmp_path) as store:
        await store.append(event("old", type="call.ended", endpoints=()))
        await store.prune(done_before=NOW + 1, dead_before=0, endpoints=[])
        group = await together(store.append(event(sequence=sequence)) for sequence in (1, 2, 3))

    assert [one.position for one in group] == [2, 3, 4]


async def test_a_group_larger_than_a_statement_takes_is_written_whole(tmp_path: Path) -> None:
    async with Store(tmp_path) as store:
        stored = await together(store.append(event(f"call_{number // 3}", number % 3 + 1)) for number in range(99))
        taken = await lease(store)
        await together(record(store, each) for each in taken)
        followers = await lease(store)

    assert [one.position for one in stored] == list(range(1, 100))
    assert {each.event_id for each in taken} == {f"evt_call_{number}_1" for number in range(33)}
    assert {each.event_id for each in followers} == {f"evt_call_{number}_2" for number in range(33)}


async def test_a_commit_that_succeeded_and_reported_a_failure_writes_nothing_twice(tmp_path: Path) -> None:
    disk = Disk()
    async with Store(tmp_path, connect=disk.connect, backoff_s=(0.001,)) as store:
        await store.append(event("a"))
        (delivery,) = await lease(store)
        disk.lies = 1
        await together([store.append(event("b", 1)), store.append(event("b", 2)), record(store, delivery)])

        assert disk.lies == 0
        assert [one.position for one in await store.events_of("b")] == [2, 3]
        assert [each.event_id for each in await lease(store)] == ["evt_b_1"]


async def test_an_end_that_was_dropped_meanwhile_does_not_touch_the_others_of_its_group(tmp_path: Path) -> None:
    async with Store(tmp_path) as store:
        for call_id in ("a", "b", "c"):
            await store.append(event(call_id))
        taken = await lease(store)
        with closing(schema.open_beside(tmp_path)) as db:
            operating.drop(db, "evt_b_1", None, NOW)
        await together(store.record(each, verdict(DeliveryState.DEAD)) for each in taken)
        with closing(schema.open_beside(tmp_path)) as db:
            views = operating.select_deliveries(db, states=list(DeliveryState))

    assert {view.call_id: view.state.value for view in views} == {"a": "dead", "b": "dropped", "c": "dead"}


async def test_the_end_of_an_attempt_shares_the_transaction_of_the_next_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.outbox.store._COMPANY_S", 1000.0)
    async with Store(tmp_path) as store:
        await store.append(event("a"))
        (delivery,) = await lease(store)
        before = store.commits
        async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as tasks:
            ended = tasks.create_task(record(store, delivery))
            await asyncio.sleep(0)
            await store.append(event("b"))
            await ended

        assert store.commits == before + 1


async def test_the_end_of_an_attempt_is_written_also_if_no_event_comes(tmp_path: Path) -> None:
    async with Store(tmp_path) as store:
        await store.append(event())
        (delivery,) = await lease(store)
        async with asyncio.timeout(DEADLINE_S):
            await record(store, delivery)

        assert store.pending == 0


async def test_an_end_behind_which_something_waits_is_written_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.outbox.store._COMPANY_S", 1000.0)
    async with Store(tmp_path) as store:
        await together(store.append(event(sequence=sequence)) for sequence in (1, 2))
        (delivery,) = await lease(store)
        async with asyncio.timeout(DEADLINE_S):
            await record(store, delivery)

        assert store.pending == 1


async def test_an_end_that_waits_for_company_is_written_when_the_store_closes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.outbox.store._COMPANY_S", 1000.0)
    async with asyncio.TaskGroup() as tasks:
        store = await tasks.create_task(Store(tmp_path).__aenter__())
        await store.append(event())
        (delivery,) = await lease(store)
        tasks.create_task(record(store, delivery))
        await asyncio.sleep(0)
        async with asyncio.timeout(DEADLINE_S):
            await store.__aexit__(None, None, None)

    async with Store(tmp_path) as store:
        assert store.pending == 0


async def test_an_event_waits_for_no_company_that_an_end_waits_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both come while another transaction is under way."""
    monkeypatch.setattr("gateway.outbox.store._COMPANY_S", 1000.0)
    disk = Disk()
    async with Store(tmp_path, connect=disk.connect) as store:
        await store.append(event("a"))
        (delivery,) = await lease(store)
        async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as tasks:
            disk.gate.clear()
            tasks.create_task(store.append(event("b", endpoints=())))
            await disk.fails(1)
            tasks.create_task(store.append(event("c", endpoints=())))
            tasks.create_task(record(store, delivery))
            await asyncio.sleep(0)
            disk.gate.set()

        assert store.pending == 0


class Taker:
    """Claims whatever is due for `ENDPOINT` in the transactions that it is asked about."""

    def __init__(self) -> None:
        self.asked: list[set[str]] = []
        self.taken: list[Delivery] = []
        self.undone = 0

    def claim(self, ended: Collection[str]) -> Claim | None:
        self.asked.append(set(ended))
        return Claim(endpoint=ENDPOINT, now=NOW, lease_s=60, limit=9, in_flight=frozenset())

    def take(self, due: Due) -> None:
        self.taken += due.deliveries

    def missed(self) -> None:
        self.undone += 1


async def test_what_a_transaction_makes_due_is_leased_in_it(tmp_path: Path) -> None:
    taker = Taker()
    async with Store(tmp_path) as store:
        store.add_claimer(ENDPOINT, taker)
        await together(store.append(event(call_id, sequence)) for call_id in ("a", "b") for sequence in (1, 2))
        await record(store, taker.taken[0])

        assert [each.event_id for each in taker.taken] == ["evt_a_1", "evt_b_1", "evt_a_2"]
        assert taker.asked == [set(), {"a"}]
        assert await lease(store) == []
        assert store.commits == 2


async def test_a_transaction_asks_only_whom_it_concerns(tmp_path: Path) -> None:
    taker = Taker()
    async with Store(tmp_path) as store:
        store.add_claimer(ENDPOINT, taker)
        await store.append(event(endpoints=("another",)))

    assert taker.asked == []


async def test_a_claim_is_undone_with_its_transaction_and_made_again(tmp_path: Path) -> None:
    disk, taker = Disk(), Taker()
    async with Store(tmp_path, connect=disk.connect, backoff_s=(0.001,)) as store, asyncio.TaskGroup() as tasks:
        store.add_claimer(ENDPOINT, taker)
        disk.fails_at = "COMMIT"
        append = tasks.create_task(store.append(event()))
        await disk.has_failed()
        disk.fails_at = None
        await append

    assert taker.undone == len(taker.asked) - 1 > 0
    assert [each.event_id for each in taker.taken] == ["evt_call_1_1"]


async def test_listeners_hear_events_in_the_order_of_their_commits(tmp_path: Path) -> None:
    heard: list[StoredEvent] = []
    async with Store(tmp_path) as store:
        store.add_listener(heard.extend)
        async with asyncio.TaskGroup() as tasks:
            for sequence in range(1, 40):
                tasks.create_task(store.append(event(sequence=sequence)))
        stored = await store.events_of("call_1")

    assert heard == stored
    assert [one.sequence for one in heard] == list(range(1, 40))
    assert [one.position for one in heard] == sorted(one.position for one in heard)


async def test_listeners_have_heard_of_an_event_before_its_append_returns(tmp_path: Path) -> None:
    heard: list[StoredEvent] = []
    async with Store(tmp_path) as store:
        store.add_listener(heard.extend)
        stored = await store.append(event())

        assert heard == [stored]


async def test_a_sequence_number_is_used_once_and_the_others_of_the_group_are_kept(tmp_path: Path) -> None:
    async with Store(tmp_path) as store:
        async with asyncio.TaskGroup() as tasks:
            good = tasks.create_task(store.append(event(id="evt_a")))
            bad = tasks.create_task(_failure(store.append(event(id="evt_b"))))
            other = tasks.create_task(store.append(event("call_2")))

        assert bad.result().code == "event_conflict"
        assert not bad.result().retryable
        assert [one.id for one in await store.events_of("call_1")] == [good.result().id]
        assert await store.events_of("call_2") == [other.result()]


async def test_a_call_ends_once(tmp_path: Path) -> None:
    async with Store(tmp_path) as store:
        await store.append(event(sequence=1, type="call.ended"))

        failure = await _failure(store.append(event(sequence=2, type="call.ended")))

    assert failure.code == "event_conflict"


async def test_writing_the_same_event_again_changes_nothing(tmp_path: Path) -> None:
    """A commit can succeed on disk and still report a failure; it is then repeated."""
    async with Store(tmp_path) as store:
        first = await store.append(event())

        assert await store.append(event()) == first
        assert store.pending == 1


async def test_only_the_oldest_undelivered_event_of_a_call_is_due(tmp_path: Path) -> None:
    async with Store(tmp_path) as store:
        for call_id, sequence in (("a", 1), ("a", 2), ("b", 1), ("a", 3)):
            await store.append(event(call_id, sequence))

        assert [one.event_id for one in await lease(store)] == ["evt_a_1", "evt_b_1"]


async def test_a_leased_delivery_is_not_handed_out_again_before_the_lease_ends(tmp_path: Path) -> None:
    async with Store(tmp_path) as store:
        await store.append(event())
        await lease(store, NOW)

        assert await lease(store, NOW + 59) == []
        assert len(await lease(store, NOW + 60)) == 1


async def test_calls_in_flight_are_left_out_whatever_their_lease(tmp_path: Path) -> None:
    async with Store(tmp_path) as store:
        await store.append(event("a"))
        await store.append(event("b"))

        due = await lease(store, limit=1, in_flight=frozenset({"a"}))

    assert [one.call_id for one in due] == ["b"]


@pytest.mark.parametrize("state", [DeliveryState.DELIVERED, DeliveryState.DEAD])
async def test_the_next_event_of_a_call_follows_when_the_one_before_has_ended(
    tmp_path: Path, state: DeliveryState
) -> None:
    async with Store(tmp_path) as store:
        await store.append(event(sequence=1))
        await store.append(event(sequence=2))
        (first,) = await lease(store)

        await store.record(first, verdict(state))

        assert [one.event_id for one in await lease(store)] == ["evt_call_1_2"]
        assert store.pending == 1


async def test_a_failed_delivery_blocks_its_call_until_it_is_due_again(tmp_path: Path) -> None:
    async with Store(tmp_path) as store:
        await store.append(event(sequence=1))
        await store.append(event(sequence=2))
        (first,) = await lease(store)
        await store.record(first, verdict(DeliveryState.PENDING, NOW + 300))

        early = await store.lease_due(ENDPOINT, now=NOW + 299, lease_s=60, limit=9, in_flight=())
        (again,) = await lease(store, NOW + 300)

    assert (early.deliveries, early.next_at) == ([], NOW + 300)
    assert (again.event_id, again.attempt, again.body) == (first.event_id, 2, first.body)


async def test_endpoints_do_not_wait_for_one_another(tmp_path: Path) -> None:
    async with Store(tmp_path) as store:
        await store.append(event(endpoints=("slow", ENDPOINT)))
        await store.append(event(sequence=2, endpoints=("slow", ENDPOINT)))
        (first,) = await lease(store)
        await store.record(first, verdict(DeliveryState.DELIVERED))

        slow = await store.lease_due("slow", now=NOW, lease_s=60, limit=9, in_flight=())

        assert [one.event_id for one in await lease(store)] == ["evt_call_1_2"]
        assert [one.event_id for one in slow.deliveries] == ["evt_call_1_1"]


async def test_a_restart_takes_back_the_leases_of_the_dead_process(tmp_path: Path) -> None:
    async with Store(tmp_path) as store:
        await store.append(event())
        await lease(store)

    async with Store(tmp_path) as store:
        assert store.pending == 1
        assert len(await lease(store)) == 1


async def test_unfinished_calls_are_those_that_did_not_end(tmp_path: Path) -> None:
    async with Store(tmp_path) as store:
        await store.append(event("over", 1, type="call.started"))
        await store.append(event("over", 2, type="call.ended"))
        await store.append(event("open", 1, type="call.started"))
        await store.append(event("open", 2))

    async with Store(tmp_path) as store:
        (unfinished,) = await store.unfinished_calls()

    assert unfinished.info == call_events.info("open")
    assert unfinished.last_sequence == 2
    assert unfinished.started_at.timestamp() == NOW


@pytest.mark.parametrize("statement", ["BEGIN", "INSERT INTO events", "COMMIT"])
async def test_a_write_that_fails_is_repeated_until_it_succeeds(tmp_path: Path, statement: str) -> None:
    disk = Disk()
    async with Store(tmp_path, connect=disk.connect, backoff_s=(0.001,)) as store, asyncio.TaskGroup() as tasks:
        disk.fails_at = statement
        appends = [tasks.create_task(store.append(event(sequence=sequence))) for sequence in (1, 2, 3)]
        await disk.has_failed()
        was_writable = store.is_writable
        disk.fails_at = None
        async with asyncio.timeout(DEADLINE_S):
            stored = [await append for append in appends]

        assert not was_writable
        assert store.is_writable
        assert await store.events_of("call_1") == stored
        assert store.pending == 3


async def test_a_full_disk_delays_events_and_loses_none(tmp_path: Path) -> None:
    disk = Disk()
    async with Store(tmp_path, connect=disk.connect, backoff_s=(0.001,)) as store, asyncio.TaskGroup() as tasks:
        disk.page_limit = 1  # SQLite makes it the present size of the file
        with capture_logs() as logs:
            appends = [tasks.create_task(store.append(event(sequence=number, body=bytes(9000)))) for number in (1, 2)]
            async with asyncio.timeout(DEADLINE_S):
                await disk.has_failed()
                was_writable = store.is_writable
                disk.page_limit = 1_000_000
                for append in appends:
                    await append

        assert not was_writable
        assert [one.sequence for one in await store.events_of("call_1")] == [1, 2]
    assert [(line["event"], line["log_level"]) for line in logs] == [
        ("outbox_write_failed", "error"),
        ("outbox_write_recovered", "info"),
    ]


async def test_an_event_whose_caller_gave_up_waiting_is_written_all_the_same(tmp_path: Path) -> None:
    disk = Disk()
    async with Store(tmp_path, connect=disk.connect, backoff_s=(0.001,)) as store, asyncio.TaskGroup() as tasks:
        disk.fails_at = "COMMIT"
        append = tasks.create_task(store.append(event()))
        await disk.has_failed()
        append.cancel()
        disk.fails_at = None
        await store.append(event(sequence=2))

        assert [one.sequence for one in await store.events_of("call_1")] == [1, 2]


async def test_callers_beyond_the_capacity_wait_for_room(tmp_path: Path) -> None:
    disk = Disk()
    async with Store(tmp_path, connect=disk.connect, backoff_s=(0.001,), capacity=2) as store:
        async with asyncio.TaskGroup() as tasks:
            disk.fails_at = "BEGIN"
            for sequence in range(1, 6):
                tasks.create_task(store.append(event(sequence=sequence)))
            await disk.has_failed()
            held = len(store._queue) + len(store._batch)
            disk.fails_at = None

        assert held == 2
        assert [one.sequence for one in await store.events_of("call_1")] == [1, 2, 3, 4, 5]


async def test_closing_with_a_broken_disk_tells_the_callers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.outbox.store._CLOSE_TIMEOUT_S", 0.01)
    disk = Disk()
    async with asyncio.TaskGroup() as tasks:
        store = await tasks.create_task(Store(tmp_path, connect=disk.connect, backoff_s=(0.001,)).__aenter__())
        disk.fails_at = "BEGIN"
        append = tasks.create_task(_failure(store.append(event())))
        await disk.has_failed()
        await store.__aexit__(None, None, None)

    assert append.result().code == "store_closed"


async def test_a_process_that_is_to_end_at_once_does_not_wait_for_a_broken_disk(tmp_path: Path) -> None:
    """What was not written is made again from the journal at the next start."""
    disk = Disk()
    async with asyncio.TaskGroup() as tasks:
        store = await tasks.create_task(Store(tmp_path, connect=disk.connect, backoff_s=(DEADLINE_S,)).__aenter__())
        disk.fails_at = "BEGIN"
        append = tasks.create_task(_failure(store.append(event())))
        await disk.fails(1)
        with capture_logs() as logs:
            async with asyncio.timeout(1):
                await store.__aexit__(asyncio.CancelledError, asyncio.CancelledError(), None)

    assert append.result().code == "store_closed"
    assert [line["event"] for line in logs if "closed" in line["event"]] == ["outbox_closed_with_unwritten_events"]


async def test_a_process_that_is_to_end_at_once_still_writes_to_a_disk_that_works(tmp_path: Path) -> None:
    async with asyncio.TaskGroup() as tasks:
        store = await tasks.create_task(Store(tmp_path).__aenter__())
        append = tasks.create_task(store.append(event()))
        await asyncio.sleep(0)
        await store.__aexit__(asyncio.CancelledError, asyncio.CancelledError(), None)

    assert append.result().sequence == 1


async def test_a_slow_disk_makes_callers_wait_in_order_and_nobody_else(tmp_path: Path) -> None:
    disk = Disk()
    async with Store(tmp_path, connect=disk.connect, capacity=8) as store:
        async with asyncio.TaskGroup() as tasks:
            disk.gate.clear()
            for sequence in range(1, 21):
                for call_id in ("a", "b"):
                    tasks.create_task(store.append(event(call_id, sequence)))
            await disk.fails(1)  # it has begun to take its time
            held, turns = len(store._queue) + len(store._batch), 0
            for _ in range(1000):
                await asyncio.sleep(0)  # the loop goes on meanwhile
                turns += 1
            was_writable = store.is_writable
            disk.gate.set()

        assert (held, turns, was_writable) == (8, 1000, True)
        for call_id in ("a", "b"):
            assert [one.sequence for one in await store.events_of(call_id)] == list(range(1, 21))


async def test_a_fault_of_one_caller_does_not_touch_the_others_of_the_group(tmp_path: Path) -> None:
    async with Store(tmp_path) as store, asyncio.TaskGroup() as tasks:
        bad = tasks.create_task(_failure(store.append(event(sequence=2**80)), OverflowError))
        good = tasks.create_task(store.append(event()))
        await bad

        assert (await good).sequence == 1


async def test_a_refused_event_leaves_no_trace(tmp_path: Path) -> None:
    async with Store(tmp_path) as store:
        await store.append(event())
        await _failure(store.append(event(id="evt_b", type="call.ended")))

        assert [call.info.id for call in await store.unfinished_calls()] == ["call_1"]


async def test_old_delivered_events_are_pruned(tmp_path: Path) -> None:
    async with Store(tmp_path) as store:
        async with asyncio.TaskGroup() as tasks:
            for sequence in range(1, 1203):  # more than two steps
                tasks.create_task(store.append(event(sequence=sequence, endpoints=())))
        await store.append(event("new", created_at=NOW + 10))

        deleted = await store.prune(done_before=NOW + 1, dead_before=0, endpoints=[ENDPOINT])

        assert deleted == 1202
        assert await store.events_of("call_1") == []
        assert len(await store.events_of("new")) == 1


async def test_calls_without_events_are_pruned_once_they_have_ended(tmp_path: Path) -> None:
    async with Store(tmp_path) as store:
        await store.append(event("over", type="call.ended", endpoints=()))
        await store.append(event("open", endpoints=()))

        await store.prune(done_before=NOW + 1, dead_before=0, endpoints=[])

        assert await store._read(lambda db: db.execute("SELECT call_id FROM calls").fetchall()) == [("open",)]


async def test_pending_events_are_kept_whatever_their_age(tmp_path: Path) -> None:
    async with Store(tmp_path) as store:
        await store.append(event())

        assert await store.prune(done_before=NOW * 9, dead_before=NOW * 9, endpoints=[ENDPOINT]) == 0


async def test_dead_events_are_kept_longer_than_delivered_ones(tmp_path: Path) -> None:
    async with Store(tmp_path) as store:
        await store.append(event())
        (delivery,) = await lease(store)
        await store.record(delivery, verdict(DeliveryState.DEAD))

        assert await store.prune(done_before=NOW + 1, dead_before=NOW, endpoints=[ENDPOINT]) == 0
        assert await store.prune(done_before=NOW + 1, dead_before=NOW + 1, endpoints=[ENDPOINT]) == 1


async def test_events_for_endpoints_no_longer_configured_are_pruned_like_dead_ones(tmp_path: Path) -> None:
    async with Store(tmp_path) as store:
        await store.append(event())

        assert await store.prune(done_before=NOW + 1, dead_before=NOW, endpoints=[]) == 0
        assert await store.prune(done_before=NOW + 1, dead_before=NOW + 1, endpoints=[]) == 1
        assert store.pending == 0


async def test_events_for_a_disabled_endpoint_are_pruned_like_dead_ones(tmp_path: Path) -> None:
    async with Store(tmp_path) as store:
        await store.register({ENDPOINT: "https://example.com"})
        await store.append(event())
        (delivery,) = await lease(store)
        await store.record(delivery, msgspec.structs.replace(verdict(DeliveryState.PENDING, NOW), disables="gone"))

        assert await store.prune(done_before=NOW + 1, dead_before=NOW, endpoints=[ENDPOINT]) == 0
        assert await store.prune(done_before=NOW + 1, dead_before=NOW + 1, endpoints=[ENDPOINT]) == 1


async def test_the_next_event_of_a_call_can_be_sent_after_an_older_one_was_pruned(tmp_path: Path) -> None:
    """An endpoint that was taken out of the settings, lost its oldest events to age, and is configured again."""
    async with Store(tmp_path) as store:
        await store.append(event(sequence=1))
        await store.append(event(sequence=2, created_at=NOW + 100))

        assert await store.prune(done_before=NOW + 50, dead_before=NOW + 50, endpoints=[]) == 1

        assert [one.event_id for one in await lease(store, NOW + 100)] == ["evt_call_1_2"]
        assert store.pending == 1


async def test_dead_deliveries_are_counted(tmp_path: Path) -> None:
    async with Store(tmp_path) as store:
        for call_id in ("a", "b"):
            await store.append(event(call_id))
        for delivery in await lease(store):
            await store.record(delivery, verdict(DeliveryState.DEAD))
        counted = store.dead

    async with Store(tmp_path) as store:
        assert (counted, store.dead) == (2, 2)
        await store.prune(done_before=NOW + 1, dead_before=NOW + 1, endpoints=[ENDPOINT])
        assert store.dead == 0


async def test_the_queries_of_the_sender_use_indexes(tmp_path: Path) -> None:
    """Neither taking what is due nor promoting the next event may read the whole table."""
    seen, connect = traced()
    async with Store(tmp_path, connect=connect) as store:
        await together(store.append(event(call_id)) for call_id in ("a", "b"))
        await together(record(store, each) for each in await lease(store))
        statements = [
            sql
            for sql in seen
            if "deliveries" in sql and sql.startswith(("SELECT d.", "SELECT min", "UPDATE", "INSERT INTO deliveries"))
        ]
        plans = await store._read(
            lambda db: [row[3] for sql in statements for row in db.execute(f"EXPLAIN QUERY PLAN {sql}")]
        )

    given = ("CONSTANT", "subquery", "SCAN new", "SCAN ended", "SCAN taken")  # rows of the statement itself
    assert len(statements) > 5
    assert [step for step in plans if step.startswith("SCAN") and not any(name in step for name in given)] == [
        "SCAN deliveries USING INDEX deliveries_heads"  # at start-up, to take back leases: one entry per waiting call
    ]


async def test_a_look_reads_nothing_of_what_was_delivered(tmp_path: Path) -> None:
    """It is made every second, on the thread that commits."""
    seen, connect = traced()
    async with Store(tmp_path, connect=connect) as store:
        await store.look()
        (statement,) = {sql for sql in seen if sql.startswith("SELECT created_at")}
        plan = await store._read(lambda db: [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {statement}")])

    (step,) = (each for each in plan if "deliveries" in each)
    assert "deliveries_heads" in step


async def test_one_process_at_a_time_uses_a_folder(tmp_path: Path) -> None:
    async with Store(tmp_path):
        with pytest.raises(StorageError, match="another process") as caught:
            async with Store(tmp_path):
                pass

    assert caught.value.code == "store_in_use"


async def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StorageError, match="cannot use the data folder"):
        async with Store(tmp_path / "file" / "data"):
            pass


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("not a database, but long enough to be looked at" * 100)

    with pytest.raises(StorageError, match="not a database"):
        async with Store(tmp_path):
            pass


async def test_a_file_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    newer = sqlite3.connect(tmp_path / FILE_NAME)
    newer.execute("PRAGMA user_version = 99")
    newer.close()

    with pytest.raises(StorageError) as caught:
        async with Store(tmp_path):
            pass

    assert caught.value.code == "store_too_new"


WRITER = """
import asyncio, sys
from pathlib import Path
from gateway.outbox.store import Store
from tests.support.failing_disk import DEADLINE_S, Disk
from tests.support.stored_events import event

async def write(store, call_id):
    for sequence in range(1, 100_000):
        stored = await store.append(event(call_id, sequence))
        print(stored.id, flush=True)

async def main():
    async with Store(Path(sys.argv[1])) as store, asyncio.TaskGroup() as tasks:
        for number in range(8):
            tasks.create_task(write(store, f"call_{number}"))

asyncio.run(main())
"""


@pytest.fixture
def writer(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process that appends to the store as fast as it can and prints the id of each event that was acknowledged."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    ) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("count", [1, 50, 333])
async def test_a_killed_process_loses_no_acknowledged_event(
    tmp_path: Path, writer: "subprocess.Popen[str]", count: int
) -> None:
    assert writer.stdout is not None
    acknowledged = [writer.stdout.readline().strip() for _ in range(count)]
    writer.send_signal(signal.SIGKILL)
    acknowledged += [line.strip() for line in writer.stdout if line.endswith("\n")]
    writer.wait()

    async with Store(tmp_path) as store:
        calls = [await store.events_of(f"call_{number}", limit=100_000) for number in range(8)]

    stored = {one.id for events in calls for one in events}
    assert len(acknowledged) >= count
    assert set(acknowledged) <= stored
    for events in calls:
        assert [one.sequence for one in events] == list(range(1, len(events) + 1))


def traced() -> tuple[list[str], schema.Connect]:
    """The statements that a connection runs, and a way to open it."""
    seen: list[str] = []

    def connect(path: Path) -> sqlite3.Connection:
        db = schema.connect(path)
        db.set_trace_callback(seen.append)
        return db

    return seen, connect


async def together(works: Iterable[Awaitable[T]]) -> list[T]:
    """Begin them all in the same turn of the loop; their results."""

    async def one(work: Awaitable[T]) -> T:
        return await work

    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(one(work)) for work in works]
    return [each.result() for each in running]


async def record(store: Store, delivery: Delivery) -> Any:
    """The attempt succeeded."""
    await store.record(delivery, verdict(DeliveryState.DELIVERED))


async def _failure(append: Awaitable[Any], kind: type[Exception] = StorageError) -> Any:
    with pytest.raises(kind) as caught:
        await append
    return caught.value
