"""
A gateway whose recogniser says what the test makes it say, and a browser that shows it.

    async def test_…(tmp_path):
        async with stage(tmp_path) as at, at.page() as page, at.call("inbound", "outbound"):
            await say_final(at.session("outbound"), "good morning")
            await expect(captions(page)).to_contain_text("good morning")
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Locator, Page, expect

from gateway.server import Gateway, serving
from tests.support.console import TOKEN, browser, open_page
from tests.support.phone import Phone
from tests.support.pulse_server import PulseServer, PulseSession
from tests.support.whole_gateway import heard_by, phone, settings


async def listen(session: PulseSession) -> None:
    """Say nothing but what the test makes it say, to the orderly end."""
    while True:
        message = await session.receive()
        if isinstance(message, str) and session.controls[-1] == "finalize":
            await session.say("", is_final=True, from_finalize=True)
        elif isinstance(message, str) and session.controls[-1] == "close_stream":
            await session.say("", is_final=True, is_last=True)
            await session.close()
            return


class Stage:
    """A gateway, the speech server behind it, and a browser."""

    def __init__(self, served: Gateway, speech: PulseServer, chromium: Browser) -> None:
        self.served = served
        self.speech = speech
        self.chromium = chromium

    @asynccontextmanager
    async def page(self, path: str = "/", **options: Any) -> AsyncIterator[Page]:
        async with open_page(self.chromium, self.served, path, **options) as page:
            yield page

    @asynccontextmanager
    async def call(self, *tracks: str, call_sid: str = "CA1", **parameters: str) -> AsyncIterator[Phone]:
        """A call of which two seconds have been heard."""
        async with phone(self.served.stream_url) as calling:
            before = len(self.speech.sessions)
            await calling.start(*tracks, call_sid=call_sid, **parameters)
            for track in tracks or ("inbound",):
                await calling.media(100, track)
            await self.speech.until(
                lambda: [each.audio_s >= 1.9 for each in self.speech.sessions[before:]] == [True] * len(tracks or "1")
            )
            yield calling

    def session(self, track: str = "inbound") -> PulseSession:
        return next(each for each in reversed(self.speech.sessions) if each.query["heard"] == track)


@asynccontextmanager
async def stage(folder: Path, *acts: Any, **tree: Any) -> AsyncIterator[Stage]:
    """The speech server says what the test makes it say, unless it is given acts; `tree` are further settings."""
    async with PulseServer(*(acts or (listen,))) as speech, browser() as chromium:
        stt = heard_by(speech, url=speech.url + "?heard={track}")
        async with serving(settings(folder / "data", stt=stt, api_token=TOKEN, **tree)) as served:
            yield Stage(served, speech, chromium)


def words(text: str, start_s: float = 0.2) -> list[dict[str, Any]]:
    """Words of 0.2 s each."""
    spoken = text.split()
    return [
        {"word": word, "start": start_s + 0.2 * number, "end": start_s + 0.2 * (number + 1), "confidence": 0.9}
        for number, word in enumerate(spoken)
    ]


async def say_final(session: PulseSession, text: str, start_s: float = 0.2) -> None:
    await session.say(text, words(text, start_s), is_final=True)


def captions(page: Page) -> Locator:
    return page.get_by_role("log", name="Captions")


def calls(page: Page) -> Locator:
    return page.get_by_role("list", name="Calls in progress").get_by_role("listitem")


async def until_live(page: Page) -> None:
    await expect(page.get_by_role("banner").get_by_role("status")).to_have_text("Feed live")


async def until_followed(page: Page) -> None:
    """Until the page follows a call: a partial that nobody follows is shown to nobody."""
    await expect(captions(page)).to_be_attached()
    await until_live(page)


async def colour(place: Locator) -> str:
    return str(await place.evaluate("element => getComputedStyle(element).color"))
