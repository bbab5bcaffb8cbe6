"""The simulated phone speaks Twilio's protocol as Twilio does."""

import base64
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestServer
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped] # publishes no types

from gateway.dialects.twilio import TwilioDialect
from gateway.errors import DialectError, UnavailableError
from gateway.events import AudioReceived, StreamStarted, StreamStopped, TelephonyEvent, Track
from gateway.simulate import softphone
from gateway.simulate.softphone import TwilioCall
from gateway.stream_tokens import StreamTokens, derived_key

AUDIO = bytes(range(250)) * 8


class Platformless:
    """A media server that takes down what it is sent, and closes after `stop`, or after so many messages."""

    def __init__(self, close_after: int | None = None, status: int | None = None) -> None:
        self.messages: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.headers: dict[str, str] = {}
        self.url = ""
        self.token = ""
        self._close_after = close_after
        self._status = status

    async def serve(self, request: web.Request) -> web.StreamResponse:
        if self._status is not None:
            return web.Response(status=self._status)
        self.headers = dict(request.headers)
        self.token = request.match_info.get("token", "")
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            assert message.type is WSMsgType.TEXT
            self.messages.append(json.loads(message.data))
            if self.messages[-1]["event"] == "stop":
                await socket.close()
            if len(self.messages) == self._close_after:
                await socket.close(code=1008)
        return socket

    def events(self) -> list[TelephonyEvent]:
        """What the gateway's own dialect makes of the messages."""
        dialect = TwilioDialect()
        return [event for message in self.messages for event in dialect.receive(json.dumps(message))]


@asynccontextmanager
async def server(**options: Any) -> AsyncIterator[Platformless]:
    under_test = Platformless(**options)
    app = web.Application()
    app.router.add_get("/stream", under_test.serve)
    app.router.add_get("/stream/{token}", under_test.serve)
    async with TestServer(app, host="127.0.0.1") as running:
        under_test.url = f"ws://127.0.0.1:{running.port}/stream"
        yield under_test


async def test_the_gateways_dialect_gets_every_byte_of_the_recording_at_its_time() -> None:
    async with server() as gateway:
        played = await softphone.place(TwilioCall(url=gateway.url, audio={Track.INBOUND: AUDIO}, speed=0))
    events = gateway.events()
    audio = [event for event in events if isinstance(event, AudioReceived)]
    assert isinstance(events[0], StreamStarted)
    assert isinstance(events[-1], StreamStopped)
    assert b"".join(event.payload for event in audio) == AUDIO.ljust(2080, b"\xff")
    assert [event.offset_ms for event in audio] == list(range(0, 260, 20))
    assert [event.chunk for event in audio] == list(range(1, 14))
    assert (played.audio_s, played.close_code) == (pytest.approx(0.26), 1000)


async def test_messages_are_numbered_and_named_as_twilio_does() -> None:
    async with server() as gateway:
        played = await softphone.place(TwilioCall(url=gateway.url, audio={Track.INBOUND: AUDIO}, speed=0))
    assert [message["event"] for message in gateway.messages] == ["connected", "start", *["media"] * 13, "stop"]
    numbered = gateway.messages[1:]
    assert [message["sequenceNumber"] for message in numbered] == [str(number) for number in range(1, 16)]
    assert {message["streamSid"] for message in numbered} == {played.stream_sid}
    assert gateway.messages[1]["start"]["callSid"] == played.call_sid
    assert gateway.messages[1]["start"]["mediaFormat"] == {
        "encoding": "audio/x-mulaw",
        "sampleRate": 8000,
        "channels": 1,
    }


async def test_two_tracks_take_turns_and_the_shorter_one_goes_on_in_silence() -> None:
    async with server() as gateway:
        audio = {Track.INBOUND: AUDIO, Track.OUTBOUND: b"\0" * 160}
        await softphone.place(TwilioCall(url=gateway.url, audio=audio, speed=0))
    media = [message["media"] for message in gateway.messages if message["event"] == "media"]
    assert [each["track"] for each in media] == ["inbound", "outbound"] * 13
    assert [base64.b64decode(each["payload"]) for each in media[1::2]] == [b"\0" * 160] + [b"\xff" * 160] * 12
    assert gateway.messages[1]["start"]["tracks"] == ["inbound", "outbound"]


