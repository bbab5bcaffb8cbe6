"""
The store against a model: whatever fails, whenever the process ends, whatever an operator does beside it, no event is
lost or overtaken.

The model is what a receiver may rely on: a call's events begin in order, one at a time, and each is attempted until it
is taken or given up. One that an operator revives goes out before those of its call that wait. Failures that the
circuit breaker excuses do not count as attempts.
"""

import asyncio
import sqlite3
import tempfile
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.outbox import operating
from gateway.outbox.database import Delivery, DeliveryState, Verdict
from gateway.outbox.schema import open_beside
from gateway.outbox.store import Store
from tests.support.stored_events import event

CALLS = ("call_a", "call_b", "call_c")
ENDPOINTS = ("one", "two")
LEASE_S = 30.0


@dataclass
class Queue:
    """One call at one endpoint: sequence numbers by what became of them, and the attempts that counted."""

    waiting: list[int] = field(default_factory=list)
    dead: set[int] = field(default_factory=set)
    dropped: set[int] = field(default_factory=set)
    attempts: dict[int, int] = field(default_factory=dict)
    head: int | None = None
    due_at: float = 0.0

    def settle(self, now: float) -> None:
        """The oldest that waits is the one to be tried; a new one at once."""
        oldest = min(self.waiting, default=None)
        if oldest != self.head:
            self.head, self.due_at = oldest, now


