"""
Sends what the store holds: one worker per endpoint, calls side by side, the events of a call one after the other.

The work list is the database. A worker sleeps until an event is committed, an attempt ends or the next delivery falls
due. Endpoints share nothing but the store's thread, so a receiver that hangs keeps only its own deliveries waiting.
When to try again is for the schedule to say, and for the circuit breaker while a receiver is down (see `breaker`).
"""

import asyncio
import random
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeAlias

import structlog

from gateway import telemetry
from gateway.errors import StorageError
from gateway.outbox.breaker import PROBE_DELAYS_S, Breaker, Turn
from gateway.outbox.client import Attempt, Client
from gateway.outbox.database import Delivery, DeliveryState, Verdict
from gateway.outbox.endpoint import Endpoint
from gateway.outbox.schedule import DELAYS_S, Disable, Done, GiveUp, Outcome, Retry, Step, next_step
from gateway.outbox.store import Store

# A worker looks at the clock at least so often: wall clocks are set, machines sleep.
_LONGEST_PAUSE_S = 60.0
_STORE_PAUSE_S = 1.0
# An attempt ends with its time-out; what comes after is one commit.
_LEASE_MARGIN_S = 30.0

_log = structlog.get_logger()


class Poster(Protocol):
    """What makes one attempt; see `client.Client`."""

    async def post(self, event_id: str, body: bytes) -> Attempt: ...


OpenClient: TypeAlias = Callable[[Endpoint], AbstractAsyncContextManager[Poster]]


