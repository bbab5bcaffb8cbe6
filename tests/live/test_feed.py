"""The hub: what waits for whom, in which order, and how a viewer comes from what is kept to what happens now."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import telemetry
from gateway.errors import UnavailableError
from gateway.events import Track
from gateway.live import feed_newest, feed_viewer
from gateway.live.feed import AT_ONCE, EVERY_S, LOOK_S, Feed
from gateway.live.feed_item import Form, Item
from gateway.live.feed_past import Extent
from gateway.live.feed_viewer import PAGE, Viewer, Wish
from gateway.outbox import StoredEvent
from tests.support import call_events
from tests.support.virtual_time import run

NOW = 1000.0
Steps = Sequence[tuple[int, int, int, int]]


def event(position: int, type_: str = "call.dtmf", call_id: str = "call_1", **data: Any) -> StoredEvent:
    body = json.dumps({"type": type_, "data": data}).encode()
    return StoredEvent(
        position=position,
        id=f"evt_{position}",
        type=type_,
        call_id=call_id,
        sequence=position,
        created_at=NOW,
        body=body,
    )


def final(position: int, track: Track = Track.INBOUND, call_id: str = "call_1") -> StoredEvent:
    return event(position, "transcript.final", call_id, track=track.value)


class Shelf:
    """A past of so many events in memory. What happens around each reading of it a test can tell it beforehand."""

    def __init__(self, events: Sequence[StoredEvent] = (), *, last: int | None = None) -> None:
        self.events = list(events)
        self._last = last
        self.around: Iterator[tuple[Any, Any]] = iter(())

    async def events_after(self, position: int, *, limit: int, call_id: str | None = None) -> list[StoredEvent]:
        before, after = next(self.around, (None, None))
        if before:
            before()
        page = [each for each in self.events if each.position > position and call_id in (None, each.call_id)][:limit]
        if after:
            after()
        return page

    async def extent(self) -> Extent:
        last = self.events[-1].position if self.events else 0
        return Extent(
            oldest=self.events[0].position if self.events else None, last=last if self._last is None else self._last
        )


class Watched:
    """A feed with a viewer that is up to date."""

    def __init__(self, stack: ExitStack, shelf: Shelf | None = None, now: float = NOW) -> None:
        self.shelf = shelf or Shelf()
        self.now = now
        self.feed = Feed(self.shelf, encode=lambda partial: partial.text.encode(), clock=lambda: self.now)
        self._stack = stack

    async def viewer(self, wish: Wish | None = None) -> Viewer:
        viewer = self._stack.enter_context(self.feed.subscribe(wish or Wish()))
        await viewer.begin()
        assert await viewer.read() == []
        assert await viewer.read() == []
        return viewer


async def read(viewer: Viewer) -> list[Item]:
    found = await viewer.read()
    assert found is not None
    return list(found)


async def bodies(viewer: Viewer) -> list[bytes]:
    return [item.body for item in await read(viewer)]


async def positions(viewer: Viewer) -> list[int | None]:
    return [item.position for item in await read(viewer)]


def dropped(reason: str) -> float:
    return telemetry.REGISTRY.get_sample_value("gateway_feed_viewers_dropped_total", {"reason": reason}) or 0.0


# ── What happens now ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_durable_events_come_in_the_order_of_their_commits() -> None:
    async def scene() -> None:
        with ExitStack() as stack:
            watched = Watched(stack)
            viewer = await watched.viewer()
            watched.feed.note([event(1), event(2)])
            watched.feed.note([event(3)])
            assert await positions(viewer) == [1, 2, 3]

    run(scene())


def test_of_the_partials_of_a_track_the_newest_comes_and_no_other() -> None:
    async def scene() -> None:
        with ExitStack() as stack:
            watched = Watched(stack)
            viewer = await watched.viewer()
            for text in ("I", "I'd", "I'd like"):
                watched.feed.offer(call_events.partial(text=text))
            watched.feed.offer(call_events.partial(text="Yes", track=Track.OUTBOUND))
            assert await bodies(viewer) == [b"I'd like", b"Yes"]
            assert await viewer.read() == []

    run(scene())


def test_what_is_shown_replaces_what_had_its_key() -> None:
    async def scene() -> None:
        with ExitStack() as stack:
            watched = Watched(stack)
            viewer = await watched.viewer()
            watched.feed.show("call.levels", b"1", key="levels")
            watched.feed.show("call.other", b"2", key="other")
            watched.feed.show("call.levels", b"3", key="levels")
            assert await bodies(viewer) == [b"2", b"3"]

    run(scene())


def test_a_final_takes_the_waiting_partial_of_its_track_away_and_leaves_the_other_track_alone() -> None:
    async def scene() -> None:
        with ExitStack() as stack:
            watched = Watched(stack)
            viewer = await watched.viewer()
            watched.feed.offer(call_events.partial(text="heard"))
            watched.feed.offer(call_events.partial(text="other", track=Track.OUTBOUND))
            watched.feed.note([final(1)])
            found = await read(viewer)
            assert [item.type for item in found] == ["transcript.final", "transcript.partial"]
            assert found[-1].body == b"other"

    run(scene())


def test_a_partial_of_the_next_utterance_outlives_the_final_before_it() -> None:
    async def scene() -> None:
        with ExitStack() as stack:
            watched = Watched(stack, now=NOW + 0.001)  # spoken while the final was being committed
            viewer = await watched.viewer()
            watched.feed.offer(call_events.partial(text="next"))
            watched.feed.note([final(1)])
            assert [item.type for item in await read(viewer)] == ["transcript.final", "transcript.partial"]

    run(scene())


def test_an_older_partial_of_the_other_track_does_not_take_the_next_utterance_along() -> None:
    async def scene() -> None:
        with ExitStack() as stack:
            watched = Watched(stack)
            viewer = await watched.viewer()
            watched.feed.offer(call_events.partial(text="other", track=Track.OUTBOUND))
            watched.now = NOW + 0.001
            watched.feed.offer(call_events.partial(text="next"))
            watched.feed.note([final(1)])
            assert (await bodies(viewer))[1:] == [b"other", b"next"]

    run(scene())


def test_what_was_said_while_others_watched_is_not_shown_to_whoever_comes_long_after() -> None:
    async def scene() -> None:
        with ExitStack() as stack:
            watched = Watched(stack)
            with watched.feed.subscribe(Wish()):
                watched.feed.offer(call_events.partial(text="long ago"))
            late = await watched.viewer()
            assert await late.read() == []

    run(scene())


def test_nothing_of_a_call_is_shown_after_its_end() -> None:
    async def scene() -> None:
        with ExitStack() as stack:
            watched = Watched(stack)
            viewer = await watched.viewer()
            watched.feed.offer(call_events.partial())
            watched.feed.show("call.levels", b"1", key="levels of call_1", call_id="call_1")
            watched.feed.note([event(1, "call.ended")])
            assert [item.type for item in await read(viewer)] == ["call.ended"]

    run(scene())


def test_a_viewer_who_comes_later_sees_what_is_being_said() -> None:
    async def scene() -> None:
        with ExitStack() as stack:
            watched = Watched(stack)
            await watched.viewer()
            watched.feed.offer(call_events.partial(text="still speaking"))
            late = stack.enter_context(watched.feed.subscribe(Wish()))
            await late.begin()
            assert await bodies(late) == []  # there is nothing to catch up on
            assert await bodies(late) == [b"still speaking"]

    run(scene())


def test_partials_come_at_most_every_so_often_and_the_first_after_a_pause_at_once() -> None:
    async def scene() -> None:
        loop = asyncio.get_running_loop()
        with ExitStack() as stack:
            watched = Watched(stack)
            viewer = await watched.viewer()
            times = []
            for number in range(3):
                watched.feed.offer(call_events.partial(text=str(number)))
                began = loop.time()
                await read(viewer)
                times.append(round(loop.time() - began, 3))
            assert times == [0.0, EVERY_S, EVERY_S]

    run(scene())


def test_a_final_does_not_wait_for_the_turn_of_the_partials() -> None:
    async def scene() -> None:
        loop = asyncio.get_running_loop()
        with ExitStack() as stack:
            watched = Watched(stack)
            viewer = await watched.viewer()
            watched.feed.offer(call_events.partial())
            await read(viewer)
            watched.feed.offer(call_events.partial(text="I'd like"))
            began = loop.time()
            watched.feed.note([event(1)])
            assert [item.type for item in await read(viewer)] == ["call.dtmf", "transcript.partial"]
            assert loop.time() == began

    run(scene())


def test_every_one_of_many_viewers_gets_its_partials() -> None:
    async def scene() -> None:
        with ExitStack() as stack:
            watched = Watched(stack)
            viewers = [await watched.viewer() for _ in range(3 * AT_ONCE + 1)]
            watched.feed.offer(call_events.partial(text="heard"))
            assert [await bodies(viewer) for viewer in viewers] == [[b"heard"]] * len(viewers)

    run(scene())


def test_what_many_see_is_encoded_once() -> None:
    async def scene() -> None:
        made: list[str] = []

        def encode(partial: Any) -> bytes:
            made.append(partial.text)
            return b"{}"

        feed = Feed(Shelf(), encode=encode)
        with ExitStack() as stack:
            viewers = [stack.enter_context(feed.subscribe(Wish())) for _ in range(3)]
            for viewer in viewers:
                await viewer.begin()
                await viewer.read()
                await viewer.read()
            feed.offer(call_events.partial(text="replaced before anybody read it"))
            feed.offer(call_events.partial(text="seen"))
            forms = [
                (await read(viewer))[0].wire(form) for viewer, form in zip(viewers, [*Form, Form.SSE], strict=True)
            ]
            assert made == ["seen"]
            assert forms[0] is forms[2]

    run(scene())


def test_nothing_is_made_or_kept_while_nobody_watches() -> None:
    async def scene() -> None:
        def encode(_partial: Any) -> bytes:
            raise AssertionError("nobody asked for this")

        feed = Feed(Shelf(), encode=encode)
        feed.offer(call_events.partial())
        feed.show("call.levels", b"1", key="levels")
        feed.note([event(1)])
        assert not feed.has_viewers
        with feed.subscribe(Wish()) as viewer:
            await viewer.begin()
            assert feed.has_viewers
            assert await viewer.read() == []
            assert await viewer.read() == []
            assert await viewer.read() == []
        assert not feed.has_viewers

    run(scene())


def test_more_tracks_than_there_is_room_for_cost_the_one_that_changed_longest_ago(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feed_newest, "CAPACITY", 2)

    async def scene() -> None:
        with ExitStack() as stack:
            watched = Watched(stack)
            viewer = await watched.viewer()
            for text in ("a", "b", "c"):
                watched.feed.offer(call_events.partial(call_id=text, text=text))
            assert await bodies(viewer) == [b"b", b"c"]

    run(scene())


# ── Wishes ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("wish", "seen"),
    [
        (Wish(), [b"dtmf of a", b"ended of b", b"partial of a", b"levels"]),
        (Wish(partials=False), [b"dtmf of a", b"ended of b", b"levels"]),
        (Wish(types=frozenset({"call.ended", "call.levels"})), [b"ended of b", b"levels"]),
        (Wish(call_id="a"), [b"dtmf of a", b"partial of a"]),
        (Wish(call_id="b"), [b"ended of b"]),
    ],
)
def test_a_viewer_sees_what_it_asked_for(wish: Wish, seen: list[bytes]) -> None:
    async def scene() -> None:
        with ExitStack() as stack:
            watched = Watched(stack)
            viewer = await watched.viewer(wish)
            watched.feed.offer(call_events.partial(call_id="a", text="partial of a"))
            watched.feed.show("call.levels", b"levels", key="levels")
            one, other = event(1, "call.dtmf", "a"), event(2, "call.ended", "b")
            one = StoredEvent(**{name: getattr(one, name) for name in one.__struct_fields__} | {"body": b"dtmf of a"})
            other = StoredEvent(
                **{name: getattr(other, name) for name in other.__struct_fields__} | {"body": b"ended of b"}
            )
            watched.feed.note([one, other])
            assert await bodies(viewer) == seen

    run(scene())


# ── Slow viewers ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_viewer_that_does_not_read_is_dropped_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_viewer, "MOST_EVENTS", 3)
    before = dropped("overflow")

    async def scene() -> None:
        with ExitStack() as stack:
            watched = Watched(stack)
            other = await watched.viewer()
            with watched.feed.subscribe(Wish()) as slow:
                await slow.begin()
                await slow.read()
                cuts: list[str] = []
                slow.cut = lambda: cuts.append("cut")
                seen = []
                for number in range(1, 6):
                    watched.feed.note([event(number)])
                    seen += await positions(other)
                assert seen == [1, 2, 3, 4, 5]
                assert slow.waiting == 0  # nothing is kept for it any more
                assert cuts == ["cut"]
                assert await slow.read() is None

    run(scene())
    assert dropped("overflow") == before + 1


def test_large_events_fill_a_viewers_room_by_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_viewer, "MOST_BYTES", 1000)

    async def scene() -> None:
        with ExitStack() as stack:
            watched = Watched(stack)
            viewer = await watched.viewer()
            for number in range(1, 4):
                watched.feed.note([event(number, text="x" * 600)])
            assert viewer.fault == "overflow"

    run(scene())


def test_there_are_only_so_many_viewers() -> None:
    async def scene() -> None:
        feed = Feed(Shelf(), max_viewers=1)
        with feed.subscribe(Wish()):
            with pytest.raises(UnavailableError) as refused, feed.subscribe(Wish()):
                pass
            assert refused.value.code == "too_many_viewers"
        with feed.subscribe(Wish()):
            assert feed.has_viewers

    run(scene())


def test_the_end_of_the_feed_ends_whoever_waits_for_it() -> None:
    async def scene() -> None:
        with ExitStack() as stack:
            watched = Watched(stack)
            viewer = await watched.viewer()
            async with asyncio.TaskGroup() as tasks:
                waiting = tasks.create_task(viewer.read())
                watched.feed.close()
            assert waiting.result() is None
            with pytest.raises(UnavailableError), watched.feed.subscribe(Wish()):
                pass

    run(scene())


def test_the_end_of_the_feed_does_not_wait_for_a_viewer_that_does_not_read() -> None:
    async def scene() -> None:
        with ExitStack() as stack:
            watched = Watched(stack)
            slow, other = await watched.viewer(), await watched.viewer()
            cuts: list[str] = []
            slow.cut, other.cut = (lambda: cuts.append("slow")), (lambda: cuts.append("other"))
            slow.sending_since = asyncio.get_running_loop().time()
            watched.feed.close()
            assert cuts == ["slow"]

    run(scene())


# ── Coming back ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_without_an_id_the_feed_of_all_calls_begins_now() -> None:
    async def scene() -> None:
        feed = Feed(Shelf([event(1), event(2)]))
        with feed.subscribe(Wish()) as viewer:
            assert await viewer.begin() == (2, None)
            assert await positions(viewer) == []
            feed.note([event(2), event(3)])  # the one was committed before, and is announced late
            assert await positions(viewer) == [3]

    run(scene())


def test_without_an_id_the_feed_of_a_call_begins_with_its_first_event() -> None:
    async def scene() -> None:
        feed = Feed(Shelf([event(1, call_id="a"), event(2, call_id="b"), event(3, call_id="a")]))
        with feed.subscribe(Wish(call_id="a")) as viewer:
            assert await viewer.begin() == (None, None)
            assert await positions(viewer) == [1, 3]

    run(scene())


@pytest.mark.parametrize(
    ("kept", "last", "after", "reason"),
    [
        ([5, 6], 6, 2, "pruned"),
        ([], 6, 2, "pruned"),
        ([5, 6], 6, 7, "unknown"),
    ],
)
def test_an_id_from_which_nothing_can_be_resumed_is_told_and_the_feed_goes_on_from_now(
    kept: list[int], last: int, after: int, reason: str
) -> None:
    async def scene() -> None:
        feed = Feed(Shelf([event(number) for number in kept], last=last))
        with feed.subscribe(Wish(after=after)) as viewer:
            position, told = await viewer.begin()
            assert told is not None
            assert (told.type, json.loads(told.body)["data"]) == ("feed.reset", {"reason": reason})
            assert position == told.position == last
            assert await positions(viewer) == []
            feed.note([event(last + 1)])
            assert await positions(viewer) == [last + 1]

    run(scene())


def test_the_feed_of_a_call_that_cannot_be_resumed_begins_anew() -> None:
    async def scene() -> None:
        feed = Feed(Shelf([event(5), event(6)]))
        with feed.subscribe(Wish(after=9, call_id="call_1")) as viewer:
            position, told = await viewer.begin()
            assert told is not None
            assert position is told.position is None
            assert await positions(viewer) == [5, 6]

    run(scene())


def test_a_hole_in_what_is_kept_is_told_when_it_is_reached() -> None:
    async def scene() -> None:
        kept = [event(1), event(2), event(4)]  # of old events those stay that a receiver still waits for
        feed = Feed(Shelf(kept))
        with feed.subscribe(Wish(after=1)) as viewer:
            await viewer.begin()
            (told,) = await read(viewer)
            assert (told.type, told.position) == ("feed.reset", 4)
            assert await positions(viewer) == []
            feed.note([event(5)])
            assert await positions(viewer) == [5]

    run(scene())


def test_the_last_ids_holder_gets_nothing_twice() -> None:
    async def scene() -> None:
        feed = Feed(Shelf([event(1), event(2)]))
        with feed.subscribe(Wish(after=2)) as viewer:
            assert await viewer.begin() == (2, None)
            assert await positions(viewer) == []
            feed.note([event(2)])
            feed.note([event(3)])
            assert await positions(viewer) == [3]

    run(scene())


step = st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 4), st.integers(0, 4))


@given(
    steps=st.lists(step, max_size=8),
    kept=st.integers(0, 3 * PAGE),
    after=st.integers(0, 3 * PAGE),
    room=st.sampled_from([2, 1000]),
    of_call=st.booleans(),
)
def test_there_is_no_hole_and_nothing_twice_however_commits_and_readings_fall(
    steps: Steps, kept: int, after: int, room: int, of_call: bool
) -> None:
    """Before and after each reading some events are committed, and some of the committed ones are announced."""

    async def scene() -> None:
        shelf = Shelf([_of_either(number) for number in range(1, kept + 1)])
        feed = Feed(shelf)
        announced = kept

        def happen(commits: int, announcements: int) -> None:
            nonlocal announced
            for _ in range(commits):
                shelf.events.append(_of_either(len(shelf.events) + 1))
            until = min(len(shelf.events), announced + announcements)
            if until > announced:
                feed.note(shelf.events[announced:until])
            announced = until

        shelf.around = iter([(lambda a=a, b=b: happen(a, b), lambda c=c, d=d: happen(c, d)) for a, b, c, d in steps])
        found: list[int | None] = []
        with feed.subscribe(Wish(after=min(after, kept), call_id="a" if of_call else None)) as viewer:
            await viewer.begin()
            found += await _all_there_is(viewer)
            while announced < len(shelf.events):
                happen(0, 1)
                found += await _all_there_is(viewer)
            happen(1, 1)
            happen(1, 1)
            found += await _all_there_is(viewer)
            assert viewer.fault is None
        wanted = [each.position for each in shelf.events if not of_call or each.call_id == "a"]
        assert found == [position for position in wanted if position > min(after, kept)]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(feed_viewer, "MOST_EVENTS", room)
        run(scene())


async def _all_there_is(viewer: Viewer) -> list[int | None]:
    found: list[int | None] = []
    loop = asyncio.get_running_loop()
    until = loop.time() + 2 * LOOK_S  # reading takes no time here, waiting for nothing does
    while loop.time() < until:
        found += await positions(viewer)
    return found


def _of_either(position: int) -> StoredEvent:
    return event(position, call_id="ab"[position % 2])
