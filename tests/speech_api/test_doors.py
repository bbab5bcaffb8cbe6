"""
Lightning and SLNG over real sockets: the traps that vendors' programs set, and what only SLNG does, whose recogniser is
wanted for something that its client says after the upgrade.
"""

import asyncio
import contextlib
import json
import socket as sockets
import struct
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from gateway.errors import RecognizerUnavailable
from gateway.events import Final, Finished, Partial, RecognizerEvent, RecognizerRequest
from gateway.speech_api import conversation
from gateway.telemetry import SPEECH_API_ERRORS, SPEECH_API_SESSIONS
from telephony_codecs.formats import AudioFormat
from tests.support.scripted_recognizer import ScriptedRecognizer, ScriptedRecognizers
from tests.support.speech_server import HEADERS, SpeechServer, narrow_connection, speech_server
from tests.support.wav_file import wav

pytestmark = pytest.mark.timeout(10)

INIT = '{"type":"init","config":{"language":"en","sample_rate":16000,"encoding":"linear16"}}'
CLOSE = '{"type":"close"}'
FINAL = Final(text="Book it.")


@dataclass(frozen=True)
class Door:
    """How one protocol is entered and left."""

    url: Callable[[SpeechServer], str]
    hello: str | None
    end: str

    @contextlib.asynccontextmanager
    async def entered(self, server: SpeechServer, **options: Any) -> AsyncIterator[ClientConnection]:
        """A client that may send audio."""
        async with connect(self.url(server), additional_headers=HEADERS, **options) as socket:
            if self.hello is not None:
                await socket.send(self.hello)
                assert json.loads(await socket.recv())["type"] == "ready"
            yield socket


LIGHTNING = Door(SpeechServer.lightning, None, '{"type":"end"}')
SLNG = Door(SpeechServer.slng, INIT, CLOSE)
BOTH = pytest.mark.parametrize("door", [LIGHTNING, SLNG], ids=["lightning", "slng"])


async def rest(socket: ClientConnection) -> list[dict[str, Any]]:
    """Everything up to the normal end of the connection."""
    return [json.loads(message) async for message in socket]


def texts(told: list[dict[str, Any]]) -> list[str]:
    """Of finals that have any."""
    is_final = [m.get("is_final") or m.get("type") == "final_transcript" for m in told]
    return [m["transcript"] for m, final in zip(told, is_final, strict=True) if final and m["transcript"]]


# ── The traps ───────────────────────────────────────────────────────────────────────────────────────────────────


def _chatter(_session: ScriptedRecognizer, _audio: bytes) -> Iterable[RecognizerEvent]:
    return [Partial(text="p" * 4000), Final(text="f" * 4000)]


@BOTH
async def test_trap_1_a_file_sent_before_anything_is_read_does_not_deadlock(door: Door) -> None:
    async with speech_server(ScriptedRecognizers(on_audio=_chatter), socket_buffer_bytes=4096) as server:
        narrow = await narrow_connection(server.host)
        async with door.entered(server, sock=narrow, compression=None, max_queue=1) as socket:
            for _ in range(500):
                await socket.send(b"\1\2" * 2048)
            await socket.send(door.end)
            assert len(texts(await rest(socket))) == 500


@BOTH
async def test_trap_2_pings_are_answered_while_the_recogniser_is_busy(door: Door) -> None:
    recognizers = ScriptedRecognizers()
    async with speech_server(recognizers) as server, door.entered(server) as socket:
        recognizer = await recognizers.session()
        recognizer.listening.clear()
        for _ in range(50):
            await socket.send(b"\1\2" * 2048)
        await (await socket.ping())
        assert recognizer.calls == []
        recognizer.listening.set()
        await socket.send(door.end)
        await rest(socket)
    assert len(recognizer.audio) == 50 * 4096


