"""What of a call's recording is silence, by what its stored events say."""

import asyncio
from typing import Protocol

from gateway.outbox import StoredEvent
from gateway.redaction.bodies import BodyMask
from gateway.redaction.muting import Muted, muted_spans

_PAGE = 1000


class StoredEvents(Protocol):
    """Where a call's events are; `gateway.outbox` has them."""

    async def events_of(self, call_id: str, *, after: int, limit: int) -> list[StoredEvent]: ...


class Muting:
    """
    Says when recordings are silent.

    Args:
        events: what was said in calls.
        mask: what is not to be heard.
        margin_s: silence before and after it.
    """

    def __init__(self, events: StoredEvents, mask: BodyMask, margin_s: float) -> None:
        self._events = events
        self._mask = mask
        self._margin_s = margin_s

    async def spans_of(self, call_id: str) -> Muted:
        """
        What of a call is not to be heard.

        Raises:
            StorageError: the store cannot be read just now.
        """
        bodies: list[bytes] = []
        after = 0
        while page := await self._events.events_of(call_id, after=after, limit=_PAGE):
            bodies += [event.body for event in page]
            after = page[-1].sequence
        return await asyncio.to_thread(muted_spans, self._mask, bodies, self._margin_s)
