"""The driver, with real sockets and clients that were not written with it; the traps that vendors' programs set."""

import asyncio
import contextlib
import json
import socket as sockets
import struct
from collections.abc import AsyncIterator, Iterable
from typing import Any

import aiohttp
import pytest
from structlog.testing import capture_logs
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from gateway.errors import RecognizerProtocolError, RecognizerUnavailable
from gateway.events import Final, Finished, Partial, RecognizerEvent, Word
from gateway.speech_api import conversation, pulse
from gateway.telemetry import SPEECH_API_SESSIONS
from telephony_codecs.formats import AudioFormat
from tests.support.scripted_recognizer import ScriptedRecognizer, ScriptedRecognizers
from tests.support.speech_server import HEADERS, SpeechServer, narrow_connection, speech_server
from tests.support.wav_file import wav

# Nothing here may take long, whatever it waits for.
pytestmark = pytest.mark.timeout(60)

FINALIZE, CLOSE_STREAM = '{"type":"finalize"}', '{"type":"close_stream"}'
FINAL = Final(text="Book it.", words=(Word(word="Book", start_s=0.2, end_s=0.5),))


def client(url: str, **options: Any) -> connect:
    return connect(url, additional_headers=HEADERS, **options)


async def messages(socket: ClientConnection) -> list[dict[str, Any]]:
    """Everything up to the normal end of the connection."""
    return [json.loads(message) async for message in socket]


async def test_a_session_from_first_audio_to_the_normal_close() -> None:
    recognizers = ScriptedRecognizers(on_finalize=lambda _: [Final(text="Book it.", from_finalize=True)])
    async with speech_server(recognizers) as server, client(server.live("vad_events=true")) as socket:
        await socket.send(b"\1\2" * 800)
        recognizer = await recognizers.session()
        recognizer.say(Partial(text="book"))
        partial = json.loads(await socket.recv())
        await socket.send(FINALIZE)
        final = json.loads(await socket.recv())
        await socket.send('{"type":"keepalive"}')
        pong = json.loads(await socket.recv())
        await socket.send(CLOSE_STREAM)
        (last,) = await messages(socket)
    assert [m["transcript"] for m in (partial, final, last)] == ["book", "Book it.", ""]
    assert [m["is_last"] for m in (partial, final, last)] == [False, False, True]
    assert pong == {"type": "pong"}
    assert recognizer.calls == ["send", "finalize", "keepalive", "end"]
    assert len({m["session_id"] for m in (partial, final, last)}) == 1


async def test_aiohttp_clients_are_served_as_well() -> None:
    async with (
        speech_server(ScriptedRecognizers()) as server,
        aiohttp.ClientSession(headers=HEADERS) as http,
        http.ws_connect(server.get_text()) as socket,
    ):
        await socket.send_bytes(b"\1\2")
        await socket.send_str('{"type":"end"}')
        assert (await socket.receive_json())["is_last"]
        assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
        assert socket.close_code == 1000


async def test_audio_is_converted_to_what_the_recogniser_wants() -> None:
    recognizers = ScriptedRecognizers(format=AudioFormat.parse("linear16-16000"))
    async with speech_server(recognizers) as server, client(server.live("encoding=mulaw&sample_rate=8000")) as socket:
        await socket.send(b"\xff" * 8000)
        await socket.send(CLOSE_STREAM)
        await messages(socket)
    assert len(recognizers.sessions[0].audio) == pytest.approx(32_000, abs=64)


async def test_a_finalize_that_nothing_follows_ends_a_session_of_get_text() -> None:
    async with speech_server(ScriptedRecognizers()) as server, client(server.get_text()) as socket:
        await socket.send(FINALIZE)
        flushed, last = json.loads(await socket.recv()), json.loads(await socket.recv())
    assert [(m["is_final"], m["is_last"]) for m in (flushed, last)] == [(True, False), (True, True)]


async def test_a_client_that_does_not_close_after_the_presumed_end_is_closed_normally(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pulse, "LINGER_S", 0.01)
    async with speech_server(ScriptedRecognizers()) as server, client(server.get_text()) as socket:
        await socket.send(FINALIZE)
        told = await messages(socket)
    assert (told[-1]["is_last"], socket.close_code) == (True, 1000)


# ── The traps ───────────────────────────────────────────────────────────────────────────────────────────────────


def _chatter(_session: ScriptedRecognizer, audio: bytes) -> Iterable[RecognizerEvent]:
    """Much more text than audio: a partial and a final for each piece."""
    return [Partial(text="p" * 4000), Final(text="f" * 4000)]


