"""Deliveries to one endpoint: what is claimed, what is under way, what follows from how it ended; see `sender`."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeAlias

import structlog

from gateway import telemetry
from gateway.errors import StorageError
from gateway.outbox.breaker import Breaker, Turn
from gateway.outbox.client import Attempt
from gateway.outbox.database import Delivery, DeliveryState, Due, Verdict
from gateway.outbox.endpoint import Endpoint
from gateway.outbox.masking import masked_body
from gateway.outbox.schedule import Disable, Done, GiveUp, Outcome, Retry, Step, next_step
from gateway.outbox.store import Store
from gateway.outbox.transaction import Claim

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


class Worker:
    """
    Deliveries to one endpoint.

    A call is in flight from the claim of its delivery to the commit of how that ended. At most one claim is open at a
    time, be it a look of our own or one that rides along with somebody's transaction.
    """

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
        self._in_flight: dict[str, Delivery] = {}
        self._attempts = 0
        self._is_claiming = False
        self._is_overdue = False
        self._unclaimed: set[str] = set()
        self._claimed_at = 0.0
        self._claims_probe = False
        self._next_at: float | None = None
        self._sleeps_until = 0.0
        self._start: Callable[[Delivery], object] | None = None
        self._woken = asyncio.Event()
        self._idle = asyncio.Event()
        self._draining = 0
        self._circuit_gauge = telemetry.WEBHOOK_CIRCUIT_OPEN.labels(endpoint=endpoint.key)
        self._disabled_gauge = telemetry.WEBHOOK_DISABLED.labels(endpoint=endpoint.key)
        self._circuit_gauge.set(0)
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
        self._idle.clear()

    async def run(self) -> None:
        async with self._open_client(self._endpoint) as client, asyncio.TaskGroup() as tasks:
            self._start = lambda delivery: tasks.create_task(self._deliver(client, delivery, self._claimed_at))
            try:
                while True:
                    self._woken.clear()
                    has_looked = await self._look()
                    if has_looked and not self._in_flight and not self._woken.is_set():
                        self._idle.set()
                    await self._pause()
            finally:
                self._start = None

    async def drain(self) -> None:
        """Return when nothing can be sent now and nothing is under way."""
        self._draining += 1
        try:
            self.wake()
            await self._idle.wait()
        finally:
            self._draining -= 1

    async def _look(self) -> bool:
        """Begin an attempt for each call that has one due, as far as there is room; whether that is known now."""
        claim = self._claim(self._in_flight)
        if claim is None:
            return not self._is_claiming
        try:
            due = await self._store.lease_due(
                claim.endpoint, now=claim.now, lease_s=claim.lease_s, limit=claim.limit, in_flight=claim.in_flight
            )
        except StorageError:
            self._end_claim()
            self._next_at = self._clock() + _STORE_PAUSE_S
            return False
        self._take(due)
        return True

    async def _pause(self) -> None:
        now = self._clock()
        self._sleeps_until = (
            now + _LONGEST_PAUSE_S if self._next_at is None else min(self._next_at, now + _LONGEST_PAUSE_S)
        )
        try:
            async with asyncio.timeout(max(self._sleeps_until - now, 0.0)):
                await self._woken.wait()
        except TimeoutError:
            pass

    # ── Claims ───────────────────────────────────────────────────────────────────────────────────────────────────

    def claim(self, ended: Collection[str]) -> Claim | None:
        """What to lease in a transaction that is about to begin, see `store.Claimer`."""
        if self._start is None:
            return None
        claim = self._claim(self._in_flight.keys() - ended)
        if claim is not None:
            self._unclaimed.difference_update(ended)
            return claim
        self._unclaimed.update(ended)
        if self._breaker.is_open:
            self._woken.set()  # to wait for the next probe
        return None

    def take(self, due: Due) -> None:
        """The claim was committed."""
        self._take(due)
        if due.next_at is not None and due.next_at < self._sleeps_until:
            self._woken.set()

    def missed(self) -> None:
        """The claim was undone; there is another one when the transaction is tried again."""
        self._end_claim()

    def _claim(self, in_flight: Collection[str]) -> Claim | None:
        settings = self._endpoint.settings
        now = self._clock()
        room = self._breaker.room(now, settings.concurrency, self._attempts)
        if self._is_claiming:
            self._is_overdue = True  # the open one does not see what has happened since it began
            return None
        if not self._is_enabled or not room:
            self._next_at = self._breaker.next_at() if self._is_enabled else None
            return None
        self._is_claiming = True
        self._claimed_at = now
        self._claims_probe = self._breaker.is_open  # as long as it takes to fetch them, the circuit can open
        return Claim(
            endpoint=self._endpoint.key,
            now=now,
            lease_s=settings.timeout_s + _LEASE_MARGIN_S,
            limit=room,
            in_flight=frozenset(in_flight),
        )

    def _take(self, due: Due) -> None:
        self._end_claim()
        self._next_at = due.next_at
        if self._start is None:
            return  # the process ends; the next one takes the leases back
        for delivery in due.deliveries:
            self._idle.clear()
            self._in_flight[delivery.call_id] = delivery
            self._attempts += 1
            if self._claims_probe:
                self._breaker.begin_probe(delivery.call_id)
            self._start(delivery)

    def _end_claim(self) -> None:
        self._is_claiming = False
        if self._is_overdue:
            self._is_overdue = False
            self.wake()

    # ── An attempt ───────────────────────────────────────────────────────────────────────────────────────────────

    async def _deliver(self, client: Poster, delivery: Delivery, began_at: float) -> None:
        try:
            verdict = await self._attempt(client, delivery, began_at)
            await self._store.record(delivery, verdict)
            if verdict.disables is not None:
                self.is_enabled = False  # a look at the store that began before this commit may have said otherwise
        finally:
            if self._in_flight.get(delivery.call_id) is delivery:  # or else its call's next one is under way already
                del self._in_flight[delivery.call_id]
            if delivery.call_id in self._unclaimed:
                self._unclaimed.discard(delivery.call_id)
                self.wake()  # nobody has looked for its call's next one
            elif self._draining and not self._in_flight:
                self.wake()

    async def _attempt(self, client: Poster, delivery: Delivery, began_at: float) -> Verdict:
        try:
            mask = self._endpoint.mask
            body = delivery.body if mask is None else await masked_body(self._store, mask, delivery)
            attempt = await client.post(delivery.event_id, body)
        finally:
            self._attempts -= 1
        telemetry.WEBHOOK_ATTEMPTS.labels(outcome=attempt.outcome.value).inc()
        telemetry.WEBHOOK_SECONDS.observe(attempt.duration_s)
        self._tell_breaker(delivery, attempt, began_at)
        verdict = self._judge(delivery, attempt)
        if verdict.disables is not None:
            self._disable()
        return verdict

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
        fields = {
            "endpoint": self._endpoint.origin,
            "endpoint_key": self._endpoint.key,
            "call_id": delivery.call_id,
            "event_id": delivery.event_id,
            "type": delivery.type,
            "attempt": delivery.attempt,
            "outcome": attempt.outcome.value,
            "status": attempt.status,
            "duration_ms": round(attempt.duration_s * 1000),
        }
        match step:
            case Done():
                _log.debug("webhook_delivered", **fields)
            case Retry(delay_s):
                _log.warning("webhook_failed", **fields, retry_in_s=round(delay_s, 1))
            case GiveUp():
                _log.error("webhook_given_up", **fields)
            case Disable():
                _log.warning("webhook_refused", **fields)

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
