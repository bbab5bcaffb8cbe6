"""Masking on the way into the store, and on the way out of it to one receiver."""

import asyncio
from typing import Any

from gateway.errors import StorageError
from gateway.events import AssistCue, TranscriptFinal
from gateway.outbox.database import Delivery
from gateway.outbox.store import Store
from gateway.redaction.bodies import FINAL, LOOKED_BACK, BodyMask, sequence_of
from gateway.redaction.memory import Memory

_LONG_BYTES = 32 * 1024
"""Bodies that are masked in a thread: whole conversations."""
_STORE_PAUSE_S = 1.0


class StoreMask:
    """Masks events as they come, each with what its call has said before; see `payload.encode`."""

    def __init__(self, mask: BodyMask) -> None:
        self._mask = mask
        self._memory = Memory()

    def __call__(self, event: dict[str, Any]) -> None:
        self._mask.mask_event(event, self._memory)

    async def catch_up(self, event: TranscriptFinal | AssistCue, store: Store) -> None:
        """
        Remember what an earlier process stored of a call that goes on: a number may go on, too.

        Raises:
            StorageError: the store has been closed.
        """
        if event.sequence is None or event.sequence == 1 or self._memory.knows(event.call.id):
            return
        self._mask.remember(await _finals_before(store, event.call.id, event.sequence), self._memory)


async def masked_body(store: Store, mask: BodyMask, delivery: Delivery) -> bytes:
    """
    What one receiver gets of an event: at each attempt the same, because it is made of what is stored alone.

    While the store cannot be read this waits: how the attempt ends could not be written either.
    """
    body = delivery.body
    before: list[bytes] = []
    if mask.needs_memory(delivery.type, body):
        before = await _finals_before(store, delivery.call_id, sequence_of(body))
    if len(body) > _LONG_BYTES:
        return await asyncio.to_thread(mask.mask_after, body, before)
    return mask.mask_after(body, before)


async def _finals_before(store: Store, call_id: str, sequence: int) -> list[bytes]:
    after = max(0, sequence - 1 - LOOKED_BACK)
    while True:
        try:
            events = await store.events_of(call_id, after=after, limit=LOOKED_BACK)
        except StorageError as error:
            if error.code == "store_closed":
                raise
            await asyncio.sleep(_STORE_PAUSE_S)
        else:
            return [event.body for event in events if event.sequence < sequence and event.type == FINAL]
