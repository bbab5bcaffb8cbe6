"""The settings page in a browser."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from playwright.async_api import Page, expect

from tests.support.console import TOKEN, browser, gateway, open_page


@asynccontextmanager
async def settings_page(folder: Path, path: str = "/settings", **options: Any) -> AsyncIterator[Page]:
    async with gateway(folder) as served, browser() as chromium, open_page(chromium, served, path, **options) as page:
        await expect(page.get_by_role("heading", name="Settings")).to_be_visible()
        yield page


async def test_a_search_shows_what_has_all_its_words(tmp_path: Path) -> None:
    async with settings_page(tmp_path) as page:
        await page.get_by_role("searchbox", name="Search the settings").fill("seconds? idle LIMITS")
        await expect(page.get_by_text("No setting is like this.")).to_be_visible()
        await page.get_by_role("searchbox", name="Search the settings").fill("idle LIMITS")
        await expect(page.get_by_role("rowheader")).to_have_count(1)
        await expect(page.get_by_role("rowheader")).to_contain_text("limits.idle_timeout_s")
        await expect(page.get_by_role("status").filter(has_text="settings")).to_contain_text("1 of ")


async def test_the_search_is_part_of_the_address(tmp_path: Path) -> None:
    async with settings_page(tmp_path) as page:
        await page.get_by_role("searchbox").fill("idle limits")
        await expect(page.get_by_role("rowheader")).to_have_count(1)
        await page.reload()
        await expect(page.get_by_role("searchbox")).to_have_value("idle limits")
        await expect(page.get_by_role("rowheader")).to_have_count(1)


async def test_what_was_given_is_told_from_what_is_by_default(tmp_path: Path) -> None:
    async with settings_page(tmp_path) as page:
        await page.get_by_label("Only what was given").check()
        names = await page.get_by_role("rowheader").locator("code").all_inner_texts()
        assert {"port", "data_dir", "api_token", "stt.default"} <= set(names)
        assert "host" not in names
        row = page.get_by_role("row").filter(has=page.get_by_text("stt.drain_s", exact=True))
        await expect(row).to_contain_text("command line")
        await expect(row).to_contain_text("default: 10")


async def test_a_secret_is_hidden(tmp_path: Path) -> None:
    async with settings_page(tmp_path, "/settings?q=api_token") as page:
        row = page.get_by_role("row").filter(has=page.get_by_text("api_token", exact=True))
        await expect(row.get_by_text("hidden")).to_be_visible()
        assert TOKEN not in await page.content()


async def test_a_page_that_cannot_be_had_is_said_so_and_tried_again(tmp_path: Path) -> None:
    async with gateway(tmp_path) as served, browser() as chromium, open_page(chromium, served, "/outbox") as page:
        await page.route("**/assets/pages/settings.js", lambda route: route.abort(), times=1)
        await page.get_by_role("link", name="Settings").click()
        await expect(page.get_by_role("alert")).to_have_text("The gateway cannot be reached.")
        await page.get_by_role("button", name="Try again").click()
        await expect(page.get_by_role("heading", name="Settings")).to_be_visible()


async def test_the_keyboard_reaches_search_and_choice(tmp_path: Path) -> None:
    async with settings_page(tmp_path) as page:
        await page.get_by_role("button", name="Log out").focus()
        reached = []
        for _ in range(2):
            await page.keyboard.press("Tab")
            reached.append(await page.evaluate("document.activeElement.type"))
        assert reached == ["search", "checkbox"]


async def test_a_phone_shows_it_without_sideways_scrolling(tmp_path: Path) -> None:
    async with settings_page(tmp_path, viewport={"width": 360, "height": 740}) as page:
        await expect(page.get_by_role("row").first).to_be_attached()
        assert await page.evaluate("document.documentElement.scrollWidth") == 360
        assert await page.get_by_role("rowheader").count() > 50  # still a table to screen readers
