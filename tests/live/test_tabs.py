"""A browser with more tabs than it opens connections to a host."""

from pathlib import Path

from tests.support.console import browser, gateway, open_page
from tests.support.live_stage import until_live

MOST_CONNECTIONS = 6
"""Of HTTP/1.1 to one host, all tabs together: what Chromium and Firefox open."""


async def test_more_tabs_than_connections_are_live_all_the_same(tmp_path: Path) -> None:
    async with gateway(tmp_path) as served, browser() as chromium, open_page(chromium, served, "/calls") as page:
        await until_live(page)
        for _ in range(MOST_CONNECTIONS):
            tab = await page.context.new_page()
            await tab.goto("/calls")
            await until_live(tab)
