"""The feed as WebSocket messages, with the `websockets` package as the client."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin

from gateway.live import feed, feed_routes, feed_streams
from tests.support.call_events import dtmf, ended, final, partial, started
from tests.support.feed_house import DEADLINE_S, READ_TOKEN, TOKEN, FeedHouse, feed_house

BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[FeedHouse]:
    async with feed_house(tmp_path) as served:
        yield served


async def take(client: ClientConnection, count: int = 1) -> list[Any]:
    async with asyncio.timeout(DEADLINE_S):
        return [json.loads(await client.recv()) for _ in range(count)]


async def begun(client: ClientConnection) -> int:
    """Until the client is told where it begins: the position."""
    (told,) = await take(client)
    assert (told["type"], told["event"]) == ("feed.begun", {"type": "feed.begun", "data": {}})
    return int(told["id"])


async def close_code(client: ClientConnection) -> int | None:
    """What the server closes with, whatever comes before."""
    async with asyncio.timeout(DEADLINE_S):
        try:
            while True:
                await client.recv()
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else None


async def test_a_message_has_position_type_and_body(house: FeedHouse) -> None:
    async with connect(f"{house.socket_url}?partials=1", additional_headers=BEARER) as client:
        await begun(client)
        await house.publish(started())
        (stored,) = await house.outbox.events_of("call_1")
        assert await take(client) == [
            {"id": stored.position, "type": "call.started", "event": json.loads(stored.body)},
        ]
        house.offer(partial(text="I'd like"))
        ((told),) = await take(client)
        assert (told["id"], told["type"], told["event"]["data"]["text"]) == (None, "transcript.partial", "I'd like")


async def test_a_silent_line_says_that_it_holds(house: FeedHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "LOOK_S", 0.01)
    monkeypatch.setattr(feed_streams, "COMMENT_S", 0.02)
    async with connect(f"{house.socket_url}?types=call.ended", additional_headers=BEARER) as client:
        await begun(client)
        assert await take(client) == [
            {"id": None, "type": "feed.alive", "event": {"type": "feed.alive", "data": {}}},
        ]


async def test_a_first_message_says_where_to_begin_and_what_is_wanted(house: FeedHouse) -> None:
    await house.publish(started("a"), dtmf("a", 2), started("b"), final("a", 3))
    async with connect(house.socket_url, additional_headers=BEARER) as client:
        await client.send(json.dumps({"after": 1, "call": "a", "types": ["transcript.final", "call.ended"]}))
        await house.publish(ended("b", 2), ended("a", 4))
        assert [told["type"] for told in await take(client, 2)] == ["transcript.final", "call.ended"]


async def test_a_client_that_says_nothing_gets_what_happened_since_it_connected(
    house: FeedHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_routes, "FIRST_MESSAGE_S", 0.05)
    async with connect(house.socket_url, additional_headers=BEARER) as client:
        await house.publish(started())
        await begun(client)
        assert [told["type"] for told in await take(client)] == ["call.started"]


async def test_the_address_can_say_it_as_well(house: FeedHouse) -> None:
    await house.publish(started("a"), started("b"), final("a", 2))
    async with connect(f"{house.socket_url}?call=a&last_event_id=1", additional_headers=BEARER) as client:
        assert [told["id"] for told in await take(client)] == [3]


@pytest.mark.parametrize("is_said_by", ["address", "message"])
async def test_a_client_cut_off_before_its_first_event_misses_nothing(house: FeedHouse, is_said_by: str) -> None:
    await house.publish(started())
    async with connect(house.socket_url, additional_headers=BEARER) as client:
        await client.send("{}")
        position = await begun(client)
    await house.publish(final(sequence=2))
    query = f"?last_event_id={position}" if is_said_by == "address" else ""
    async with connect(house.socket_url + query, additional_headers=BEARER) as again:
        if not query:
            await again.send(json.dumps({"after": position}))
        assert [told["type"] for told in await take(again)] == ["transcript.final"]


async def test_an_id_that_is_not_ours_is_told(house: FeedHouse) -> None:
    await house.publish(started())
    async with connect(house.socket_url, additional_headers=BEARER) as client:
        await client.send('{"after": 99}')
        (told,) = await take(client)
        assert (told["id"], told["type"], told["event"]["data"]) == (1, "feed.reset", {"reason": "unknown"})


@pytest.mark.parametrize(
    "message", ["{", '{"after": "x"}', '{"after": -1}', '{"until": 3}', "[]", '{"call": "call_9"}', b"\xff"]
)
async def test_a_first_message_that_makes_no_sense_is_refused(house: FeedHouse, message: str | bytes) -> None:
    async with connect(house.socket_url, additional_headers=BEARER) as client:
        await client.send(message)
        assert await close_code(client) == 1008
    await house.until_nobody_watches()


async def test_a_second_message_is_refused(house: FeedHouse) -> None:
    async with connect(house.socket_url, additional_headers=BEARER) as client:
        await client.send("{}")
        await client.send("{}")
        assert await close_code(client) == 1008
    await house.until_nobody_watches()


async def test_a_client_that_left_is_forgotten(house: FeedHouse) -> None:
    async with connect(f"{house.socket_url}?partials=0", additional_headers=BEARER):
        assert house.feed.has_viewers
    await house.until_nobody_watches()


async def test_the_end_of_the_gateway_closes_with_going_away(tmp_path: Path) -> None:
    async with (
        feed_house(tmp_path) as house,
        connect(f"{house.socket_url}?partials=0", additional_headers=BEARER) as client,
        asyncio.TaskGroup() as tasks,
    ):
        closing = tasks.create_task(close_code(client))
        await house.server.close()
        assert await closing == 1001


async def test_a_request_that_is_no_websocket_is_told_so(house: FeedHouse) -> None:
    async with house.get("/api/feed") as answer:
        assert (answer.status, (await answer.json())["error"]) == (426, "no_upgrade")


@pytest.mark.parametrize(
    ("origin", "status"),
    [("https://evil.example", 403), ("http://127.0.0.1:1", 403), ("null", 403), ("own", 101)],
)
async def test_a_page_of_another_site_cannot_use_our_cookie(house: FeedHouse, origin: str, status: int) -> None:
    """Cross-site WebSocket hijacking: a browser lets any page open a WebSocket, and adds the cookie."""
    async with house.session.get(house.server.make_url("/in")):
        pass
    own = str(house.server.make_url("/")).rstrip("/")
    try:
        async with house.session.ws_connect(house.socket_url, origin=own if origin == "own" else origin):
            reached = 101
    except aiohttp.WSServerHandshakeError as refused:
        reached = refused.status
    assert reached == status


@pytest.mark.parametrize("shown", ["header", "address"])
async def test_a_token_that_only_allows_to_look_watches(house: FeedHouse, shown: str) -> None:
    headers = {"Authorization": f"Bearer {READ_TOKEN}"} if shown == "header" else {}
    query = "" if headers else f"&token={READ_TOKEN}"
    async with connect(f"{house.socket_url}?partials=0{query}", additional_headers=headers) as client:
        await begun(client)
        await house.publish(started())
        assert [told["type"] for told in await take(client)] == ["call.started"]


@pytest.mark.parametrize("query", ["", "?token=wrong", "?call=call_9"])
async def test_a_stranger_opens_no_socket(house: FeedHouse, query: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with connect(house.socket_url + query):
            pass
    assert refused.value.response.status_code == 401


async def test_a_bearer_of_a_token_may_come_from_anywhere(house: FeedHouse) -> None:
    origin = Origin("https://app.example")
    async with connect(f"{house.socket_url}?partials=0", origin=origin, additional_headers=BEARER) as client:
        await begun(client)
        await house.publish(started())
        assert [told["type"] for told in await take(client)] == ["call.started"]


async def test_a_socket_for_a_call_that_nobody_knows_is_refused_before_the_upgrade(house: FeedHouse) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with connect(f"{house.socket_url}?call=call_9", additional_headers=BEARER):
            pass
    assert refused.value.response.status_code == 404
