"""
What the harness's own programs have in common: they say when they are ready, and do what they are told.

Such a program prints one line of JSON once it is ready (`control`, the address of its commands, and others), obeys
`POST /NAME` with a JSON body there, and ends when its standard input does: so none outlives who started it, however
that one died.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from aiohttp import web

Command: TypeAlias = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


async def serve(addresses: Mapping[str, str], commands: Mapping[str, Command]) -> None:
    """Say that the program is ready, and obey until standard input ends."""
    app = web.Application()
    for name, command in commands.items():
        app.router.add_post(f"/{name}", _handler(command))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        print(json.dumps({**addresses, "control": f"http://{host}:{port}"}), flush=True)
        await _end_of_input()
    finally:
        await runner.cleanup()


def _handler(command: Command) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        return web.json_response(await command(await request.json()))

    return handle


async def _end_of_input() -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()
