"""
Those who watch the live feed, as one program: server-sent events on raw connections.

    python -m tests.bench.viewers --port 8080 --token T --viewers 50 --results FILE [--deaf]

Connects them when a line comes on its standard input, prints a line of JSON when all of them watch, reads until its
standard input ends, and then writes to the file when each final came to the first viewer. The others read, and look at
nothing; with `--deaf` the last one does not even read.
"""

import argparse
import asyncio
import gc
import json
import os
import socket
import sys
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import cast

import msgspec
import uvloop

_FINAL = b"event: transcript.final\ndata: "
_DEAF_BUFFER_BYTES = 4096
_NICE = 10
"""Viewers are other machines: on the core that they share with those who measure, they give way to them."""


class _Data(msgspec.Struct):
    text: str


class _Event(msgspec.Struct):
    data: _Data


_decode = msgspec.json.Decoder(_Event).decode


@dataclass
class Shown:
    """
    What came.

    Attributes:
        finals: when each came to the first viewer, by its text; monotonic seconds.
        watching: viewers that have been answered.
        lost: viewers whose connection has ended.
    """

    finals: dict[str, float] = field(default_factory=dict)
    watching: int = 0
    lost: int = 0


class ViewerSocket(asyncio.Protocol):
    """One viewer; `is_witness`: it notes what it reads."""

    def __init__(self, shown: Shown, token: str, *, is_witness: bool = False, is_deaf: bool = False) -> None:
        self._shown = shown
        self._token = token
        self._is_witness = is_witness
        self._is_deaf = is_deaf
        self._is_answered = False
        self._held = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one, but does not descend from it
        request = f"GET /api/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {self._token}\r\n\r\n"
        self._transport.write(request.encode())

    def data_received(self, data: bytes) -> None:
        if not self._is_answered:
            self._is_answered = True
            self._shown.watching += data.startswith(b"HTTP/1.1 200")
            if self._is_deaf:
                self._transport.pause_reading()
        if self._is_witness:
            self._read(data, time.monotonic())

    def connection_lost(self, _error: Exception | None) -> None:
        self._shown.lost += 1

    def _read(self, data: bytes, at: float) -> None:
        """Whole blocks; what is between them, such as sizes of chunks, is not looked at."""
        *blocks, self._held = (self._held + data).split(b"\n\n")
        for block in blocks:
            _, found, body = block.partition(_FINAL)
            if found:
                self._shown.finals.setdefault(_decode(body).data.text, at)


async def watch(port: int, token: str, viewers: int, *, has_deaf: bool) -> Shown:
    """Watch from the first line of standard input until it ends."""
    shown = Shown()
    loop = asyncio.get_running_loop()
    print(json.dumps({"event": "viewers_ready"}), flush=True)
    await loop.run_in_executor(None, sys.stdin.buffer.readline)
    for number in range(viewers):
        is_deaf = has_deaf and number == viewers - 1
        connection = socket.socket()
        if is_deaf:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _DEAF_BUFFER_BYTES)
        connection.setblocking(False)
        await loop.sock_connect(connection, ("127.0.0.1", port))
        make_viewer = partial(ViewerSocket, shown, token, is_witness=number == 0, is_deaf=is_deaf)
        await loop.create_connection(make_viewer, sock=connection)
    while shown.watching < viewers and not shown.lost:  # noqa: ASYNC110 - counted in callbacks
        await asyncio.sleep(0.01)
    print(json.dumps({"event": "viewers_watching", "viewers": shown.watching}), flush=True)
    gc.freeze()
    await loop.run_in_executor(None, sys.stdin.buffer.read)
    return shown


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="The viewers of the benchmark.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--token", required=True)
    parser.add_argument("--viewers", type=int, required=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--deaf", action="store_true", help="the last one does not read")
    arguments = parser.parse_args()
    os.nice(_NICE)
    came = uvloop.run(watch(arguments.port, arguments.token, arguments.viewers, has_deaf=arguments.deaf))
    arguments.results.write_bytes(msgspec.json.encode(came.finals))
