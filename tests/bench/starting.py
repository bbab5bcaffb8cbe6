"""How long the gateway takes to start: `gateway serve` until it is ready, and `gateway --help`."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from tests.bench import machine
from tests.bench.programs import Program, ProgramFailed
from tests.bench.run import PRODUCT, START_S, product_settings, ready
from tests.bench.scenarios import Scenario


@dataclass(frozen=True, kw_only=True)
class Start:
    """
    One start of each, with warm files; seconds of the clock.

    Args:
        ready_s: from starting `gateway serve` to the first 200 of `/readyz`, on an empty data folder.
        help_s: from starting `gateway --help` to its end.
    """

    ready_s: float
    help_s: float


async def measure() -> Start:
    """
    Start both, once.

    Raises:
        ProgramFailed: one did not start, or failed.
    """
    nobody = "127.0.0.1:9"
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as folder:
        scenario = Scenario(name="start", calls=1)
        settings = product_settings(scenario, Path(folder) / "data", f"ws://{nobody}", f"http://{nobody}/hook")
        async with (
            aiohttp.ClientSession() as http,
            Program("-m", "gateway", "serve", core=machine.SERVER, environ=settings) as server,
        ):
            _, ready_s = await ready(server, PRODUCT, http)
            await server.end(by_signal=True)
    async with Program("-m", "gateway", "--help", core=machine.SERVER) as program:
        code = await program.ended(START_S)
        help_s = time.monotonic() - program.started_at
        if code:
            raise ProgramFailed(f"gateway --help ended with code {code}: {program.errors[-500:]}")
    return Start(ready_s=ready_s, help_s=help_s)
