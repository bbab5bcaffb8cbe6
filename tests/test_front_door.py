"""The front door on real sockets: who may connect, how often, and how long they may take."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from structlog.testing import capture_logs
from structlog.typing import EventDict

from gateway import front_door
from gateway.config import LimitSettings
from gateway.front_door import DoorSite, FrontDoor
from gateway.telemetry import REGISTRY
from tests.support.manual_clock import ManualClock

DEADLINE_S = 60.0
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class House:
    """An application behind a front door."""

    def __init__(self, door: FrontDoor, clock: ManualClock, port: int) -> None:
        self.door = door
        self.clock = clock
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def pass_time(self, seconds: float) -> None:
        """What happens at the door after so many seconds."""
        self.clock.now += seconds
        self.door.sweep()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                self.pass_time(front_door.LOOK_S / 1000)
                self.door._looked_at = 0.0
                await asyncio.get_running_loop().run_in_executor(None, lambda: None)


@asynccontextmanager
async def house(**limits: Any) -> AsyncIterator[House]:
    clock = ManualClock()
    settings = LimitSettings.model_validate(limits)
    door = FrontDoor(settings, clock=clock)
    app = web.Application(middlewares=[door.middleware])
    app.router.add_route("*", "/", _small)
    app.router.add_get("/large", _large)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await DoorSite(runner, door, settings, "127.0.0.1", 0).start()
        yield House(door, clock, runner.addresses[0][1])
    finally:
        await runner.cleanup()


async def _small(_request: web.Request) -> web.Response:
    return web.Response(text="hello")


async def _large(_request: web.Request) -> web.Response:
    return web.Response(text="x" * 20_000_000)


@pytest.fixture
def logs() -> Iterator[list[EventDict]]:
    with capture_logs() as entries:
        yield entries


class Peer:
    """A bare connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self) -> bytes:
        """A whole request; the first line of what comes back, nothing if it was cut off."""
        with contextlib.suppress(ConnectionError):
            self.writer.write(REQUEST)
            await self.writer.drain()
        return await self.rest()

    async def rest(self) -> bytes:
        async with asyncio.timeout(DEADLINE_S):
            try:
                return await self.reader.readline()
            except ConnectionError:
                return b""


@asynccontextmanager
async def peers(house: House, count: int = 1) -> AsyncIterator[list[Peer]]:
    connected: list[Peer] = []
    before = len(house.door)
    try:
        while len(connected) < count:
            connected.append(Peer(*await asyncio.open_connection("127.0.0.1", house.port)))
        await house.until(lambda: len(house.door) == before + count)
        yield connected
    finally:
        for peer in connected:
            peer.writer.transport.abort()


def counted(reason: str) -> float:
    return REGISTRY.get_sample_value("gateway_connections_refused_total", {"reason": reason}) or 0.0


# ── time ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_who_connects_and_says_nothing_is_cut_off_in_time_and_no_sooner() -> None:
    before = counted("handshake_timeout")
    async with house(handshake_timeout_s=10) as open_house, peers(open_house) as (silent,):
        open_house.pass_time(9)
        assert len(open_house.door) == 1
        open_house.pass_time(2)
        assert await silent.rest() == b""
    assert counted("handshake_timeout") == before + 1


async def test_a_crowd_of_silent_ones_is_cut_off_a_few_at_a_time() -> None:
    async with house(handshake_timeout_s=10) as open_house, peers(open_house, 50):
        left = []
        for _ in range(4):
            open_house.pass_time(10)
            left.append(open_house.door.waiting)
    assert left == [30, 10, 0, 0]


async def test_a_request_head_that_trickles_in_is_cut_off_too() -> None:
    async with house(handshake_timeout_s=10) as open_house, peers(open_house) as (slow,):
        for octet in REQUEST[:11]:
            slow.writer.write(bytes([octet]))
            await slow.writer.drain()
            open_house.pass_time(1)
        assert await slow.rest() == b""


async def test_who_has_sent_a_request_is_no_longer_waited_for() -> None:
    async with house(handshake_timeout_s=10) as open_house, peers(open_house) as (peer,):
        assert await peer.ask() == b"HTTP/1.1 200 OK\r\n"
        open_house.pass_time(3600)
        assert (len(open_house.door), open_house.door.waiting) == (1, 0)


