"""Twilio's three routes over real sockets: what they answer, what they refuse, and what they never send."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

import aiohttp
import pytest
from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestServer
from multidict import MultiDict
from structlog.testing import capture_logs
from structlog.typing import EventDict
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped] # publishes no types

from gateway import config_sources
from gateway.admission import Calls
from gateway.events import CallEnded, CallStarted
from gateway.media.tape import Budget
from gateway.rooms import Rooms
from gateway.telemetry import REGISTRY
from gateway.twilio_routes import TwilioRoutes
from tests.support.manual_clock import ManualClock
from tests.support.phone import Phone, Sink
from tests.support.scripted_recognizer import ScriptedRecognizers

TOKEN = "0123456789abcdef0123456789abcdef"
PUBLIC_URL = "https://media.example.com"
VOICE = {"CallSid": "CA1", "From": "+15550100", "To": "+15550199"}


class Gateway:
    """The routes on loopback, and a client of theirs."""

    def __init__(self, base: str, session: aiohttp.ClientSession, calls: Calls, sink: Sink, clock: ManualClock) -> None:
        self.base = base
        self.clock = clock
        self.calls = calls
        self.sink = sink
        self._session = session

    async def post(self, path: str, form: Any, signature: str | None = None) -> tuple[int, str]:
        headers = {} if signature is None else {"X-Twilio-Signature": signature}
        async with self._session.post(self.base + path, data=form, headers=headers) as answer:
            return answer.status, await answer.text()

    async def post_json(self, path: str, body: bytes, signature: str) -> tuple[int, str]:
        headers = {"X-Twilio-Signature": signature, "Content-Type": "application/json"}
        async with self._session.post(self.base + path, data=body, headers=headers) as answer:
            return answer.status, await answer.text()

    async def voice(self, form: dict[str, str] | None = None, query: str = "") -> ElementTree.Element:
        """The TwiML for a call."""
        status, text = await self.post(f"/twilio/voice{query}", form or VOICE)
        assert status == 200
        return ElementTree.fromstring(text)  # noqa: S314 - our own answer

    async def stream_path(self, call_sid: str = "CA1") -> str:
        """The path that our TwiML names for a call, token and all."""
        (stream,) = (await self.voice({**VOICE, "CallSid": call_sid})).iter("Stream")
        return urlsplit(stream.attrib["url"]).path

    @asynccontextmanager
    async def stream(
        self, path: str = "/twilio/stream", *, signature: str | None = None, autoping: bool = True
    ) -> AsyncIterator[Phone]:
        headers = {} if signature is None else {"X-Twilio-Signature": signature}
        async with self._session.ws_connect(self.base + path, headers=headers, autoping=autoping) as socket:
            yield Phone(socket)

    async def refused_stream(self, **options: Any) -> aiohttp.WSServerHandshakeError:
        """How an upgrade is refused."""
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with self.stream(**options):
                pass
        return refused.value


@asynccontextmanager
async def gateway(**tree: Any) -> AsyncIterator[Gateway]:
    settings = config_sources.load(environ={}, flags=tree)
    sink = Sink()
    calls = Calls(settings.limits.max_calls)
    app = web.Application()
    rooms = Rooms(
        recognizers=ScriptedRecognizers(),
        sink=sink,
        stt=settings.stt,
        limits=settings.limits,
        budget=Budget(settings.limits.buffer_mb << 20),
    )
    clock = ManualClock()
    TwilioRoutes(settings, calls, rooms, clock=clock).add_to(app)
    async with calls, TestServer(app, host="127.0.0.1") as server, aiohttp.ClientSession() as session:
        yield Gateway(f"http://127.0.0.1:{server.port}", session, calls, sink, clock)


def signing(**tree: Any) -> Any:
    return gateway(public_url=PUBLIC_URL, twilio={"auth_token": TOKEN}, **tree)


def without_token(url: str) -> str:
    """A stream's address as far as it is the same for each call."""
    address, slash, token = url.rpartition("/")
    assert (slash, len(token)) == ("/", 66)
    return address


def signature(url: str, form: Any = (), token: str = TOKEN) -> str:
    return str(RequestValidator(token).compute_signature(url, MultiDict(form)))


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


