"""
axe-core on every page of the console, light and dark: no serious finding.

The pages keep still for it (`reduced_motion`): a word that fades in has too little contrast for as long as that takes.
Where there is a browser these tests never skip: that axe-core is missing is a fault of whoever runs them.
"""

from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.support.console import browser, gateway, open_page
from tests.support.kept_calls import keep_call, until_found
from tests.support.live_stage import captions, say_final, stage, until_followed, words

AXE = Path(__file__).parent.parent / "node/node_modules/axe-core/axe.min.js"
PLACES = ["/", "/calls", "/outbox", "/settings", "/phone"]
GRAVE = {"serious", "critical"}


async def findings(page: Page) -> list[Any]:
    """What is grave: rule, and where."""
    assert AXE.exists(), "axe-core is not installed: scripts/test does it, or npm ci in tests/node"
    # The page's policy lets no script in; what is evaluated stands outside of it.
    await page.evaluate(AXE.read_text())
    found = await page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    assert found["passes"], "axe has looked at something"
    return [
        (each["id"], [node["failureSummary"] for node in each["nodes"]])
        for each in found["violations"]
        if each["impact"] in GRAVE
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("place", PLACES)
async def test_a_page_has_no_grave_fault(tmp_path: Path, place: str, scheme: str) -> None:
    async with (
        gateway(tmp_path) as served,
        browser() as chromium,
        open_page(chromium, served, place, color_scheme=scheme, reduced_motion="reduce") as page,
    ):
        await expect(page.get_by_role("heading", level=1)).to_be_visible()
        assert await findings(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_live_call_and_one_that_is_over_have_no_grave_fault(tmp_path: Path, scheme: str) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('[[rule]]\nname = "greeting"\nphrase = "good morning"\nnote = "Say who you are."\n')
    async with (
        stage(tmp_path, assist={"rules_file": str(rules)}) as at,
        at.page(color_scheme=scheme, reduced_motion="reduce") as page,
        at.call("inbound", "outbound") as calling,
    ):
        await until_followed(page)
        await say_final(at.session("inbound"), "hello")
        await say_final(at.session("outbound"), "good morning")
        await calling.say({"event": "dtmf", "streamSid": "MZ1", "dtmf": {"track": "inbound_track", "digit": "5"}})
        await expect(captions(page)).to_contain_text("Key 5")
        await expect(captions(page)).to_contain_text("Say who you are.")
        await at.session("inbound").say("I'd like", words("I'd like", 1.0))
        await expect(page.locator(".partial")).to_have_count(1)
        assert await findings(page) == []
        await calling.stop()
        await calling.closed()
        await page.get_by_role("listitem").get_by_role("link", name="open").click()
        await page.wait_for_url("**/calls/call_*")
        await expect(page.get_by_text("hello").first).to_be_visible()
        assert await findings(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_what_was_found_and_a_recording_have_no_grave_fault_on_a_phone(tmp_path: Path, scheme: str) -> None:
    small: dict[str, Any] = {"viewport": {"width": 360, "height": 740}, "reduced_motion": "reduce"}
    async with (
        gateway(tmp_path, recording={"enabled": True}) as served,
        browser() as chromium,
        open_page(chromium, served, "/calls", color_scheme=scheme, **small) as page,
    ):
        await keep_call(served, seconds=2)
        await until_found(served, "second", 4)
        await page.get_by_label("Search what was said").fill("second")
        await expect(page.locator("mark").first).to_be_visible()
        assert await findings(page) == []
        await page.locator(".hits a").first.click()
        await expect(page.get_by_role("button", name="Play", exact=True)).to_be_visible()
        await expect(page.locator(".word").first).to_be_visible()
        assert await findings(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_log_in_has_no_grave_fault(tmp_path: Path, scheme: str) -> None:
    async with (
        gateway(tmp_path) as served,
        browser() as chromium,
        open_page(chromium, served, "/login", token=None, color_scheme=scheme, reduced_motion="reduce") as page,
    ):
        await expect(page.get_by_role("heading", level=1)).to_be_visible()
        assert await findings(page) == []
