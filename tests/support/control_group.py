"""
Well-behaved neighbours: calls and API sessions that go on beside an attack, and must not feel anything of it.

Each call's `call.ended` must say that everything arrived and was heard; each session must hear back as many bytes as it
sent, in order, and be closed with 1000.
"""

import asyncio
import base64
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.support import raw_websocket
from tests.support.phone import start_message
from tests.support.raw_websocket import FrameReader, close, message, upgrade
from tests.support.webhook_receiver import Received

FRAMES = 100
FRAME_BYTES = 160
_AT_ONCE = 5
_PACE_S = 0.05
"""Five frames in 50 ms: twice as fast as they are spoken."""
DEADLINE_S = 60.0
"""A call takes a second; but its end is posted when the attacks on the same processor leave time for it."""
_SESSION_PATH = "/waves/v1/pulse/get_text?language=en&encoding=mulaw&sample_rate=8000"
_PREFIX = "CAcontrol"


@dataclass
class ControlGroup:
    """
    The neighbours, and what they have to complain of.

    Args:
        port: of the gateway.
        token: of its speech APIs.
    """

    port: int
    token: str
    complaints: Counter[str] = field(default_factory=Counter)
    calls: int = 0
    sessions: int = 0
    ended: int = 0
    slowest_s: float = 0.0
    _open: dict[str, asyncio.Future[dict[str, Any]]] = field(default_factory=dict)

    async def deliver(self, request: Received) -> web.StreamResponse:
        """Take a webhook; that of a guilty call is nobody's business here."""
        data = request.event["data"]
        self.ended += 1
        waiting = self._open.pop(str(data["call"]["platform_call_id"]), None)
        if waiting is not None and not waiting.done():
            waiting.set_result(data)
        answer = web.Response(status=204)
        answer.force_close()  # so that none is kept, and what is still open can be counted
        return answer

    async def call_on(self, name: str, over: asyncio.Event) -> None:
        """One call after another until it is over."""
        number = 0
        while not over.is_set():
            number += 1
            await self._watched("call", self._call(f"{_PREFIX}-{name}-{number}"))
            self.calls += 1

    async def listen_on(self, over: asyncio.Event) -> None:
        """One API session after another until it is over."""
        while not over.is_set():
            await self._watched("session", self._session())
            self.sessions += 1

    async def _watched(self, what: str, act: Any) -> None:
        began = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(DEADLINE_S):
                complaint = await act
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError) as error:
            complaint = type(error).__name__
        self.slowest_s = max(self.slowest_s, asyncio.get_running_loop().time() - began)
        if complaint:
            self.complaints[f"{what}: {complaint}"] += 1

    async def _call(self, call_sid: str) -> str | None:
        ended = self._open[call_sid] = asyncio.get_running_loop().create_future()
        said = [json.dumps({"event": "connected"}), json.dumps(start_message(call_sid=call_sid))]
        for number in range(FRAMES):
            payload = base64.b64encode(bytes([number % 251]) * FRAME_BYTES).decode()
            media = {"track": "inbound", "chunk": str(number + 1), "timestamp": str(number * 20), "payload": payload}
            said.append(json.dumps({"event": "media", "streamSid": "MZ1", "media": media}))
        said.append(json.dumps({"event": "stop", "streamSid": "MZ1"}))
        code, _ = await self._converse("/twilio/stream", said)
        data = await ended
        heard = _bytes_in(each["text"] for each in data["conversation"])
        facts = (code, data["complete"], data["outcome"], heard, data["tracks"][0]["lost_s"])
        right = ("1000", True, "completed", FRAMES * FRAME_BYTES, 0)
        return None if facts == right else f"ended {facts}"

    async def _session(self) -> str | None:
        chunks: list[str | bytes] = [bytes([number % 251]) * 800 for number in range(20)]
        code, answers = await self._converse(_SESSION_PATH, [*chunks, '{"type":"close_stream"}'])
        results = [json.loads(each) for each in answers]
        heard = _bytes_in(each["transcript"] for each in results if each.get("is_final"))
        facts = (code, heard, bool(results) and results[-1].get("is_last"))
        return None if facts == ("1000", 20 * 800, True) else f"ended {facts}"

    async def _converse(self, path: str, said: list[Any]) -> tuple[str, list[bytes]]:
        """Say all this at its pace; the close code, and the messages that came."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(upgrade(path, Authorization=f"Bearer {self.token}"))
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 101"):
                return f"refused {head[9:12].decode()}", []
            for at in range(0, len(said), _AT_ONCE):
                writer.write(b"".join(message(each) for each in said[at : at + _AT_ONCE]))
                await writer.drain()
                await asyncio.sleep(_PACE_S)
            return await _heard_out(reader, writer)
        finally:
            writer.transport.abort()


async def _heard_out(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[str, list[bytes]]:
    frames, messages = FrameReader(), []
    while octets := await reader.read(1 << 16):
        for each in frames.feed(octets):
            if each.opcode == raw_websocket.TEXT:
                messages.append(each.payload)
            if each.opcode == raw_websocket.CLOSE:
                writer.write(close())
                return str(raw_websocket.close_code(each.payload)), messages
    return "cut", messages


def _bytes_in(texts: Any) -> int:
    """The sum of what `b<bytes>` words say."""
    return sum(int(word.removeprefix("b")) for text in texts for word in text.split())
