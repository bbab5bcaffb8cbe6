"""
The console in a real browser: a whole gateway on loopback, and Debian's Chromium driven by Playwright.

    async def test_…(tmp_path):
        async with gateway(tmp_path) as served, browser() as chromium:
            async with open_page(chromium, served) as page:  # logged in, at "/"
                await expect(page.get_by_text("…")).to_be_visible()

Calls are placed with `tests.support.whole_gateway.phone(served.stream_url)` or the product's own softphone.

`open_page` fails the test at its end if the page asked any other host, broke its Content-Security-Policy, or left an
exception uncaught. Without Chromium, or with TESTS_WITHOUT_BROWSER in the environment, the tests are skipped.
"""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, async_playwright, expect

from gateway.server import Gateway, serving
from tests.support.pulse_server import PulseServer
from tests.support.whole_gateway import heard_by, settings

TOKEN = "a-token-for-the-console"
DEADLINE_MS = 20_000
expect.set_options(timeout=DEADLINE_MS)  # Playwright's own 5 s are short for a machine that runs all tests at once
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = [
    "--no-sandbox",  # tests may run as root in a container
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # no network but loopback
]


@asynccontextmanager
async def gateway(folder: Path, **tree: Any) -> AsyncIterator[Gateway]:
    """
    A gateway whose calls are heard by a speech server that counts seconds of audio (`tests.support.pulse_server`).

    Args:
        folder: its data go to a folder in there.
        tree: further settings.
    """
    async with PulseServer() as speech:
        tree = {"stt": heard_by(speech), "api_token": TOKEN, **tree}
        async with serving(settings(folder / "data", **tree)) as served:
            yield served


@asynccontextmanager
async def browser(*, microphone: Path | None = None) -> AsyncIterator[Browser]:
    """
    Chromium without a window.

    Args:
        microphone: a WAV file that its microphone hears, over and over.
    """
    if os.environ.get("TESTS_WITHOUT_BROWSER"):
        pytest.skip("TESTS_WITHOUT_BROWSER is set")
    program = next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    flags = [*_FLAGS, *([f"--use-file-for-fake-audio-capture={microphone}"] if microphone else [])]
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=program, args=flags)
        try:
            yield chromium
        finally:
            await chromium.close()


@asynccontextmanager
async def open_page(
    chromium: Browser, served: Gateway, path: str = "/", *, token: str | None = TOKEN, **options: Any
) -> AsyncIterator[Page]:
    """
    A page of the console.

    Args:
        path: of the page.
        token: whose cookie the page has; None: nobody is logged in.
        options: of the browser's context, such as `color_scheme="dark"` or `viewport={"width": 360, "height": 740}`.
    """
    context = await chromium.new_context(base_url=served.url, **options)
    context.set_default_timeout(DEADLINE_MS)
    faults: list[str] = []
    try:
        page = await context.new_page()
        page.on("pageerror", lambda error: faults.append(f"uncaught: {error}"))
        page.on(
            "console",
            lambda said: faults.append(said.text) if "Content Security Policy" in said.text else None,
        )
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith((served.url, "blob:", "data:"))
                else faults.append(f"asked {request.url}")
            ),
        )
        line = served.url.replace("http", "ws", 1)
        page.on(
            "websocket",
            lambda socket: None if socket.url.startswith(line) else faults.append(f"asked {socket.url}"),
        )
        if token is not None:
            await page.goto(f"/?token={token}")
        await page.goto(path)
        yield page
        assert not faults, faults
    finally:
        await context.close()
