"""The socket of a media stream, on real sockets: every message once and in order, whoever takes it, whoever reads."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from socket import SO_RCVLOWAT, SOL_SOCKET
from typing import Any

import aiohttp
import pytest
from aiohttp import WebSocketError, WSMsgType, web

from gateway.arrivals import IS_SUPPORTED, Arrivals
from gateway.media_socket import MediaSocket, _ChunkReader
from tests.support import virtual_time
from tests.support.certificates import Authority
from tests.support.loopback import line
from tests.support.session_track import pass_time

DEADLINE_S = 60.0
MAX_BYTES = 65536

per_chunk = pytest.mark.skipif(not IS_SUPPORTED, reason="the transport reads")


class Listener:
    """
    What a call does with its socket: takes numbers on the spot, and `receive`s whatever is not one.

    Numbers are long, with zeros before them: short messages are not offered.

    Attributes:
        heard: numbers, and other messages in capitals, in the order in which they came.
        taken: how many numbers were taken on the spot.
        sockets: of the streams.
        hears_more: clear it and nothing is received.
        chunk: how many numbers are worth being woken up for.
    """

    def __init__(self) -> None:
        self.arrivals = Arrivals()
        self.heard: list[str] = []
        self.taken = self.told = 0
        self.chunk = 1
        self.sockets: list[MediaSocket] = []
        self.over: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self.hears_more = asyncio.Event()
        self.hears_more.set()
        self.bug: Exception | None = None

    def take(self, messages: list[bytes]) -> bool:
        if self.bug is not None:
            raise self.bug
        if not all(map(bytes.isdigit, messages)):
            return False
        self.taken += len(messages)
        self.heard += [number.decode().lstrip("0") or "0" for number in messages]
        return True

    def progress(self) -> tuple[float, float]:
        """A number is 20 ms of audio."""
        came, self.told = self.taken - self.told, self.taken
        return came * 0.02, (self.chunk - self.taken % self.chunk) * 0.02

    async def serve(self, request: web.Request) -> web.StreamResponse:
        socket = MediaSocket(self.arrivals, heartbeat_s=20.0, max_message_bytes=MAX_BYTES)
        await socket.prepare(request)
        self.sockets.append(socket)
        socket.hand_over(self.take, self.progress)
        try:
            while (message := await socket.receive()).type in (WSMsgType.TEXT, WSMsgType.BINARY):
                await self.hears_more.wait()
                self.heard.append(message.data.decode().upper())
            self.over.set_result(message.data.code if isinstance(message.data, WebSocketError) else socket.close_code)
        except ArithmeticError as error:
            self.over.set_exception(error)
        finally:
            socket.keep()
        return socket


@asynccontextmanager
async def stream(
    client_tls: ssl.SSLContext | None = None, server_tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[Listener, aiohttp.ClientWebSocketResponse]]:
    listener = Listener()
    app = web.Application()
    app.router.add_get("/", listener.serve)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "localhost", 0, ssl_context=server_tls)
        await site.start()
        port = runner.addresses[0][1]
        connector = aiohttp.TCPConnector(ssl=client_tls or True)
        async with aiohttp.ClientSession(connector=connector) as session:
            url = f"{'https' if server_tls else 'http'}://localhost:{port}/"
            async with session.ws_connect(url) as socket:
                yield listener, socket
    finally:
        await runner.cleanup()


def digits(number: int) -> str:
    return f"{number:0200d}"


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            turn = asyncio.Event()
            asyncio.get_running_loop().call_later(0.001, turn.set)
            await turn.wait()


def transport(listener: Listener) -> asyncio.Transport:
    assert listener.sockets[0]._http is not None
    found = listener.sockets[0]._http.transport
    assert isinstance(found, asyncio.Transport)
    return found


def low_water(listener: Listener) -> int:
    request = listener.sockets[0]._req
    assert request is not None
    assert request.transport is not None
    number: int = request.transport.get_extra_info("socket").getsockopt(SOL_SOCKET, SO_RCVLOWAT)
    return number


async def over(listener: Listener) -> int | None:
    async with asyncio.timeout(DEADLINE_S):
        return await listener.over


async def test_messages_are_taken_on_the_spot() -> None:
    async with stream() as (listener, socket):
        for number in range(100):
            await socket.send_str(digits(number))
        await until(lambda: len(listener.heard) == 100)
        assert listener.heard == [str(number) for number in range(100)]
        assert listener.taken == 100


async def test_what_is_declined_is_received_and_nothing_overtakes_it() -> None:
    async with stream() as (listener, socket):
        for number in range(300):
            await socket.send_str(digits(number) if number % 7 else f"x{number}")
        await until(lambda: len(listener.heard) == 300)
        assert [heard.lstrip("X0") or "0" for heard in listener.heard] == [str(number) for number in range(300)]


async def test_the_transport_reads_nothing_while_chunks_are_looked_for() -> None:
    async with stream() as (listener, socket):
        await socket.send_str(digits(1))
        await until(lambda: listener.taken == 1)
        assert not transport(listener).is_reading()


@per_chunk
async def test_the_kernel_wakes_us_within_the_last_frame_of_a_chunk() -> None:
    async with stream() as (listener, socket):
        listener.chunk = 5
        for number in range(5):
            await socket.send_str(digits(number))
        await until(lambda: listener.taken == 5)
        await until(lambda: 4 * 208 < low_water(listener) < 5 * 208)


@per_chunk
async def test_what_is_too_little_to_wake_up_for_is_read_when_the_chunk_is_overdue() -> None:
    async with stream() as (listener, socket):
        listener.chunk = 5
        for number in range(5):
            await socket.send_str(digits(number))
        await until(lambda: listener.taken == 5)
        await until(lambda: low_water(listener) > 900)
        await socket.send_str("x1")
        await until(lambda: listener.heard[-1] == "X1")


@per_chunk
async def test_who_keeps_the_socket_is_woken_by_anything() -> None:
    async with stream() as (listener, socket):
        listener.chunk = 50
        for number in range(50):
            await socket.send_str(digits(number))
        await until(lambda: listener.taken == 50)
        await until(lambda: low_water(listener) > 9000)
        listener.sockets[0].keep()
        assert low_water(listener) == 1
        await socket.send_str("x1")
        await until(lambda: listener.heard[-1] == "X1")


@per_chunk
async def test_a_chunk_that_is_more_than_one_read_is_heard_whole() -> None:
    async with stream() as (listener, socket):
        listener.chunk = 200  # 40 kB
        for number in range(1000):
            await socket.send_str(digits(number))
        await until(lambda: listener.taken == 1000)
        assert listener.heard == [str(number) for number in range(1000)]


async def test_too_much_that_waits_is_left_unread_until_it_is_received() -> None:
    async with stream() as (listener, socket):
        listener.hears_more.clear()
        message = "x" * 10_000
        async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as tasks:
            tasks.create_task(_send_many(socket, message, 2000))
            await until(lambda: bool(listener.sockets))
            queue = listener.sockets[0]._reader
            assert queue is not None
            await until(lambda: bool(queue._protocol._reading_paused))
            assert len(queue._buffer) < 100
            listener.hears_more.set()
            await until(lambda: len(listener.heard) == 2000)
        await socket.send_str(digits(5))
        await until(lambda: listener.taken == 1)


async def _send_many(socket: aiohttp.ClientWebSocketResponse, message: str, count: int) -> None:
    for _ in range(count):
        await socket.send_str(message)


async def test_a_close_frame_ends_the_stream_with_its_code() -> None:
    async with stream() as (listener, socket):
        await socket.send_str(digits(1))
        await socket.close(code=4321)
        assert await over(listener) == 4321
    assert listener.heard == ["1"]


async def test_a_peer_that_vanishes_ends_the_stream() -> None:
    async with stream() as (listener, socket):
        await socket.send_str(digits(1))
        await until(lambda: listener.taken == 1)
        socket._response.connection.transport.abort()  # type: ignore[union-attr]  # as a crash on the far side does
        assert await over(listener) == 1006


async def test_a_message_that_is_too_big_ends_the_stream_with_1009() -> None:
    async with stream() as (listener, socket):
        await socket.send_str("9" * (MAX_BYTES + 1))
        assert await over(listener) == 1009


async def test_what_goes_wrong_on_the_spot_is_raised_by_receive() -> None:
    async with stream() as (listener, socket):
        listener.bug = ZeroDivisionError("a bug")
        await socket.send_str(digits(1))
        with pytest.raises(ZeroDivisionError):
            await over(listener)


async def test_a_ping_is_answered() -> None:
    async with stream() as (listener, socket):
        await socket.send_str(digits(1))
        await socket.ping(b"are you there")
        await socket.send_str(digits(2))
        await until(lambda: len(listener.heard) == 2)
        await socket.close()
        assert await over(listener) == 1000
    assert [heard.lstrip("0") for heard in listener.heard] == ["1", "2"]


async def test_over_tls_the_transport_reads_and_messages_are_taken_on_the_spot_all_the_same(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    pair = authority.sign("server")
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_tls.load_cert_chain(pair.certificate, pair.key)
    client_tls = ssl.create_default_context(cafile=str(authority.certificate))
    async with stream(client_tls, server_tls) as (listener, socket):
        for number in range(50):
            await socket.send_str(digits(number))
        await until(lambda: listener.taken == 50)
        assert transport(listener).is_reading()


class Stand:
    """What stands around a reader of chunks: transport, protocol and front in one; it is given 100 ms each time."""

    def __init__(self, near: socket.socket) -> None:
        self.transport = self
        self.rest = b""
        self.read: list[bytes] = []
        self.is_active = True
        self._reading_paused = False
        self._near = near

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.read.append(data)
        return False, b""

    def progress(self) -> tuple[float, float]:
        return 0.1, 0.1

    def is_closing(self) -> bool:
        return False

    def is_reading(self) -> bool:
        return self.is_active

    def pause_reading(self) -> None:
        self.is_active = False

    def resume_reading(self) -> None:
        self.is_active = True

    def get_extra_info(self, _name: str) -> socket.socket:
        return self._near


@per_chunk
def test_after_too_much_had_waited_nothing_is_too_little_to_be_read() -> None:
    async def main() -> None:
        with line() as (near, far):
            stand: Any = Stand(near)
            reader = _ChunkReader(Arrivals(), stand, near.fileno(), stand, lambda: None, stand.progress)
            far.sendall(bytes(1000))
            await pass_time(0.01)
            stand._reading_paused = True
            await pass_time(1)
            stand._reading_paused = False
            stand.resume_reading()  # as aiohttp does
            await pass_time(1)
            assert not stand.is_active
            far.sendall(b"stop")
            await pass_time(1)
            assert stand.read == [bytes(1000), b"stop"]
            reader.stop()

    virtual_time.run(main())
