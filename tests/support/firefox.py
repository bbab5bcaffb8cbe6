"""
The console in Firefox: the one of the system, without a window, driven by WebDriver BiDi (w3.org/TR/webdriver-bidi).

    async with firefox() as tab:  # or: async with sound_output() as sound, firefox(**sound) as tab
        await tab.open(served.url + "/login")
        await tab.click("input[name=token]")
        await tab.type("…\\n")
        await tab.until("document.querySelector('main')")

Playwright drives a Firefox of its own only, which is not to be had from Debian. What every page must do is tested in
Chromium (`tests.support.console`); here stands what another engine may do otherwise. Without Firefox, or with
TESTS_WITHOUT_BROWSER in the environment, the tests are skipped.
"""

import asyncio
import itertools
import json
import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

DEADLINE_S = 60.0
_NAMES = ("firefox-esr", "firefox")
_SETTINGS = {
    "media.navigator.streams.fake": True,  # a microphone that hears a tone
    "media.navigator.permission.disabled": True,
    "media.autoplay.default": 0,
    "media.cubeb.backend": "pulse-rust",  # no other sound output than `sound_output`
    "app.update.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "network.prefetch-next": False,
}
_NO_SOUND = {"PULSE_SERVER": "unix:/nowhere"}
_SOUND = "load-module module-null-sink\nload-module module-native-protocol-unix auth-anonymous=1 socket={door}\n"
_STARTED = re.compile(rb"[Ss]tartup complete")
_LISTENING = re.compile(rb"listening on (ws://\S+)")
_LINE_IS_DOWN = re.compile(r"Firefox can.t establish a connection to the server at wss?://|The connection to wss?://")
"""How Firefox tells of a WebSocket that is cut, sometimes; no script failed."""


class CommandFailed(Exception):
    """Firefox did not do it."""


