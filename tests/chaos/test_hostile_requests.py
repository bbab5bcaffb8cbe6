"""What a million spoiled messages brought to light, one fact each: the client's faults are not ours."""

import asyncio
import gc
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from gateway.server import Gateway, serving
from tests.support.phone import start_message
from tests.support.raw_websocket import PING, close, frame, message, upgrade
from tests.support.whole_gateway import DEADLINE_S, FAST_ENGINE, settings

FORM = "application/x-www-form-urlencoded"


@asynccontextmanager
async def gateway(data_dir: Path) -> AsyncIterator[Gateway]:
    async with serving(settings(data_dir, api_token="t"), engine=FAST_ENGINE) as served:
        yield served


async def status_of(served: Gateway, octets: bytes) -> str:
    """The status of the answer to these octets, after which nothing more comes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    try:
        writer.write(octets)
        async with asyncio.timeout(DEADLINE_S):
            return (await reader.readuntil(b"\r\n"))[9:12].decode()
    finally:
        writer.transport.abort()


def post(path: str, body: bytes, content_type: str = FORM, host: str = "127.0.0.1", **headers: str) -> bytes:
    lines = {"Host": host, "Content-Type": content_type, "Content-Length": str(len(body)), **headers}
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body


@pytest.mark.parametrize("path", ["/twilio/voice", "/twilio/status"])
@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"a=\xff", FORM),
        (b"a=b", f"{FORM}; charset=nope"),
        (b"a=b", "multipart/form-data"),
        (b"a=b", "multipart/form-data; boundary=" + "x" * 99),
        (b"--x\r\n\r\nb", "multipart/form-data; boundary=y"),
        (b"--x\r\n: b\r\n\r\nb", "multipart/form-data; boundary=x"),
    ],
)
async def test_a_body_that_is_no_form_is_a_400(path: str, body: bytes, content_type: str, tmp_path: Path) -> None:
    with capture_logs() as lines:
        async with gateway(tmp_path) as served:
            assert await status_of(served, post(path, body, content_type)) == "400"
    assert "request_failed" not in [line["event"] for line in lines]


@pytest.mark.parametrize("host", ["", "[", "[::zz]", "a b", "x" * 300 + ".y?", "127.0.0.1:999999", "\xff"])
async def test_a_host_that_is_no_address_is_a_400(host: str, tmp_path: Path) -> None:
    with capture_logs() as lines:
        async with gateway(tmp_path) as served:
            assert await status_of(served, post("/twilio/voice", b"CallSid=CA1", host=host)) == "400"
    assert "request_failed" not in [line["event"] for line in lines]


@pytest.mark.parametrize("path", ["/twilio/stream", "/waves/v1/pulse/get_text"])
@pytest.mark.parametrize("header", ["Upgrade", "Connection", "Sec_WebSocket_Version", "Sec_WebSocket_Key"])
async def test_a_handshake_that_is_not_ascii_is_a_400(path: str, header: str, tmp_path: Path) -> None:
    with capture_logs() as lines:
        async with gateway(tmp_path) as served:
            asked = upgrade(path, **{"Authorization": "Bearer t", header: "\xff"})
            assert await status_of(served, asked) == "400"
    assert "request_failed" not in [line["event"] for line in lines]


@pytest.mark.parametrize("path", ["/twilio/status", "/waves/v1/pulse/get_text"])
async def test_a_body_that_cannot_be_decoded_is_a_400(path: str, tmp_path: Path) -> None:
    spoiled = post(path, b"a=b", Content_Encoding="gzip", Authorization="Bearer t")
    with capture_logs() as lines:
        async with gateway(tmp_path) as served:
            assert await status_of(served, spoiled) == "400"
    assert "request_failed" not in [line["event"] for line in lines]


async def test_a_phone_platform_that_pings_and_is_gone_is_no_bug(tmp_path: Path) -> None:
    """aiohttp answers pings inside `receive`, and raises if their sender has left meanwhile."""
    with capture_logs() as lines:
        async with gateway(tmp_path) as served:
            for _ in range(20):
                reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
                writer.write(upgrade("/twilio/stream"))
                await reader.readuntil(b"\r\n\r\n")
                writer.write(frame(PING, b"x") * 500)
                writer.transport.abort()
    names = [line["event"] for line in lines]
    assert names.count("call_ended") == 20
    assert "call_failed" not in names


async def test_a_stream_that_is_over_is_held_by_nobody(tmp_path: Path) -> None:
    """aiohttp sets its heartbeat again when the peer's half of the closing arrives, which held the stream for 30 s."""
    async with gateway(tmp_path) as served:
        before = sockets_left()  # exceptions that are parameters of other tests hold the frames that they went through
        await whole_call(served.port)
        async with asyncio.timeout(DEADLINE_S):
            while sockets_left() > before:
                for _ in range(10):  # turns of the loop
                    await asyncio.sleep(0)


async def whole_call(port: int) -> None:
    """Start, stop, and the platform's half of the closing after the gateway's."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(upgrade("/twilio/stream"))
    await reader.readuntil(b"\r\n\r\n")
    writer.write(message(json.dumps(start_message())) + message('{"event":"stop","streamSid":"MZ1"}'))
    async with asyncio.timeout(DEADLINE_S):
        await reader.readexactly(4)  # its close frame
        writer.write(close())
        await reader.read()
    writer.close()


def sockets_left() -> int:
    """Server sockets that something still refers to."""
    gc.collect()
    return sum(isinstance(each, web.WebSocketResponse) for each in gc.get_objects())
