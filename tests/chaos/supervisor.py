"""
The stage of a scenario: a gateway that can be killed, between a speech service and a receiver that fail on command.

All are real processes on loopback. The gateway lives several lives on one data folder; what it is told is the same in
each. The truth of what happened is here: what was sent when, and when the gateway was killed.
"""

import asyncio
import json
import random
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from gateway.errors import UnavailableError
from tests.chaos.phones import Phones
from tests.chaos.programs import Program
from tests.support.pulse_server import KEY
from tests.support.webhook_receiver import SECRET
from tests.support.whole_gateway import GatewayProcess

ERRORS_THAT_ARE_BUGS = {"call_failed", "request_failed", "recovery_failed", "webhook_attempt_crashed"}
TIDY_S = 2.0
LOOK_AGAIN_S = 0.05
START_S = 60.0
KEEP_IN: ContextVar[Path | None] = ContextVar("KEEP_IN", default=None)
"""Where stages leave a copy of what they wrote: the gateway's log, the receiver's, the data folder."""


@dataclass
class Life:
    """One run of the gateway process."""

    process: GatewayProcess
    url: str
    killed_at: float | None = None
    faults: list[str] = field(default_factory=list)

    @property
    def stream_url(self) -> str:
        return self.url.replace("http", "ws", 1) + "/twilio/stream"

    async def kill(self) -> float:
        """SIGKILL, now; returns when that was, in loop seconds."""
        self.killed_at = asyncio.get_running_loop().time()
        self.process.send_signal(signal.SIGKILL)
        await self.process.process.wait()
        return self.killed_at

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Log lines of this name."""
        return [line for line in self.process.log if line["event"] == event]

    @property
    def resident_mb(self) -> float:
        """Memory of the process, MB."""
        status = Path(f"/proc/{self.process.process.pid}/status").read_text()
        return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS"))


class Stage:
    """
    What a scenario plays on; made by `staged`.

    Args:
        folder: for everything that is written.
        stt, receiver: running programs.
        phones: place the calls.
        rng: of everything random in the scenario.
    """

    def __init__(
        self,
        folder: Path,
        stt: Program,
        receiver: Program,
        phones: Phones,
        rng: random.Random,
        http: aiohttp.ClientSession,
    ) -> None:
        self.data_dir = folder / "data"
        self.stt = stt
        self.receiver = receiver
        self.phones = phones
        self.rng = rng
        self.lives: list[Life] = []
        self._folder = folder
        self._log = folder / "receiver.jsonl"
        self._http = http

    @asynccontextmanager
    async def life(self, **environ: Any) -> AsyncIterator[Life]:
        """The gateway from start to end; killed, unless it has ended. `environ` goes over what all lives are told."""
        process = GatewayProcess(self.data_dir, **{**self._environment(), **environ})
        try:
            async with process:
                life = Life(process, await _started(process))
                self.lives.append(life)
                yield life
            life.faults += _faults_of(life)
        finally:
            self._write_log(process)

    def _write_log(self, process: GatewayProcess) -> None:
        """For whoever wants to know what went wrong; see `KEEP_IN`."""
        with (self._folder / "gateway.jsonl").open("a") as file:
            for line in process.log:
                file.write(json.dumps({**line, "pid": process.process.pid}) + "\n")
            if process.errors:
                file.write(json.dumps({"standard_error": process.errors, "pid": process.process.pid}) + "\n")

    async def stillborn(self, after_s: float) -> None:
        """A gateway that is killed while it starts."""
        async with GatewayProcess(self.data_dir, **self._environment()) as process:
            await asyncio.sleep(after_s)
            process.send_signal(signal.SIGKILL)

    async def until_ended(self, calls: int, within_s: float) -> bool:
        """
        Wait until the receiver has kept the end of so many calls; whether it has in time.

        A call's file goes when its end is stored, which its delivery may overtake: that is waited for, too.
        """
        is_reached = bool((await self.receiver.tell("wait", ended=calls, timeout_s=within_s))["reached"])
        for _ in range(round(TIDY_S / LOOK_AGAIN_S)):
            if not is_reached or not self.leftovers():
                break
            await asyncio.sleep(LOOK_AGAIN_S)
        return is_reached

    def deliveries(self) -> list[dict[str, Any]]:
        """The receiver's log."""
        return [json.loads(line) for line in self._log.read_text().splitlines()]

    def leftovers(self) -> list[str]:
        """Journal files that are still there: of calls that are complete there are none."""
        return [path.name for path in sorted((self.data_dir / "journal").glob("*.journal"))]

    async def ready(self, life: Life) -> tuple[int, list[str]]:
        """Status and reasons of `/readyz`."""
        async with self._http.get(f"{life.url}/readyz") as answer:
            return answer.status, (await answer.json())["reasons"]

    async def metric(self, life: Life, name: str) -> float:
        """The sum of a metric over its labels."""
        async with self._http.get(f"{life.url}/metrics") as answer:
            lines = (await answer.text()).splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.partition("{")[0].split(" ")[0] == name)

    @property
    def faults(self) -> list[str]:
        """Of all lives that are over."""
        return [fault for life in self.lives for fault in life.faults]

    def _environment(self) -> dict[str, Any]:
        live = {
            "kind": "pulse-live",
            "url": f"{self.stt.ready['url']}?tag={{metadata.tag}}",
            "api_key": KEY,
            "connect_timeout_s": 2,
        }
        return {
            "GATEWAY_API_TOKEN": "token-of-the-harness",  # one of its own would be told on standard error
            "GATEWAY_STT__DEFAULT": "tones",
            "GATEWAY_STT__PROFILES": {"tones": live},
            "GATEWAY_WEBHOOK__URL": self.receiver.ready["url"],
            "GATEWAY_WEBHOOK__SECRET": SECRET,
            "GATEWAY_WEBHOOK__ALLOW_PRIVATE": "true",
            "GATEWAY_WEBHOOK__CONCURRENCY": "64",
            "GATEWAY_OUTBOX__RETRY_DELAYS_S": [0.2, 0.5, 1, 2, *[5] * 20],
        }


