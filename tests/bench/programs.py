"""The programs of a run from outside: started on their core, listened to, ended."""

import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from tests.bench import machine
from tests.support.whole_gateway import clean_environment

END_S = 30.0
_MAX_LINE_BYTES = 1_000_000
Line = dict[str, Any]


class ProgramFailed(Exception):
    """A program ended, or did not do in time what it should."""


class Program:
    """
    A Python program that speaks in lines of JSON; an async context manager that kills what is left.

    Args:
        arguments: of the interpreter.
        core: `machine.SERVER` or `machine.OTHERS`.
        environ: further variables; lists and tables become JSON.

    Attributes:
        lines: what it said so far.
        started_at: when it was started; monotonic seconds.
    """

    def __init__(self, *arguments: str, core: int, environ: Mapping[str, Any] | None = None) -> None:
        self._arguments = arguments
        self._core = core
        self._environ = {
            name: value if isinstance(value, str) else json.dumps(value) for name, value in (environ or {}).items()
        }
        self._changed = asyncio.Condition()
        self._tasks = asyncio.TaskGroup()
        self._has_ended = False
        self.lines: list[Line] = []

    async def __aenter__(self) -> Self:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed on leaving
        with machine.on_core(self._core):
            self.started_at = time.monotonic()
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                *self._arguments,
                env=clean_environment(self._environ),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=self._errors,
                limit=_MAX_LINE_BYTES,
                start_new_session=True,  # Ctrl-C is for us alone
            )
        await self._tasks.__aenter__()
        self._listening = self._tasks.create_task(self._listen())
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        try:
            if self.process.returncode is None:
                self.process.kill()
            await self.process.wait()
            self._listening.cancel()
            # Not given the body's error, which a task group would wrap in a group.
            await self._tasks.__aexit__(None, None, None)
        finally:
            self._errors.close()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def errors(self) -> str:
        """Standard error so far."""
        return os.pread(self._errors.fileno(), 1_000_000, 0).decode(errors="replace").strip()

    async def said(self, event: str, within_s: float) -> Line:
        """
        The first line of this name.

        Raises:
            ProgramFailed: it did not come in time, or never will.
        """
        await self._until(lambda: self._has_ended or any(line.get("event") == event for line in self.lines), within_s)
        for line in self.lines:
            if line.get("event") == event:
                return line
        raise ProgramFailed(f"{self} ended instead of saying {event}: {self.errors[-500:]}")

    def tell(self, what: str) -> None:
        """Give it a line on its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{what}\n".encode())

    async def end(self, *, by_signal: bool = False) -> int:
        """
        Tell it to end, by a signal or by the end of its standard input; returns its exit code.

        Raises:
            ProgramFailed: it does not end.
        """
        if by_signal:
            self.process.send_signal(signal.SIGTERM)
        assert self.process.stdin is not None
        self.process.stdin.close()
        return await self.ended(END_S)

    async def ended(self, within_s: float) -> int:
        """
        Its exit code, once it has ended.

        Raises:
            ProgramFailed: it does not end.
        """
        await self._until(lambda: self._has_ended, within_s)
        return await self.process.wait()

    async def _until(self, is_so: Callable[[], bool], within_s: float) -> None:
        try:
            async with asyncio.timeout(within_s), self._changed:
                await self._changed.wait_for(is_so)
        except TimeoutError:
            raise ProgramFailed(f"{self} did not get on within {within_s:.0f} s") from None

    async def _listen(self) -> None:
        assert self.process.stdout is not None
        async for text in self.process.stdout:
            async with self._changed:
                self.lines.append(_line(text))
                self._changed.notify_all()
        async with self._changed:
            self._has_ended = True
            self._changed.notify_all()

    def __str__(self) -> str:
        return " ".join(self._arguments[:3])


def _line(text: bytes) -> Line:
    try:
        line = json.loads(text)
    except ValueError:
        line = None
    return line if isinstance(line, dict) else {"event": "no_json", "level": "error"}