async def test_parameters_are_those_of_the_stream() -> None:
    async with server() as gateway:
        await softphone.place(TwilioCall(url=gateway.url, audio={Track.INBOUND: b""}, parameters={"tenant": "acme"}))
    (started, _) = gateway.events()
    assert isinstance(started, StreamStarted)
    assert started.parameters == {"tenant": "acme"}


async def test_the_upgrade_is_signed_as_twilios_own_library_expects() -> None:
    async with server() as gateway:
        await softphone.place(TwilioCall(url=gateway.url, audio={Track.INBOUND: b""}, auth_token="token"))
    assert RequestValidator("token").validate(gateway.url, {}, gateway.headers["X-Twilio-Signature"])


async def test_it_brings_a_one_time_token_that_the_gateway_takes_and_that_the_signature_covers() -> None:
    async with server() as media:
        call = TwilioCall(url=media.url, audio={Track.INBOUND: AUDIO}, speed=0, auth_token="secret", with_token=True)
        played = await softphone.place(call)
        signature = media.headers["X-Twilio-Signature"]
    assert RequestValidator("secret").validate(f"{media.url}/{media.token}", {}, signature)
    admission = StreamTokens(derived_key("secret"), 60).redeem(media.token, time.time())
    assert admission.is_for(played.call_sid)


@pytest.mark.parametrize("speed", [1.0, 4.0])
async def test_speed_is_a_multiple_of_real_time(speed: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """With waits that take no time, the last one is as long as the recording through the speed."""
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        if seconds:
            waited.append(seconds)

    monkeypatch.setattr("gateway.simulate.softphone.asyncio.sleep", sleep)
    async with server() as gateway:
        await softphone.place(TwilioCall(url=gateway.url, audio={Track.INBOUND: AUDIO * 4}, speed=speed))
    assert len(waited) == 49
    assert waited[-1] == pytest.approx(49 * 0.02 / speed, rel=0.3)


async def test_speed_0_waits_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def sleep(seconds: float) -> None:
        assert seconds == 0

    monkeypatch.setattr("gateway.simulate.softphone.asyncio.sleep", sleep)
    async with server() as gateway:
        await softphone.place(TwilioCall(url=gateway.url, audio={Track.INBOUND: AUDIO}, speed=0))
    assert gateway.messages[-1]["event"] == "stop"


async def test_progress_is_told_up_to_the_end() -> None:
    told: list[float] = []
    async with server() as gateway:
        await softphone.place(
            TwilioCall(url=gateway.url, audio={Track.INBOUND: AUDIO}, speed=0), on_progress=told.append
        )
    assert told == pytest.approx([number * 0.02 for number in range(1, 14)])


@pytest.mark.parametrize("status", [401, 403, 404, 503])
async def test_a_refused_stream_says_with_which_status(status: int) -> None:
    async with server(status=status) as gateway:
        with pytest.raises(UnavailableError) as refused:
            await softphone.place(TwilioCall(url=gateway.url, audio={Track.INBOUND: AUDIO}))
    assert refused.value.code == f"refused_{status}"


@pytest.mark.parametrize("url", ["ws://127.0.0.1:1/stream", "ws://nowhere.invalid/stream", "not an address"])
async def test_a_gateway_that_is_not_there_is_unavailable(url: str) -> None:
    with pytest.raises(UnavailableError):
        await softphone.place(TwilioCall(url=url, audio={Track.INBOUND: AUDIO}))


async def test_a_stream_that_the_gateway_cuts_is_a_dialect_error() -> None:
    async with server(close_after=5) as gateway:
        with pytest.raises(DialectError) as cut:
            await softphone.place(TwilioCall(url=gateway.url, audio={Track.INBOUND: AUDIO * 10}, speed=20))
    assert cut.value.code == "stream_cut"
