"""A gateway's media route on loopback with a scripted recogniser behind it, and the phone platform in front of it."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway.admission import Calls
from gateway.call import Call
from gateway.config import LimitSettings, SttSettings
from gateway.dialects.twilio import TwilioDialect
from gateway.events import CallEvent, TranscriptPartial
from gateway.media.tape import Budget
from gateway.media_socket import MediaSocket
from gateway.rooms import Rooms
from tests.support.scripted_recognizer import ScriptedRecognizers

E = TypeVar("E", bound=CallEvent)
DEADLINE_S = 60.0


class Sink:
    """Keeps events in memory, in the order in which they were published."""

    def __init__(self) -> None:
        self.events: list[CallEvent] = []
        self.partials: list[TranscriptPartial] = []
        self._changed = asyncio.Condition()

    async def publish(self, event: CallEvent) -> object:
        self.events.append(event)
        async with self._changed:
            self._changed.notify_all()
        return None

    def offer(self, event: TranscriptPartial) -> None:
        self.partials.append(event)

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    async def wait_for(self, kind: type[E], count: int = 1) -> list[E]:
        """The events of this kind, once there are so many."""
        async with asyncio.timeout(DEADLINE_S), self._changed:
            await self._changed.wait_for(lambda: len(self.of(kind)) >= count)
        return self.of(kind)


class Phone:
    """The platform's side of one stream."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self._sent = {"inbound": 0, "outbound": 0}

    async def say(self, message: dict[str, Any] | str | bytes) -> None:
        match message:
            case dict():
                await self.socket.send_str(json.dumps(message))
            case str():
                await self.socket.send_str(message)
            case bytes():
                await self.socket.send_bytes(message)

    async def start(self, *tracks: str, call_sid: str = "CA1", **parameters: str) -> None:
        await self.say({"event": "connected", "protocol": "Call", "version": "1.0.0"})
        await self.say(start_message(*tracks, call_sid=call_sid, **parameters))

    async def media(self, frames: int = 1, track: str = "inbound", *, skip: int = 0) -> None:
        """Send frames of 20 ms, after leaving out `skip` of them."""
        self._sent[track] += skip
        for _ in range(frames):
            number = self._sent[track] = self._sent[track] + 1
            await self.say(media_message(number, track))

    async def stop(self) -> None:
        await self.say({"event": "stop", "streamSid": "MZ1", "stop": {"accountSid": "AC1", "callSid": "CA1"}})

    async def closed(self) -> int | None:
        """The code with which the gateway closed, once it has."""
        async with asyncio.timeout(DEADLINE_S):
            async for message in self.socket:
                pytest.fail(f"a one-way stream takes no messages, but got {message.type}")
        return self.socket.close_code


def start_message(*tracks: str, call_sid: str = "CA1", **parameters: str) -> dict[str, Any]:
    return {
        "event": "start",
        "streamSid": "MZ1",
        "start": {
            "accountSid": "AC1",
            "streamSid": "MZ1",
            "callSid": call_sid,
            "tracks": list(tracks or ("inbound",)),
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": parameters,
        },
    }


def media_message(number: int, track: str = "inbound") -> dict[str, Any]:
    payload = base64.b64encode(bytes([number % 251]) * 160).decode()
    media = {"track": track, "chunk": str(number), "timestamp": str((number - 1) * 20), "payload": payload}
    return {"event": "media", "streamSid": "MZ1", "media": media}


class Line:
    """The server under test."""

    def __init__(
        self,
        recognizers: ScriptedRecognizers,
        sink: Sink,
        limits: LimitSettings,
        stt: SttSettings,
        **rooms: Any,
    ) -> None:
        self.recognizers = recognizers
        self.sink = sink
        self.rooms = Rooms(
            recognizers=recognizers, sink=sink, stt=stt, limits=limits, budget=Budget(64 * 2**20), **rooms
        )
        self.calls = Calls(limits.max_calls)
        self._numbers = iter(range(1, 1_000_000))
        self._url = ""

    @asynccontextmanager
    async def phone(self) -> AsyncIterator[Phone]:
        """A stream to the server."""
        async with aiohttp.ClientSession() as session, session.ws_connect(self._url) as socket:
            yield Phone(socket)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Line"]:
        app = web.Application()
        app.router.add_get("/stream", self._stream)
        async with self.calls, TestServer(app, host="127.0.0.1") as server:
            self._url = str(server.make_url("/stream"))
            yield self

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        socket = MediaSocket(
            self.rooms.arrivals, heartbeat_s=20.0, max_message_bytes=self.rooms.limits.max_message_kb * 1024
        )
        await socket.prepare(request)
        call = Call(
            call_id=f"call_{next(self._numbers)}",
            dialect=TwilioDialect(),
            socket=socket,
            rooms=self.rooms,
        )
        with self.calls.place():
            await self.calls.run(call)
        return socket


@asynccontextmanager
async def line(
    recognizers: ScriptedRecognizers | None = None,
    *,
    limits: dict[str, float] | None = None,
    stt: dict[str, Any] | None = None,
    **rooms: Any,
) -> AsyncIterator[Line]:
    """A server that takes calls for as long as the context lasts; `rooms` are further ones of `Rooms`."""
    under_test = Line(
        recognizers or ScriptedRecognizers(),
        Sink(),
        LimitSettings.model_validate(limits or {}),
        SttSettings.model_validate(stt or {}),
        **rooms,
    )
    async with under_test.serving() as serving:
        yield serving


def texts(events: Iterable[Any], name: str = "text") -> list[str]:
    """One field of several events."""
    read: Callable[[Any], str] = lambda event: getattr(event, name)  # noqa: E731 - typed, and used once
    return [read(event) for event in events]
