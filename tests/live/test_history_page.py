"""The list of calls and the search over what was said, in a real browser."""

import asyncio
import dataclasses
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from playwright.async_api import Browser, Page, Route, expect

from gateway.server import Gateway
from tests.support.console import browser, gateway, open_page
from tests.support.cut_line import CutLine
from tests.support.kept_calls import keep_call, until_call, until_found
from tests.support.live_stage import until_live
from tests.support.whole_gateway import phone

PHONE = {"width": 360, "height": 740}


async def sideways_px(page: Page) -> int:
    """How much of the page is beside the window."""
    return int(await page.evaluate("document.documentElement.scrollWidth - window.innerWidth"))


async def keep_calls(served: Gateway, count: int) -> None:
    async with asyncio.TaskGroup() as tasks:
        for number in range(count):
            tasks.create_task(keep_call(served, seconds=0, call_sid=f"CA{number}"))


async def test_calls_are_listed_newest_first(tmp_path: Path) -> None:
    async with gateway(tmp_path) as served, browser() as chromium:
        first = await keep_call(served, seconds=2, call_sid="CA1")
        second = await keep_call(served, seconds=1, call_sid="CA2")
        async with open_page(chromium, served, "/calls") as page:
            await expect(page.locator("tbody tr")).to_have_count(2)
            links = await page.locator("tbody a").evaluate_all("all => all.map(each => each.getAttribute('href'))")
            oldest = page.locator("tbody tr").last
            await expect(oldest).to_contain_text("twilio")
            await expect(oldest).to_contain_text("0:02")
            await expect(oldest).to_contain_text("completed")
    assert links == [f"/calls/{second}", f"/calls/{first}"]


async def test_a_row_leads_to_its_call(tmp_path: Path) -> None:
    async with gateway(tmp_path) as served, browser() as chromium:
        call_id = await keep_call(served, seconds=1)
        async with open_page(chromium, served, "/calls") as page:
            await page.locator("tbody a").click()
            await page.wait_for_url(f"**/calls/{call_id}")


async def test_without_calls_the_page_says_so(tmp_path: Path) -> None:
    async with (
        gateway(tmp_path) as served,
        browser() as chromium,
        open_page(chromium, served, "/calls") as page,
    ):
        await expect(page.locator("main").get_by_role("status")).to_contain_text("No calls yet")


async def test_the_filter_shows_only_live_or_ended_calls(tmp_path: Path) -> None:
    async with gateway(tmp_path) as served, browser() as chromium:
        ended = await keep_call(served, seconds=1, call_sid="CA1")
        async with phone(served.stream_url) as caller:
            await caller.start("inbound", call_sid="CA2")
            live = (await until_call(served, "CA2", is_over=False))["id"]
            async with open_page(chromium, served, "/calls") as page:
                await page.get_by_label("Show").select_option("live")
                await expect(page.locator("tbody a")).to_have_count(1)
                await expect(page.locator("tbody a")).to_have_attribute("href", f"/calls/{live}")
                await page.get_by_label("Show").select_option("ended")
                await expect(page.locator("tbody a")).to_have_attribute("href", f"/calls/{ended}")
                assert page.url.endswith("?state=ended")
            await caller.stop()


async def test_more_shows_the_calls_of_the_next_page(tmp_path: Path) -> None:
    async with gateway(tmp_path) as served, browser() as chromium:
        await keep_calls(served, 53)
        async with open_page(chromium, served, "/calls") as page:
            await expect(page.locator("tbody tr")).to_have_count(50)
            await page.get_by_role("button", name="More calls").click()
            await expect(page.locator("tbody tr")).to_have_count(53)
            await expect(page.get_by_role("button", name="More calls")).to_have_count(0)


async def test_a_call_that_begins_is_listed_at_once(tmp_path: Path) -> None:
    async with gateway(tmp_path) as served, browser() as chromium, open_page(chromium, served, "/calls") as page:
        await expect(page.locator("main").get_by_role("status")).to_contain_text("No calls yet")
        async with phone(served.stream_url) as caller:
            await caller.start("inbound")
            await expect(page.locator("tbody tr")).to_contain_text("live")
            await caller.stop()
            await expect(page.locator("tbody tr")).to_contain_text("completed")


def listed(number: int) -> dict[str, Any]:
    """A call as the list has it."""
    at = f"2026-11-20T{number // 60:02}:{number % 60:02}:00.000Z"
    return {
        "id": f"call_{number}",
        "platform": "twilio",
        "platform_call_id": f"CA{number}",
        "from": None,
        "to": None,
        "metadata": {},
        "started_at": at,
        "ended_at": at,
        "duration_s": 1,
        "outcome": "completed",
        "reason": "stop",
        "complete": True,
        "tracks": ["inbound"],
        "finals": 0,
        "has_recording": False,
    }