@pytest.fixture
def logs() -> Iterator[list[EventDict]]:
    with capture_logs() as entries:
        yield entries


# ── bodies that are no form ──


@pytest.mark.parametrize(("sent", "status"), [(b'{"a": 1}', 200), (b'{"a": 2}', 403)])
async def test_a_json_body_must_be_the_one_whose_hash_was_signed(sent: bytes, status: int) -> None:
    path = "/twilio/voice?bodySHA256=" + sha256(b'{"a": 1}').hexdigest()
    async with signing() as server:
        answered, text = await server.post_json(path, sent, signature(PUBLIC_URL + path))
    assert answered == status
    assert "bodySHA256" not in text


async def test_a_json_body_that_no_hash_covers_is_refused() -> None:
    async with signing() as server:
        status, _ = await server.post_json("/twilio/voice", b"{}", signature(f"{PUBLIC_URL}/twilio/voice"))
    assert status == 403


# ── the voice webhook ────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_answer_starts_a_one_way_stream_of_both_tracks_and_goes_on_with_the_call() -> None:
    async with gateway(public_url=PUBLIC_URL, twilio={"then": "<Dial>+15550123</Dial>"}) as server:
        response = await server.voice()
    assert [verb.tag for verb in response] == ["Start", "Dial"]
    (stream,) = response[0]
    assert {**stream.attrib, "url": without_token(stream.attrib["url"])} == {
        "url": "wss://media.example.com/twilio/stream",
        "track": "both_tracks",
        "statusCallback": "https://media.example.com/twilio/status",
    }


async def test_in_connect_mode_the_answer_opens_a_two_way_stream() -> None:
    async with gateway(public_url=PUBLIC_URL, twilio={"mode": "connect", "then": ""}) as server:
        response = await server.voice()
    assert [verb.tag for verb in response] == ["Connect"]
    assert "track" not in response[0][0].attrib


async def test_numbers_query_and_sip_headers_become_parameters_of_the_stream() -> None:
    form = {**VOICE, "SipHeader_X-Ticket": "42", "SipHeader_X-Tenant": "a&b", "CallStatus": "ringing"}
    async with gateway() as server:
        response = await server.voice(form, "?gw_language=de&queue=sales")
    parameters = {each.attrib["name"]: each.attrib["value"] for each in response.iter("Parameter")}
    assert parameters == {
        "gw_from": "+15550100",
        "gw_to": "+15550199",
        "X-Ticket": "42",
        "X-Tenant": "a&b",
        "gw_language": "de",
        "queue": "sales",
    }


async def test_the_number_of_the_caller_is_twilios_and_not_the_querys() -> None:
    async with gateway() as server:
        response = await server.voice(query="?gw_from=somebody")
    assert [each.attrib["value"] for each in response.iter("Parameter") if each.attrib["name"] == "gw_from"] == [
        "+15550100"
    ]


async def test_a_parameter_that_is_too_long_is_left_out_and_named_in_the_log(logs: list[EventDict]) -> None:
    async with gateway() as server:
        response = await server.voice({**VOICE, "SipHeader_X-Long": "v" * 600})
    assert "X-Long" not in [each.attrib["name"] for each in response.iter("Parameter")]
    assert [entry["names"] for entry in logs if entry["event"] == "twilio_parameters_left_out"] == [("X-Long",)]
    assert "vvv" not in str(logs)


async def test_the_prefix_of_the_public_address_is_kept() -> None:
    async with gateway(public_url=f"{PUBLIC_URL}/phone/") as server:
        (stream,) = (await server.voice()).iter("Stream")
    assert without_token(stream.attrib["url"]) == "wss://media.example.com/phone/twilio/stream"
    assert stream.attrib["statusCallback"] == "https://media.example.com/phone/twilio/status"


async def test_without_a_public_address_a_simulator_on_this_machine_is_sent_to_the_plain_socket() -> None:
    async with gateway() as server:
        (stream,) = (await server.voice()).iter("Stream")
        assert without_token(stream.attrib["url"]) == server.base.replace("http", "ws", 1) + "/twilio/stream"


