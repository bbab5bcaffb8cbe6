"""Who may look and who may change something, over real sockets."""

import ssl
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.live.sessions import IDLE_S, LONGEST_S
from gateway.live.tokens import GUESSES_AT_ONCE, GUESSES_PER_S
from tests.support.certificates import Authority
from tests.support.console import gateway
from tests.support.console_door import BEARER, READ_TOKEN, TOKEN, Door, door

READER = {"Authorization": f"Bearer {READ_TOKEN}"}
JSON = {"Content-Type": "application/json"}


# ── Tokens ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("token", "kind"), [(TOKEN, "full"), (READ_TOKEN, "read")])
@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
async def test_a_header_shows_who_it_is(token: str, kind: str, scheme: str) -> None:
    async with door() as at:
        answer = await at.get("/api/look", Authorization=f"{scheme} {token}")
        assert (answer.status, await answer.json()) == (200, {"kind": kind})


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer"}, {"Authorization": f"Basic {TOKEN}"}],
)
async def test_the_api_answers_strangers_401(headers: dict[str, str]) -> None:
    async with door() as at:
        answer = await at.get("/api/look", **headers)
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert (await answer.json())["error"] == "unauthorized"


async def test_a_header_changes_things_from_anywhere() -> None:
    async with door() as at:
        await at.post("/api/change", headers=BEARER | {"Origin": "https://evil.example"})
        assert at.changes == ["POST"]


async def test_a_wrong_header_is_not_made_good_by_a_cookie() -> None:
    async with door() as at:
        await at.log_in()
        assert (await at.get("/api/look", Authorization="Bearer wrong")).status == 401


async def test_basic_authentication_of_a_proxy_leaves_the_cookie_its_worth() -> None:
    async with door() as at:
        await at.log_in()
        assert (await at.get("/api/look", Authorization="Basic dTpw")).status == 200


async def test_without_a_read_token_an_empty_one_allows_nothing() -> None:
    async with door(read_token="") as at:
        assert (await at.get("/api/look?token=")).status == 401


async def test_a_token_that_is_no_text_is_a_wrong_one() -> None:
    async with door() as at:
        assert (await at.get("/api/look?token=%ff%00%f0")).status == 401


@pytest.mark.parametrize("shown", ["header", "cookie"])
async def test_a_read_token_looks_and_changes_nothing(shown: str) -> None:
    async with door() as at:
        if shown == "cookie":
            await at.log_in(READ_TOKEN)
        headers = READER if shown == "header" else at.ours
        assert (await at.get("/api/look", **headers)).status == 200
        refused = await at.post("/api/change", headers=headers, json={})
        assert (refused.status, (await refused.json())["error"], at.changes) == (403, "read_only", [])


async def test_a_token_in_the_address_looks_and_changes_nothing() -> None:
    async with door() as at:
        assert (await at.get(f"/api/look?token={TOKEN}")).status == 200
        refused = await at.post(f"/api/change?token={TOKEN}", headers=at.ours, json={})
        assert (refused.status, (await refused.json())["error"], at.changes) == (403, "token_in_address", [])


# ── Pages ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("path", "login"),
    [
        ("/", "/login"),
        ("/calls", "/login?next=/calls"),
        ("/calls/call_1?t=1.5&x=a%26b", "/login?next=/calls/call_1?t%3D1.5%26x%3Da%2526b"),
        ("/calls/call_1/print", "/login?next=/calls/call_1/print"),
    ],
)
async def test_a_page_sends_strangers_to_the_log_in_and_back(path: str, login: str) -> None:
    async with door() as at:
        answer = await at.get(path)
        assert (answer.status, answer.headers["Location"]) == (303, login)


@pytest.mark.parametrize(
    ("path", "there"),
    [
        (f"/?token={TOKEN}", "/"),
        (f"/calls?q=a%26b&token={TOKEN}&x=1", "/calls?q=a%26b&x=1"),
        (f"/calls/call_1/print?token={TOKEN}", "/calls/call_1/print"),
    ],
)
async def test_a_token_in_a_pages_address_becomes_a_session_and_leaves_the_address(path: str, there: str) -> None:
    async with door() as at:
        traded = await at.get(path)
        assert (traded.status, traded.headers["Location"]) == (303, there)
        assert (await at.get(there)).status == 200


async def test_a_wrong_token_in_a_pages_address_leads_to_the_log_in_without_it() -> None:
    async with door() as at:
        answer = await at.get("/calls?token=wrong")
        assert (answer.status, answer.headers["Location"], at.cookies()) == (303, "/login?next=/calls", [])


async def test_an_old_token_in_a_pages_address_does_not_end_the_session() -> None:
    async with door() as at:
        await at.log_in()
        answer = await at.get("/calls?token=of-the-last-start")
        assert (answer.status, answer.headers["Location"]) == (303, "/calls")
        assert (await at.get("/api/look")).status == 200