class Tab:
    """
    One tab.

    Args:
        line: to Firefox.

    Attributes:
        faults: errors of scripts that nobody caught, and requests to others than the host that was opened.
    """

    def __init__(self, line: ClientConnection) -> None:
        self._line = line
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._context = ""
        self._host = ""
        self.faults: list[str] = []

    async def begin(self) -> None:
        """Take the tab that is there."""
        await self._command("session.new", capabilities={})
        await self._command("session.subscribe", events=["log.entryAdded", "network.beforeRequestSent"])
        tree = await self._command("browsingContext.getTree")
        self._context = tree["contexts"][0]["context"]

    async def listen(self) -> None:
        """Hear what Firefox says, until it is gone."""
        try:
            async for message in self._line:
                self._hear(json.loads(message))
        except ConnectionClosed:
            return

    async def open(self, url: str) -> None:
        """Go to an address, and wait until it is loaded."""
        self._host = urlsplit(url).netloc
        await self._command("browsingContext.navigate", context=self._context, url=url, wait="complete")

    async def evaluate(self, expression: str) -> Any:
        """What an expression of the page gives, waiting for promises; what JSON can say of it."""
        found = await self._command(
            "script.evaluate",
            expression=f"(async () => JSON.stringify(await ({expression})))()",
            target={"context": self._context},
            awaitPromise=True,
        )
        if found["type"] != "success":
            raise CommandFailed(found["exceptionDetails"]["text"])
        return json.loads(found["result"].get("value", "null"))

    async def until(self, condition: str) -> None:
        """Until something is so on the page, or on the next one."""
        look = f"new Promise(is => {{ const look = () => ({condition}) ? is(true) : setTimeout(look, 30); look(); }})"
        async with asyncio.timeout(DEADLINE_S):
            while True:
                try:
                    await self.evaluate(look)
                except CommandFailed:  # the page is left while it looks
                    continue
                return

    async def click(self, selector: str) -> None:
        """Click the first element of a CSS selector in its middle, once there is one."""
        await self.until(f"document.querySelector({json.dumps(selector)})")
        place = await self.evaluate(
            f"(() => {{ const at = document.querySelector({json.dumps(selector)});"
            " at.scrollIntoView({ block: 'center', behavior: 'instant' });"
            " const { x, y, width, height } = at.getBoundingClientRect();"
            " return { x: Math.round(x + width / 2), y: Math.round(y + height / 2) }; })()"
        )
        press, release = ({"type": each, "button": 0} for each in ("pointerDown", "pointerUp"))
        await self._act("pointer", [{"type": "pointerMove", **place}, press, release])

    async def type(self, text: str) -> None:
        """Press keys; a line break is Enter."""
        keys = [key if key != "\n" else "\ue007" for key in text]
        await self._act("key", [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")])

    async def choose(self, selector: str, file: Path) -> None:
        """Choose a file in the first field of a CSS selector."""
        found = await self._command(
            "script.evaluate",
            expression=f"document.querySelector({json.dumps(selector)})",
            target={"context": self._context},
            awaitPromise=False,
        )
        element = {"sharedId": found["result"]["sharedId"]}
        await self._command("input.setFiles", context=self._context, element=element, files=[str(file)])

    async def _act(self, kind: str, actions: list[dict[str, Any]]) -> None:
        source = {"type": kind, "id": kind, "actions": actions}
        await self._command("input.performActions", context=self._context, actions=[source])

    async def _command(self, method: str, **params: Any) -> Any:
        number = next(self._numbers)
        self._waiting[number] = answer = asyncio.get_running_loop().create_future()
        await self._line.send(json.dumps({"id": number, "method": method, "params": params}))
        async with asyncio.timeout(DEADLINE_S):
            return await answer

    def _hear(self, message: dict[str, Any]) -> None:
        match message:
            case {"type": "success", "id": int(number), "result": result}:
                self._waiting.pop(number).set_result(result)
            case {"type": "error", "id": int(number), "message": str(why)}:
                self._waiting.pop(number).set_exception(CommandFailed(why))
            case {"method": "log.entryAdded", "params": {"level": "error", "type": "javascript", "text": str(text)}}:
                if not _LINE_IS_DOWN.match(text):
                    self.faults.append(text)
            case {"method": "network.beforeRequestSent", "params": {"request": {"url": str(url)}}}:
                address = urlsplit(url)
                if self._host and address.scheme in ("http", "https", "ws", "wss") and address.netloc != self._host:
                    self.faults.append(f"asked {url}")


@asynccontextmanager
async def sound_output() -> AsyncIterator[dict[str, str]]:
    """A sound server that nobody hears: what Firefox has to be told of it. Its microphone works with one only."""
    program = shutil.which("pulseaudio")
    if program is None:
        pytest.skip("no PulseAudio is installed (Debian: apt-get install pulseaudio)")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        door = f"{folder}/door"
        wanted = _write(folder, "wanted", _SOUND.format(door=door))
        process = await asyncio.create_subprocess_exec(
            program,
            *("-n", "-F", wanted, "--exit-idle-time=-1", "--disable-shm=true", "--log-level=info"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "HOME": folder, "XDG_RUNTIME_DIR": folder},
        )
        try:
            await _said(process, _STARTED)
            yield {"PULSE_SERVER": f"unix:{door}"}
        finally:
            process.terminate()
            await process.communicate()


@asynccontextmanager
async def firefox(**environment: str) -> AsyncIterator[Tab]:
    """
    A tab of a Firefox of its own; fails at the end if a script failed or another host was asked.

    Args:
        environment: of the process; without a sound output from `sound_output` it has none.
    """
    if os.environ.get("TESTS_WITHOUT_BROWSER"):
        pytest.skip("TESTS_WITHOUT_BROWSER is set")
    program = next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        pytest.skip("no Firefox is installed (Debian: apt-get install firefox-esr)")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in _SETTINGS.items()]
        _write(folder, "user.js", "".join(lines))
        process = await asyncio.create_subprocess_exec(
            program,
            *("--headless", "--no-remote", "--profile", folder, "--remote-debugging-port", "0"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **_NO_SOUND, "HOME": folder, **environment},
        )
        try:
            async with _tab(process) as tab:
                yield tab
        finally:
            process.terminate()
            await process.communicate()


@asynccontextmanager
async def _tab(process: asyncio.subprocess.Process) -> AsyncIterator[Tab]:
    address = (await _said(process, _LISTENING))[1].decode()
    async with connect(f"{address}/session", max_size=None) as line_to, asyncio.TaskGroup() as tasks:
        tab = Tab(line_to)
        listening = tasks.create_task(tab.listen())
        await tab.begin()
        yield tab
        listening.cancel()
    assert not tab.faults, tab.faults


async def _said(process: asyncio.subprocess.Process, pattern: re.Pattern[bytes]) -> re.Match[bytes]:
    """Wait until a program says this on its standard error."""
    assert process.stderr is not None
    async with asyncio.timeout(DEADLINE_S):
        while (found := pattern.search(line := await process.stderr.readline())) is None:
            assert line, "it has ended"
    return found


def _write(folder: str, name: str, text: str) -> str:
    path = Path(folder, name)
    path.write_text(text)
    return str(path)