async def test_without_a_public_address_the_host_of_the_request_is_named_with_tls() -> None:
    async with (
        gateway() as server,
        aiohttp.ClientSession(headers={"Host": "media.example.com"}) as session,
        session.post(f"{server.base}/twilio/voice") as answer,
    ):
        (stream,) = ElementTree.fromstring(await answer.text()).iter("Stream")  # noqa: S314 - our own answer
    assert stream.attrib["url"] == "wss://media.example.com/twilio/stream"


# ── the status callback ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("event", "counted_as", "level"),
    [
        ("stream-started", "stream-started", "info"),
        ("stream-stopped", "stream-stopped", "info"),
        ("stream-error", "stream-error", "warning"),
        ("stream-paused", "unknown", "warning"),
        (None, "unknown", "warning"),
    ],
)
async def test_each_status_is_counted_and_logged_without_twilios_text(
    event: str | None, counted_as: str, level: str, logs: list[EventDict]
) -> None:
    before = counted("gateway_stream_status_total", dialect="twilio", event=counted_as)
    form = {"StreamSid": "MZ1", "StreamError": "31920 to +15550100", **({"StreamEvent": event} if event else {})}
    async with gateway() as server:
        assert await server.post("/twilio/status", form) == (204, "")
    assert counted("gateway_stream_status_total", dialect="twilio", event=counted_as) == before + 1
    (line,) = [entry for entry in logs if entry["event"] == "twilio_stream_status"]
    assert (line["log_level"], line["stream_event"], line["stream_id"]) == (level, counted_as, "MZ1")
    assert "15550100" not in str(logs)


# ── signatures ───────────────────────────────────────────────────────────────────────────────────────────────────

STREAM_URLS = [
    "wss://media.example.com/twilio/stream",
    "wss://media.example.com/twilio/stream/",
    "wss://media.example.com:443/twilio/stream",
    "wss://media.example.com:443/twilio/stream/",
]


@pytest.mark.parametrize("path", ["/twilio/voice", "/twilio/voice?tenant=a%20b", "/twilio/status"])
async def test_a_form_that_the_official_library_signed_is_accepted(path: str) -> None:
    async with signing() as server:
        status, _ = await server.post(path, VOICE, signature(PUBLIC_URL + path, VOICE))
    assert status in (200, 204)


@pytest.mark.parametrize("path", ["/twilio/voice", "/twilio/status"])
async def test_a_form_that_was_changed_after_signing_is_refused(path: str) -> None:
    async with signing() as server:
        status, _ = await server.post(path, {**VOICE, "From": "+15550111"}, signature(PUBLIC_URL + path, VOICE))
    assert status == 403


async def test_a_form_with_repeated_fields_is_accepted() -> None:
    form = MultiDict([("StreamEvent", "stream-started"), ("Digits", "2"), ("Digits", "1")])
    async with signing() as server:
        signed = signature(f"{PUBLIC_URL}/twilio/status", form)
        assert await server.post("/twilio/status", form, signed) == (204, "")


@pytest.mark.parametrize("url", STREAM_URLS)
async def test_a_stream_that_the_official_library_signed_is_accepted(url: str) -> None:
    async with signing() as server, server.stream(signature=signature(url)) as phone:
        await phone.start()
        await server.sink.wait_for(CallStarted)


@pytest.mark.parametrize("path", ["/twilio/voice", "/twilio/status"])
@pytest.mark.parametrize("host", ["media.example.com", "media.example.com:443"])
@pytest.mark.parametrize("slash", ["", "/"])
async def test_port_and_final_slash_do_not_matter_to_a_form(path: str, host: str, slash: str) -> None:
    async with signing() as server:
        status, _ = await server.post(path, VOICE, signature(f"https://{host}{path}{slash}", VOICE))
    assert status != 403


@pytest.mark.parametrize("public_url", ["http://media.example.com", "https://media.example.com"])
async def test_a_stream_is_signed_for_the_very_address_that_our_twiml_names(public_url: str) -> None:
    async with gateway(public_url=public_url, twilio={"auth_token": TOKEN}) as server:
        _, twiml = await server.post("/twilio/voice", VOICE, signature(f"{public_url}/twilio/voice", VOICE))
        (stream,) = ElementTree.fromstring(twiml).iter("Stream")  # noqa: S314 - our own answer
        path = urlsplit(stream.attrib["url"]).path
        async with server.stream(path, signature=signature(stream.attrib["url"])) as phone:
            await phone.start()
            await server.sink.wait_for(CallStarted)


