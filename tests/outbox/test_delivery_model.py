"""
The store against a model: whatever fails, whenever the process ends, no event is lost or overtaken.

The model is what a receiver may rely on: a call's events begin in order, one at a time, and each is attempted until it
is taken or given up.
"""

import asyncio
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.outbox.database import Delivery, DeliveryState, Verdict
from gateway.outbox.store import Store
from tests.support.stored_events import event

CALLS = ("call_a", "call_b", "call_c")
ENDPOINTS = ("one", "two")
LEASE_S = 30.0


@dataclass
class Queue:
    """One call at one endpoint, as the receiver should see it."""

    waiting: list[str] = field(default_factory=list)
    attempts: int = 0
    due_at: float = 0.0


class OutboxMachine(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.now = 1000.0
        self.sequences = dict.fromkeys(CALLS, 0)
        self.queues = {(endpoint, call_id): Queue() for endpoint in ENDPOINTS for call_id in CALLS}
        self.in_flight: dict[tuple[str, str], Delivery] = {}
        self.open()

    def open(self) -> None:
        self.store = Store(Path(self.folder.name))
        self.run(self.store.__aenter__())

    def run(self, work: Any) -> Any:
        return self.runner.run(work)

    @rule(call_id=st.sampled_from(CALLS), endpoints=st.sets(st.sampled_from(ENDPOINTS)))
    def publish(self, call_id: str, endpoints: set[str]) -> None:
        self.sequences[call_id] += 1
        new = event(call_id, self.sequences[call_id], endpoints=tuple(endpoints), created_at=self.now)
        self.run(self.store.append(new))
        for endpoint in endpoints:
            queue = self.queues[endpoint, call_id]
            queue.waiting.append(new.id)
            if len(queue.waiting) == 1:
                queue.attempts, queue.due_at = 0, self.now

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
            assert delivery.event_id == queue.waiting[0]
            assert delivery.attempt == queue.attempts + 1
            self.in_flight[endpoint, delivery.call_id] = delivery

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data(), state=st.sampled_from(["pending", "delivered", "dead"]))
    def finish(self, data: st.DataObject, state: str) -> None:
        key = data.draw(st.sampled_from(sorted(self.in_flight)))
        delivery, queue = self.in_flight.pop(key), self.queues[key]
        retry = state == "pending"
        due_at = self.now + 20 if retry else None
        self.record(delivery, DeliveryState(state), due_at)
        if retry:
            queue.attempts, queue.due_at = delivery.attempt, self.now + 20
        else:
            queue.waiting.pop(0)
            queue.attempts, queue.due_at = 0, self.now

    def record(self, delivery: Delivery, state: DeliveryState, due_at: float | None) -> None:
        verdict = Verdict(state=state, due_at=due_at, outcome="x", status=None, misconfigured=0, at=self.now)
        self.run(self.store.record(delivery, verdict))

    @rule()
    def restart(self) -> None:
        """What was under way is forgotten; the rows stay as the last commit left them."""
        self.run(self.store.__aexit__(None, None, None))
        self.in_flight.clear()
        self.open()

    @invariant()
    def nothing_is_forgotten(self) -> None:
        if hasattr(self, "store"):
            assert self.store.pending == sum(len(queue.waiting) for queue in self.queues.values())

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
                    assert delivery.event_id == self.queues[endpoint, delivery.call_id].waiting.pop(0)
                    self.record(delivery, DeliveryState.DELIVERED, None)
        assert not any(queue.waiting for queue in self.queues.values())
        self.run(self.store.__aexit__(None, None, None))
        self.runner.close()
        self.folder.cleanup()


TestOutbox = OutboxMachine.TestCase
TestOutbox.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
