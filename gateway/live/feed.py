"""
The hub of the live feed: what happens now, to everybody who watches, and no call is ever slowed by it.

Durable events come from the outbox once they are on disk (`note`), and wait in order for each viewer, up to a bound;
who does not read them is dropped and can come back for them. What is not durable (`offer`, `show`) is kept once for
all, the newest of each key, and is shown at most every `EVERY_S`. While nobody watches nothing is made at all.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice

import msgspec
import structlog

from gateway import telemetry
from gateway.errors import UnavailableError
from gateway.events import CallEvent, Track, TranscriptPartial
from gateway.live.feed_item import ENDED, FINAL, Item, kept
from gateway.live.feed_newest import Newest
from gateway.live.feed_viewer import Past, Viewer, Wish
from gateway.outbox import Outbox, StoredEvent, payload

EVERY_S = 0.1
"""Between two looks at what is not durable; the first after a pause is shown at once."""
MOST_PER_S = 20_000
"""Such events that all viewers together get, at most: with 50 viewers of 400 tracks each is shown once a second."""
AT_ONCE = 8
"""Viewers that are woken in one turn of the event loop: in between calls have theirs."""
LOOK_S = 1.0
"""Between two looks at all viewers, for those that left or do not read: a timer for each would cost more."""

log = structlog.get_logger()


class _Data(msgspec.Struct):
    track: Track


class _Final(msgspec.Struct):
    """As much of a final as is needed here."""

    data: _Data


_FINAL = msgspec.json.Decoder(_Final)


class Feed:
    """
    Everybody who watches. Every method belongs to the event loop; `note`, `offer` and `show` return at once.

    Args:
        past: where a viewer reads what came before.
        max_viewers: at once.
        unread_s: how long a viewer may take to read what it was sent before it is dropped.
        encode: makes the body of a partial.
        clock: Unix seconds, the same as the outbox's.
    """

    def __init__(
        self,
        past: Past,
        *,
        max_viewers: int = 200,
        unread_s: float = 10.0,
        encode: Callable[[TranscriptPartial], bytes] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._past = past
        self._max_viewers = max_viewers
        self._unread_s = unread_s
        self._encode = encode or self._encode_partial
        self._clock = clock
        self._viewers: dict[Viewer, None] = {}
        self._newest = Newest()
        self._shown = 0
        self._next_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._looking: asyncio.TimerHandle | None = None
        self._to_wake: dict[Viewer, None] = {}
        self._is_waking = False
        self._is_closed = False

    @property
    def has_viewers(self) -> bool:
        """Whether anybody watches; while nobody does nothing needs to be made for them."""
        return bool(self._viewers)

    # ── What happens ─────────────────────────────────────────────────────────────────────────────────────────────

    def note(self, events: Sequence[StoredEvent]) -> None:
        """Events were committed; a listener of the outbox."""
        if not self._viewers:
            return
        for event in events:
            self._withdraw(event)
            item = kept(event, is_new=True)
            self._wake([viewer for viewer in self._viewers if viewer.put(item)])

    def offer(self, partial: TranscriptPartial) -> None:
        """Show a partial, in place of an earlier one of the same track."""
        if not self._viewers:
            return
        item = Item(
            type=partial.type,
            call_id=partial.call.id,
            make_body=lambda: self._encode(partial),
            made_at=self._clock(),
        )
        self._newest.put((partial.call.id, partial.track), item)
        self._show_soon()

    def show(self, type_: str, body: bytes, *, key: str, call_id: str | None = None) -> None:
        """
        Show something that is not durable.

        Args:
            body: JSON.
            key: an earlier one of the same key is replaced by it.
            call_id: for those, too, who watch this call alone; None: only for those who watch all.
        """
        if not self._viewers:
            return
        self._newest.put(key, Item(type=type_, call_id=call_id, make_body=lambda: body, made_at=self._clock()))
        self._show_soon()

    def _withdraw(self, event: StoredEvent) -> None:
        """A final takes the place of what its track sounded like before; the end of a call that of everything."""
        if event.type == ENDED:
            self._newest.discard_call(event.call_id)
        elif event.type == FINAL and any(
            self._is_older(event, track) for track in Track
        ):  # else it need not be decoded
            track = _FINAL.decode(event.body).data.track
            if self._is_older(event, track):
                self._newest.discard((event.call_id, track))

    def _is_older(self, event: StoredEvent, track: Track) -> bool:
        partial = self._newest.get((event.call_id, track))
        return partial is not None and partial.made_at is not None and partial.made_at <= event.created_at

    def _encode_partial(self, partial: TranscriptPartial) -> bytes:
        at = datetime.fromtimestamp(self._clock(), UTC)
        return payload.encode(partial, payload.event_id(at, os.urandom(payload.ENTROPY_BYTES)), at)

    # ── Who watches ──────────────────────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def subscribe(self, wish: Wish) -> Iterator[Viewer]:
        """
        Watch while the context lasts.

        Raises:
            UnavailableError: `too_many_viewers`, or `feed_closed`.
        """
        if self._is_closed:
            raise UnavailableError("the gateway is going down", code="feed_closed")
        if len(self._viewers) >= self._max_viewers:
            raise UnavailableError(f"there are {self._max_viewers} viewers already", code="too_many_viewers")
        viewer = Viewer(wish, self._past, self._newest)
        self._viewers[viewer] = None
        telemetry.FEED_VIEWERS.set(len(self._viewers))
        if self._looking is None:
            self._look_later()
        try:
            yield viewer
        finally:
            self._remove(viewer)

    def close(self) -> None:
        """End the feed for everybody, and let nobody in any more."""
        self._is_closed = True
        for viewer in self._viewers:
            viewer.end()

    def _remove(self, viewer: Viewer) -> None:
        del self._viewers[viewer]
        telemetry.FEED_VIEWERS.set(len(self._viewers))
        if viewer.fault is not None:
            telemetry.FEED_DROPPED.labels(viewer.fault).inc()
            log.warning("feed_viewer_dropped", reason=viewer.fault, viewers=len(self._viewers))
        self._to_wake.pop(viewer, None)
        if not self._viewers:
            self._newest.clear()
            for timer in (self._timer, self._looking):
                if timer is not None:
                    timer.cancel()
            self._timer = self._looking = None

    def _look_later(self) -> None:
        self._looking = asyncio.get_running_loop().call_later(LOOK_S, self._look)

    def _look(self) -> None:
        self._look_later()
        now = asyncio.get_running_loop().time()
        self._wake([viewer for viewer in self._viewers if not viewer.is_stuck(now, self._unread_s)])
        for viewer in [viewer for viewer in self._viewers if viewer.is_stuck(now, self._unread_s)]:
            viewer.drop("unread")

    # ── When it is shown ─────────────────────────────────────────────────────────────────────────────────────────

    def _show_soon(self) -> None:
        """What is not durable, to everybody."""
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(max(loop.time(), self._next_at), self._show_now)

    def _show_now(self) -> None:
        self._timer = None
        changed = min(self._newest.version - self._shown, len(self._newest))
        self._shown = self._newest.version
        gap_s = max(EVERY_S, changed * len(self._viewers) / MOST_PER_S)
        self._next_at = asyncio.get_running_loop().time() + gap_s
        self._wake(self._viewers)

    def _wake(self, viewers: Iterable[Viewer]) -> None:
        self._to_wake.update(dict.fromkeys(viewers))
        if self._to_wake and not self._is_waking:
            self._is_waking = True
            self._wake_some()

    def _wake_some(self) -> None:
        for viewer in list(islice(self._to_wake, AT_ONCE)):
            del self._to_wake[viewer]
            viewer.wake()
        self._is_waking = bool(self._to_wake)
        if self._is_waking:
            asyncio.get_running_loop().call_soon(self._wake_some)


class Spread:
    """
    Where the events of calls go: all to the outbox, whose listener the feed is; partials to both.

    Args:
        outbox: keeps and delivers.
        feed: shows.
    """

    def __init__(self, outbox: Outbox, feed: Feed) -> None:
        self._outbox = outbox
        self._feed = feed

    async def publish(self, event: CallEvent) -> object:
        """Keep a durable event; returns once it is on disk."""
        return await self._outbox.publish(event)

    def offer(self, event: TranscriptPartial) -> None:
        """Show a partial to whoever listens now."""
        self._outbox.offer(event)
        self._feed.offer(event)
