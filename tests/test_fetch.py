"""Fetching from URLs that others supply: bounded, guarded, and never led elsewhere."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway.fetch import FetchFailed, fetch

TEN_GB = 10 * 1000**3


async def _endless(request: web.Request) -> web.StreamResponse:
    """Claims nothing and never ends."""
    response = web.StreamResponse()
    await response.prepare(request)
    with contextlib.suppress(ConnectionError):
        while True:
            await response.write(b"\0" * 65536)
    return response


async def _huge(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": str(TEN_GB)})
    await response.prepare(request)
    return response


async def _slow(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await asyncio.Event().wait()
    return response


async def _loop(_request: web.Request) -> web.StreamResponse:
    raise web.HTTPFound("/loop")


async def _audio(request: web.Request) -> web.Response:
    return web.Response(body=b"audio", headers={"X-Host": request.host})


@pytest.fixture
async def server() -> AsyncIterator[TestServer]:
    app = web.Application()
    routes = {"/audio": _audio, "/endless": _endless, "/huge": _huge, "/slow": _slow, "/loop": _loop}
    for path, handler in routes.items():
        app.router.add_get(path, handler)
    async with TestServer(app, host="127.0.0.1") as running:
        yield running


async def failure(url: str, target: Path, *, allow_private: bool = True, timeout_s: float = 5.0) -> str:
    with pytest.raises(FetchFailed) as caught:
        await fetch(url, target, max_bytes=1_000_000, timeout_s=timeout_s, allow_private=allow_private)
    assert "127.0.0.1" not in str(caught.value)
    return caught.value.code


async def test_what_is_there_is_written(server: TestServer, tmp_path: Path) -> None:
    target = tmp_path / "x"
    await fetch(str(server.make_url("/audio")), target, max_bytes=5, timeout_s=5, allow_private=True)
    assert target.read_bytes() == b"audio"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/endless", "too_large"),
        ("/huge", "too_large"),
        ("/loop", "fetch_refused"),
        ("/nothing", "fetch_refused"),
    ],
)
async def test_what_cannot_be_had_fails(server: TestServer, tmp_path: Path, path: str, code: str) -> None:
    assert await failure(str(server.make_url(path)), tmp_path / "x") == code


async def test_a_server_that_stalls_is_given_up(server: TestServer, tmp_path: Path) -> None:
    assert await failure(str(server.make_url("/slow")), tmp_path / "x", timeout_s=0.2) == "fetch_timeout"


async def test_nobody_there_is_unreachable(server: TestServer, tmp_path: Path) -> None:
    url = str(server.make_url("/audio"))
    await server.close()
    assert await failure(url, tmp_path / "x") == "fetch_unreachable"


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://example.com/x", "x", "", "http://", "http://u:p@example.com/", "http://[x/"]
)
async def test_only_plain_http_urls_are_fetched(url: str, tmp_path: Path) -> None:
    assert await failure(url, tmp_path / "x") == "bad_url"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "2130706433", "169.254.169.254"])
async def test_private_addresses_are_refused(host: str, tmp_path: Path) -> None:
    assert await failure(f"http://{host}:1/", tmp_path / "x", allow_private=False) == "blocked_address"


async def test_a_name_that_leads_to_loopback_is_refused(
    server: TestServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_arguments, **_options: found)
    url = f"http://recordings.example.com:{server.port}/audio"
    assert await failure(url, tmp_path / "x", allow_private=False) == "blocked_address"


async def test_the_environment_names_no_proxy(
    server: TestServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1/")
    target = tmp_path / "x"
    await fetch(str(server.make_url("/audio")), target, max_bytes=100, timeout_s=5, allow_private=True)
    assert target.read_bytes() == b"audio"


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001"),
        *("127.0.0.1.", "0", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]"),
        *("[2002:7f00:1::1]", "\uff4cocalhost", "\u2460\u2461\u2466.0.0.1"),
    ],
)
async def test_no_way_of_writing_it_leads_to_this_machine(host: str, server: TestServer, tmp_path: Path) -> None:
    url = f"http://{host}:{server.port}/audio"
    assert await failure(url, tmp_path / "x", allow_private=False) in ("blocked_address", "bad_url")
    assert not (tmp_path / "x").exists()
