"""A gateway process under a load whose log nobody could read: counted, measured, and asked whether it is at rest."""

import asyncio
import json
import os
import re
import signal
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.whole_gateway import GatewayProcess

_LOOK_S = 0.1
_SAMPLE = re.compile(r"^([a-z_]+)(?:\{[^}]*\})? (\S+)$", re.MULTILINE)
_CONNECTIONS_AT_REST = ("gateway_calls_active", "gateway_stt_sessions_active", "gateway_outbox_pending")


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a process holds at one moment; `kinds` counts its open files by what they are."""

    rss_kb: int
    tasks: int
    kinds: Counter[str]

    @property
    def open_files(self) -> int:
        return self.kinds.total()


class WatchedGateway(GatewayProcess):
    """
    As `GatewayProcess`, but only log lines that matter are kept.

    Attributes:
        events: how often each log line came.
        faults: lines of level `error`, or with an exception.
    """

    def __init__(self, data_dir: Path, **environ: Any) -> None:
        super().__init__(data_dir, **environ)
        self.data_dir = data_dir
        self.events: Counter[str] = Counter()
        self.faults: list[dict[str, Any]] = []

    async def metrics(self) -> Counter[str]:
        """Each metric's samples summed over its labels."""
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session,
            session.get(await self.base_url() + "/metrics", headers={"Connection": "close"}) as answer,
        ):
            page = await answer.text()
        sums: Counter[str] = Counter()
        for name, value in _SAMPLE.findall(page):
            sums[name] += float(value)  # type: ignore[assignment]
        return sums

    async def holdings(self) -> Holdings:
        """What it holds now; the connection that asks is among it, each time."""
        tasks = int((await self.metrics())["gateway_event_loop_tasks"])
        return Holdings(_rss_kb(self.process.pid), tasks, _open_files(self.process.pid))

    async def at_rest(self, timeout_s: float) -> bool:
        """Wait until no call, no recogniser session and no delivery is under way; false: not in this time."""
        return await self.until(lambda sums: not any(sums[name] for name in _CONNECTIONS_AT_REST), timeout_s)

    async def until(self, condition: Any, timeout_s: float) -> bool:
        """Wait until this is true of its metrics; false: not in this time."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while not condition(await self.metrics()):
            if asyncio.get_running_loop().time() > deadline:
                return False
            await asyncio.sleep(_LOOK_S)  # another process: there is nothing here that could wake us
        return True

    async def settled(self, wanted: Holdings, timeout_s: float) -> Holdings:
        """What it holds once that is no more, in tasks and files, than wanted; or at the end of this time."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while True:
            now = await self.holdings()
            is_settled = now.tasks <= wanted.tasks and now.open_files <= wanted.open_files
            if is_settled or asyncio.get_running_loop().time() > deadline:
                return now
            await asyncio.sleep(_LOOK_S)

    async def complaints_at_the_end(self) -> list[str]:
        """End it with SIGTERM: what was wrong with how it went, and with what it said to standard error."""
        if self.process.returncode is not None:
            return [f"it had ended with {self.process.returncode}"]
        self.send_signal(signal.SIGTERM)
        code = await self.exit_code()
        return [f"it ended with {code}"] * (code != 0) + [f"stderr: {line}" for line in self.errors.splitlines()]

    def leftovers(self) -> list[str]:
        """Files of its data folder that belong to one call or one upload."""
        folders = [self.data_dir / name for name in ("journal", "uploads")]
        return [str(path.relative_to(self.data_dir)) for folder in folders for path in folder.rglob("*")]

    async def _read_log(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            values = json.loads(line)
            self.events[values["event"]] += 1
            is_fault = values["level"] in ("error", "critical") or "raised" in values
            if is_fault:
                self.faults.append(values)
            if is_fault or values["event"].startswith("gateway_"):
                async with self._changed:
                    self.log.append(values)
                    self._changed.notify_all()


def _rss_kb(pid: int) -> int:
    """Resident memory, with everything that is shared only with processes that have gone."""
    match = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert match is not None
    return int(match[1])


def _open_files(pid: int) -> Counter[str]:
    kinds: Counter[str] = Counter()
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{name}")
        except FileNotFoundError:  # closed meanwhile
            continue
        kinds[re.sub(r":?\[.*\]", "", target) if target.startswith(("socket", "pipe", "anon")) else target] += 1
    return kinds