async def test_trap_1_a_file_sent_before_anything_is_read_does_not_deadlock() -> None:
    recognizers = ScriptedRecognizers(on_audio=_chatter)
    async with _narrow(recognizers) as socket:
        for _ in range(1000):
            await socket.send(b"\1\2" * 2048)
        await socket.send(CLOSE_STREAM)
        told = await messages(socket)
    assert sum(m["is_final"] and bool(m["transcript"]) for m in told) == 1000
    assert told[-1]["is_last"]


async def test_trap_1_pongs_that_cannot_be_sent_do_not_stop_the_reading() -> None:
    recognizers = ScriptedRecognizers()
    async with _narrow(recognizers) as socket:
        recognizer = await recognizers.session()
        recognizer.say(*(Final(text="f" * 4000) for _ in range(200)))  # more than the client takes before it reads
        for number in range(4000):  # pongs of more bytes than aiohttp holds before it waits
            await socket.send(b"\1\2" * 512)
            await socket.ping(f"{number:0125}")
        await socket.send(CLOSE_STREAM)
        await recognizer.until(lambda: "end" in recognizer.calls)
        told = await messages(socket)
    assert told[-1]["is_last"]


@contextlib.asynccontextmanager
async def _narrow(recognizers: ScriptedRecognizers) -> AsyncIterator[ClientConnection]:
    """A client of live, between whom and the server the kernel's buffers hold next to nothing."""
    async with speech_server(recognizers, socket_buffer_bytes=4096) as server, _narrow_client(server) as socket:
        yield socket


@contextlib.asynccontextmanager
async def _narrow_client(server: SpeechServer) -> AsyncIterator[ClientConnection]:
    narrow = await narrow_connection(server.host)
    async with client(server.live(), sock=narrow, compression=None, max_queue=1) as socket:
        yield socket


async def test_partials_that_a_slow_client_cannot_take_are_merged_and_finals_are_not() -> None:
    recognizers = ScriptedRecognizers()
    async with _narrow(recognizers) as socket:
        recognizer = await recognizers.session()
        for number in range(300):
            recognizer.say(*(Partial(text="p" * 2000) for _ in range(10)), Final(text=f"{number}"))
        await socket.send(CLOSE_STREAM)
        await recognizer.until(lambda: "end" in recognizer.calls)
        told = await messages(socket)
    assert [m["transcript"] for m in told if m["is_final"]] == [*(str(number) for number in range(300)), ""]
    assert sum(not m["is_final"] for m in told) < 3000


async def test_trap_2_pings_are_answered_while_the_recogniser_is_busy() -> None:
    recognizers = ScriptedRecognizers()
    async with speech_server(recognizers) as server, client(server.live()) as socket:
        recognizer = await recognizers.session()
        recognizer.listening.clear()
        for _ in range(50):
            await socket.send(b"\1\2" * 2048)
        await (await socket.ping())
        assert recognizer.calls == []
        recognizer.listening.set()
        await socket.send(CLOSE_STREAM)
        await messages(socket)
    assert len(recognizer.audio) == 50 * 4096


async def test_a_full_buffer_makes_the_client_wait_and_loses_nothing() -> None:
    recognizers = ScriptedRecognizers()
    async with speech_server(recognizers, buffer_mb=1) as server, client(server.live()) as socket:
        recognizer = await recognizers.session()
        recognizer.listening.clear()
        async with asyncio.TaskGroup() as tasks:
            burst = tasks.create_task(_send_all(socket, bytes(65_536), 512))
            for _ in range(2000):
                await asyncio.sleep(0)
            assert not burst.done()
            recognizer.listening.set()
        await socket.send(CLOSE_STREAM)
        await messages(socket)
    assert len(recognizer.audio) == 512 * 65_536


async def _send_all(socket: ClientConnection, message: bytes, count: int) -> None:
    for _ in range(count):
        await socket.send(message)


async def test_a_client_that_falls_silent_is_told_the_end() -> None:
    async with speech_server(ScriptedRecognizers(), idle_timeout_s=0.05) as server, client(server.live()) as socket:
        told = await messages(socket)
    assert ([m["is_last"] for m in told], socket.close_code) == ([True], 1000)


async def test_trap_3_an_hour_of_audio_at_once_is_heard_whole() -> None:
    recognizers = ScriptedRecognizers()
    minute = bytes(8000 * 60)
    async with speech_server(recognizers) as server, client(server.live("encoding=mulaw&sample_rate=8000")) as socket:
        for _ in range(60):
            await socket.send(minute)
        await socket.send(CLOSE_STREAM)
        await messages(socket)
    assert len(recognizers.sessions[0].audio) == 60 * len(minute)


