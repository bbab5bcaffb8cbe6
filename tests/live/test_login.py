"""The log-in and the log-out, over real sockets."""

import asyncio
import re
import signal
from html.parser import HTMLParser
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.test_utils import make_mocked_request
from structlog.testing import capture_logs

from gateway import telemetry
from gateway.live.access import Access
from gateway.live.login import BODY_S, Login
from gateway.live.tokens import GUESSES_AT_ONCE
from tests.support.console import gateway
from tests.support.console_door import BEARER, READ_TOKEN, TOKEN, door
from tests.support.virtual_time import run
from tests.support.whole_gateway import GatewayProcess


class _Fields(HTMLParser):
    """The fields of a page's form, by name."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "input" and given.get("name"):
            self.fields[given["name"] or ""] = given.get("value") or ""


async def test_a_form_without_a_script_logs_in() -> None:
    async with door() as at:
        page = await (await at.get("/login?next=/calls/call_1%3Ft%3D2")).text()
        fields = _Fields(page).fields | {"token": TOKEN}
        answer = await at.post("/login", data=fields, headers={"Origin": at.origin})
        assert (answer.status, answer.headers["Location"]) == (303, "/calls/call_1?t=2")
        assert (await at.get("/calls/call_1?t=2")).status == 200


async def test_blanks_around_a_pasted_token_do_not_matter() -> None:
    async with door() as at:
        assert (await at.log_in(f" {TOKEN}\n")).status == 303


async def test_a_wrong_token_says_so_and_keeps_where_to_go() -> None:
    async with door() as at:
        answer = await at.log_in("wrong", "/calls")
        page = await answer.text()
        assert (answer.status, at.cookies()) == (403, [])
        assert "not a token of this gateway" in page
        assert _Fields(page).fields["next"] == "/calls"
        assert "wrong" not in page


async def test_too_many_wrong_tokens_are_told_how_long_to_wait() -> None:
    async with door() as at:
        for _ in range(GUESSES_AT_ONCE):
            await at.log_in("wrong")
        answer = await at.log_in()
        assert (answer.status, answer.headers["Retry-After"]) == (429, "2")
        assert "Try again in 2 s" in await answer.text()


@pytest.mark.parametrize("there", ["https://evil.example/", "//evil.example", "/\\evil.example", "/\t/evil.example"])
async def test_the_log_in_leads_to_no_other_host(there: str) -> None:
    async with door() as at:
        assert (await at.log_in(there=there)).headers["Location"] == "/"
        assert (await at.session.get(f"{at.origin}/login", params={"next": there}, allow_redirects=False)).headers[
            "Location"
        ] == "/"


async def test_what_the_address_says_cannot_become_part_of_the_page() -> None:
    async with door() as at:
        page = await (await at.get("/login?next=/%22%3E%3Cscript%3Ealert(1)%3C/script%3E")).text()
        assert "<script>" not in page
        assert _Fields(page).fields["next"] == '/"><script>alert(1)</script>'


async def test_whoever_is_logged_in_goes_on_at_once() -> None:
    async with door() as at:
        await at.log_in()
        answer = await at.get("/login?next=/outbox")
        assert (answer.status, answer.headers["Location"]) == (303, "/outbox")


@pytest.mark.parametrize("path", ["/login", "/logout"])
@pytest.mark.parametrize("headers", [{}, {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
async def test_another_site_logs_nobody_in_or_out(path: str, headers: dict[str, str]) -> None:
    async with door() as at:
        await at.log_in()
        before = at.cookies()
        answer = await at.post(path, data={"token": READ_TOKEN}, headers=headers)
        assert (answer.status, at.cookies()) == (403, before)
        assert (await at.get("/api/look")).status == 200


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data; boundary=x", b"garbage"),
        ("multipart/form-data", b"--x\r\n"),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="token"\r\n\r\na'),
        ("application/x-www-form-urlencoded; charset=nonsense", b"token=a"),
        ("application/x-www-form-urlencoded", b"token=%ff%00&&a=&=b"),
        ("application/x-www-form-urlencoded", b"\xff\xfe\x00"),
        ("application/json", b"{}"),
        ("text/plain", b""),
    ],
)
async def test_a_body_that_is_no_form_is_a_wrong_token(kind: str, body: bytes) -> None:
    async with door() as at:
        answer = await at.post("/login", data=body, headers=at.ours | {"Content-Type": kind})
        assert (answer.status, at.cookies()) == (403, [])


@pytest.mark.parametrize("every_s", [1.0, None])
def test_a_form_that_does_not_arrive_in_time_is_not_waited_for(every_s: float | None) -> None:
    async def scene() -> None:
        loop = asyncio.get_running_loop()
        connection = BaseProtocol(loop)
        connection.connection_made(asyncio.Transport())
        body = aiohttp.StreamReader(connection, 2**16, loop=loop)

        def drip() -> None:
            if every_s is not None:
                body.feed_data(b"t")
                loop.call_later(every_s, drip)

        drip()
        request = make_mocked_request("POST", "/login", {"Sec-Fetch-Site": "same-origin"}, payload=body)
        with pytest.raises(web.HTTPRequestTimeout):
            await Login(Access(TOKEN)).log_in(request)
        assert loop.time() == pytest.approx(BODY_S)

    run(scene())


async def test_a_log_out_ends_the_session_even_for_a_copy_of_the_cookie() -> None:
    async with door() as at:
        await at.log_in()
        copy = at.cookies()[0]
        answer = await at.post("/logout", headers=at.ours)
        assert (answer.status, answer.headers["Location"], at.cookies()) == (303, "/login", [])
        assert (await at.get("/api/look", Cookie=copy)).status == 401


async def test_a_log_out_of_nobody_leads_to_the_log_in() -> None:
    async with door() as at:
        answer = await at.post("/logout", headers=at.ours)
        assert (answer.status, answer.headers["Location"]) == (303, "/login")


async def test_a_new_log_in_ends_the_session_of_before() -> None:
    async with door() as at:
        await at.log_in()
        copy = at.cookies()[0]
        await at.log_in(READ_TOKEN)
        at.session.cookie_jar.clear()
        assert (await at.get("/api/look", Cookie=copy)).status == 401


@pytest.mark.parametrize(("token", "kind"), [(TOKEN, "full"), (READ_TOKEN, "read")])
async def test_a_session_tells_its_kind(token: str, kind: str) -> None:
    async with door() as at:
        await at.log_in(token)
        answer = await at.get("/api/session")
        assert await answer.json() == {"kind": kind}


async def test_a_token_tells_its_kind_too() -> None:
    async with door() as at:
        assert await (await at.get("/api/session", **BEARER)).json() == {"kind": "full"}


async def test_log_ins_are_counted_and_mentioned_without_the_token() -> None:
    def counted(outcome: str) -> float:
        return telemetry.REGISTRY.get_sample_value("gateway_console_logins_total", {"outcome": outcome}) or 0.0

    before = [counted(outcome) for outcome in ("wrong", "read")]
    async with door() as at:
        with capture_logs() as logs:
            await at.log_in("wrong-one")
            await at.log_in("wrong-two")
            await at.log_in(READ_TOKEN)
    assert [counted(outcome) for outcome in ("wrong", "read")] == [before[0] + 2, before[1] + 1]
    assert [(line["log_level"], line["outcome"]) for line in logs if line["event"] == "console_login"] == [
        ("warning", "wrong"),
        ("info", "read"),
    ]
    assert not re.search(f"wrong-one|{READ_TOKEN}", str(logs))


# ── The whole gateway ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_serve_prints_the_consoles_address_with_the_token_that_it_made(tmp_path: Path) -> None:
    profile = {"kind": "pulse", "url": "ws://127.0.0.1:9/", "api_key": "x"}
    async with GatewayProcess(
        tmp_path, GATEWAY_STT__DEFAULT="pulse", GATEWAY_STT__PROFILES={"pulse": profile}
    ) as served:
        url = await served.base_url()
        served.send_signal(signal.SIGTERM)
        assert await served.exit_code() == 0
        assert re.search(rf"^gateway: console at {url}/\?token=[\w-]{{32}}$", served.errors, re.MULTILINE)
        assert "token=" not in str(served.log)


async def test_the_printed_address_opens_the_console(tmp_path: Path) -> None:
    jar = aiohttp.CookieJar(unsafe=True)
    async with (
        gateway(tmp_path) as served,
        aiohttp.ClientSession(cookie_jar=jar) as session,
        session.get(served.console_url) as answer,
    ):
        assert (answer.status, str(answer.url)) == (200, f"{served.url}/")


async def test_behind_a_trusted_proxy_wrong_tokens_count_for_each_client(tmp_path: Path) -> None:
    limits = {"trusted_proxies": ["127.0.0.1"]}
    async with gateway(tmp_path, limits=limits) as served, aiohttp.ClientSession() as session:

        async def tried(client: str) -> int:
            headers = {"Origin": served.url, "X-Forwarded-For": client}
            async with session.post(f"{served.url}/login", data={"token": "wrong"}, headers=headers) as answer:
                return answer.status

        first = [await tried("192.0.2.1") for _ in range(GUESSES_AT_ONCE + 1)]
        assert (first[-2:], await tried("192.0.2.2")) == ([403, 429], 403)


async def test_a_read_token_opens_no_speech_api(tmp_path: Path) -> None:
    async with gateway(tmp_path, api_read_token=READ_TOKEN) as served, aiohttp.ClientSession() as session:
        headers = {"Authorization": f"Bearer {READ_TOKEN}"}
        async with session.get(f"{served.url}/api/session", headers=headers) as answer:
            assert await answer.json() == {"kind": "read"}
        async with session.post(f"{served.url}/waves/v1/pulse/get_text", headers=headers, data=b"") as answer:
            assert answer.status == 401