@BOTH
async def test_trap_3_an_hour_of_audio_at_once_is_heard_whole(door: Door) -> None:
    recognizers = ScriptedRecognizers()
    minute = bytes(16_000 * 2 * 60)
    async with speech_server(recognizers) as server, door.entered(server) as socket:
        for _ in range(60):
            for at in range(0, len(minute), 1 << 19):
                await socket.send(minute[at : at + (1 << 19)])
        await socket.send(door.end)
        await rest(socket)
    assert len(recognizers.sessions[0].audio) == 60 * len(minute)


@BOTH
async def test_trap_4_a_normal_end_is_closed_with_1000_by_the_server_itself(door: Door) -> None:
    recognizers = ScriptedRecognizers(on_end=lambda _: [FINAL, Finished()])
    async with speech_server(recognizers) as server, door.entered(server) as socket:
        await socket.send(door.end)
        assert texts(await rest(socket)) == ["Book it."]
    assert socket.close_code == 1000


@BOTH
async def test_trap_4_a_server_that_goes_says_1001(door: Door) -> None:
    recognizers = ScriptedRecognizers()
    async with speech_server(recognizers) as server, door.entered(server) as socket:
        (await recognizers.session()).say(FINAL)
        await socket.recv()
        await server.runner.cleanup()
        assert await rest(socket) == []
    assert socket.close_code == 1001
    assert recognizers.sessions[0].closed.is_set()


@BOTH
async def test_trap_6_a_file_in_odd_pieces_arrives_byte_for_byte(door: Door) -> None:
    recognizers = ScriptedRecognizers()
    audio = bytes(range(250)) * 100
    file = wav(audio)
    async with speech_server(recognizers) as server, door.entered(server) as socket:
        for at in range(0, len(file), 4095):
            await socket.send(file[at : at + 4095])
        await socket.send(door.end)
        await rest(socket)
    assert recognizers.sessions[0].audio == audio


@BOTH
async def test_trap_6_a_split_sample_is_put_together_before_conversion(door: Door) -> None:
    recognizers = ScriptedRecognizers(format=AudioFormat.parse("mulaw-16000"))
    async with speech_server(recognizers) as server, door.entered(server) as socket:
        for _ in range(100):
            await socket.send(bytes(3))
        await socket.send(door.end)
        await rest(socket)
    assert recognizers.sessions[0].audio == b"\xff" * 150


@BOTH
@pytest.mark.parametrize("audio", [b"", bytes(32_000)], ids=["no audio", "silence"])
async def test_trap_7_a_session_in_which_nobody_speaks_ends_within_a_second(door: Door, audio: bytes) -> None:
    async with speech_server(ScriptedRecognizers()) as server, door.entered(server) as socket:
        if audio:
            await socket.send(audio)
        await socket.send(door.end)
        async with asyncio.timeout(1):
            assert texts(await rest(socket)) == []
    assert socket.close_code == 1000


@BOTH
async def test_trap_7_finalize_after_silence_is_answered_within_a_second(door: Door) -> None:
    async with speech_server(ScriptedRecognizers()) as server, door.entered(server) as socket:
        await socket.send(bytes(32_000))
        await socket.send('{"type":"finalize"}')
        async with asyncio.timeout(1):
            assert json.loads(await socket.recv())["from_finalize"]


@BOTH
async def test_trap_8_a_larger_message_than_agreed_closes_with_1009(door: Door) -> None:
    async with speech_server(ScriptedRecognizers()) as server, door.entered(server) as socket:
        with contextlib.suppress(ConnectionClosed):  # it may notice while it sends
            await socket.send(bytes(2 << 20))
        await socket.wait_closed()
    assert socket.close_code == 1009