async def test_trap_3_word_times_are_the_recognisers_own() -> None:
    late = Final(text="late", words=(Word(word="late", start_s=3599.5, end_s=3600.0),))
    recognizers = ScriptedRecognizers(on_end=lambda _: [late, Finished()])
    async with speech_server(recognizers) as server, client(server.live("word_timestamps=true")) as socket:
        await socket.send(CLOSE_STREAM)
        final, _last = await messages(socket)
    assert final["words"] == [{"word": "late", "start": 3599.5, "end": 3600.0}]


@pytest.mark.parametrize("word", ["close_stream", "end", "close"])
async def test_trap_4_every_normal_end_is_closed_with_1000(word: str) -> None:
    async with speech_server(ScriptedRecognizers()) as server, client(server.get_text()) as socket:
        await socket.send(json.dumps({"type": word}))
        await messages(socket)
    assert socket.close_code == 1000


async def test_trap_4_a_server_that_goes_says_1001() -> None:
    recognizers = ScriptedRecognizers()
    async with speech_server(recognizers) as server, client(server.live()) as socket:
        recognizer = await recognizers.session()
        recognizer.say(FINAL)
        final = json.loads(await socket.recv())
        await server.runner.cleanup()
        assert await messages(socket) == []
    assert (final["transcript"], socket.close_code) == ("Book it.", 1001)
    assert recognizer.closed.is_set()


async def test_trap_6_a_file_in_odd_pieces_arrives_byte_for_byte() -> None:
    recognizers = ScriptedRecognizers()
    audio = bytes(range(251)) * 100
    file = wav(audio)
    async with speech_server(recognizers) as server, client(server.get_text()) as socket:
        for at in range(0, len(file), 4095):
            await socket.send(file[at : at + 4095])
        await socket.send(CLOSE_STREAM)
        await messages(socket)
    assert recognizers.sessions[0].audio == audio


async def test_trap_6_a_split_sample_is_put_together_before_conversion() -> None:
    recognizers = ScriptedRecognizers(format=AudioFormat.parse("mulaw-16000"))
    async with speech_server(recognizers) as server, client(server.get_text()) as socket:
        for _ in range(100):
            await socket.send(bytes(3))
        await socket.send(CLOSE_STREAM)
        await messages(socket)
    assert recognizers.sessions[0].audio == b"\xff" * 150


@pytest.mark.parametrize("word", ["finalize", "close_stream", "end", "close"])
async def test_trap_7_silence_is_answered_within_a_second(word: str) -> None:
    async with speech_server(ScriptedRecognizers()) as server, client(server.get_text()) as socket:
        await socket.send(bytes(32_000))
        await socket.send(json.dumps({"type": word}))
        async with asyncio.timeout(1):
            assert json.loads(await socket.recv())["is_final"]


async def test_trap_7_a_session_without_any_audio_is_answered_too() -> None:
    async with speech_server(ScriptedRecognizers()) as server, client(server.live()) as socket:
        await socket.send(CLOSE_STREAM)
        async with asyncio.timeout(1):
            assert [m["is_last"] for m in await messages(socket)] == [True]


async def test_trap_8_a_larger_message_than_agreed_closes_with_1009() -> None:
    recognizers = ScriptedRecognizers()
    async with speech_server(recognizers) as server, client(server.live()) as socket:
        with contextlib.suppress(ConnectionClosed):  # it may notice while it sends
            await socket.send(bytes(2 << 20))
        await socket.wait_closed()
        await (await recognizers.session()).closed.wait()
    assert socket.close_code == 1009


# ── Either side fails ───────────────────────────────────────────────────────────────────────────────────────────


async def test_finalize_and_close_in_one_breath_still_reach_the_recogniser() -> None:
    recognizers = ScriptedRecognizers()
    async with speech_server(recognizers) as server:
        async with client(server.get_text()) as socket:
            await socket.send(b"\1\2" * 2048)
            await socket.send(FINALIZE)
        recognizer = await recognizers.session()
        await recognizer.closed.wait()
    assert (len(recognizer.audio), recognizer.calls) == (4096, ["send", "finalize", "end"])