@pytest.mark.parametrize(
    "wrong",
    [
        signature("wss://media.example.com/twilio/stream", token="another"),
        signature("https://media.example.com/twilio/stream"),
        signature("wss://elsewhere.example.com/twilio/stream"),
        "",
        "\xff",
    ],
    ids=["token", "scheme", "host", "empty", "not ASCII"],
)
async def test_a_stream_with_a_wrong_signature_is_refused_before_the_upgrade(wrong: str) -> None:
    before = counted("gateway_signature_checks_total", dialect="twilio", outcome="invalid")
    async with signing() as server:
        refused = await server.refused_stream(signature=wrong)
    assert refused.status == 403
    assert counted("gateway_signature_checks_total", dialect="twilio", outcome="invalid") == before + 1


@pytest.mark.parametrize("path", ["/twilio/voice", "/twilio/status"])
async def test_a_form_without_signature_is_refused(path: str) -> None:
    async with signing() as server:
        status, _ = await server.post(path, VOICE)
    assert status == 403


async def test_a_missing_signature_is_counted_and_told_in_one_line_without_secrets(logs: list[EventDict]) -> None:
    before = counted("gateway_signature_checks_total", dialect="twilio", outcome="missing")
    async with signing() as server:
        refused = await server.refused_stream(path="/twilio/stream?key=hidden")
    assert refused.status == 403
    assert counted("gateway_signature_checks_total", dialect="twilio", outcome="missing") == before + 1
    (line,) = [entry for entry in logs if entry["event"] == "twilio_signature_refused"]
    assert line["outcome"] == "missing"
    assert "wss://media.example.com/twilio/stream" in line["computed_for"]
    assert "hidden" not in str(logs)


async def test_a_wrong_signature_shows_neither_itself_nor_the_right_one_nor_the_token(logs: list[EventDict]) -> None:
    right, wrong = signature(STREAM_URLS[0]), signature(STREAM_URLS[0], token="another")
    async with signing() as server:
        refused = await server.refused_stream(signature=wrong)
    assert len([entry for entry in logs if entry["event"] == "twilio_signature_refused"]) == 1
    assert not any(secret in f"{logs} {refused}" for secret in (right, wrong, TOKEN))


async def test_without_an_auth_token_nobody_is_refused() -> None:
    async with gateway() as server, server.stream(signature="whatever") as phone:
        await phone.start()
        await server.sink.wait_for(CallStarted)


# ── the media stream ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_stream_too_many_is_refused_before_the_upgrade_and_told_when_to_come_back() -> None:
    before = counted("gateway_calls_refused_total", dialect="twilio", reason="max_calls")
    async with gateway(limits={"max_calls": 1}) as server:
        async with server.stream() as phone:
            await phone.start()
            refused = await server.refused_stream()
        assert refused.status == 503
        assert refused.headers is not None
        assert int(refused.headers["Retry-After"]) > 0
        await server.sink.wait_for(CallEnded)
    assert counted("gateway_calls_refused_total", dialect="twilio", reason="max_calls") == before + 1


async def test_a_place_is_free_again_when_its_call_is_over() -> None:
    async with gateway(limits={"max_calls": 1}) as server:
        for _ in range(3):
            async with server.stream() as phone:
                await phone.start()
                await phone.stop()
                assert await phone.closed() == 1000
    assert len(server.sink.of(CallEnded)) == 3


async def test_a_request_that_is_no_upgrade_holds_no_place() -> None:
    async with gateway(limits={"max_calls": 1}) as server, aiohttp.ClientSession() as session:
        async with session.get(f"{server.base}/twilio/stream") as answer:
            assert answer.status == 400
        assert len(server.calls) == 0