async def test_guesses_in_a_pages_address_are_limited_too() -> None:
    async with door() as at:
        for number in range(GUESSES_AT_ONCE):
            await at.get(f"/?token=guess{number}")
        refused = await at.get(f"/?token={TOKEN}")
        assert (refused.status, refused.headers["Retry-After"], at.cookies()) == (429, "2", [])


# ── The cookie ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_cookie_is_out_of_reach_of_scripts_and_of_other_sites() -> None:
    async with door() as at:
        cookie = (await at.log_in()).headers["Set-Cookie"]
        attributes = {part.strip() for part in cookie.split(";")[1:]}
        assert attributes == {"HttpOnly", "SameSite=Lax", "Path=/"}


async def test_the_cookie_is_not_the_token() -> None:
    async with door() as at:
        first, second = [(await at.log_in()).headers["Set-Cookie"] for _ in range(2)]
        assert TOKEN not in first
        assert first != second


async def test_the_cookies_name_tells_ports_apart() -> None:
    async with door() as one, door() as other:
        await one.log_in()
        await other.log_in()
        assert one.cookies()[0].split("=")[0] != other.cookies()[0].split("=")[0]


@pytest.mark.parametrize(
    ("headers", "is_secure"),
    [
        ({"Host": "gw.example.com"}, True),
        ({"Host": "gw.example.com:443"}, True),
        ({"Host": "10.0.0.5:8080"}, False),
        ({"Host": "10.0.0.5:8080", "X-Forwarded-Proto": "https"}, True),
        ({"Host": "10.0.0.5:8080", "X-Forwarded-Proto": "wss"}, True),  # of a WebSocket, as Traefik has it
        ({}, True),  # loopback, which browsers trust as they trust TLS
    ],
)
async def test_by_tls_the_cookie_is_bound_to_it_and_to_this_host(headers: dict[str, str], is_secure: bool) -> None:
    async with door(public_url="https://gw.example.com") as at:
        cookie = (await at.get(f"/?token={TOKEN}", **headers)).headers["Set-Cookie"]
        assert (cookie.startswith("__Host-"), "Secure" in cookie) == (is_secure, is_secure)


async def test_at_a_port_that_speaks_tls_the_cookie_is_bound_to_it(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.sign("localhost")
    async with (
        gateway(tmp_path, tls={"certificate": str(pair.certificate), "key": str(pair.key)}) as served,
        aiohttp.ClientSession() as session,
    ):
        trusting = ssl.create_default_context(cafile=str(authority.certificate))
        address = served.console_url.replace("127.0.0.1", "localhost")
        async with session.get(address, ssl=trusting, allow_redirects=False) as answer:
            cookie = answer.headers["Set-Cookie"]
    assert (cookie.startswith("__Host-"), "Secure" in cookie) == (True, True)


async def test_by_tls_a_cookie_that_another_host_could_have_set_counts_for_nothing() -> None:
    async with door(public_url="https://gw.example.com") as at:
        cookie = (await at.get(f"/?token={TOKEN}", Host="gw.example.com")).headers["Set-Cookie"].partition(";")[0]
        host = {"Host": "gw.example.com"}
        assert (await at.get("/api/look", Cookie=cookie, **host)).status == 200
        assert (await at.get("/api/look", Cookie=cookie.removeprefix("__Host-"), **host)).status == 401


async def test_a_session_that_is_used_goes_on_and_one_that_is_not_ends() -> None:
    async with door() as at:
        await at.log_in()
        for _ in range(3):
            at.clock.advance(IDLE_S - 1)
            assert (await at.get("/api/look")).status == 200
        at.clock.advance(IDLE_S)
        assert (await at.get("/api/look")).status == 401


async def test_a_session_ends_at_last_however_it_is_used() -> None:
    async with door() as at:
        await at.log_in()
        statuses = set()
        for _ in range(int(LONGEST_S / (IDLE_S / 2))):
            at.clock.advance(IDLE_S / 2)
            statuses.add((await at.get("/api/look")).status)
        assert (await at.get("/api/look")).status == 401
        assert 200 in statuses


# ── Other sites ─────────────────────────────────────────────────────────────────────────────────────────────────────

FOREIGN = [
    {},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
    {"Referer": "https://evil.example/?http://127.0.0.1"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "none"},
]


@pytest.mark.parametrize("headers", FOREIGN)
async def test_a_cookie_changes_nothing_for_another_site(headers: dict[str, str]) -> None:
    async with door() as at:
        await at.log_in()
        refused = await at.post("/api/change", headers=headers, json={})
        assert (refused.status, (await refused.json())["error"], at.changes) == (403, "cross_site", [])


async def test_what_the_browser_says_of_the_site_counts_before_the_origin() -> None:
    async with door() as at:
        await at.log_in()
        headers = {"Origin": at.origin, "Sec-Fetch-Site": "cross-site"}
        assert (await at.post("/api/change", headers=headers, json={})).status == 403


def own(at: Door, name: str) -> dict[str, str]:
    return {
        "site": {"Sec-Fetch-Site": "same-origin"},
        "origin": {"Origin": at.origin},
        "referer": {"Referer": f"{at.origin}/outbox"},
        "public": {"Origin": "https://gw.example.com"},
    }[name]


@pytest.mark.parametrize("proof", ["site", "origin", "referer", "public"])
async def test_a_cookie_changes_things_for_our_own_pages(proof: str) -> None:
    async with door(public_url="https://gw.example.com") as at:
        cookie = (await at.log_in()).headers["Set-Cookie"].partition(";")[0]
        answer = await at.post("/api/change", headers=own(at, proof) | {"Cookie": cookie}, json={})
        assert (answer.status, at.changes) == (200, ["POST"])


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "GET"])
async def test_every_method_that_changes_things_asks_for_proof(method: str) -> None:
    async with door() as at:
        await at.log_in()
        assert (await at.request(method, "/api/change")).status == 403
        assert (await at.request(method, "/api/change", headers=at.ours)).status == 200
        assert at.changes == [method]


