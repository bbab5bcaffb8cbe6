"""The served speech APIs as a real server on loopback, in front of any recognisers."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from gateway.config import SpeechApiSettings
from gateway.speech_api.routes import SpeechApi
from gateway.stt.base import Recognizers

TOKEN = "sk_test"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


@dataclass(frozen=True)
class SpeechServer:
    """Where it listens, and its parts."""

    host: str
    api: SpeechApi
    runner: web.AppRunner

    def get_text(self, query: str = "", scheme: str = "ws") -> str:
        """Address of Pulse realtime."""
        return f"{scheme}://{self.host}/waves/v1/pulse/get_text?{query}"

    def live(self, query: str = "", scheme: str = "ws") -> str:
        """Address of the unified live route, with its model."""
        return f"{scheme}://{self.host}/waves/v1/stt/live?model=pulse&{query}"

    def lightning(self, query: str = "") -> str:
        """Address of Lightning."""
        return f"ws://{self.host}/api/v1/lightning/get_text?{query}"

    def slng(self) -> str:
        """Address of SLNG."""
        return f"ws://{self.host}/v1/stt/slng/deepgram/nova:3-en"


async def narrow_connection(host: str) -> socket.socket:
    """A connection whose client's side of the kernel's buffers holds next to nothing."""
    address, port = host.split(":")
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    narrow.setblocking(False)
    await asyncio.get_running_loop().sock_connect(narrow, (address, int(port)))
    return narrow


@asynccontextmanager
async def speech_server(
    recognizers: Recognizers, *, socket_buffer_bytes: int | None = None, is_draining: bool = False, **settings: Any
) -> AsyncIterator[SpeechServer]:
    """
    Serve until the context is left.

    Args:
        recognizers: behind the APIs.
        socket_buffer_bytes: of the kernel, per connection and direction; None: the system's own.
        is_draining: refuse new sessions.
        settings: of the room; the grace after `finalize` is short unless given.
    """
    api = SpeechApi(
        SpeechApiSettings(**{"finalize_grace_s": 0.05, **settings}), recognizers, TOKEN, is_draining=lambda: is_draining
    )
    app = web.Application()
    api.add_to(app)
    runner = web.AppRunner(app, shutdown_timeout=2.0)
    await runner.setup()
    with socket.socket() as listener:
        if socket_buffer_bytes is not None:  # accepted sockets inherit it
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, socket_buffer_bytes)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, socket_buffer_bytes)
        listener.bind(("127.0.0.1", 0))
        await web.SockSite(runner, listener).start()
        try:
            yield SpeechServer(f"127.0.0.1:{listener.getsockname()[1]}", api, runner)
        finally:
            await runner.cleanup()
