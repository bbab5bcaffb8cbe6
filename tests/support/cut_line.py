"""A line to a server on loopback that can be cut, or go dead without a word, and be mended again."""

import asyncio
from types import TracebackType
from typing import Self


class CutLine:
    """
    An async context manager.

    Args:
        port: of the server behind the line.

    Attributes:
        port: of the line.
    """

    def __init__(self, port: int) -> None:
        self._behind = port
        self._is_cut = False
        self._hears = asyncio.Event()
        self._hears.set()
        self._open: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut()
        self._hears.set()
        self._listener.close()

    def cut(self) -> None:
        """Break every connection, and let nobody through."""
        self._is_cut = True
        for writer in self._open:
            writer.transport.abort()

    def deafen(self) -> None:
        """Keep every connection, new ones too, and let nothing through."""
        self._hears.clear()

    def mend(self) -> None:
        """Let connections through again."""
        self._is_cut = False
        self._hears.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        back, there = await asyncio.open_connection("127.0.0.1", self._behind)
        ends = {writer, there}
        self._open |= ends
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._copy(reader, there))
                tasks.create_task(self._copy(back, writer))
        finally:
            self._open -= ends
            for end in ends:
                end.close()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                await self._hears.wait()
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass  # cut, or one side is gone
        writer.close()