class OutboxMachine(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.now = 1000.0
        self.sequences = dict.fromkeys(CALLS, 0)
        self.queues = {(endpoint, call_id): Queue() for endpoint in ENDPOINTS for call_id in CALLS}
        self.in_flight: dict[tuple[str, str], tuple[int, Delivery]] = {}
        self.open()

    def open(self) -> None:
        self.store = Store(Path(self.folder.name))
        self.run(self.store.__aenter__())

    def run(self, work: Any) -> Any:
        return self.runner.run(work)

    @rule(call_id=st.sampled_from(CALLS), endpoints=st.sets(st.sampled_from(ENDPOINTS)))
    def publish(self, call_id: str, endpoints: set[str]) -> None:
        self.sequences[call_id] += 1
        sequence = self.sequences[call_id]
        new = event(call_id, sequence, endpoints=tuple(endpoints), created_at=self.now)
        self.run(self.store.append(new))
        for endpoint in endpoints:
            queue = self.queues[endpoint, call_id]
            queue.waiting.append(sequence)
            queue.settle(self.now)

    @rule(seconds=st.sampled_from([1.0, 10.0, 100.0]))
    def let_time_pass(self, seconds: float) -> None:
        self.now += seconds

    @rule(endpoint=st.sampled_from(ENDPOINTS), limit=st.integers(1, 3))
    def take_due(self, endpoint: str, limit: int) -> None:
        busy = {call_id for key, call_id in self.in_flight if key == endpoint}
        due = self.run(
            self.store.lease_due(endpoint, now=self.now, lease_s=LEASE_S, limit=limit, in_flight=busy)
        ).deliveries
        ready = {
            call_id
            for (key, call_id), queue in self.queues.items()
            if key == endpoint and call_id not in busy and queue.waiting and queue.due_at <= self.now
        }
        assert len(due) == min(limit, len(ready))
        for delivery in due:
            queue = self.queues[endpoint, delivery.call_id]
            assert delivery.call_id in ready
            assert queue.head is not None
            assert delivery.event_id == f"evt_{delivery.call_id}_{queue.head}"
            assert delivery.attempt == queue.attempts.get(queue.head, 0) + 1
            self.in_flight[endpoint, delivery.call_id] = queue.head, delivery

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data(), end=st.sampled_from(["pending", "excused", "delivered", "dead"]))
    def finish(self, data: st.DataObject, end: str) -> None:
        key = data.draw(st.sampled_from(sorted(self.in_flight)))
        sequence, delivery = self.in_flight.pop(key)
        queue = self.queues[key]
        attempts = delivery.attempt - (end == "excused")
        state = DeliveryState.PENDING if end == "excused" else DeliveryState(end)
        self.record(delivery, state, attempts, self.now + 20 if state is DeliveryState.PENDING else None)
        if sequence not in queue.waiting:
            return  # dropped meanwhile
        if state is DeliveryState.PENDING:
            queue.attempts[sequence] = attempts
            if sequence == queue.head:
                queue.due_at = self.now + 20
            return
        queue.waiting.remove(sequence)
        if state is DeliveryState.DEAD:
            queue.dead.add(sequence)
        queue.settle(self.now)

    def record(self, delivery: Delivery, state: DeliveryState, attempts: int, due_at: float | None) -> None:
        verdict = Verdict(
            state=state, due_at=due_at, attempts=attempts, outcome="x", status=None, misconfigured=0, at=self.now
        )
        self.run(self.store.record(delivery, verdict))

    def beside(self) -> "closing[sqlite3.Connection]":
        return closing(open_beside(Path(self.folder.name)))

    @precondition(lambda self: any(queue.dead | queue.dropped for queue in self.queues.values()))
    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        endpoint, call_id = key = data.draw(
            st.sampled_from(sorted(key for key, queue in self.queues.items() if queue.dead | queue.dropped))
        )
        queue = self.queues[key]
        sequence = data.draw(st.sampled_from(sorted(queue.dead | queue.dropped)))
        with self.beside() as db:
            operating.retry(db, f"evt_{call_id}_{sequence}", endpoint, self.now)
        self.revive(queue, {sequence})

    @rule(endpoint=st.sampled_from((None, *ENDPOINTS)))
    def retry_all_dead(self, endpoint: str | None) -> None:
        self.now += 1  # it takes what was dead before it came
        chosen = [queue for (key, _), queue in self.queues.items() if endpoint in (None, key)]
        with self.beside() as db:
            count = operating.retry_all_dead(db, endpoint, self.now)
        assert count == sum(len(queue.dead) for queue in chosen)
        for queue in chosen:
            self.revive(queue, set(queue.dead))

    def revive(self, queue: Queue, sequences: set[int]) -> None:
        queue.dead -= sequences
        queue.dropped -= sequences
        queue.waiting = sorted({*queue.waiting, *sequences})
        queue.attempts |= dict.fromkeys(sequences, 0)
        queue.settle(self.now)

    @precondition(lambda self: any(queue.waiting or queue.dead for queue in self.queues.values()))
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        endpoint, call_id = key = data.draw(
            st.sampled_from(sorted(key for key, queue in self.queues.items() if queue.waiting or queue.dead))
        )
        queue = self.queues[key]
        sequence = data.draw(st.sampled_from(sorted({*queue.waiting, *queue.dead})))
        with self.beside() as db:
            operating.drop(db, f"evt_{call_id}_{sequence}", endpoint, self.now)
        queue.dropped.add(sequence)
        queue.dead.discard(sequence)
        queue.waiting = [each for each in queue.waiting if each != sequence]
        queue.settle(self.now)

    @rule()
    def restart(self) -> None:
        """What was under way is forgotten; the rows stay as the last commit left them."""
        self.run(self.store.__aexit__(None, None, None))
        self.in_flight.clear()
        self.open()

    @invariant()
    def nothing_is_forgotten(self) -> None:
        if hasattr(self, "store"):
            self.run(self.store.look())
            assert self.store.pending == sum(len(queue.waiting) for queue in self.queues.values())
            assert self.store.dead == sum(len(queue.dead) for queue in self.queues.values())

    def teardown(self) -> None:
        if not hasattr(self, "store"):
            return
        self.restart()
        self.now += 1000
        for endpoint in ENDPOINTS:
            while due := self.run(
                self.store.lease_due(endpoint, now=self.now, lease_s=LEASE_S, limit=9, in_flight=())
            ).deliveries:
                for delivery in due:
                    sequence = self.queues[endpoint, delivery.call_id].waiting.pop(0)
                    assert delivery.event_id == f"evt_{delivery.call_id}_{sequence}"
                    self.record(delivery, DeliveryState.DELIVERED, delivery.attempt, None)
        assert not any(queue.waiting for queue in self.queues.values())
        self.run(self.store.__aexit__(None, None, None))
        self.runner.close()
        self.folder.cleanup()


TestOutbox = OutboxMachine.TestCase
TestOutbox.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
