"""What viewers see where it is masked: what is taken note of, what waits, and what is not masked in vain."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from msgspec import structs

from gateway.events import CallEvent, Word
from gateway.live import calls, redacted
from gateway.live.feed import Feed
from gateway.live.feed_viewer import Wish
from gateway.live.reading import StoreReader
from gateway.outbox import Outbox, StoredEvent
from gateway.redaction import BodyMask
from tests.redaction.finders import body_mask, finder
from tests.support import call_events
from tests.support.history_house import whole_call


class NoPast:
    """For a feed whose viewers see only what happens now."""

    async def events_after(self, _position: int, **_bounds: Any) -> list[StoredEvent]:
        return []


@contextmanager
def watched(feed: Feed) -> Iterator[list[StoredEvent]]:
    """What a feed is given while somebody watches."""
    shown: list[StoredEvent] = []
    feed.note = shown.extend  # type: ignore[method-assign,assignment]
    with feed.subscribe(Wish()):
        yield shown


async def stored(folder: Path, *events: CallEvent) -> list[StoredEvent]:
    async with Outbox(folder) as outbox:
        return [await outbox.publish(event) for event in events]


async def test_a_number_that_goes_on_in_a_very_long_final_is_masked(tmp_path: Path) -> None:
    words = ["11", *["well"] * (redacted.LONG_BYTES // 40)]
    long = structs.replace(
        call_events.final(sequence=2, text=" ".join(words)),
        words=tuple(Word(word=word, start_s=15.0, end_s=15.1) for word in words),
        start_s=15.0,
        end_s=15.1,
    )
    events = await stored(tmp_path, call_events.final(text="my card is 4111 1111 1111"), long)
    feed = Feed(NoPast())  # type: ignore[arg-type]
    masked = redacted.MaskedEvents(feed, body_mask())
    assert len(events[1].body) > redacted.LONG_BYTES
    with watched(feed) as shown:
        masked.note(events)
    assert len(shown) == 2
    assert b'"text":"[digits] well' in shown[1].body


async def test_a_number_goes_on_that_began_while_nobody_watched(tmp_path: Path) -> None:
    after = structs.replace(call_events.final(sequence=2, text="11 okay"), words=(), start_s=15.0, end_s=16.0)
    events = await stored(tmp_path, call_events.final(text="my card is 4111 1111 1111"), after)
    feed = Feed(NoPast())  # type: ignore[arg-type]
    masked = redacted.MaskedEvents(feed, body_mask())
    masked.note(events[:1])
    with watched(feed) as shown:
        masked.note(events[1:])
    assert b'"text":"[digits] okay"' in shown[0].body


class Counting(BodyMask):
    """Counts what it masks, by type."""

    def __init__(self) -> None:
        super().__init__(finder(), keys=False)
        self.masked: list[str] = []

    def mask_event(self, event: dict[str, Any], memory: Any = None) -> bool:
        self.masked.append(event["type"])
        return super().mask_event(event, memory)


async def test_a_list_of_calls_masks_nothing_and_a_call_everything(tmp_path: Path) -> None:
    mask = Counting()
    async with Outbox(tmp_path) as outbox:
        for event in whole_call("call_1", recording="call_1.wav"):
            await outbox.publish(event)
        async with StoreReader(tmp_path, prepare=partial(redacted.show_masked, mask=mask)) as reader:

            def look(db: sqlite3.Connection) -> int:
                page = calls.select_page(db, tmp_path, calls.Which.ALL, 10, None)
                calls.select_recording(db, tmp_path, "call_1")
                return len(page.calls)

            assert await reader.read(look) == 1
            assert mask.masked == []
            await reader.read(calls.select_story, tmp_path, "call_1")
    assert "call.ended" in mask.masked