@pytest.mark.parametrize(
    "kind",
    [
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/plain;charset=UTF-8",
        "TEXT/PLAIN",
        "",
    ],
)
async def test_a_cookie_changes_nothing_with_a_body_that_a_form_could_make(kind: str) -> None:
    async with door() as at:
        await at.log_in()
        skipped = {"skip_auto_headers": ["Content-Type"]}
        answer = await at.post(
            "/api/change", headers=at.ours | ({"Content-Type": kind} if kind else {}), data=b'{"event": 1}', **skipped
        )
        assert (answer.status, at.changes) == (415, [])


@pytest.mark.parametrize("dest", ["script", "image", "audio", "empty"])
async def test_a_cookie_reads_nothing_into_a_page_of_another_site(dest: str) -> None:
    async with door() as at:
        await at.log_in()
        headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": dest}
        assert (await at.get("/api/look", **headers)).status == 403


async def test_a_link_from_another_site_opens_the_page() -> None:
    async with door() as at:
        await at.log_in()
        assert (await at.get("/calls", **{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"})).status == 200


async def connected(at: Door, **options: Any) -> int:
    """The status of a WebSocket's handshake."""
    try:
        async with at.session.ws_connect(f"{at.origin}/api/talk", **options):
            return 101
    except aiohttp.WSServerHandshakeError as error:
        return error.status


@pytest.mark.parametrize("headers", FOREIGN)
async def test_a_cookie_opens_no_socket_for_another_site(headers: dict[str, str]) -> None:
    async with door() as at:
        await at.log_in()
        assert await connected(at, headers=headers) == 403


async def test_a_cookie_opens_a_socket_for_our_own_pages() -> None:
    async with door() as at:
        await at.log_in()
        assert await connected(at, headers={"Origin": at.origin}) == 101


@pytest.mark.parametrize("shown", ["header", "address"])
async def test_a_token_opens_a_socket_without_a_page(shown: str) -> None:
    async with door() as at:
        options: dict[str, Any] = {"headers": BEARER} if shown == "header" else {"params": {"token": TOKEN}}
        assert await connected(at, **options) == 101


async def test_a_socket_of_a_stranger_is_answered_401() -> None:
    async with door() as at:
        assert await connected(at) == 401


# ── Guesses ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_wrong_tokens_are_limited_for_each_address() -> None:
    address = ["192.0.2.1"]
    async with door(address_of=lambda _request: address[0]) as at:
        for _ in range(GUESSES_AT_ONCE):
            assert (await at.log_in("guess")).status == 403
        assert (await at.log_in()).status == 429
        address[0] = "192.0.2.2"
        assert (await at.log_in()).status == 303


async def test_after_a_while_one_more_may_be_tried() -> None:
    async with door() as at:
        for _ in range(GUESSES_AT_ONCE):
            await at.log_in("guess")
        at.clock.advance(1 / GUESSES_PER_S)
        assert (await at.log_in()).status == 303


async def test_right_tokens_use_up_nothing() -> None:
    async with door() as at:
        statuses = [(await at.log_in()).status for _ in range(GUESSES_AT_ONCE + 5)]
        assert set(statuses) == {303}


async def test_a_session_goes_on_while_its_address_guesses() -> None:
    async with door() as at:
        await at.log_in()
        cookie = at.cookies()[0]
        for _ in range(GUESSES_AT_ONCE + 1):
            await at.log_in("guess")
        assert (await at.get("/api/look", Cookie=cookie)).status == 200
