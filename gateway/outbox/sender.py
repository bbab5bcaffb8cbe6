"""
Sends what the store holds: one worker per endpoint, calls side by side, the events of a call one after the other.

The work list is the database. A worker sleeps until an event is committed, an attempt ends or the next delivery falls
due. Endpoints share nothing, so a receiver that hangs keeps only its own deliveries waiting.
"""

import asyncio
import random
import time
from collections.abc import Callable, Sequence

import structlog

from gateway import telemetry
from gateway.errors import StorageError
from gateway.outbox.client import Attempt, Client
from gateway.outbox.database import Delivery, DeliveryState, Verdict
from gateway.outbox.endpoint import Endpoint
from gateway.outbox.schedule import DELAYS_S, Done, GiveUp, Outcome, Retry, Step, next_step
from gateway.outbox.store import Store

# A worker looks at the clock at least so often: wall clocks are set, machines sleep.
_LONGEST_PAUSE_S = 60.0
_STORE_PAUSE_S = 1.0
# An attempt ends with its time-out; what comes after is one commit.
_LEASE_MARGIN_S = 30.0

_log = structlog.get_logger()


class Sender:
    """
    Delivers stored events to every endpoint.

    Args:
        store: open; its commits wake the workers.
        endpoints: the configured receivers.
        delays_s: see `schedule.next_step`.
        clock: Unix seconds.
        draw: uniform in [0, 1), for the jitter.
    """

    def __init__(
        self,
        store: Store,
        endpoints: Sequence[Endpoint],
        *,
        delays_s: Sequence[float] = DELAYS_S,
        clock: Callable[[], float] = time.time,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._workers = {
            endpoint.key: _Worker(endpoint, store, delays_s=delays_s, clock=clock, draw=draw) for endpoint in endpoints
        }
        store.add_listener(lambda _events: self.wake())

    async def run(self) -> None:
        """Deliver until cancelled. What is under way then stays pending, and is sent again after the next start."""
        async with asyncio.TaskGroup() as tasks:
            for key, worker in self._workers.items():
                tasks.create_task(worker.run(), name=f"webhook-{key}")

    def wake(self) -> None:
        """Look for due deliveries now."""
        for worker in self._workers.values():
            worker.wake()

    def is_enabled(self, key: str) -> bool:
        """Whether the endpoint has not asked (410) to be left alone since the start."""
        return self._workers[key].is_enabled

    async def drain(self, timeout_s: float) -> bool:
        """
        Wait until everything that can be sent now has been tried; what waits for its next attempt stays in the store.

        Returns:
            Whether that was reached in time.
        """
        self.wake()
        try:
            async with asyncio.timeout(timeout_s):
                for worker in self._workers.values():
                    await worker.idle.wait()
        except TimeoutError:
            return False
        return True


class _Worker:
    """Deliveries to one endpoint. `idle` is set while nothing is due and nothing under way."""

    def __init__(
        self,
        endpoint: Endpoint,
        store: Store,
        *,
        delays_s: Sequence[float],
        clock: Callable[[], float],
        draw: Callable[[], float],
    ) -> None:
        self._endpoint = endpoint
        self._store = store
        self._delays_s = delays_s
        self._clock = clock
        self._draw = draw
        self._in_flight: set[str] = set()
        self._woken = asyncio.Event()
        self.idle = asyncio.Event()
        self.is_enabled = True

    def wake(self) -> None:
        self._woken.set()
        self.idle.clear()

    async def run(self) -> None:
        settings = self._endpoint.settings
        client = Client(
            self._endpoint, connections=settings.concurrency, timeout_s=settings.timeout_s, clock=self._clock
        )
        async with client, asyncio.TaskGroup() as tasks:
            while True:
                self._woken.clear()
                try:
                    next_at = await self._start_due(client, tasks)
                    if not self._in_flight and not self._woken.is_set():
                        self.idle.set()
                except StorageError:
                    next_at = self._clock() + _STORE_PAUSE_S
                await self._pause(next_at)

    async def _start_due(self, client: Client, tasks: asyncio.TaskGroup) -> float | None:
        """Begin an attempt for each call that has one due, as far as there is room; return when to look again."""
        settings = self._endpoint.settings
        room = settings.concurrency - len(self._in_flight)
        if not self.is_enabled or not room:
            return None
        due = await self._store.lease_due(
            self._endpoint.key,
            now=self._clock(),
            lease_s=settings.timeout_s + _LEASE_MARGIN_S,
            limit=room,
            in_flight=self._in_flight,
        )
        for delivery in due.deliveries:
            self._in_flight.add(delivery.call_id)
            tasks.create_task(self._deliver(client, delivery))
        return due.next_at

    async def _pause(self, next_at: float | None) -> None:
        pause_s = _LONGEST_PAUSE_S if next_at is None else min(next_at - self._clock(), _LONGEST_PAUSE_S)
        try:
            async with asyncio.timeout(max(pause_s, 0.0)):
                await self._woken.wait()
        except TimeoutError:
            pass

    async def _deliver(self, client: Client, delivery: Delivery) -> None:
        try:
            attempt = await client.post(delivery.event_id, delivery.body)
            telemetry.WEBHOOK_ATTEMPTS.labels(outcome=attempt.outcome.value).inc()
            telemetry.WEBHOOK_SECONDS.observe(attempt.duration_s)
            misconfigured = delivery.misconfigured + 1 if attempt.outcome is Outcome.MISCONFIGURED else 0
            step = next_step(
                delivery.attempt,
                attempt.outcome,
                draw=self._draw(),
                retry_after_s=attempt.retry_after_s,
                misconfigured=misconfigured,
                delays_s=self._delays_s,
            )
            self._report(delivery, attempt, step)
            await self._store.record(delivery, _verdict(attempt, step, misconfigured, self._clock()))
        finally:
            self._in_flight.discard(delivery.call_id)
            self.wake()

    def _report(self, delivery: Delivery, attempt: Attempt, step: Step) -> None:
        log = _log.bind(
            call_id=delivery.call_id,
            event_id=delivery.event_id,
            type=delivery.type,
            endpoint=self._endpoint.origin,
            attempt=delivery.attempt,
            outcome=attempt.outcome.value,
            status=attempt.status,
            duration_ms=round(attempt.duration_s * 1000),
        )
        match step:
            case Done():
                log.debug("webhook_delivered")
            case Retry(delay_s):
                log.warning("webhook_failed", retry_in_s=round(delay_s, 1))
            case GiveUp(disable):
                log.error("webhook_given_up")
                if disable and self.is_enabled:
                    self.is_enabled = False
                    _log.error("webhook_endpoint_disabled", endpoint=self._endpoint.origin)


def _verdict(attempt: Attempt, step: Step, misconfigured: int, now: float) -> Verdict:
    state, due_at = _after(step, now)
    return Verdict(
        state=state,
        due_at=due_at,
        outcome=attempt.outcome,
        status=attempt.status,
        misconfigured=misconfigured,
        at=now,
    )


def _after(step: Step, now: float) -> tuple[DeliveryState, float | None]:
    match step:
        case Done():
            return DeliveryState.DELIVERED, None
        case Retry(delay_s):
            return DeliveryState.PENDING, now + delay_s
        case GiveUp():
            return DeliveryState.DEAD, None
