"""
Sends what the store holds: one worker per endpoint, calls side by side, the events of a call one after the other.

The work list is the database. The transaction that commits an event, or the end of an attempt, also leases for the
worker what it made due (see `store.Claimer`). Beyond that a worker sleeps until the next delivery falls due or somebody
wakes it, and then looks by itself. Endpoints share nothing but the store's thread, so a receiver that hangs keeps only
its own deliveries waiting. When to try again is for the schedule to say, and for the circuit breaker while a receiver
is down (see `breaker`).
"""

import asyncio
import random
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager

from gateway.outbox.breaker import PROBE_DELAYS_S, Breaker
from gateway.outbox.client import Client
from gateway.outbox.endpoint import Endpoint
from gateway.outbox.schedule import DELAYS_S
from gateway.outbox.store import Store
from gateway.outbox.worker import OpenClient, Poster, Worker


class Sender:
    """
    Delivers stored events to every endpoint.

    Args:
        store: open; its commits give the workers what to send.
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
            endpoint.key: Worker(
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
        for key, worker in self._workers.items():
            store.add_claimer(key, worker)

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
        try:
            async with asyncio.timeout(timeout_s):
                for worker in self._workers.values():
                    await worker.drain()
        except TimeoutError:
            return False
        return True
