"""The feed over real sockets: server-sent events."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from gateway import telemetry
from gateway.live import feed, feed_streams
from gateway.live.sessions import IDLE_S
from tests.support.call_events import dtmf, ended, final, partial, started
from tests.support.feed_house import DEADLINE_S, TOKEN, FeedHouse, feed_house
from tests.support.manual_clock import ManualClock


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[FeedHouse]:
    async with feed_house(tmp_path) as served:
        yield served


async def test_an_event_comes_as_the_store_has_it_with_its_position(house: FeedHouse) -> None:
    async with house.watch() as source:
        await house.publish(started(), final(sequence=2))
        first, second = await source.take(2)
        stored = await house.outbox.events_of("call_1")
        assert [(told.type, told.id, told.data) for told in (first, second)] == [
            (event.type, str(event.position), json.loads(event.body)) for event in stored
        ]


async def test_a_partial_has_no_id_and_the_body_of_a_webhook(house: FeedHouse) -> None:
    async with house.watch() as source:
        await house.publish(started())
        (first,) = await source.take(1)
        house.offer(partial(text="I'd like"))
        (told,) = await source.take(1)
        assert (told.type, told.id) == ("transcript.partial", first.id)  # no new one
        assert sorted(told.data) == ["data", "id", "timestamp", "type"]
        assert told.data["data"]["text"] == "I'd like"
        assert told.data["data"]["sequence"] is None


async def test_nothing_between_us_and_the_viewer_is_to_hold_events_back(house: FeedHouse) -> None:
    async with house.watch() as source:
        headers = source.answer.headers
        assert headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Accel-Buffering"] == "no"
        assert "Content-Encoding" not in headers


async def test_who_comes_back_gets_what_it_missed_and_nothing_twice(house: FeedHouse) -> None:
    async with house.watch() as source:
        await house.publish(started(), dtmf(sequence=2))
        await source.take(2)
    await house.publish(final(sequence=3), dtmf(sequence=4))
    async with house.watch(Last_Event_ID=source.last_event_id) as again:
        await house.publish(ended(sequence=5))
        assert [told.data["data"]["sequence"] for told in await again.take(3)] == [3, 4, 5]


async def test_a_viewer_cut_off_before_its_first_event_misses_nothing_either(house: FeedHouse) -> None:
    await house.publish(started())
    async with house.watch() as source:
        await source.begun()
    await house.publish(final(sequence=2))
    async with house.watch(f"/api/events?last_event_id={source.last_event_id}") as again:
        assert [told.type for told in await again.take(1)] == ["transcript.final"]


async def test_a_long_past_is_read_in_pages(house: FeedHouse) -> None:
    await house.publish(started(), *(dtmf(sequence=number) for number in range(2, 251)))
    async with house.watch("/api/calls/call_1/events") as source:
        assert [told.data["data"]["sequence"] for told in await source.take(250)] == list(range(1, 251))


async def test_a_call_is_told_from_its_first_event_and_goes_on(house: FeedHouse) -> None:
    await house.publish(started("a"), started("b"), final("a", 2))
    async with house.watch("/api/calls/a/events") as source:
        await house.publish(final("b", 2), ended("a", 3))
        assert [told.type for told in await source.take(3)] == ["call.started", "transcript.final", "call.ended"]


async def test_a_call_that_nobody_knows_is_not_found(house: FeedHouse) -> None:
    async with house.get("/api/calls/call_9/events") as answer:
        assert (answer.status, (await answer.json())["error"]) == (404, "no_such_call")


@pytest.mark.parametrize("query", ["types=call.ended,transcript.final", "partials=0&types=transcript.final,call.ended"])
async def test_a_viewer_gets_the_types_that_it_asked_for(house: FeedHouse, query: str) -> None:
    async with house.watch(f"/api/events?{query}") as source:
        house.offer(partial())
        await house.publish(started(), final(sequence=2), dtmf(sequence=3), ended(sequence=4))
        assert [told.type for told in await source.take(2)] == ["transcript.final", "call.ended"]


@pytest.mark.parametrize("id_", ["999", "not a position", "-1"])
async def test_an_id_that_is_not_ours_is_told_and_can_be_resumed_from(house: FeedHouse, id_: str) -> None:
    await house.publish(started())
    async with house.watch(Last_Event_ID=id_) as source:
        (told,) = await source.take(1)
        assert (told.type, told.data["data"]["reason"], told.id) == ("feed.reset", "unknown", "1")
    await house.publish(final(sequence=2))
    async with house.watch(Last_Event_ID=source.last_event_id) as again:
        assert [each.type for each in await again.take(1)] == ["transcript.final"]


@pytest.mark.parametrize("path", ["/api/events", "/api/calls/call_1/events", "/api/feed"])
async def test_nothing_is_shown_without_a_token(house: FeedHouse, path: str) -> None:
    async with house.get(path, token=None) as answer:
        assert answer.status == 401


async def test_further_viewers_are_told_to_come_back_later(tmp_path: Path) -> None:
    async with feed_house(tmp_path, max_viewers=1) as house, house.watch(), house.get("/api/events") as answer:
        assert (answer.status, (await answer.json())["error"]) == (503, "too_many_viewers")
        assert int(answer.headers["Retry-After"]) > 0


async def test_a_viewer_that_left_is_forgotten(house: FeedHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "LOOK_S", 0.01)
    async with house.watch():
        assert house.feed.has_viewers
    await house.until_nobody_watches()


async def test_a_comment_keeps_a_silent_stream_awake(house: FeedHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "LOOK_S", 0.01)
    monkeypatch.setattr(feed_streams, "COMMENT_S", 0.02)
    async with house.watch() as source, asyncio.timeout(DEADLINE_S):
        while (await source.answer.content.readline()) != b":\n":
            pass
        await house.publish(started())
        assert [told.type for told in await source.take(1)] == ["call.started"]


async def test_a_session_that_ends_takes_its_stream_along(house: FeedHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "LOOK_S", 0.01)
    monkeypatch.setattr(feed_streams, "COMMENT_S", 0.02)
    async with house.session.get(house.server.make_url("/in")):
        pass
    async with house.session.get(house.server.make_url("/api/events")) as answer:
        assert answer.status == 200
        async with house.session.get(house.server.make_url("/out")):
            pass
        async with asyncio.timeout(DEADLINE_S):
            assert (await answer.read()).startswith(b"retry: ")


async def test_a_stream_that_is_left_open_does_not_keep_its_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "LOOK_S", 0.01)
    monkeypatch.setattr(feed_streams, "COMMENT_S", 0.02)
    clock = ManualClock()
    async with feed_house(tmp_path, clock=clock) as house:
        async with house.session.get(house.server.make_url("/in")):
            pass
        async with house.session.get(house.server.make_url("/api/events")) as answer, asyncio.timeout(DEADLINE_S):
            clock.advance(IDLE_S - 1)
            while await answer.content.readline() != b":\n":  # with which it was asked whether the session lasts
                pass
            clock.advance(1)
            await answer.read()


async def test_the_end_of_the_gateway_ends_streams_at_once(tmp_path: Path) -> None:
    async with feed_house(tmp_path) as house, house.watch() as source:
        await source.begun()
        async with asyncio.timeout(DEADLINE_S):
            await house.server.close()
        assert await source.next() is None


async def test_a_viewer_that_stops_reading_is_dropped_and_another_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "LOOK_S", 0.05)

    def dropped() -> float:
        value = telemetry.REGISTRY.get_sample_value("gateway_feed_viewers_dropped_total", {"reason": "unread"})
        return value or 0.0

    before = dropped()
    async with feed_house(tmp_path, viewer_timeout_s=0.2) as house, house.watch() as other:
        with closing(await _deaf_viewer(house)):
            await other.begun()
            shown = 0
            async with asyncio.timeout(DEADLINE_S):
                while dropped() == before:
                    house.feed.show("test.large", json.dumps("x" * 200_000).encode(), key="large")
                    shown += len(await other.take(1))
            assert shown > 1
        await house.publish(started())
        assert [told.type for told in await other.take(1)] == ["call.started"]


async def test_the_time_of_a_final_to_the_viewers_socket_is_measured(house: FeedHouse) -> None:
    def measured() -> float:
        return telemetry.REGISTRY.get_sample_value("gateway_feed_final_seconds_count") or 0.0

    before = measured()
    await house.publish(started(), final(sequence=2))
    async with house.watch(Last_Event_ID="0") as source:
        await source.take(2)
        assert measured() == before  # it was not shown as it came
        await house.publish(final(sequence=3), dtmf(sequence=4))
        await source.take(2)
        await house.publish(dtmf(sequence=5))
        await source.take(1)
        assert measured() == before + 1


async def _deaf_viewer(house: FeedHouse) -> socket.socket:
    """A viewer that has asked, and reads nothing."""
    loop = asyncio.get_running_loop()
    deaf = socket.socket()
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    deaf.setblocking(False)
    await loop.sock_connect(deaf, ("127.0.0.1", house.server.port))
    request = f"GET /api/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    await loop.sock_sendall(deaf, request.encode())
    return deaf
