"""
Partials to the receivers that subscribed to them: the newest of each track, one attempt, nothing stored.

A partial is only worth sending until the next one. So a slow receiver gets fewer of them, never older ones, and a final
takes the waiting partial of its track away. One that is already on the wire can still arrive after the final.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from gateway import telemetry
from gateway.events import Track, TranscriptPartial
from gateway.outbox.client import Client
from gateway.outbox.endpoint import Endpoint
from gateway.outbox.schedule import Outcome

# Waiting tracks per endpoint; beyond it the track that has waited longest loses its partial.
_CAPACITY = 1000
# After so long a partial describes the past.
_TIMEOUT_S = 5.0

Encode: TypeAlias = Callable[[TranscriptPartial], tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class _Key:
    call_id: str
    track: Track


class PartialSender:
    """
    Sends partials to every subscribed endpoint.

    Args:
        endpoints: the configured receivers.
        encode: makes id and body, only for those that are really sent.
        is_enabled: whether an endpoint, by its key, may be called now.
        clock: Unix seconds.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        *,
        encode: Encode,
        is_enabled: Callable[[str], bool] = lambda _key: True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._workers = [
            _Worker(endpoint, encode, is_enabled, clock)
            for endpoint in endpoints
            if endpoint.settings.wants(TranscriptPartial.type, durable=TranscriptPartial.durable)
        ]

    async def run(self) -> None:
        """Send until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for worker in self._workers:
                tasks.create_task(worker.run())

    def offer(self, partial: TranscriptPartial) -> None:
        """Send this soon, in place of an earlier partial of the same track that still waits."""
        for worker in self._workers:
            worker.offer(partial)

    def withdraw(self, call_id: str, tracks: Sequence[Track]) -> None:
        """Do not send the partials that wait for these tracks: finals have taken their place."""
        for worker in self._workers:
            for track in tracks:
                worker.withdraw(_Key(call_id, track))


class _Worker:
    """Partials to one endpoint: the newest per track waits, at most one per call is under way."""

    def __init__(
        self, endpoint: Endpoint, encode: Encode, is_enabled: Callable[[str], bool], clock: Callable[[], float]
    ) -> None:
        self._endpoint = endpoint
        self._encode = encode
        self._is_enabled = is_enabled
        self._clock = clock
        self._waiting: OrderedDict[_Key, TranscriptPartial] = OrderedDict()
        self._in_flight: set[str] = set()
        self._woken = asyncio.Event()

    def offer(self, partial: TranscriptPartial) -> None:
        key = _Key(partial.call.id, partial.track)
        if key in self._waiting:
            _count("replaced")
        elif len(self._waiting) >= _CAPACITY:
            self._waiting.popitem(last=False)
            _count("dropped")
        self._waiting[key] = partial
        self._woken.set()

    def withdraw(self, key: _Key) -> None:
        if self._waiting.pop(key, None) is not None:
            _count("replaced")

    async def run(self) -> None:
        settings = self._endpoint.settings
        timeout_s = min(settings.timeout_s, _TIMEOUT_S)
        # Connections of its own: partials must not keep finals waiting.
        client = Client(self._endpoint, connections=settings.concurrency, timeout_s=timeout_s, clock=self._clock)
        async with client, asyncio.TaskGroup() as tasks:
            while True:
                await self._woken.wait()
                self._woken.clear()
                for key in self._ready():
                    self._in_flight.add(key.call_id)
                    tasks.create_task(self._send(client, key.call_id, self._waiting.pop(key)))

    def _ready(self) -> list[_Key]:
        """The tracks whose partial can be sent now: the longest waiting first, one per call."""
        if not self._is_enabled(self._endpoint.key):
            _count("dropped", len(self._waiting))
            self._waiting.clear()
        room = self._endpoint.settings.concurrency - len(self._in_flight)
        ready: dict[str, _Key] = {}
        for key in self._waiting:
            if len(ready) >= room:
                break
            if key.call_id not in self._in_flight:
                ready.setdefault(key.call_id, key)
        return list(ready.values())

    async def _send(self, client: Client, call_id: str, partial: TranscriptPartial) -> None:
        try:
            id_, body = self._encode(partial)
            if self._endpoint.mask is not None:
                body = self._endpoint.mask.mask(body)
            attempt = await client.post(id_, body)
            _count("delivered" if attempt.outcome is Outcome.DELIVERED else "failed")
        finally:
            self._in_flight.discard(call_id)
            self._woken.set()


def _count(outcome: str, partials: int = 1) -> None:
    telemetry.PARTIALS.labels(outcome=outcome).inc(partials)
