"""
A page in a real browser: headless Chromium, driven through its DevTools protocol.

Source: chromedevtools.github.io/devtools-protocol, domains Page, Runtime and DOM.
"""

import asyncio
import itertools
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_START_S = 30.0
_DEADLINE_S = 60.0
_FLAGS = (
    "--headless",
    "--no-sandbox",  # tests may run as root in a container
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--remote-debugging-port=0",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # no network but loopback
)


class Page:
    """
    One page of a browser.

    Attributes:
        console: what its programs wrote to the console, one text per call, arguments joined by spaces; objects as JSON.
        errors: exceptions that nothing caught.
        loaded: set once the page is there, its scripts run.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._changed = asyncio.Condition()
        self.loaded = asyncio.Event()
        self.console: list[str] = []
        self.errors: list[str] = []

    async def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page, awaited if it is a promise."""
        answer = await self.command(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True, userGesture=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def choose_file(self, selector: str, file: Path) -> None:
        """Choose a file in the input of that selector, as its user would."""
        root = await self.command("DOM.getDocument")
        found = await self.command("DOM.querySelector", nodeId=root["root"]["nodeId"], selector=selector)
        await self.command("DOM.setFileInputFiles", nodeId=found["nodeId"], files=[str(file)])

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds; looked at after each line of the console and each error."""
        async with asyncio.timeout(_DEADLINE_S), self._changed:
            await self._changed.wait_for(condition)

    async def command(self, method: str, **parameters: object) -> dict[str, Any]:
        """One command of the DevTools protocol; returns its result."""
        number = next(self._numbers)
        self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        async with asyncio.timeout(_DEADLINE_S):
            answer = await self._answers[number]
        assert "error" not in answer, f"{method}: {answer['error']}"
        result: dict[str, Any] = answer["result"]
        return result

    async def listen(self) -> None:
        """Take in what the browser says, until it goes away."""
        async for message in self._socket:
            said = message.json()
            if "id" in said:
                self._answers.pop(said["id"]).set_result(said)
                continue
            match said["method"]:
                case "Runtime.consoleAPICalled":
                    self.console.append(" ".join(_text(argument) for argument in said["params"]["args"]))
                case "Page.loadEventFired":
                    self.loaded.set()
                case "Runtime.exceptionThrown":
                    self.errors.append(str(said["params"]["exceptionDetails"]))
            async with self._changed:
                self._changed.notify_all()


@asynccontextmanager
async def open_page(html: str, folder: Path, *, microphone: Path | None = None) -> AsyncIterator[Page]:
    """
    A page with this body, from a server on loopback; skips the test where there is no Chromium.

    Args:
        html: of the page.
        folder: for the browser's profile.
        microphone: a WAV file that the microphone hears.
    """
    program = next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    flags = [*_FLAGS, f"--user-data-dir={folder / 'chromium'}"]
    if microphone is not None:
        flags.append(f"--use-file-for-fake-audio-capture={microphone}")
    process = await asyncio.create_subprocess_exec(
        program, *flags, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    try:
        async with _serve(html) as url, aiohttp.ClientSession() as session, asyncio.TaskGroup() as tasks:
            address = await _page_address(process.stderr, session)
            async with session.ws_connect(address, max_msg_size=0) as socket:
                page = Page(socket)
                background = [tasks.create_task(page.listen()), tasks.create_task(process.stderr.read())]
                await page.command("Runtime.enable")
                await page.command("Page.enable")
                await page.command("Page.navigate", url=url)
                async with asyncio.timeout(_DEADLINE_S):
                    await page.loaded.wait()
                yield page
                for task in background:
                    task.cancel()
    finally:
        await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    process.terminate()
    try:
        async with asyncio.timeout(_DEADLINE_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def _page_address(stderr: asyncio.StreamReader, session: aiohttp.ClientSession) -> str:
    """Where a new tab is driven; the browser says on standard error whom to ask for one."""
    async with asyncio.timeout(_START_S):
        said = b""
        while b"DevTools listening on ws://" not in said:
            said = await stderr.readline()
            assert said, "the browser ended"
        host = said.decode().split("ws://")[1].split("/")[0]
        async with session.put(f"http://{host}/json/new") as answer:
            address: str = (await answer.json())["webSocketDebuggerUrl"]
    return address


@asynccontextmanager
async def _serve(html: str) -> AsyncIterator[str]:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text=f"<!doctype html><meta charset=utf-8>{html}", content_type="text/html")

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


def _text(argument: dict[str, Any]) -> str:
    """A console argument as people see it; of an object only the preview of its first properties is sent."""
    if "value" in argument:
        return str(argument["value"])
    properties = argument.get("preview", {}).get("properties", ())
    return "{" + ", ".join(f"{each['name']}: {each.get('value')}" for each in properties) + "}"