@BOTH
async def test_what_a_vanished_client_sent_is_recognised_and_all_is_released(door: Door) -> None:
    recognizers = ScriptedRecognizers()
    async with speech_server(recognizers) as server, door.entered(server) as socket:
        recognizer = await recognizers.session()
        recognizer.listening.clear()
        await socket.send(b"\1\2" * 2048)
        await (await socket.ping())  # the server has read it
        raw = socket.transport.get_extra_info("socket")
        raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack("ii", 1, 0))
        socket.transport.abort()
        recognizer.listening.set()
        await recognizer.closed.wait()
    assert (len(recognizer.audio), recognizer.calls[-1], server.api.active) == (4096, "end", 0)


@BOTH
async def test_a_lost_recogniser_is_an_error_and_close_1011(door: Door) -> None:
    recognizers = ScriptedRecognizers()
    async with speech_server(recognizers) as server, door.entered(server) as socket:
        (await recognizers.session()).fail(RecognizerUnavailable("secret"))
        error = json.loads(await socket.recv())
        await socket.wait_closed()
    assert (error["type"], error["message"], socket.close_code) == ("error", "the recogniser was lost", 1011)


@BOTH
async def test_a_client_that_falls_silent_is_ended_with_1000(door: Door) -> None:
    async with speech_server(ScriptedRecognizers(), idle_timeout_s=0.1) as server, door.entered(server) as socket:
        await rest(socket)
    assert socket.close_code == 1000


# ── A recogniser for what the first message says ────────────────────────────────────────────────────────────────


async def test_slng_opens_no_recogniser_before_init() -> None:
    recognizers = ScriptedRecognizers()
    async with speech_server(recognizers) as server, connect(server.slng(), additional_headers=HEADERS) as socket:
        await (await socket.ping())
        assert recognizers.sessions == []
    assert server.api.active == 0


async def test_slng_opens_the_recogniser_for_what_init_says_in_the_format_of_its_profile() -> None:
    wanted = AudioFormat.parse("linear16-8000")
    recognizers = ScriptedRecognizers(format=wanted)
    async with speech_server(recognizers) as server, SLNG.entered(server) as socket:
        await socket.send(bytes(64_000))
        await socket.send(CLOSE)
        await rest(socket)
    session = recognizers.sessions[0]
    assert (session.request.format, session.request.language) == (wanted, "en")
    assert len(session.audio) == pytest.approx(32_000, abs=64)


async def test_slng_says_ready_before_whatever_the_recogniser_says() -> None:
    recognizers = _Hasty()
    async with speech_server(recognizers) as server, connect(server.slng(), additional_headers=HEADERS) as socket:
        await socket.send(INIT)
        assert [json.loads(await socket.recv())["type"] for _ in range(2)] == ["ready", "partial_transcript"]


class _Hasty(ScriptedRecognizers):
    """Its sessions have said something by the time they are open."""

    @contextlib.asynccontextmanager
    async def open(self, profile: str, request: RecognizerRequest) -> AsyncIterator[ScriptedRecognizer]:
        async with super().open(profile, request) as session:
            session.say(Partial(text="hello"))
            yield session


class _Slow(ScriptedRecognizers):
    """Opens only when told to."""

    def __init__(self) -> None:
        super().__init__(on_end=lambda _: [FINAL, Finished()])
        self.asked, self.granted, self.left = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @contextlib.asynccontextmanager
    async def open(self, profile: str, request: RecognizerRequest) -> AsyncIterator[ScriptedRecognizer]:
        self.asked.set()
        try:
            await self.granted.wait()
        except asyncio.CancelledError:
            self.left.set()
            raise
        async with super().open(profile, request) as session:
            yield session


async def test_slng_holds_what_comes_before_its_recogniser_is_open() -> None:
    recognizers = _Slow()
    async with speech_server(recognizers) as server, connect(server.slng(), additional_headers=HEADERS) as socket:
        await socket.send(INIT)
        for _ in range(10):
            await socket.send(b"\1\2" * 2048)
        await socket.send(CLOSE)
        await (await socket.ping())  # all was read
        assert recognizers.sessions == []
        recognizers.granted.set()
        ready, final = await rest(socket)
    assert (ready["type"], final["transcript"], socket.close_code) == ("ready", "Book it.", 1000)
    assert recognizers.sessions[0].audio == b"\1\2" * 20_480


