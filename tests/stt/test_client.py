"""The driver against a real server on loopback: what it sends, what it makes of answers, refusals and silence."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs
from websockets.asyncio.server import ServerConnection, serve

from gateway.config import SttProfile
from gateway.errors import GatewayError, RecognizerProtocolError, RecognizerUnavailable
from gateway.events import Final, Finished, Partial, RecognizerEvent, RecognizerRequest
from gateway.stt.base import Recognizer
from gateway.stt.client import Limits, open_session
from gateway.stt.protocol import ClientProtocol, Message, Messages
from gateway.stt.pulse import PulseProtocol, pulse, pulse_live
from gateway.telemetry import REGISTRY
from telephony_codecs.formats import AudioFormat
from tests.support.pulse_server import (
    KEY,
    PULSE_PATH,
    Playing,
    PulseServer,
    PulseSession,
    cut_after,
    read_content,
    recognise,
    refuse,
    say_nothing,
)

SECOND = b"\x2a" * 8000
"""One second of mu-law."""
IMPATIENT = Limits(close_timeout_s=0.05)


def profile(url: str, **settings: Any) -> SttProfile:
    given = {"kind": "pulse-live", "url": url, "api_key": SecretStr(KEY), "connect_timeout_s": 2.0, **settings}
    return SttProfile(**given)


def opened(url: str, limits: Limits = IMPATIENT, **settings: Any) -> Any:
    chosen = profile(url, **settings)
    return open_session(chosen, pulse_live(chosen, a_request()), limits)


def a_request() -> RecognizerRequest:
    return RecognizerRequest(format=AudioFormat.parse("mulaw-8000"))


@asynccontextmanager
async def session_with(*acts: Any, limits: Limits = IMPATIENT) -> AsyncIterator[tuple[PulseServer, Recognizer]]:
    async with PulseServer(*acts) as server, opened(server.url, limits) as recognizer:
        yield server, recognizer


async def rest_of(recognizer: Recognizer) -> list[RecognizerEvent]:
    async with asyncio.timeout(5):
        return [event async for event in recognizer.events()]


async def hang_on(recognizer: Recognizer, timeout_s: float) -> None:
    async with asyncio.timeout(timeout_s):
        async for _ in recognizer.events():
            pass


async def send_without_end(recognizer: Recognizer, timeout_s: float = 5.0) -> None:
    async with asyncio.timeout(timeout_s):
        while True:
            await recognizer.send(bytes(2**20))


async def texts_of(recognizer: Recognizer) -> list[str]:
    return [event.text for event in await rest_of(recognizer) if isinstance(event, Final)]


async def loss_of(recognizer: Recognizer) -> GatewayError:
    with pytest.raises(GatewayError) as raised:
        await rest_of(recognizer)
    return raised.value


async def refusal_of(url: str, **settings: Any) -> RecognizerUnavailable:
    with pytest.raises(RecognizerUnavailable) as raised:
        async with opened(url, **settings):
            pass
    return raised.value


def metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


# ── A session that goes well ─────────────────────────────────────────────────────────────────────────────────────


async def test_a_session_gives_partials_finals_with_times_and_the_end() -> None:
    async with session_with() as (_, recognizer):
        await recognizer.send(SECOND)
        await recognizer.end()
        first, second, last = await rest_of(recognizer)
    assert isinstance(first, Partial)
    assert isinstance(second, Final)
    assert (second.text, second.start_s, second.end_s, second.language) == ("second 1", 0.0, 1.0, "en")
    assert [word.confidence for word in second.words] == [0.5, 0.75]
    assert last == Finished()


@pytest.mark.parametrize("kind", ["pulse", "pulse-live"])
async def test_both_paths_accept_what_is_sent(kind: str) -> None:
    path = PULSE_PATH if kind == "pulse" else "/waves/v1/stt/live"
    make = pulse if kind == "pulse" else pulse_live
    async with PulseServer(path=path) as server:
        chosen = profile(server.url, kind=kind)
        async with open_session(chosen, make(chosen, a_request()), IMPATIENT) as recognizer:
            await recognizer.send(SECOND)
            await recognizer.end()
            assert await texts_of(recognizer) == ["second 1"]


async def test_audio_arrives_byte_for_byte_and_message_for_message() -> None:
    chunks = [bytes([number]) * 800 for number in range(20)]
    async with session_with() as (server, recognizer):
        for chunk in chunks:
            await recognizer.send(chunk)
        await recognizer.end()
        await rest_of(recognizer)
        assert server.sessions[0].messages[:-1] == chunks


async def test_no_empty_message_is_ever_sent() -> None:
    async with session_with() as (server, recognizer):
        await recognizer.send(b"")
        await recognizer.end()
        await rest_of(recognizer)
        assert b"" not in server.sessions[0].messages


async def test_the_tail_that_comes_after_close_stream_is_not_lost() -> None:
    """Toy clients close right after close_stream."""
    tail = asyncio.Event()
    async with session_with(recognise(last_when=tail)) as (server, recognizer):
        await recognizer.send(SECOND + SECOND[:4000])
        await recognizer.end()
        await server.until(lambda: "close_stream" in server.sessions[0].controls)
        tail.set()
        assert await texts_of(recognizer) == ["second 1", "second 2"]


async def test_finals_that_were_sent_before_the_close_frame_are_read_after_it() -> None:
    async def act(session: PulseSession) -> None:
        await session.receive_until("close_stream")
        for number in range(40):
            await session.say(f"piece {number}", is_final=True)
        await session.say("", is_final=True, is_last=True)
        await session.close()

    async with session_with(act) as (server, recognizer):
        await recognizer.end()
        await server.until(lambda: server.sessions[0].controls == ["close_stream"])
        assert await texts_of(recognizer) == [f"piece {number}" for number in range(40)]


async def test_a_final_does_not_end_the_session() -> None:
    """Toy clients take finals for turn ends, or worse."""
    async with session_with() as (_, recognizer):
        await recognizer.send(SECOND * 3)
        await recognizer.end()
        assert await texts_of(recognizer) == ["second 1", "second 2", "second 3"]


async def test_finalize_is_answered_and_the_session_goes_on() -> None:
    """Toy clients send close_stream per turn, or wait for is_last after finalize."""
    async with session_with() as (_, recognizer):
        await recognizer.send(SECOND[:4000])
        await recognizer.finalize()
        await recognizer.send(SECOND[:4000])
        await recognizer.finalize()
        await recognizer.finalize()
        await recognizer.end()
        finals = [event for event in await rest_of(recognizer) if isinstance(event, Final)]
    assert [(final.text, final.from_finalize) for final in finals] == [
        ("second 1", True),
        ("second 1", True),
        ("", True),
    ]


async def test_a_session_without_audio_ends_like_any_other() -> None:
    async with session_with() as (_, recognizer):
        await recognizer.end()
        assert await rest_of(recognizer) == [Finished()]


async def test_a_keepalive_is_a_text_message_and_its_pong_is_no_event() -> None:
    async with session_with() as (server, recognizer):
        await recognizer.keepalive()
        await recognizer.end()
        assert await rest_of(recognizer) == [Finished()]
        assert server.sessions[0].controls == ["keepalive", "close_stream"]


async def test_events_after_the_last_message_are_not_waited_for() -> None:
    async def act(session: PulseSession) -> None:
        await session.receive_until("close_stream")
        await session.say("", is_final=True, is_last=True)
        await asyncio.Event().wait()  # the socket stays open

    async with session_with(act) as (_, recognizer):
        await recognizer.end()
        assert await rest_of(recognizer) == [Finished()]


async def test_what_was_heard_names_every_piece_of_audio_once_and_at_its_time() -> None:
    pieces = [bytes([value]) * 800 for value in range(100)]
    async with session_with(recognise(every_s=0.5, hear=read_content)) as (_, recognizer):
        for piece in pieces:
            await recognizer.send(piece)
        await recognizer.end()
        finals = [event for event in await rest_of(recognizer) if isinstance(event, Final)]
    words = [word for final in finals for word in final.words]
    assert [(word.word, round(word.start_s, 3)) for word in words] == [
        (f"b{value}", round(value / 10, 3)) for value in range(100)
    ]


# ── Refused, or not reached ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("status", "retryable"),
    [(400, False), (401, False), (403, False), (404, False), (408, True), (429, True), (500, True), (503, True)],
)
async def test_a_refusal_names_its_status_and_whether_to_try_again(status: int, retryable: bool) -> None:
    async with PulseServer(refuse(status)) as server:
        error = await refusal_of(server.url)
    assert (error.code, error.retryable, error.retry_after_s) == (f"stt_refused_{status}", retryable, None)


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "Fri, 20 Nov 2026 12:00:30 GMT", "Date": "Fri, 20 Nov 2026 12:00:00 GMT"}, 30.0),
        ({"Retry-After": "Fri, 20 Nov 2026 11:00:00 GMT", "Date": "Fri, 20 Nov 2026 12:00:00 GMT"}, 0.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "9" * 400}, None),
    ],
)
async def test_retry_after_is_seconds_or_a_date_and_nonsense_is_ignored(
    headers: dict[str, str], wait_s: float | None
) -> None:
    async with PulseServer(refuse(429, headers)) as server:
        assert (await refusal_of(server.url)).retry_after_s == wait_s


async def test_a_wrong_key_is_refused_and_not_tried_again() -> None:
    async with PulseServer() as server:
        error = await refusal_of(server.url, api_key=SecretStr("sk_wrong"))
    assert (error.code, error.retryable) == ("stt_refused_401", False)


async def test_live_without_a_model_is_refused_before_the_upgrade() -> None:
    async with PulseServer(strict=False) as server:
        chosen = profile(server.url)
        with pytest.raises(RecognizerUnavailable) as raised:
            async with open_session(chosen, pulse(chosen, a_request()), IMPATIENT):
                pass
    assert raised.value.code == "stt_refused_400"


async def test_a_redirect_is_not_followed() -> None:
    async with PulseServer() as elsewhere, PulseServer(refuse(302, {"Location": elsewhere.url})) as server:
        error = await refusal_of(server.url)
        assert (error.code, error.retryable) == ("stt_refused_302", False)
        assert elsewhere.attempts == 0


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with PulseServer() as proxy, PulseServer() as server:
        for name in ("http_proxy", "https_proxy", "all_proxy", "ws_proxy"):
            monkeypatch.setenv(name, proxy.url.replace("ws:", "http:"))
        monkeypatch.delenv("no_proxy", raising=False)
        async with opened(server.url):
            pass
        assert (proxy.attempts, server.attempts) == (0, 1)


async def test_a_closed_port_is_unreachable_and_worth_another_try() -> None:
    async with PulseServer() as server:
        url = server.url
    error = await refusal_of(url)
    assert (error.code, error.retryable) == ("stt_unreachable", True)


async def test_a_name_that_does_not_resolve_is_unreachable() -> None:
    assert (await refusal_of("ws://nobody.invalid/x")).code == "stt_unreachable"


@pytest.mark.parametrize("url", ["ws://a..b/x", "ws://127.0.0.1:port/x", "ws:///x"])
async def test_an_address_that_cannot_be_called_is_not_tried_again(url: str) -> None:
    error = await refusal_of(url)
    assert (error.code, error.retryable) == ("stt_url_invalid", False)


async def test_a_server_without_tls_is_no_tls_connection() -> None:
    async with raw_server(b"HTTP/1.1 400 Bad Request\r\n\r\n") as url:
        assert (await refusal_of(url.replace("ws:", "wss:"))).code == "stt_tls_failed"


@asynccontextmanager
async def raw_server(answer: bytes | None) -> AsyncIterator[str]:
    """A TCP server that answers the first bytes with these and closes, or says nothing until the client leaves."""
    left = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await reader.read(65536)
            if answer is None:
                await reader.read()
            else:
                writer.write(answer)
            writer.close()
            await writer.wait_closed()
        left.set()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
        async with asyncio.timeout(5):
            await left.wait()


async def test_a_server_that_never_answers_the_upgrade_costs_the_connect_timeout() -> None:
    async with raw_server(None) as url:
        error = await refusal_of(url, connect_timeout_s=0.05)
    assert (error.code, error.retryable) == ("stt_connect_timeout", True)


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"])
async def test_a_server_of_another_kind_is_told_apart(answer: bytes) -> None:
    async with raw_server(answer) as url:
        assert (await refusal_of(url)).code in ("stt_handshake_failed", "stt_refused_200")


# ── Lost on the way ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_connection_that_breaks_is_lost_and_worth_another_try() -> None:
    async with session_with(cut_after(0.5)) as (_, recognizer):
        await recognizer.send(SECOND[:4000])
        error = await loss_of(recognizer)
    assert (error.code, error.retryable) == ("stt_connection_lost", True)


async def test_finals_that_came_before_the_break_are_given_before_the_error() -> None:
    async def act(session: PulseSession) -> None:
        await session.say("heard", is_final=True)
        await session.receive_until("keepalive")
        session.cut()

    async with session_with(act) as (_, recognizer):
        events = aiter(recognizer.events())
        assert await anext(events) == Final(text="heard", language="en")
        await recognizer.keepalive()
        with pytest.raises(RecognizerUnavailable):
            await anext(events)


@pytest.mark.parametrize(
    ("close_code", "code"),
    [
        (1000, "stt_closed_early"),
        (1001, "stt_closed_1001"),
        (1008, "stt_closed_1008"),
        (1011, "stt_closed_1011"),
        (4000, "stt_closed_4000"),
    ],
)
async def test_a_close_before_the_last_message_is_a_loss_whatever_its_code(close_code: int, code: str) -> None:
    async def act(session: PulseSession) -> None:
        await session.close(close_code)

    async with session_with(act) as (_, recognizer):
        error = await loss_of(recognizer)
    assert (error.code, error.retryable) == (code, True)


async def test_a_close_in_answer_to_close_stream_without_a_last_message_is_a_loss() -> None:
    async def act(session: PulseSession) -> None:
        await session.receive_until("close_stream")
        await session.close(1000)

    async with session_with(act) as (_, recognizer):
        await recognizer.end()
        assert (await loss_of(recognizer)).code == "stt_closed_early"


async def test_a_last_message_that_nobody_asked_for_is_a_loss_after_its_text() -> None:
    """Some servers end the session when `finalize` is followed by silence; audio sent since is not transcribed."""

    async def act(session: PulseSession) -> None:
        await session.say("so far", is_final=True, is_last=True)

    async with session_with(act) as (_, recognizer):
        events = aiter(recognizer.events())
        assert await anext(events) == Final(text="so far", language="en")
        with pytest.raises(RecognizerUnavailable) as raised:
            await anext(events)
        assert raised.value.code == "stt_closed_early"


async def test_a_last_message_that_crosses_the_request_to_end_is_a_loss() -> None:
    """The vendor was gone before it heard that, and perhaps the audio before that."""

    async def act(session: PulseSession) -> None:
        await session.receive_until("keepalive")
        await session.say("", is_final=True, is_last=True)
        await session.close(1011)

    async with session_with(act) as (server, recognizer):
        await recognizer.keepalive()
        await server.until(lambda: server.sessions[0].close_code is not None)
        with pytest.raises(RecognizerUnavailable):
            await recognizer.end()
        assert (await loss_of(recognizer)).code == "stt_closed_1011"


async def test_an_error_message_is_a_loss() -> None:
    async def act(session: PulseSession) -> None:
        await session.send(type="error", status="error", message="worker died")

    async with session_with(act) as (_, recognizer):
        assert (await loss_of(recognizer)).code == "stt_vendor_error"


async def test_a_send_into_a_lost_session_says_so() -> None:
    async with session_with(cut_after(0)) as (_, recognizer):
        await loss_of(recognizer)
        with pytest.raises(RecognizerUnavailable):
            await recognizer.send(SECOND)


async def test_some_garbage_is_overlooked() -> None:
    async def act(session: PulseSession) -> None:
        await session.send_raw("not json")
        await session.send_raw(b"\x00\x01")
        await session.send_raw("[1]")
        await recognise()(session)

    before = metric("gateway_stt_bad_messages_total", kind="pulse-live", code="stt_message_binary")
    async with session_with(act) as (_, recognizer):
        await recognizer.send(SECOND)
        await recognizer.end()
        assert await texts_of(recognizer) == ["second 1"]
    assert metric("gateway_stt_bad_messages_total", kind="pulse-live", code="stt_message_binary") == before + 1


async def test_garbage_without_end_is_given_up() -> None:
    async def act(session: PulseSession) -> None:
        for _ in range(3):
            await session.send_raw("garbage")
        await session.connection.wait_closed()

    async with session_with(act, limits=Limits(bad_messages=3, close_timeout_s=0.05)) as (_, recognizer):
        error = await loss_of(recognizer)
        assert (type(error), error.code) == (RecognizerProtocolError, "stt_message_malformed")
        with pytest.raises(RecognizerProtocolError):
            await recognizer.send(SECOND)


async def test_good_messages_between_renew_the_patience_with_bad_ones() -> None:
    async def act(session: PulseSession) -> None:
        for number in range(6):
            await session.send_raw("garbage")
            await session.say(str(number), is_final=True)
        await recognise()(session)

    async with session_with(act, limits=Limits(bad_messages=2, close_timeout_s=0.05)) as (_, recognizer):
        await recognizer.end()
        assert await texts_of(recognizer) == [str(number) for number in range(6)]


async def test_a_message_beyond_the_limit_is_refused_and_not_held() -> None:
    async def act(session: PulseSession) -> None:
        await session.say("x" * 5000, is_final=True)
        await session.connection.wait_closed()

    limits = Limits(max_message_bytes=4096, close_timeout_s=0.05)
    async with session_with(act, limits=limits) as (_, recognizer):
        error = await loss_of(recognizer)
    assert (type(error), error.code) == (RecognizerProtocolError, "stt_message_too_big")


async def test_silence_after_close_stream_is_the_callers_to_bound_and_leaving_is_quick() -> None:
    async with PulseServer(say_nothing()) as server:
        async with opened(server.url) as recognizer:
            await recognizer.end()
            with pytest.raises(TimeoutError):
                await hang_on(recognizer, timeout_s=0.05)
        await server.until(lambda: server.sessions[0].close_code is not None)
        assert server.sessions[0].close_code == 1000


async def test_a_half_open_connection_is_noticed_by_pings() -> None:
    async def act(session: PulseSession) -> None:
        await session.freeze()

    limits = Limits(ping_interval_s=0.05, ping_timeout_s=0.05, close_timeout_s=0.05)
    async with session_with(act, limits=limits) as (_, recognizer):
        error = await loss_of(recognizer)
    assert (error.code, error.retryable) == ("stt_ping_timeout", True)


async def test_a_vendor_that_stops_reading_is_noticed_by_send_and_ends_events_too() -> None:
    async def act(session: PulseSession) -> None:
        await session.freeze()

    limits = Limits(send_timeout_s=0.05, close_timeout_s=0.05)
    async with session_with(act, limits=limits) as (_, recognizer):
        with pytest.raises(RecognizerUnavailable) as raised:
            await send_without_end(recognizer)
        assert raised.value.code == "stt_stalled"
        assert (await loss_of(recognizer)).code == "stt_stalled"


async def test_leaving_does_not_wait_for_a_vendor_that_no_longer_reads() -> None:
    async def act(session: PulseSession) -> None:
        await session.freeze()

    async with asyncio.timeout(2), PulseServer(act) as server:
        async with opened(server.url) as recognizer:
            with pytest.raises(TimeoutError):
                await send_without_end(recognizer, timeout_s=0.05)
        assert recognizer._socket.transport.is_closing()


async def test_an_exception_of_the_caller_passes_through_unchanged() -> None:
    class Mine(Exception):
        pass

    async with PulseServer() as server:
        with pytest.raises(Mine):
            async with opened(server.url):
                raise Mine
        await server.until(lambda: server.sessions[0].close_code is not None)


async def test_a_cancelled_caller_leaves_no_connection_behind() -> None:
    async with PulseServer() as server:

        async def listen() -> None:
            async with opened(server.url) as recognizer:
                async for _ in recognizer.events():
                    pass

        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(listen())
            await server.until(lambda: len(server.sessions) == 1)
            task.cancel()
        assert task.cancelled()
        await server.until(lambda: server.sessions[0].close_code is not None)


async def test_more_sessions_than_any_client_pool_holds_are_open_at_once() -> None:
    """aiohttp's client would hang silently at the 101st."""
    async with PulseServer() as server, AsyncExitStack() as stack, asyncio.timeout(20):
        for _ in range(120):
            await stack.enter_async_context(opened(server.url))
        assert len(server.sessions) == 120


