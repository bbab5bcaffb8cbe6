"""The outbox as a call sees it: publish and forget."""

import asyncio
import os
import random
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from gateway import telemetry
from gateway.config import OutboxSettings, WebhookSettings
from gateway.errors import StorageError
from gateway.events import AssistCue, CallEnded, CallEvent, CallTranscript, Track, TranscriptFinal, TranscriptPartial
from gateway.outbox import payload
from gateway.outbox.database import NewEvent, StoredEvent, UnfinishedCall
from gateway.outbox.endpoint import endpoints_of
from gateway.outbox.masking import StoreMask
from gateway.outbox.partials import PartialSender
from gateway.outbox.schedule import DAY_S, HOUR_S
from gateway.outbox.sender import Sender
from gateway.outbox.store import Listener, Store
from gateway.outbox.worker import OpenClient
from gateway.redaction.policy import Redaction

# How soon the sender notices what `gateway deliveries` did.
_LOOK_S = 1.0

_log = structlog.get_logger()


class Outbox:
    """
    Store, sender and partials together. Use as an async context manager, once per process.

    Args:
        folder: the data folder.
        webhooks: the receivers; none: events are only kept.
        settings: retention and retries.
        clock: Unix seconds.
        entropy: random bytes, for ids.
        draw: uniform in [0, 1), for jitter.
        open_client: makes the client of durable events for an endpoint; replaced in tests.
        redaction: what is masked before it is stored, and what receivers do not get.

    Raises:
        ConfigError: two receivers have the same URL.
        StorageError: on entry: the folder cannot be used.
    """

    def __init__(
        self,
        folder: Path,
        webhooks: tuple[WebhookSettings, ...] = (),
        settings: OutboxSettings | None = None,
        *,
        clock: Callable[[], float] = time.time,
        entropy: Callable[[int], bytes] = os.urandom,
        draw: Callable[[], float] = random.random,
        open_client: OpenClient | None = None,
        redaction: Redaction | None = None,
    ) -> None:
        self._settings = settings or OutboxSettings()
        self._endpoints = endpoints_of(webhooks, redaction)
        self._mask = StoreMask(redaction.store) if redaction is not None and redaction.store is not None else None
        self._clock = clock
        self._entropy = entropy
        self._store = Store(folder)
        self._sender = Sender(
            self._store,
            self._endpoints,
            delays_s=self._settings.retry_delays_s,
            probe_delays_s=self._settings.probe_delays_s,
            clock=clock,
            draw=draw,
            open_client=open_client,
        )
        self._partials = PartialSender(
            self._endpoints, encode=self._encode_partial, is_enabled=self._sender.is_taking, clock=clock
        )

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._store)
            await self._take_up_endpoints()
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            running = [
                tasks.create_task(self._sender.run(), name="outbox-sender"),
                tasks.create_task(self._partials.run(), name="outbox-partials"),
                tasks.create_task(self._prune_hourly(), name="outbox-prune"),
                tasks.create_task(self._watch(), name="outbox-watch"),
            ]
            for task in running:
                stack.callback(task.cancel)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        """Stop sending, commit what waits, close. What has not been delivered stays for the next start."""
        return await self._stack.__aexit__(kind, error, trace)

    @property
    def is_writable(self) -> bool:
        """Whether the last write succeeded; while it is false, `publish` waits and no new calls should be taken."""
        return self._store.is_writable

    def pending(self) -> int:
        """Deliveries not yet made."""
        return self._store.pending

    def dead(self) -> int:
        """Deliveries given up, which can be retried by command."""
        return self._store.dead

    def add_listener(self, listener: Listener) -> None:
        """Call `listener` after each commit with the events in it, in the order of commits."""
        self._store.add_listener(listener)

    async def publish(self, event: CallEvent) -> StoredEvent:
        """
        Make a durable event last; return once it is on disk. Events of a call must be published in sequence.

        While the disk cannot be written this waits: the event keeps its place and is written when that is possible
        again, also if the caller gives up waiting.

        Raises:
            StorageError: `event_conflict` (not retryable): its sequence number is taken, or the call has ended;
                `store_closed`.
        """
        assert event.sequence is not None, "a durable event has a sequence number"
        self._withdraw_partials(event)
        now = self._clock()
        id_, body = await self._encode_durable(event, now)
        return await self._store.append(
            NewEvent(
                id=id_,
                type=event.type,
                call=event.call,
                sequence=event.sequence,
                created_at=now,
                body=body,
                endpoints=tuple(one.key for one in self._endpoints if one.settings.wants(event.type, durable=True)),
            )
        )

    def offer(self, partial: TranscriptPartial) -> None:
        """Send a partial to the receivers that subscribed to partials, if nothing newer comes first."""
        self._partials.offer(partial)

    async def drain(self, timeout_s: float) -> bool:
        """
        Try everything that is due now.

        Returns:
            False if `timeout_s` was too short for that. What waits for a later attempt does not count.
        """
        return await self._sender.drain(timeout_s)

    async def unfinished_calls(self) -> list[UnfinishedCall]:
        """Calls without `call.ended`, the oldest first. At start-up: those that a dead process left behind."""
        return await self._store.unfinished_calls()

    async def events_of(self, call_id: str, *, after: int = 0, limit: int = 1000) -> list[StoredEvent]:
        """Up to `limit` durable events of a call with a sequence number above `after`, in order."""
        return await self._store.events_of(call_id, after=after, limit=limit)

    async def _encode_durable(self, event: CallEvent, now: float) -> tuple[str, bytes]:
        if self._mask is not None and isinstance(event, TranscriptFinal | AssistCue):
            await self._mask.catch_up(event, self._store)
        elif self._mask is not None and isinstance(event, CallTranscript | CallEnded):  # long ones
            return await asyncio.to_thread(self._encode, event, now)
        return self._encode(event, now)

    def _encode(self, event: CallEvent, now: float) -> tuple[str, bytes]:
        at = datetime.fromtimestamp(now, UTC)
        id_ = payload.event_id(at, self._entropy(payload.ENTROPY_BYTES))
        return id_, payload.encode(event, id_, at, self._mask)

    def _encode_partial(self, partial: TranscriptPartial) -> tuple[str, bytes]:
        return self._encode(partial, self._clock())

    def _withdraw_partials(self, event: CallEvent) -> None:
        if isinstance(event, TranscriptFinal):
            self._partials.withdraw(event.call.id, (event.track,))
        elif isinstance(event, CallEnded):
            self._partials.withdraw(event.call.id, tuple(Track))

    async def _take_up_endpoints(self) -> None:
        """Take note of the configured endpoints, and leave alone those that asked for it in an earlier life."""
        disabled = await self._store.register({endpoint.key: endpoint.origin for endpoint in self._endpoints})
        self._sender.set_disabled(disabled)
        for endpoint in self._endpoints:
            if endpoint.key in disabled:
                _log.warning("webhook_endpoint_still_disabled", endpoint=endpoint.origin, endpoint_key=endpoint.key)

    async def _watch(self) -> None:
        """Notice what operators do to the store from another process, and measure how far receivers are behind."""
        while True:
            try:
                seen = await self._store.look()
            except StorageError:
                pass  # while the disk cannot be read; `is_writable` tells of it, and the next look comes soon
            else:
                age_s = 0.0 if seen.oldest_at is None else max(0.0, self._clock() - seen.oldest_at)
                telemetry.OUTBOX_OLDEST_AGE.set(age_s)
                if seen.totals is not None:
                    self._sender.set_disabled(seen.totals.disabled)
            await asyncio.sleep(_LOOK_S)

    async def _prune_hourly(self) -> None:
        while True:
            now = self._clock()
            try:
                deleted = await self._store.prune(
                    done_before=now - self._settings.retention_days * DAY_S,
                    dead_before=now - self._settings.dead_retention_days * DAY_S,
                    endpoints=[endpoint.key for endpoint in self._endpoints],
                )
            except StorageError:
                return  # only when the store closes
            if deleted:
                _log.info("outbox_pruned", events=deleted)
            await asyncio.sleep(HOUR_S)
