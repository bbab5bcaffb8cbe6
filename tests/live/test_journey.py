"""What somebody does who sees the console for the first time: a call by `gateway call`, from captions to file."""

from pathlib import Path

from playwright.async_api import expect

from gateway.simulate import recording
from tests.support.console import DEADLINE_MS, TOKEN, browser, gateway, open_page
from tests.support.demo_speech import demo_speech
from tests.support.kept_calls import until_found
from tests.support.whole_gateway import start

DEMO = Path(recording.__file__).parent / "recordings" / "demo.flac"
SAID = [turn.text for turn in recording.demo_turns()]


async def test_a_call_is_seen_live_then_found_played_and_saved(tmp_path: Path) -> None:
    async with (
        demo_speech(1) as stt,
        gateway(tmp_path, stt=stt, recording={"enabled": True}) as served,
        browser() as chromium,
        open_page(chromium, served, token=None) as page,
    ):
        await page.get_by_label("Token").fill(TOKEN)
        await page.keyboard.press("Enter")
        caller = await start("call", str(DEMO), "--url", served.stream_url)
        await page.get_by_role("button").filter(has_text="Twilio").click(timeout=DEADLINE_MS)
        log = page.get_by_role("log")
        await expect(page.locator(".partial")).to_contain_text("unless to be", timeout=DEADLINE_MS)
        await expect(log.get_by_text(SAID[0])).to_be_visible()
        assert await caller.wait() == 0
        await expect(log.get_by_text(SAID[2])).to_be_visible(timeout=DEADLINE_MS)

        await page.get_by_role("link", name="Calls").click()
        await until_found(served, "amiable him", 1)
        await page.get_by_role("searchbox").fill("amiable him")
        await page.get_by_role("main").get_by_role("link", name="amiable").click()
        await page.locator(".word").filter(has_text="amiable").click()
        await page.get_by_role("button", name="Play", exact=True).click()
        await expect(page.locator(".word.heard")).to_have_text("amiable", timeout=DEADLINE_MS)
        async with page.expect_download() as saving:
            await page.get_by_role("link", name="Text").click()
        saved = (await (await saving.value).path()).read_text()
        assert saved.splitlines() == [f"caller: {SAID[0]}", f"agent: {SAID[1]}", f"caller: {SAID[2]}"]