@asynccontextmanager
async def staged(seed: int, *, data_dir: Path | None = None) -> AsyncIterator[Stage]:
    """
    Put up a stage, and take it down with everything that was started and written.

    Args:
        seed: of everything random.
        data_dir: of the gateway, if not in the stage's own folder.
    """
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-chaos-")))
        rng = random.Random(seed)
        stt = await stack.enter_async_context(Program("stt_server", "--seed", str(seed)))
        receiver = Program("receiver", "--seed", str(seed), "--log", str(folder / "receiver.jsonl"))
        await stack.enter_async_context(receiver)
        phones = await stack.enter_async_context(Phones(rng))
        http = await stack.enter_async_context(aiohttp.ClientSession())
        stage = Stage(folder, stt, receiver, phones, rng, http)
        if data_dir is not None:
            stage.data_dir = data_dir
        try:
            yield stage
        finally:
            if (keep_in := KEEP_IN.get()) is not None:
                shutil.copytree(folder, tempfile.mkdtemp(prefix=f"seed-{seed}-", dir=keep_in), dirs_exist_ok=True)


async def _started(process: GatewayProcess) -> str:
    """Its address, once it listens. Many may start at once here, on a machine that has other things to do."""

    async def has_started() -> bool:
        return process.process.returncode is not None or any(line["event"] == "gateway_started" for line in process.log)

    if await eventually(has_started, START_S) is None or process.process.returncode is not None:
        raise UnavailableError(f"the gateway did not start within {START_S:.0f} s, or ended at once")
    return await process.base_url()


async def eventually(probe: Callable[[], Awaitable[bool]], within_s: float) -> float | None:
    """Wait until a probe is true; returns the seconds that took, None if it never was."""
    clock = asyncio.get_running_loop().time
    began = clock()
    while not await probe():
        if clock() - began > within_s:
            return None
        await asyncio.sleep(LOOK_AGAIN_S)
    return clock() - began


async def moments(rng: random.Random, count: int, seconds: float) -> AsyncIterator[int]:
    """Return at so many random moments of the next seconds, one after the other."""
    clock = asyncio.get_running_loop().time
    began = clock()
    for number, moment in enumerate(sorted(rng.uniform(0, seconds) for _ in range(count))):
        await asyncio.sleep(max(0.0, began + moment - clock()))
        yield number


def _faults_of(life: Life) -> list[str]:
    """Bugs that its log or its standard error tell of."""
    found = [f"log: {line}" for line in life.process.log if line["event"] in ERRORS_THAT_ARE_BUGS]
    if life.process.errors:
        found.append(f"standard error: {life.process.errors[-500:]}")
    return found