async def test_what_a_proxy_took_from_an_upgrade_is_named_in_the_log(logs: list[EventDict]) -> None:
    stripped = {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version": "13"}
    async with (
        gateway() as server,
        aiohttp.ClientSession(headers=stripped) as session,
        session.get(f"{server.base}/twilio/stream") as answer,
    ):
        assert answer.status == 400
    (line,) = [entry for entry in logs if entry["event"] == "stream_not_upgraded"]
    assert "Upgrade" in line["headers"]
    assert "Sec-WebSocket-Key" not in line["headers"]


async def test_while_draining_streams_are_refused_and_told_when_to_come_back() -> None:
    async with gateway() as server:
        await server.calls.drain(patience_s=0, last_words_s=0)
        refused = await server.refused_stream()
    assert refused.status == 503
    assert refused.headers is not None
    assert int(refused.headers["Retry-After"]) > 0


async def test_nothing_but_the_close_is_ever_sent_on_a_one_way_stream() -> None:
    async with gateway() as server, server.stream(autoping=False) as phone:
        await phone.start("inbound", "outbound")
        await phone.media(100)
        await phone.media(100, "outbound")
        await phone.say({"event": "dtmf", "streamSid": "MZ1", "dtmf": {"track": "inbound_track", "digit": "5"}})
        await phone.say({"event": "mark", "streamSid": "MZ1", "mark": {"name": "m"}})
        await phone.say("noise")
        await phone.stop()
        first = await phone.socket.receive(timeout=10)
        assert (first.type, first.data) == (WSMsgType.CLOSE, 1000)


@pytest.mark.parametrize(("mode", "is_bidirectional"), [("start", False), ("connect", True)])
async def test_the_mode_decides_whether_the_stream_may_be_spoken_on(mode: str, is_bidirectional: bool) -> None:
    async with gateway(twilio={"mode": mode}) as server, server.stream() as phone:
        await phone.start()
        await server.sink.wait_for(CallStarted)
        (call,) = server.calls._active  # nothing is said on any stream yet, so nothing shows outside
        assert call._dialect.is_bidirectional is is_bidirectional


# ── one-time tokens ──────────────────────────────────────────────────────────────────────────────────────────────


def signed_stream(path: str) -> str:
    return signature("wss://media.example.com" + path)


def tokens(outcome: str) -> float:
    return counted("gateway_stream_tokens_total", outcome=outcome)


async def test_a_stream_at_the_address_of_our_twiml_is_accepted_once_and_then_never_again(
    logs: list[EventDict],
) -> None:
    """Replay: a signature has no time in it, so whoever saw a signed address could use it again."""
    before = tokens("used")
    async with gateway() as server:
        path = await server.stream_path()
        async with server.stream(path) as phone:
            await phone.start()
            await server.sink.wait_for(CallStarted)
            assert (await server.refused_stream(path=path)).status == 403
        assert (await server.refused_stream(path=path)).status == 403
        await server.sink.wait_for(CallEnded)
        assert len(server.calls) == 0
    assert tokens("used") == before + 2
    assert [line["code"] for line in logs if line["event"] == "stream_token_refused"] == ["token_used"] * 2
    assert path.rpartition("/")[2] not in str(logs)


async def test_a_stream_of_another_call_than_its_token_is_closed_before_it_is_a_call() -> None:
    async with gateway() as server, server.stream(await server.stream_path("CA1")) as phone:
        await phone.start(call_sid="CA2")
        assert await phone.closed() == 1008
        assert server.sink.events == []


async def test_a_token_that_is_too_old_is_refused() -> None:
    async with gateway(twilio={"token_ttl_s": 60}) as server:
        path = await server.stream_path()
        server.clock.advance(61)
        assert (await server.refused_stream(path=path)).status == 403


async def test_a_token_that_was_made_up_is_refused() -> None:
    async with gateway() as server:
        assert (await server.refused_stream(path="/twilio/stream/" + "A" * 66)).status == 403


async def test_the_signature_covers_the_token() -> None:
    async with signing() as server:
        _, twiml = await server.post("/twilio/voice", VOICE, signature(f"{PUBLIC_URL}/twilio/voice", VOICE))
        (stream,) = ElementTree.fromstring(twiml).iter("Stream")  # noqa: S314 - our own answer
        path = urlsplit(stream.attrib["url"]).path
        assert (await server.refused_stream(path=path, signature=signed_stream("/twilio/stream"))).status == 403
        async with server.stream(path, signature=signed_stream(path)) as phone:
            await phone.start()
            await server.sink.wait_for(CallStarted)


@pytest.mark.parametrize(
    "form",
    ["wss://media.example.com:443{}", "wss://media.example.com{}/", "wss://media.example.com:443{}/"],
)
async def test_port_and_final_slash_do_not_matter_to_a_stream_with_a_token(form: str) -> None:
    async with signing() as server:
        _, twiml = await server.post("/twilio/voice", VOICE, signature(f"{PUBLIC_URL}/twilio/voice", VOICE))
        (stream,) = ElementTree.fromstring(twiml).iter("Stream")  # noqa: S314 - our own answer
        path = urlsplit(stream.attrib["url"]).path
        async with server.stream(path, signature=signature(form.format(path))) as phone:
            await phone.start()
            await server.sink.wait_for(CallStarted)


async def test_a_refused_signature_does_not_use_the_token_up_nor_show_it(logs: list[EventDict]) -> None:
    async with signing() as server:
        _, twiml = await server.post("/twilio/voice", VOICE, signature(f"{PUBLIC_URL}/twilio/voice", VOICE))
        (stream,) = ElementTree.fromstring(twiml).iter("Stream")  # noqa: S314 - our own answer
        path = urlsplit(stream.attrib["url"]).path
        assert (await server.refused_stream(path=path, signature="wrong")).status == 403
        assert path.rpartition("/")[2] not in str(logs)
        async with server.stream(path, signature=signed_stream(path)) as phone:
            await phone.start()
            await server.sink.wait_for(CallStarted)


async def test_a_stream_for_which_there_is_no_room_does_not_use_its_token_up() -> None:
    async with gateway(limits={"max_calls": 1}) as server:
        path = await server.stream_path()
        async with server.stream() as phone:
            await phone.start()
            assert (await server.refused_stream(path=path)).status == 503
            await phone.stop()
            await phone.closed()
        async with asyncio.timeout(10):
            while len(server.calls):
                await server.post("/twilio/status", {})
        async with server.stream(path) as phone:
            await phone.start()
            await server.sink.wait_for(CallStarted, 2)


@pytest.mark.parametrize(("choice", "is_accepted"), [("off", True), ("optional", True), ("required", False)])
async def test_a_stream_without_a_token_is_refused_only_if_one_is_required(choice: str, is_accepted: bool) -> None:
    async with gateway(twilio={"stream_token": choice}) as server:
        if is_accepted:
            async with server.stream() as phone:
                await phone.start()
                await server.sink.wait_for(CallStarted)
        else:
            assert (await server.refused_stream()).status == 403
            assert server.sink.events == []


async def test_where_tokens_are_off_the_twiml_names_none() -> None:
    async with gateway(twilio={"stream_token": "off"}) as server:
        assert await server.stream_path() == "/twilio/stream"


async def test_a_voice_request_that_names_no_call_gets_no_token() -> None:
    async with gateway() as server:
        (stream,) = (await server.voice({"From": "+15550100"})).iter("Stream")
        assert urlsplit(stream.attrib["url"]).path == "/twilio/stream"


# ── peers that take their time ───────────────────────────────────────────────────────────────────────────────────


async def test_a_webhook_whose_body_does_not_come_is_given_up() -> None:
    async with gateway(limits={"handshake_timeout_s": 0.1}) as server:
        host, port = urlsplit(server.base).hostname, urlsplit(server.base).port
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"POST /twilio/voice HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nCall")
        async with asyncio.timeout(10):
            assert b"408" in await reader.readline()
        writer.close()


async def test_a_call_that_gets_only_pieces_of_a_message_is_ended_as_one_that_is_silent() -> None:
    async with gateway(limits={"idle_timeout_s": 0.2}) as server, server.stream() as phone:
        await phone.start()
        await server.sink.wait_for(CallStarted)
        transport = phone.socket.get_extra_info("socket")
        assert transport is not None
        beginning = b"\x81\xfe\x40\x00" + b"\0" * 4  # a masked text message of 16 384 bytes, and no more of it
        os.write(transport.fileno(), beginning)
        assert await phone.closed() == 1008
        (ended,) = await server.sink.wait_for(CallEnded)
        assert ended.reason == "idle_timeout"
