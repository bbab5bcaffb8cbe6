"""
Takes the pictures of the console that stand in the README: `scripts/screenshots`.

The calls are the demo's recording; what a speech service would make of it is said by `demo_speech`.
"""

import asyncio
import tempfile
from pathlib import Path

from playwright.async_api import Browser, Page

from gateway.dialects.twiml import FROM_PARAMETER, TO_PARAMETER
from gateway.server import Gateway
from gateway.simulate import recording, softphone
from tests.support.console import browser, gateway, open_page
from tests.support.demo_speech import demo_speech

DOCS = Path(__file__).parents[2] / "docs"
WIDE, PHONE = {"width": 1120, "height": 700}, {"width": 360, "height": 700}
RULES = """
[[rule]]
name = "ill-disposed"
phrase = "ill disposed"
note = "Stay friendly; offer a call back."
"""


async def take_all(folder: Path) -> None:
    """Hold two calls and take every picture."""
    rules = folder / "rules.toml"
    rules.write_text(RULES)
    settings = {"recording": {"enabled": True}, "assist": {"rules_file": str(rules)}}
    async with (
        demo_speech(2) as stt,
        gateway(folder, stt=stt, **settings) as served,
        browser() as chromium,
    ):
        await _take(served, chromium)


async def _take(served: Gateway, chromium: Browser) -> None:
    async with (
        open_page(chromium, served, viewport=WIDE) as light,
        open_page(chromium, served, viewport=PHONE, color_scheme="dark") as small,
        asyncio.TaskGroup() as tasks,
    ):
        for caller in ("+15550100", "+15550101"):
            parties = {FROM_PARAMETER: caller, TO_PARAMETER: "+15550199"}
            call = softphone.TwilioCall(
                url=served.stream_url, audio=recording.load_demo(), parameters={**parties, "tenant": "acme"}
            )
            tasks.create_task(softphone.place(call))
        for page in (light, small):
            await page.get_by_role("button").filter(has_text="twilio").first.click()
            await page.get_by_text("unless to be rather cold hearted").first.wait_for()
        await _shoot(light, "console-live")
        await _shoot(small, "console-phone-width")
    async with open_page(chromium, served, "/calls", viewport=WIDE) as page:
        await page.get_by_role("main").get_by_role("link").first.click()
        await page.get_by_role("button", name="Play", exact=True).click()
        await page.wait_for_function("() => document.querySelector('audio').currentTime > 5")
        await _shoot(page, "console-call")
    async with open_page(chromium, served, "/phone", viewport=WIDE, color_scheme="dark") as page:
        await page.get_by_role("button", name="Call", exact=True).wait_for()
        await _shoot(page, "console-phone")


async def _shoot(page: Page, name: str) -> None:
    await page.screenshot(path=DOCS / f"{name}.png")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        asyncio.run(take_all(Path(place)))
