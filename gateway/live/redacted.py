"""
What the console, the feed and the API of calls show, where it is masked (`redaction.feed`).

What is read from the store is masked by the connection that reads it: a view takes the place of the table of events, so
that no reader can forget it. What happens now is masked on its way to the feed.
"""

import asyncio
import os
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from hashlib import sha256

from msgspec import structs

from gateway.config import RedactionSettings
from gateway.events import CallEnded, CallTranscript, TranscriptPartial
from gateway.live.feed import Feed
from gateway.outbox import StoredEvent, payload
from gateway.redaction.bodies import FINAL, LOOKED_BACK, BodyMask
from gateway.redaction.memory import Memory

LONG_BYTES = 32 * 1024
"""Whole conversations longer than that are masked in a thread."""
MOST_WAITING = 4096
"""Events that wait for one of those; beyond it they are masked at once."""

_VIEW = """
CREATE TEMP VIEW events AS
    SELECT position, id, call_id, sequence, type, created_at, redacted(call_id, sequence, type, body) AS body
    FROM main.events
"""
_BEFORE = "SELECT body FROM main.events WHERE call_id = ? AND sequence BETWEEN ? AND ? AND type = ? ORDER BY sequence"


def mask_key(settings: RedactionSettings) -> str:
    """Names what viewers do not see: of another key it is something else; empty: they see everything."""
    if not (settings.store or settings.feed):
        return ""
    decides = settings.model_dump_json(include={"kinds", "patterns", "languages", "region"})
    return sha256(decides.encode()).hexdigest()[:16]


def show_masked(db: sqlite3.Connection, mask: BodyMask) -> None:
    """From now on `events` is what viewers may see; bodies are masked when they are read, and only then."""

    def redacted(call_id: str, sequence: int, type_: str, body: bytes) -> bytes:
        if not mask.needs_memory(type_, body):
            return mask.mask(body)
        before = db.execute(_BEFORE, (call_id, sequence - LOOKED_BACK, sequence - 1, FINAL)).fetchall()
        return mask.mask_after(body, [bytes(each) for (each,) in before])

    db.create_function("redacted", 4, redacted, deterministic=True)
    db.execute(_VIEW)


class MaskedEvents:
    """
    What happens now, as viewers may see it. `run` does what takes long.

    Args:
        feed: shows it.
        mask: what viewers do not see.
    """

    def __init__(self, feed: Feed, mask: BodyMask) -> None:
        self._feed = feed
        self._mask = mask
        self._memory = Memory()
        self._waiting: deque[StoredEvent] = deque()
        self._bell = asyncio.Event()

    def note(self, events: Sequence[StoredEvent]) -> None:
        """Events were committed; a listener of the outbox. They are shown in this order."""
        if not self._feed.has_viewers:
            self._mask.remember([event.body for event in (*self._waiting, *events)], self._memory)
            self._waiting.clear()
            return
        self._waiting.extend(events)
        if len(self._waiting) == len(events) or len(self._waiting) > MOST_WAITING:
            self._show(is_patient=len(self._waiting) <= MOST_WAITING)

    async def run(self) -> None:
        """Mask whole conversations in a thread, for ever; what comes meanwhile waits behind them."""
        while True:
            await self._bell.wait()
            self._bell.clear()
            if self._waiting:
                first = self._waiting[0]
                body = await asyncio.to_thread(self._mask.mask, first.body)
                if self._waiting and self._waiting[0] is first:
                    self._memory.forget(first.call_id)
                    self._feed.note([structs.replace(self._waiting.popleft(), body=body)])
                    self._show(is_patient=True)

    def _show(self, *, is_patient: bool) -> None:
        """Show what waits, up to what takes long."""
        shown: list[StoredEvent] = []
        while self._waiting:
            if is_patient and _is_long(self._waiting[0]):
                self._bell.set()
                break
            event = self._waiting.popleft()
            shown.append(structs.replace(event, body=self._mask.mask(event.body, self._memory)))
        self._feed.note(shown)


def _is_long(event: StoredEvent) -> bool:
    """A final never is: how it is masked depends on the ones before it, which only the feed's own memory knows."""
    return event.type in (CallEnded.type, CallTranscript.type) and len(event.body) > LONG_BYTES


class MaskedPartials:
    """
    Makes the bodies of partials for viewers.

    Args:
        mask: what they do not see.
        clock: Unix seconds.
    """

    def __init__(self, mask: BodyMask, *, clock: Callable[[], float] = time.time) -> None:
        self._mask = mask
        self._clock = clock

    def encode(self, partial: TranscriptPartial) -> bytes:
        """The body of a partial; see `payload.encode`."""
        at = datetime.fromtimestamp(self._clock(), UTC)
        id_ = payload.event_id(at, os.urandom(payload.ENTROPY_BYTES))
        return payload.encode(partial, id_, at, self._mask.mask_event)
