"""The console's files, and the headers of every answer."""

import asyncio
import re
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from gateway.live.pages import _TYPES, FOLDER, PLACES, SECURITY_HEADERS
from tests.support.console import gateway
from tests.support.console_door import BEARER, Door, door

TYPES = {
    "app.js": "text/javascript; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "pages/settings.js": "text/javascript; charset=utf-8",
    "vendor/lit-html/lit-html.js": "text/javascript; charset=utf-8",
}


@pytest.mark.parametrize("place", [place.replace("{call_id}", "call_1") for place in PLACES])
async def test_every_page_is_the_document(place: str) -> None:
    async with door() as at:
        await at.log_in()
        answer = await at.get(place)
        assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert await answer.text() == (FOLDER / "index.html").read_text()


@pytest.mark.parametrize(("name", "kind"), TYPES.items())
async def test_assets_need_no_log_in_and_say_what_they_are(name: str, kind: str) -> None:
    async with door() as at:
        answer = await at.get(f"/assets/{name}")
        assert (answer.status, answer.headers["Content-Type"]) == (200, kind)
        assert await answer.text() == (FOLDER / name).read_text()


@pytest.mark.parametrize("path", ["/assets/app.js", "/settings"])
async def test_what_has_not_changed_is_not_sent_again(path: str) -> None:
    async with door() as at:
        await at.log_in()
        first = await at.get(path)
        by_tag = await at.get(path, **{"If-None-Match": first.headers["ETag"]})
        by_time = await at.get(path, **{"If-Modified-Since": first.headers["Last-Modified"]})
        assert [(each.status, await each.text()) for each in (by_tag, by_time)] == [(304, "")] * 2
        assert first.headers["Cache-Control"] == "no-cache"


async def test_a_page_that_has_not_changed_is_not_for_strangers_either() -> None:
    async with door() as at:
        tag = (await at.get("/settings", **BEARER)).headers["ETag"]
        assert (await at.get("/settings", **{"If-None-Match": tag})).status == 303


TRAVERSALS = [
    "/assets/../pages.py",
    "/assets/%2e%2e/pages.py",
    "/assets/..%2fpages.py",
    "/assets/%2e%2e%2fpages.py",
    "/assets/pages/../../pages.py",
    "/assets/pages%2f..%2f..%2fpages.py",
    "/assets/..\\pages.py",
    "/assets/..%5cpages.py",
    "/assets/%252e%252e/pages.py",
    "/assets//etc/passwd",
    "/assets/%2fetc%2fpasswd",
    "/assets/app.js%00",
    "/assets/app.js%00.css",
    "/assets/%ff%fe",
    "/assets/pages",
    "/assets/pages/",
    "/assets/",
    "/assets/index.html",
    "/assets/login.html",
    "/assets/./app.js%2f.",
    "/assets/" + "a" * 5000,
]


@pytest.mark.parametrize("path", TRAVERSALS)
async def test_nothing_outside_the_folder_is_served(path: str) -> None:
    """Asked in these very octets: aiohttp's own client would put the path in order first."""
    async with door() as at:
        status, body = await asyncio.to_thread(_asked, at.origin, path)
        assert (status, b"class Pages" in body, b"root:" in body) == (404, False, False)


def _asked(origin: str, path: str) -> tuple[int, bytes]:
    connection = HTTPConnection(urlsplit(origin).netloc, timeout=10)
    try:
        connection.putrequest("GET", path)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


async def _answers(at: Door) -> dict[str, dict[str, str]]:
    asked = {
        path: await at.get(path) for path in ("/", "/login", "/assets/app.js", "/assets/none", "/none", "/api/look")
    }
    asked["wrong"] = await at.log_in("wrong")
    asked["login"] = await at.log_in()
    asked["page"] = await at.get("/settings")
    asked["cross"] = await at.post("/api/change", json={})
    asked["method"] = await at.post("/settings", headers=at.ours)
    asked["logout"] = await at.post("/logout", headers=at.ours)
    return {name: dict(answer.headers) for name, answer in asked.items()}


async def test_every_answer_has_the_security_headers() -> None:
    async with door() as at:
        answers = await _answers(at)
    lacking = {
        name: missing
        for name, headers in answers.items()
        if (missing := {each for each, value in SECURITY_HEADERS.items() if headers.get(each) != value})
    }
    assert lacking == {}


async def test_what_api_answers_stays_in_no_cache() -> None:
    async with door() as at:
        assert (await at.get("/api/look", **BEARER)).headers["Cache-Control"] == "no-store"


def test_the_policy_allows_no_code_in_the_page_and_no_other_host() -> None:
    policy = dict(rule.split(maxsplit=1) for rule in SECURITY_HEADERS["Content-Security-Policy"].split(";"))
    assert {source for sources in policy.values() for source in sources.split()} == {
        "'none'",
        "'self'",
        "data:",
        "blob:",
    }
    assert {name for name, sources in policy.items() if {"data:", "blob:"} & set(sources.split())} == {
        "img-src",
        "media-src",
    }
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"


def test_every_file_that_a_page_names_is_served() -> None:
    named = re.compile(r"""(?:from|import|src=|href=|addModule\()\s*\(?["'`](/assets/|\./|\.\./)([\w./-]+\.\w+)["'`]""")
    missing = []
    for path in sorted(FOLDER.rglob("*")):
        if path.suffix not in (".js", ".html"):
            continue
        for start, name in named.findall(path.read_text(encoding="utf-8")):
            base = FOLDER if start == "/assets/" else path.parent
            target = (base / (name if start == "/assets/" else start + name)).resolve()
            if not target.is_file() or target.suffix not in _TYPES:
                missing.append(f"{path.name}: {start}{name}")
    assert missing == []


async def test_a_whole_gateway_has_the_headers_on_its_errors_too(tmp_path: Path) -> None:
    async with gateway(tmp_path) as served:
        status_and_policy = await asyncio.to_thread(_policy_of, served.url, "/api/calls")
    assert status_and_policy == (401, SECURITY_HEADERS["Content-Security-Policy"])


def _policy_of(origin: str, path: str) -> tuple[int, str | None]:
    connection = HTTPConnection(urlsplit(origin).netloc, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.getheader("Content-Security-Policy")
    finally:
        connection.close()