@asynccontextmanager
async def long_list(chromium: Browser, served: Gateway, kept: list[dict[str, Any]]) -> AsyncIterator[Page]:
    """The page, which is told that there are these calls, the newest first."""

    async def answer(route: Route) -> None:
        query = parse_qs(urlsplit(route.request.url).query)
        begin = int(query.get("before", ["0"])[0])
        end = begin + int(query["limit"][0])
        await route.fulfill(json={"calls": kept[begin:end], "next": str(end) if end < len(kept) else None})

    async with open_page(chromium, served, "/settings") as page:
        await page.route(re.compile(r"/api/calls\?"), answer)
        await page.get_by_role("link", name="Calls").click()
        await expect(page.locator("tbody tr")).to_have_count(50)
        await until_live(page)
        yield page


async def test_a_list_that_is_left_open_does_not_grow_with_each_call(tmp_path: Path) -> None:
    kept = [listed(number) for number in range(300, 0, -1)]
    async with gateway(tmp_path) as served, browser() as chromium, long_list(chromium, served, kept) as page:
        await page.get_by_role("button", name="More calls").click()
        await expect(page.locator("tbody tr")).to_have_count(100)
        kept.insert(0, listed(301))
        async with phone(served.stream_url) as caller:
            await caller.start("inbound")
            await expect(page.locator("tbody a").first).to_have_attribute("href", "/calls/call_301")
        await expect(page.locator("tbody tr")).to_have_count(100)
        await expect(page.locator("tbody a").last).to_have_attribute("href", "/calls/call_202")


async def test_whoever_reads_a_long_list_is_told_of_new_calls_and_left_in_peace(tmp_path: Path) -> None:
    kept = [listed(number) for number in range(300, 0, -1)]
    async with gateway(tmp_path) as served, browser() as chromium, long_list(chromium, served, kept) as page:
        for count in (100, 150, 200, 250):
            await page.get_by_role("button", name="More calls").click()
            await expect(page.locator("tbody tr")).to_have_count(count)
        kept.insert(0, listed(301))
        async with phone(served.stream_url) as caller:
            await caller.start("inbound")
            newest = page.get_by_role("button", name="Show the newest")
            await expect(newest).to_be_visible()
        await expect(page.locator("tbody tr")).to_have_count(250)
        await newest.click()
        await expect(page.locator("tbody a").first).to_have_attribute("href", "/calls/call_301")
        await expect(page.locator("tbody tr")).to_have_count(50)


async def test_a_call_that_began_behind_a_broken_line_is_listed(tmp_path: Path) -> None:
    async with gateway(tmp_path) as served, CutLine(served.port) as road, browser() as chromium:
        behind = dataclasses.replace(served, port=road.port)
        async with open_page(chromium, behind, "/calls") as page:
            await until_live(page)
            road.cut()
            await expect(page.get_by_text("Reconnecting since")).to_be_visible()
            await keep_call(served, seconds=0)
            road.mend()
            await expect(page.locator("tbody tr")).to_have_count(1)


async def test_a_search_of_which_older_calls_are_still_missing_says_so(tmp_path: Path) -> None:
    async with gateway(tmp_path) as served, browser() as chromium, open_page(chromium, served, "/calls") as page:
        await page.route("**/api/search**", lambda route: route.fulfill(json={"hits": [], "complete": False}))
        await page.get_by_label("Search what was said").fill("refund")
        await expect(page.locator("main").get_by_role("status")).to_have_text(
            "Nobody said “refund”. Older calls are still being read: search again in a while."
        )


async def test_the_search_marks_what_was_said(tmp_path: Path) -> None:
    async with gateway(tmp_path) as served, browser() as chromium:
        await keep_call(served, seconds=4)
        async with open_page(chromium, served, "/calls") as page:
            await until_found(served, "Second 3", 2)
            await page.get_by_label("Search what was said").fill("Second 3")
            await expect(page.locator(".hits li")).to_have_count(2)  # both parties said it
            assert await page.locator(".hits li").first.locator("mark").all_text_contents() == ["second", "3"]