async def test_what_a_vanished_client_sent_is_recognised_and_all_is_released() -> None:
    recognizers = ScriptedRecognizers()
    async with speech_server(recognizers) as server, client(server.live()) as socket:
        recognizer = await recognizers.session()
        recognizer.listening.clear()
        for _ in range(10):
            await socket.send(b"\1\2" * 2048)
        await (await socket.ping())  # the server has read it all
        _reset(socket)
        recognizer.listening.set()
        await recognizer.closed.wait()
        assert (len(recognizer.audio), recognizer.calls[-1]) == (40_960, "end")
        assert server.api.active == 0


def _reset(socket: ClientConnection) -> None:
    """Break the connection off as a crash would: with RST, without a word."""
    raw = socket.transport.get_extra_info("socket")
    raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack("ii", 1, 0))
    socket.transport.abort()


async def test_a_client_that_never_reads_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "UNREAD_S", 0.05)
    recognizers = ScriptedRecognizers()
    async with _narrow(recognizers) as socket:
        recognizer = await recognizers.session()
        recognizer.say(*(Final(text="f" * 4000) for _ in range(1000)))
        await recognizer.closed.wait()
        socket.transport.abort()
    assert recognizer.calls == ["end"]


@pytest.mark.parametrize(
    "error", [RecognizerUnavailable("secret"), RecognizerProtocolError("secret")], ids=lambda e: e.code
)
async def test_a_lost_recogniser_is_an_error_and_close_1011(error: RecognizerUnavailable) -> None:
    recognizers = ScriptedRecognizers()
    async with speech_server(recognizers) as server, client(server.live()) as socket:
        recognizer = await recognizers.session()
        recognizer.say(FINAL)
        recognizer.fail(error)
        told = [json.loads(await socket.recv()), json.loads(await socket.recv())]
        with pytest.raises(ConnectionClosed):
            await socket.recv()
    assert [m["type"] for m in told] == ["transcription", "error"]
    assert "secret" not in told[1]["message"]
    assert socket.close_code == 1011


async def test_a_recogniser_that_refuses_audio_is_lost() -> None:
    recognizers = ScriptedRecognizers(on_audio=_raise)
    async with speech_server(recognizers) as server, client(server.live()) as socket:
        await socket.send(b"\1\2")
        assert json.loads(await socket.recv())["type"] == "error"
        await socket.wait_closed()
    assert socket.close_code == 1011


def _raise(_session: ScriptedRecognizer, _audio: bytes) -> Iterable[RecognizerEvent]:
    raise RecognizerUnavailable("gone")


async def test_a_recogniser_that_does_not_take_audio_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "STALL_S", 0.05)
    recognizers = ScriptedRecognizers()
    async with speech_server(recognizers) as server, client(server.live()) as socket:
        (await recognizers.session()).listening.clear()
        await socket.send(b"\1\2")
        assert json.loads(await socket.recv())["type"] == "error"


async def test_a_recogniser_that_never_finishes_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "STALL_S", 0.05)
    recognizers = ScriptedRecognizers(on_end=lambda _: [FINAL])
    async with speech_server(recognizers) as server, client(server.live()) as socket:
        await socket.send(CLOSE_STREAM)
        final, error = json.loads(await socket.recv()), json.loads(await socket.recv())
    assert (final["transcript"], error["type"]) == ("Book it.", "error")


async def test_a_recogniser_that_has_nothing_to_do_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "STALL_S", 0.01)
    recognizers = ScriptedRecognizers()
    async with speech_server(recognizers, finalize_grace_s=0.1) as server, client(server.get_text()) as socket:
        await socket.send(b"\1\2")
        await socket.send(FINALIZE)
        assert [json.loads(await socket.recv())["is_last"] for _ in range(2)] == [False, True]


# ── What the operator sees ──────────────────────────────────────────────────────────────────────────────────────


async def test_a_session_leaves_one_line_and_one_count_and_no_speech() -> None:
    before = SPEECH_API_SESSIONS.labels("live", "completed")._value.get()
    recognizers = ScriptedRecognizers(on_end=lambda _: [FINAL, Finished()])
    with capture_logs() as lines:
        async with speech_server(recognizers) as server, client(server.live()) as socket:
            await socket.send(b"\1\2" * 100)
            await socket.send('{"type":"dance secretly"}')
            await socket.send(CLOSE_STREAM)
            await messages(socket)
    (ended,) = [line for line in lines if line["event"] == "speech_api_session_ended"]
    assert (ended["outcome"], ended["audio_bytes"], ended["finals"]) == ("completed", 200, 1)
    assert SPEECH_API_SESSIONS.labels("live", "completed")._value.get() == before + 1
    assert not [line for line in lines if "Book" in str(line) or "secretly" in str(line)]