async def test_a_server_that_goes_lets_go_of_a_recogniser_that_is_not_open_yet() -> None:
    recognizers = _Slow()
    async with speech_server(recognizers) as server, connect(server.slng(), additional_headers=HEADERS) as socket:
        await socket.send(INIT)
        await recognizers.asked.wait()
        await server.runner.cleanup()
        await recognizers.left.wait()
    assert (socket.close_code, server.api.active) == (1001, 0)


async def test_a_recogniser_that_does_not_open_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "STALL_S", 0.05)
    async with speech_server(_Slow()) as server, connect(server.slng(), additional_headers=HEADERS) as socket:
        await socket.send(INIT)
        assert json.loads(await socket.recv())["code"] == "backend_connection_failed"
        await socket.wait_closed()
    assert socket.close_code == 1011


async def test_a_recogniser_that_refuses_after_init_is_an_error_and_close_1011() -> None:
    recognizers = ScriptedRecognizers()
    recognizers.refusal = RecognizerUnavailable("secret", code="no_capacity")
    before = SPEECH_API_ERRORS.labels("slng", "no_capacity")._value.get()
    async with speech_server(recognizers) as server, connect(server.slng(), additional_headers=HEADERS) as socket:
        await socket.send(INIT)
        error = json.loads(await socket.recv())
        await socket.wait_closed()
    assert (error["code"], socket.close_code) == ("backend_connection_failed", 1011)
    assert "secret" not in error["message"]
    assert SPEECH_API_ERRORS.labels("slng", "no_capacity")._value.get() == before + 1


@pytest.mark.parametrize("first", [b"\1\2", '{"type":"audio","data":"AQI="}'])
async def test_audio_before_init_is_an_error_and_close_1008(first: bytes | str) -> None:
    before = SPEECH_API_SESSIONS.labels("slng", "client_error")._value.get()
    recognizers = ScriptedRecognizers()
    async with speech_server(recognizers) as server, connect(server.slng(), additional_headers=HEADERS) as socket:
        await socket.send(first)
        error = json.loads(await socket.recv())
        await socket.wait_closed()
    assert (error["type"], error["code"], socket.close_code) == ("error", "not_ready", 1008)
    assert recognizers.sessions == []
    assert SPEECH_API_SESSIONS.labels("slng", "client_error")._value.get() == before + 1


async def test_an_encoding_that_is_not_served_is_an_error_and_close_1008() -> None:
    recognizers = ScriptedRecognizers()
    async with speech_server(recognizers) as server, connect(server.slng(), additional_headers=HEADERS) as socket:
        await socket.send(INIT.replace("linear16", "opus"))
        error = json.loads(await socket.recv())
        await socket.wait_closed()
    assert (error["code"], socket.close_code, recognizers.sessions) == ("config_error", 1008, [])


async def test_a_keepalive_has_no_reply() -> None:
    recognizers = ScriptedRecognizers(on_end=lambda _: [FINAL, Finished()])
    async with speech_server(recognizers) as server, SLNG.entered(server) as socket:
        await socket.send('{"type":"keepalive"}')
        await socket.send('{"type":"stop"}')
        assert texts(told := await rest(socket)) == ["Book it."]
    assert len(told) == 1
    assert recognizers.sessions[0].calls == ["keepalive", "end"]


async def test_aiohttp_clients_are_served_as_well() -> None:
    async with (
        speech_server(ScriptedRecognizers()) as server,
        aiohttp.ClientSession(headers=HEADERS) as http,
        http.ws_connect(server.slng()) as socket,
    ):
        await socket.send_str(INIT)
        assert (await socket.receive_json())["type"] == "ready"
        await socket.send_bytes(b"\1\2")
        await socket.send_str(CLOSE)
        assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
        assert socket.close_code == 1000