async def test_what_was_searched_for_is_marked_in_writing_without_spaces_too(tmp_path: Path) -> None:
    texts = {"見積、": "本日の見積。見積書", "กิน": "ไปกินข้าวกัน", "café 3": "Cafe 3番 34"}
    marks = {"見積、": ["見積", "見積"], "กิน": ["กิน"], "café 3": ["Cafe", "3", "34"]}
    call = {"id": "call_1", "from": None, "to": None, "started_at": "2026-11-21T10:00:00Z", "ended_at": None}
    async with gateway(tmp_path) as served, browser() as chromium, open_page(chromium, served, "/calls") as page:

        async def answer(route: Route) -> None:
            text = texts[parse_qs(urlsplit(route.request.url).query)["q"][0]]
            hit = {"call": call, "sequence": 1, "track": "inbound", "speaker": "caller", "text": text}
            await route.fulfill(json={"hits": [{**hit, "start_s": 1.0, "end_s": 2.0}], "complete": True})

        await page.route("**/api/search**", answer)
        for searched, text in texts.items():
            await page.get_by_label("Search what was said").fill(searched)
            await expect(page.locator(".hits li")).to_contain_text(text)
            assert await page.locator(".hits mark").all_text_contents() == marks[searched]


async def test_a_hit_jumps_to_its_place_in_the_call(tmp_path: Path) -> None:
    async with gateway(tmp_path) as served, browser() as chromium:
        call_id = await keep_call(served, seconds=4)
        async with open_page(chromium, served, "/calls?q=second+3") as page:
            await page.locator(".hits a").first.click()
            await page.wait_for_url(f"**/calls/{call_id}?t=2")
            await expect(page.locator(".heard").first).to_have_attribute("data-start", "2")


async def test_words_that_nobody_said_are_not_found(tmp_path: Path) -> None:
    async with gateway(tmp_path) as served, browser() as chromium:
        await keep_call(served, seconds=1)
        async with open_page(chromium, served, "/calls?q=refund") as page:
            await expect(page.locator("main").get_by_role("status")).to_have_text("Nobody said “refund”.")


async def test_a_search_is_ended_by_emptying_the_field(tmp_path: Path) -> None:
    async with gateway(tmp_path) as served, browser() as chromium:
        await keep_call(served, seconds=1)
        async with open_page(chromium, served, "/calls?q=refund") as page:
            await page.get_by_label("Search what was said").fill("")
            await expect(page.locator("tbody tr")).to_have_count(1)


async def test_words_searched_for_are_text_and_never_markup(tmp_path: Path) -> None:
    async with (
        gateway(tmp_path) as served,
        browser() as chromium,
        open_page(chromium, served, "/calls?q=%3Cimg%20src%3Dx%3E") as page,
    ):
        await expect(page.locator("main").get_by_role("status")).to_have_text("Nobody said “<img src=x>”.")
        assert await page.locator("main img").count() == 0


async def test_keys_lead_from_the_search_to_a_call(tmp_path: Path) -> None:
    async with gateway(tmp_path) as served, browser() as chromium:
        await keep_call(served, seconds=1, call_sid="CA1")
        newest = await keep_call(served, seconds=1, call_sid="CA2")
        async with open_page(chromium, served, "/calls") as page:
            await expect(page.locator("tbody tr")).to_have_count(2)
            await page.keyboard.press("/")
            await expect(page.get_by_label("Search what was said")).to_be_focused()
            for key in ("ArrowDown", "ArrowDown", "ArrowUp"):
                await page.keyboard.press(key)
            await expect(page.locator("tbody a").first).to_be_focused()
            await page.keyboard.press("Enter")
            await page.wait_for_url(f"**/calls/{newest}")


async def test_a_gateway_that_is_away_is_said_and_asked_again(tmp_path: Path) -> None:
    async with gateway(tmp_path) as served, browser() as chromium:
        await keep_call(served, seconds=1)
        async with open_page(chromium, served, "/calls") as page:
            await expect(page.locator("tbody tr")).to_have_count(1)
            await page.context.set_offline(True)
            await page.get_by_label("Show").select_option("ended")
            await expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
            await page.context.set_offline(False)
            await page.get_by_role("button", name="Try again").click()
            await expect(page.locator("tbody tr")).to_have_count(1)


async def test_on_a_phone_each_call_is_a_card_and_nothing_is_beside_the_window(tmp_path: Path) -> None:
    async with gateway(tmp_path) as served, browser() as chromium:
        await keep_call(served, seconds=2)
        async with open_page(chromium, served, "/calls", viewport=PHONE) as page:
            await expect(page.locator("tbody tr")).to_have_css("display", "block")
            assert await sideways_px(page) <= 0
            await until_found(served, "second", 4)
            await page.get_by_label("Search what was said").fill("second")
            await expect(page.locator(".hits li")).to_have_count(4)
            assert await sideways_px(page) <= 0