async def test_garbage_is_answered_at_once() -> None:
    async with house() as open_house, peers(open_house) as (peer,):
        peer.writer.write(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        assert b"400" in await peer.rest()


async def test_who_does_not_read_the_answer_is_cut_off_and_who_reads_slowly_is_not() -> None:
    before = counted("unread_timeout")
    async with house(unread_timeout_s=60) as open_house:
        with socket.create_connection(("127.0.0.1", open_house.port)) as deaf:
            deaf.sendall(REQUEST.replace(b"/", b"/large", 1))
            await open_house.until(lambda: any(each.get_write_buffer_size() for each in open_house.door._guests))
            open_house.pass_time(1)  # seen, now or while that was waited for
            open_house.pass_time(50)
            assert len(open_house.door) == 1
            open_house.pass_time(15)
            assert len(open_house.door) == 0
        async with aiohttp.ClientSession() as session, session.get(f"{open_house.url}/large") as answer:
            open_house.pass_time(0)
            assert len(await answer.read()) == 20_000_000
    assert counted("unread_timeout") == before + 1


async def test_connections_that_were_closed_are_forgotten() -> None:
    async with house() as open_house:
        async with peers(open_house, 20):
            assert len(open_house.door) == 20
        await open_house.until(lambda: len(open_house.door) == 0)
        assert open_house.door._per_address == {}
        assert open_house.door.waiting == 0


# ── how many ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_when_it_is_full_who_has_waited_longest_without_a_request_makes_room() -> None:
    async with house(max_connections=3) as open_house, peers(open_house, 3) as (busy, oldest, _other):
        assert await busy.ask() == b"HTTP/1.1 200 OK\r\n"
        newcomer = Peer(*await asyncio.open_connection("127.0.0.1", open_house.port))
        assert await newcomer.ask() == b"HTTP/1.1 200 OK\r\n"
        assert await oldest.rest() == b""
        assert len(open_house.door) == 3
        newcomer.writer.close()


async def test_when_it_is_full_of_connections_in_use_no_further_one_is_taken() -> None:
    before = counted("max_connections")
    async with house(max_connections=2) as open_house, peers(open_house, 2) as inside:
        for peer in inside:
            assert await peer.ask() == b"HTTP/1.1 200 OK\r\n"
        outside = Peer(*await asyncio.open_connection("127.0.0.1", open_house.port))
        assert await outside.ask() == b""
        outside.writer.close()
    assert counted("max_connections") == before + 1


async def test_one_address_may_not_hold_more_connections_than_its_share_and_gets_closed_ones_back() -> None:
    async with house(max_connections_per_address=2) as open_house:
        async with peers(open_house, 2):
            refused = Peer(*await asyncio.open_connection("127.0.0.1", open_house.port))
            assert await refused.ask() == b""
            refused.writer.close()
        open_house.clock.now += 1
        await open_house.until(lambda: len(open_house.door) == 0)
        async with peers(open_house, 2) as (peer, _):
            assert await peer.ask() == b"HTTP/1.1 200 OK\r\n"


async def test_a_trusted_proxy_may_hold_more_than_one_addresses_share() -> None:
    limits = {"max_connections_per_address": 2, "trusted_proxies": ["127.0.0.0/8"]}
    async with house(**limits) as open_house, peers(open_house, 5) as proxied:
        assert await proxied[4].ask() == b"HTTP/1.1 200 OK\r\n"


# ── how often ────────────────────────────────────────────────────────────────────────────────────────────────────


async def post(open_house: House, **headers: str) -> tuple[int, str | None]:
    async with aiohttp.ClientSession() as session, session.post(open_house.url, headers=headers) as answer:
        return answer.status, answer.headers.get("Retry-After")


async def test_posts_beyond_the_burst_are_refused_and_told_when_to_come_back() -> None:
    before = counted("rate_limited")
    async with house(address_burst=2, address_rate_per_s=0.25) as open_house:
        assert [await post(open_house) for _ in range(3)] == [(200, None), (200, None), (503, "4")]
        open_house.clock.now += 4
        assert await post(open_house) == (200, None)
    assert counted("rate_limited") == before + 1


async def test_upgrades_count_and_are_refused_before_the_upgrade() -> None:
    async with house(address_burst=1, address_rate_per_s=1) as open_house, aiohttp.ClientSession() as session:
        await post(open_house)
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(open_house.url)
    assert refused.value.status == 503
    assert refused.value.headers is not None
    assert refused.value.headers["Retry-After"] == "1"


async def test_plain_gets_as_of_monitoring_are_not_counted() -> None:
    async with house(address_burst=1) as open_house, aiohttp.ClientSession() as session:
        for _ in range(5):
            async with session.get(open_house.url) as answer:
                assert answer.status == 200


async def test_a_thousand_calls_within_a_moment_pass_as_it_comes() -> None:
    """The voice webhook, the upgrade and a status callback of each, all from one address."""
    async with house() as open_house:
        request = make_mocked_request("POST", "/")
        assert {open_house.door._take(request) for _ in range(3000)} == {0.0}


async def test_behind_a_trusted_proxy_each_client_has_its_own_bucket() -> None:
    limits = {"address_burst": 1, "address_rate_per_s": 1, "trusted_proxies": ["127.0.0.1"]}
    async with house(**limits) as open_house:
        answers = [
            await post(open_house, **{"X-Forwarded-For": client}) for client in ("1.1.1.1", "2.2.2.2", "1.1.1.1")
        ]
    assert [status for status, _ in answers] == [200, 200, 503]


async def test_without_a_trusted_proxy_the_header_helps_nobody() -> None:
    async with house(address_burst=1, address_rate_per_s=1) as open_house:
        answers = [await post(open_house, **{"X-Forwarded-For": client}) for client in ("1.1.1.1", "2.2.2.2")]
    assert [status for status, _ in answers] == [200, 503]


async def test_a_flood_makes_one_line_a_minute_with_the_address_as_personal_data(logs: list[EventDict]) -> None:
    async with house(address_burst=1, address_rate_per_s=0.01) as open_house:
        for _ in range(10):
            await post(open_house)
        open_house.clock.now += front_door.MENTION_S + 1
        await post(open_house)
        await post(open_house)
    lines = [line for line in logs if line["event"] == "connection_refused"]
    assert [(line["reason"], line["times"]) for line in lines] == [("rate_limited", 1), ("rate_limited", 9)]
    assert {line["pii_address"] for line in lines} == {"127.0.0.1"}