class Sender:
    """
    Delivers stored events to every endpoint.

    Args:
        store: open; its commits wake the workers.
        endpoints: the configured receivers.
        delays_s: see `schedule.next_step`.
        probe_delays_s: see `breaker.Breaker`.
        clock: Unix seconds.
        draw: uniform in [0, 1), for the jitter.
        open_client: makes the client of an endpoint; replaced in tests.
    """

    def __init__(
        self,
        store: Store,
        endpoints: Sequence[Endpoint],
        *,
        delays_s: Sequence[float] = DELAYS_S,
        probe_delays_s: Sequence[float] = PROBE_DELAYS_S,
        clock: Callable[[], float] = time.time,
        draw: Callable[[], float] = random.random,
        open_client: OpenClient | None = None,
    ) -> None:
        def client_of(endpoint: Endpoint) -> AbstractAsyncContextManager[Poster]:
            settings = endpoint.settings
            return Client(endpoint, connections=settings.concurrency, timeout_s=settings.timeout_s, clock=clock)

        self._workers = {
            endpoint.key: _Worker(
                endpoint,
                store,
                delays_s=delays_s,
                breaker=Breaker(probe_delays_s),
                clock=clock,
                draw=draw,
                open_client=open_client or client_of,
            )
            for endpoint in endpoints
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

    def set_disabled(self, keys: Collection[str]) -> None:
        """These endpoints, and no others, get nothing for now."""
        for key, worker in self._workers.items():
            worker.is_enabled = key not in keys

    def is_taking(self, key: str) -> bool:
        """Whether the endpoint can be sent what need not arrive: it is neither disabled nor down."""
        return self._workers[key].is_taking

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
    """Deliveries to one endpoint. `idle` is set while nothing can be sent now and nothing is under way."""

    def __init__(
        self,
        endpoint: Endpoint,
        store: Store,
        *,
        delays_s: Sequence[float],
        breaker: Breaker,
        clock: Callable[[], float],
        draw: Callable[[], float],
        open_client: OpenClient,
    ) -> None:
        self._endpoint = endpoint
        self._store = store
        self._delays_s = delays_s
        self._breaker = breaker
        self._clock = clock
        self._draw = draw
        self._open_client = open_client
        self._in_flight: set[str] = set()
        self._woken = asyncio.Event()
        self._circuit_gauge = telemetry.WEBHOOK_CIRCUIT_OPEN.labels(endpoint=endpoint.key)
        self._disabled_gauge = telemetry.WEBHOOK_DISABLED.labels(endpoint=endpoint.key)
        self._circuit_gauge.set(0)
        self.idle = asyncio.Event()
        self.is_enabled = True

    @property
    def is_enabled(self) -> bool:
        """Whether the endpoint has not asked (410) to be left alone."""
        return self._is_enabled

    @is_enabled.setter
    def is_enabled(self, value: bool) -> None:
        self._is_enabled = value
        self._disabled_gauge.set(not value)
        self.wake()

    @property
    def is_taking(self) -> bool:
        """Whether anything but a probe is sent."""
        return self._is_enabled and not self._breaker.is_open

    @property
    def _log(self) -> Any:
        return _log.bind(endpoint=self._endpoint.origin, endpoint_key=self._endpoint.key)

    def wake(self) -> None:
        self._woken.set()
        self.idle.clear()

    async def run(self) -> None:
        async with self._open_client(self._endpoint) as client, asyncio.TaskGroup() as tasks:
            while True:
                self._woken.clear()
                try:
                    next_at = await self._start_due(client, tasks)
                    if not self._in_flight and not self._woken.is_set():
                        self.idle.set()
                except StorageError:
                    next_at = self._clock() + _STORE_PAUSE_S
                await self._pause(next_at)

    async def _start_due(self, client: Poster, tasks: asyncio.TaskGroup) -> float | None:
        """Begin an attempt for each call that has one due, as far as there is room; return when to look again."""
        settings = self._endpoint.settings
        now = self._clock()
        room = self._breaker.room(now, settings.concurrency, len(self._in_flight))
        is_probe = self._breaker.is_open  # as long as it takes to fetch them, the circuit can open
        if not self._is_enabled or not room:
            return self._breaker.next_at() if self._is_enabled else None
        due = await self._store.lease_due(
            self._endpoint.key,
            now=now,
            lease_s=settings.timeout_s + _LEASE_MARGIN_S,
            limit=room,
            in_flight=self._in_flight,
        )
        for delivery in due.deliveries:
            self._in_flight.add(delivery.call_id)
            if is_probe:
                self._breaker.begin_probe(delivery.call_id)
            tasks.create_task(self._deliver(client, delivery, now))
        return due.next_at

    async def _pause(self, next_at: float | None) -> None:
        pause_s = _LONGEST_PAUSE_S if next_at is None else min(next_at - self._clock(), _LONGEST_PAUSE_S)
        try:
            async with asyncio.timeout(max(pause_s, 0.0)):
                await self._woken.wait()
        except TimeoutError:
            pass

    async def _deliver(self, client: Poster, delivery: Delivery, began_at: float) -> None:
        try:
            attempt = await client.post(delivery.event_id, delivery.body)
            telemetry.WEBHOOK_ATTEMPTS.labels(outcome=attempt.outcome.value).inc()
            telemetry.WEBHOOK_SECONDS.observe(attempt.duration_s)
            self._tell_breaker(delivery, attempt, began_at)
            verdict = self._judge(delivery, attempt)
            if verdict.disables is not None:
                self._disable()
            await self._store.record(delivery, verdict)
            if verdict.disables is not None:
                self.is_enabled = False  # a look at the store that began before this commit may have said otherwise
        finally:
            self._in_flight.discard(delivery.call_id)
            self.wake()

    def _tell_breaker(self, delivery: Delivery, attempt: Attempt, began_at: float) -> None:
        opened_at = self._breaker.opened_at
        now = self._clock()
        turn = self._breaker.end(
            attempt.outcome,
            delivery.call_id,
            began_at=began_at,
            now=now,
            draw=self._draw(),
            retry_after_s=attempt.retry_after_s,
        )
        match turn:
            case Turn.OPENED:
                pause_s = round(self._breaker.probe_at - now, 1)
                self._log.error("webhook_circuit_opened", outcome=attempt.outcome.value, probe_in_s=pause_s)
            case Turn.CLOSED if opened_at is not None:
                self._log.info("webhook_circuit_closed", open_s=round(now - opened_at, 1))
        self._circuit_gauge.set(self._breaker.is_open)

    def _judge(self, delivery: Delivery, attempt: Attempt) -> Verdict:
        """What follows an attempt, also said in the log."""
        now = self._clock()
        misconfigured = delivery.misconfigured + 1 if attempt.outcome is Outcome.MISCONFIGURED else 0
        counts = not self._breaker.excuses(attempt.outcome)
        step: Step
        if counts:
            step = next_step(
                delivery.attempt,
                attempt.outcome,
                draw=self._draw(),
                retry_after_s=attempt.retry_after_s,
                misconfigured=misconfigured,
                delays_s=self._delays_s,
            )
        else:
            step = Retry(max(0.0, self._breaker.probe_at - now))
        self._report(delivery, attempt, step)
        state, due_at = _after(step, now)
        return Verdict(
            state=state,
            due_at=due_at,
            attempts=delivery.attempt if counts and not isinstance(step, Disable) else delivery.attempt - 1,
            outcome=attempt.outcome,
            status=attempt.status,
            misconfigured=misconfigured if counts else delivery.misconfigured,
            at=now,
            disables="gone" if isinstance(step, Disable) else None,
        )

    def _report(self, delivery: Delivery, attempt: Attempt, step: Step) -> None:
        log = self._log.bind(
            call_id=delivery.call_id,
            event_id=delivery.event_id,
            type=delivery.type,
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
            case GiveUp():
                log.error("webhook_given_up")
            case Disable():
                log.warning("webhook_refused")

    def _disable(self) -> None:
        if self._is_enabled:
            self.is_enabled = False
            self._log.error("webhook_endpoint_disabled", reason="gone")


def _after(step: Step, now: float) -> tuple[DeliveryState, float | None]:
    match step:
        case Done():
            return DeliveryState.DELIVERED, None
        case Retry(delay_s):
            return DeliveryState.PENDING, now + delay_s
        case Disable():
            return DeliveryState.PENDING, now
        case GiveUp():
            return DeliveryState.DEAD, None
