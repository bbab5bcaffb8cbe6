"""A line to a server that holds everything back until it is told to let it through: a slow handshake of any length."""

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit


class HeldLine:
    """
    An async context manager.

    Args:
        url: of the server behind the line.

    Attributes:
        url: the same, but at this line.
        let_through: set it, and all that was held goes on its way; what comes then goes at once.
        reached: set when the first client has connected.
    """

    def __init__(self, url: str) -> None:
        self._server_url = urlsplit(url)
        self._tasks: set[asyncio.Task[None]] = set()
        self.let_through = asyncio.Event()
        self.reached = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._listener.sockets[0].getsockname()[1]
        self.url = self._server_url._replace(netloc=f"127.0.0.1:{port}").geturl()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        for task in self._tasks:
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.reached.set()
        try:
            await self.let_through.wait()
            server = await asyncio.open_connection(self._server_url.hostname, self._server_url.port)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_copy(reader, server[1]))
                tasks.create_task(_copy(server[0], writer))
        except (ConnectionError, asyncio.CancelledError):
            pass  # the test is over, or one side is gone
        finally:
            self._tasks.discard(task)
            writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while octets := await reader.read(65_536):
            writer.write(octets)
            await writer.drain()
    writer.close()