# ── A protocol that says hello first ─────────────────────────────────────────────────────────────────────────────


class GreetingProtocol(PulseProtocol):
    """Pulse with a handshake, as other vendors have it; ends with the close itself, as others do, too."""

    def __init__(self, chosen: SttProfile) -> None:
        super().__init__(chosen, a_request())
        self.is_ready = False

    def opening(self) -> Messages:
        return ("init",)

    def receive(self, message: Message) -> list[RecognizerEvent]:
        if message == "ready":
            self.is_ready = True
            return [Partial(text="early")]
        return []

    def closed(self, code: int) -> list[RecognizerEvent]:
        return [Finished()] if code == 1000 else super().closed(code)


@asynccontextmanager
async def greeted(play: Any, connect_timeout_s: float = 2.0) -> AsyncIterator[Recognizer]:
    async with await serve(play, "127.0.0.1", 0, ping_interval=None, close_timeout=0.1) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        chosen = profile(f"ws://127.0.0.1:{port}/", connect_timeout_s=connect_timeout_s)
        protocol: ClientProtocol = GreetingProtocol(chosen)
        async with open_session(chosen, protocol, IMPATIENT) as recognizer:
            yield recognizer


async def test_audio_waits_until_the_vendor_is_ready() -> None:
    heard: list[str | bytes] = []

    async def play(connection: ServerConnection) -> None:
        heard.append(await connection.recv())
        await connection.send("not yet")
        await connection.send("ready")
        heard.append(await connection.recv())

    async with greeted(play) as recognizer:
        await recognizer.send(b"audio")
        await recognizer.end()
        assert await rest_of(recognizer) == [Partial(text="early"), Finished()]
    assert heard == ["init", b"audio"]


