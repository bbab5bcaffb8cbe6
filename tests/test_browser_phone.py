"""The console's phone at the door: who may call, and what it is told when it may not. Its page has tests of its own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from structlog.testing import capture_logs

from gateway import config_sources
from gateway.admission import Calls
from gateway.browser_phone import BrowserPhone
from gateway.events import CallEnded, CallStarted
from gateway.live.access import Access
from gateway.live.login import Login
from gateway.media.tape import Budget
from gateway.rooms import Rooms
from gateway.telemetry import REGISTRY
from tests.support.console_door import BEARER, READ_TOKEN, TOKEN
from tests.support.phone import Phone, Sink
from tests.support.scripted_recognizer import ScriptedRecognizers


class House:
    """The phone's routes on loopback, and a browser."""

    def __init__(self, origin: str, browser: aiohttp.ClientSession, calls: Calls, sink: Sink) -> None:
        self.origin = origin
        self.calls = calls
        self.sink = sink
        self._browser = browser

    @property
    def ours(self) -> dict[str, str]:
        """What a browser says of a request of our own page; of a WebSocket no more than this."""
        return {"Origin": self.origin}

    async def log_in(self, token: str = TOKEN) -> None:
        options: Any = {"data": {"token": token}, "headers": self.ours, "allow_redirects": False}
        async with self._browser.post(f"{self.origin}/login", **options) as it:
            assert it.status == 303

    async def ask(self, method: str = "POST", path: str = "/api/phone", **headers: str) -> tuple[int, Any, str | None]:
        """Status, answer and Retry-After."""
        async with self._browser.request(method, self.origin + path, headers=headers) as it:
            return it.status, await it.json(), it.headers.get("Retry-After")

    @asynccontextmanager
    async def line(self, query: str = "", **headers: str) -> AsyncIterator[Phone]:
        async with self._browser.ws_connect(f"{self.origin}/api/phone/stream{query}", headers=headers) as socket:
            yield Phone(socket)

    async def refused(self, query: str = "", **headers: str) -> int:
        """The status with which the line is closed to somebody."""
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with self.line(query, **headers):
                pass
        return refused.value.status


@asynccontextmanager
async def house(**tree: Any) -> AsyncIterator[House]:
    settings = config_sources.load(environ={}, flags=tree)
    sink, calls = Sink(), Calls(settings.limits.max_calls)
    rooms = Rooms(
        recognizers=ScriptedRecognizers(),
        sink=sink,
        stt=settings.stt,
        limits=settings.limits,
        budget=Budget(settings.limits.buffer_mb << 20),
    )
    app, access = web.Application(), Access(TOKEN, READ_TOKEN)
    Login(access).add_to(app)
    BrowserPhone(settings, calls, rooms, access).add_to(app)
    jar = aiohttp.CookieJar(unsafe=True)  # of hosts that are numbers, too
    async with (
        calls,
        TestServer(app, host="127.0.0.1") as server,
        aiohttp.ClientSession(cookie_jar=jar) as browser,
    ):
        yield House(str(server.make_url("/")).rstrip("/"), browser, calls, sink)


def refusals(reason: str) -> float:
    return REGISTRY.get_sample_value("gateway_calls_refused_total", {"dialect": "twilio", "reason": reason}) or 0.0


# ── Who may call ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_page_of_ours_is_told_where_to_call_and_its_call_is_one_like_others() -> None:
    async with house() as at:
        await at.log_in()
        status, answer, _ = await at.ask(**at.ours)
        async with at.line(**at.ours) as phone:
            await phone.start(gw_from="browser")
            await phone.stop()
            await phone.closed()
    assert (status, answer) == (200, {"url": "/api/phone/stream"})
    assert at.sink.of(CallStarted)[0].call.from_number == "browser"
    assert at.sink.of(CallEnded)[0].reason == "stop"


async def test_platforms_that_must_sign_do_not_keep_the_page_from_calling() -> None:
    twilio = {"auth_token": "a-token-of-the-platform", "stream_token": "required"}
    async with house(twilio=twilio, public_url="https://gateway.example") as at, at.line(**BEARER):
        pass


async def test_a_token_in_the_address_places_no_call() -> None:
    async with house() as at:
        assert await at.refused(f"?token={TOKEN}") == 403
        assert (await at.ask(path=f"/api/phone?token={TOKEN}"))[0] == 403


@pytest.mark.parametrize("origin", ["https://elsewhere.example", "null", ""])
async def test_a_page_of_another_site_places_no_call_with_our_cookie(origin: str) -> None:
    async with house() as at:
        await at.log_in()
        headers = {"Origin": origin} if origin else {}
        assert await at.refused(**headers) == 403
        assert (await at.ask(**headers))[:1] == (403,)
        assert len(at.calls) == 0


async def test_a_session_that_only_looks_places_no_call() -> None:
    async with house() as at:
        await at.log_in(READ_TOKEN)
        status, answer, _ = await at.ask(**at.ours)
        assert (status, answer["error"]) == (403, "read_only")
        assert await at.refused(**at.ours) == 403


# ── Room for it ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_call_too_many_is_told_why_and_when_to_come_back_and_is_counted() -> None:
    async with house(limits={"max_calls": 1}) as at:
        before = refusals("max_calls")
        with at.calls.place(), capture_logs() as logs:
            status, answer, retry_after = await at.ask(**BEARER)
            line = await at.refused(**BEARER)
    assert (status, answer["error"], retry_after, line) == (503, "max_calls", "5", 503)
    assert refusals("max_calls") == before + 2
    assert [entry["event"] for entry in logs] == ["call_refused", "call_refused"]


async def test_to_ask_takes_no_place() -> None:
    async with house(limits={"max_calls": 1}) as at:
        assert [(await at.ask(**BEARER))[0] for _ in range(3)] == [200, 200, 200]
        assert len(at.calls) == 0


async def test_what_is_no_upgrade_is_told_so_as_the_api_tells_things() -> None:
    async with house() as at:
        status, answer, _ = await at.ask("GET", "/api/phone/stream", **BEARER)
        assert (status, answer["error"]) == (400, "no_upgrade")
