"""The whole gateway on loopback: in this process, or as a process of its own that can be killed."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from gateway import config_sources
from gateway.config import Settings
from tests.support.phone import Phone
from tests.support.pulse_server import KEY, PulseServer
from tests.support.webhook_receiver import SECRET, Receiver

FAST_ENGINE = "tests.support.engines:CountingEngines"
"""Loads no model: for gateways whose embedded recogniser is not the point."""
DEADLINE_S = 60.0


def settings(data_dir: Path, **tree: Any) -> Settings:
    """Settings of a gateway on any free port, without the environment of whoever runs the tests."""
    return config_sources.load(environ={}, flags={"port": 0, "data_dir": str(data_dir), **tree})


def heard_by(server: PulseServer, **profile: Any) -> dict[str, Any]:
    """`stt` settings whose default profile is this server."""
    live = {"kind": "pulse-live", "url": server.url, "api_key": KEY, "connect_timeout_s": 2, **profile}
    return {"default": "live", "drain_s": 2, "profiles": {"live": live}}


def posted_to(receiver: Receiver, **changes: Any) -> dict[str, Any]:
    """`webhook` settings of a gateway that posts to this receiver."""
    return {"url": receiver.url, "secret": SECRET, "allow_private": True, **changes}


@asynccontextmanager
async def phone(stream_url: str, **headers: str) -> AsyncIterator[Phone]:
    """A stream to a gateway."""
    async with aiohttp.ClientSession() as session, session.ws_connect(stream_url, headers=headers) as socket:
        yield Phone(socket)


async def until_ended(receiver: Receiver, calls: int = 1) -> list[Any]:
    """The events that a receiver has, once so many calls are over."""
    while sum(each.event["type"] == "call.ended" for each in receiver.requests) < calls:
        await receiver.wait_for(len(receiver.requests) + 1)
    return [each.event for each in receiver.requests]


class GatewayProcess:
    """
    `gateway serve` as a process; an async context manager that kills what is left.

    Args:
        data_dir: of its store.
        environ: further variables, such as `GATEWAY_STT__DEFAULT`; lists and tables become JSON.

    Attributes:
        log: the log so far, one dict per line.
        errors: standard error, once it has ended.
    """

    def __init__(self, data_dir: Path, **environ: Any) -> None:
        self._environ = {
            "GATEWAY_PORT": "0",
            "GATEWAY_DATA_DIR": str(data_dir),
            "GATEWAY_LOG__FORMAT": "json",
            **{name: value if isinstance(value, str) else json.dumps(value) for name, value in environ.items()},
        }
        self._tasks = asyncio.TaskGroup()
        self._changed = asyncio.Condition()
        self.log: list[dict[str, Any]] = []
        self.errors = ""

    async def __aenter__(self) -> Self:
        self.process = await start("serve", **self._environ)
        await self._tasks.__aenter__()
        self._tasks.create_task(self._read_log())
        self._reading_errors = self._tasks.create_task(self._read_errors())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await self._tasks.__aexit__(kind, error, trace)

    async def base_url(self) -> str:
        """`http://host:port`, once it listens."""
        line = await self.wait_for_log("gateway_started")
        return f"http://{line['host']}:{line['port']}"

    async def stream_url(self) -> str:
        return (await self.base_url()).replace("http", "ws", 1) + "/twilio/stream"

    async def wait_for_log(self, event: str) -> dict[str, Any]:
        """The first log line of this name, once it is there."""
        async with asyncio.timeout(DEADLINE_S), self._changed:
            await self._changed.wait_for(lambda: any(line["event"] == event for line in self.log))
        return next(line for line in self.log if line["event"] == event)

    async def metric(self, name: str) -> float:
        """A metric without labels."""
        async with aiohttp.ClientSession() as session, session.get(f"{await self.base_url()}/metrics") as answer:
            page = await answer.text()
        return float(next(line.split()[1] for line in page.splitlines() if line.startswith(f"{name} ")))

    async def until_metric(self, name: str, at_least: float) -> None:
        """Ask for a metric until it is so high."""
        async with asyncio.timeout(DEADLINE_S):
            while await self.metric(name) < at_least:
                pass

    def send_signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def exit_code(self) -> int:
        """How it ended, once it has."""
        async with asyncio.timeout(DEADLINE_S):
            code = await self.process.wait()
            await self._reading_errors
        return code

    async def _read_log(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            async with self._changed:
                self.log.append(json.loads(line))
                self._changed.notify_all()

    async def _read_errors(self) -> None:
        assert self.process.stderr is not None
        self.errors = (await self.process.stderr.read()).decode()


async def start(*arguments: str, **environ: str) -> asyncio.subprocess.Process:
    """`gateway …` as a process with an environment of its own."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "gateway",
        *arguments,
        env=clean_environment(environ),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def run(*arguments: str, **environ: str) -> tuple[int, str, str]:
    """Run `gateway …` to its end: exit code, standard output, standard error."""
    process = await start(*arguments, **environ)
    try:
        async with asyncio.timeout(DEADLINE_S):
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, output.decode(), errors.decode()


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Ours without the gateway's settings, and these."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(config_sources.ENV_PREFIX)}
    return {**kept, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), **environ}