async def test_a_vendor_that_is_never_ready_costs_the_connect_timeout() -> None:
    async def play(connection: ServerConnection) -> None:
        await connection.wait_closed()

    with pytest.raises(RecognizerUnavailable) as raised:
        async with greeted(play, connect_timeout_s=0.1):
            pass
    assert raised.value.code == "stt_connect_timeout"


async def test_a_vendor_that_closes_before_it_is_ready_is_a_loss() -> None:
    async def play(connection: ServerConnection) -> None:
        await connection.close(1011)

    with pytest.raises(RecognizerUnavailable) as raised:
        async with greeted(play):
            pass
    assert raised.value.code == "stt_closed_1011"


# ── What may be seen from outside ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("act", [refuse(401), cut_after(0), recognise()])
async def test_key_query_and_speech_are_in_no_log_line_and_no_error(
    act: Playing, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    shown: list[str] = []
    async with PulseServer(act) as server:
        with capture_logs() as lines:
            try:
                async with opened(f"{server.url}?token=sk_query") as recognizer:
                    shown.append(repr(recognizer))
                    await recognizer.send(SECOND)
                    await recognizer.end()
                    await rest_of(recognizer)
            except RecognizerUnavailable as error:
                shown += [repr(error), str(error)]
    # The server of the test shares the process; its own log is not ours.
    own = [record.getMessage() for record in caplog.records if not record.name.startswith("websockets.server")]
    text = " ".join([*map(str, lines), *own, *shown])
    assert text
    assert [word for word in (KEY, "sk_query", "second 1") if word in text] == []


async def test_a_url_that_cannot_be_parsed_is_not_repeated_in_the_error() -> None:
    error = await refusal_of("ws://127.0.0.1:port/x?token=sk_query")
    assert "sk_query" not in repr(error)
    assert (error.__cause__, error.__suppress_context__) == (None, True)


async def test_a_failure_is_counted_and_logged_once() -> None:
    labels = {"kind": "pulse-live", "code": "stt_closed_4321"}
    before = metric("gateway_stt_errors_total", **labels)

    async def act(session: PulseSession) -> None:
        await session.close(4321)

    with capture_logs() as lines:
        async with session_with(act) as (_, recognizer):
            await loss_of(recognizer)
            await loss_of(recognizer)
            with pytest.raises(RecognizerUnavailable):
                await recognizer.end()
    assert metric("gateway_stt_errors_total", **labels) == before + 1
    assert lines == [
        {
            "event": "stt_session_failed",
            "log_level": "debug",
            "kind": "pulse-live",
            "code": "stt_closed_4321",
            "retryable": True,
        }
    ]


async def test_open_sessions_are_counted_while_they_are_open() -> None:
    before = metric("gateway_stt_sessions_active", kind="pulse-live")
    connects = metric("gateway_stt_connect_seconds_count", kind="pulse-live")
    async with session_with():
        assert metric("gateway_stt_sessions_active", kind="pulse-live") == before + 1
    assert metric("gateway_stt_sessions_active", kind="pulse-live") == before
    assert metric("gateway_stt_connect_seconds_count", kind="pulse-live") == connects + 1
