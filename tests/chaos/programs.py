"""The harness's own programs from outside: started, told what to do, ended. Their inside is `obedience`."""

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self

import aiohttp

from tests.support.whole_gateway import clean_environment

READY_S = 20.0
END_S = 5.0
COMMAND_S = 120.0


class Program:
    """
    One of our programs as a process; an async context manager that ends it.

    Args:
        module: below `tests.chaos`.
        arguments: of its command line.
    """

    def __init__(self, module: str, *arguments: str) -> None:
        self._module = module
        self._arguments = arguments
        self.ready: dict[str, Any] = {}

    async def __aenter__(self) -> Self:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            f"tests.chaos.{self._module}",
            *self._arguments,
            env=clean_environment({}),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for us alone
        )
        assert self.process.stdout is not None
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._end)
            self._http = await stack.enter_async_context(aiohttp.ClientSession())
            async with asyncio.timeout(READY_S):
                line = await self.process.stdout.readline()
            self.ready = json.loads(line)
            self._open = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._open.aclose()

    async def tell(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Give a command; returns its answer, once it is in force."""
        timeout = aiohttp.ClientTimeout(total=COMMAND_S)
        url = f"{self.ready['control']}/{command}"
        async with self._http.post(url, json=arguments, timeout=timeout) as answer:
            answer.raise_for_status()
            told: dict[str, Any] = await answer.json()
            return told

    async def _end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            async with asyncio.timeout(END_S):
                await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
