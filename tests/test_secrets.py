"""
No secret in anything that the gateway shows: logs at their most talkative, errors, metrics, representations.

Every secret that can be configured is a distinctive one; then everything goes wrong that can.
"""

import ast
import asyncio
import base64
import json
import re
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree

import aiohttp
import pytest
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped] # publishes no types

from gateway import config_sources
from gateway.errors import ConfigError
from tests.support import webhook_receiver
from tests.support.pulse_server import PulseServer, PulseSession, refuse
from tests.support.webhook_receiver import Receiver
from tests.support.whole_gateway import DEADLINE_S, GatewayProcess, phone, run

API_TOKEN = "apitoken-Zq81xKpW"
AUTH_TOKEN = "authtoken-Vb72mLsQ"
STT_KEY = "sttkey-Nc63jHrT"
STT_QUERY = "sttquery-Md54kGfY"
STT_OPTION = "sttoption-Lx45hDdU"
HOOK_QUERY = "hookquery-Ks36gSsI"
HOOK_SECRET = base64.b64encode(b"hooksecret-Jw27fAaO-0123456789").decode()
OLD_HOOK_SECRET = base64.b64encode(b"oldsecret-Hv18dPpP-0123456789ab").decode()
SENT_KEY = "sentkey-Gr09sEeL"
CALLER = "+15550100777"
SECRETS = (
    *(API_TOKEN, AUTH_TOKEN, STT_KEY, STT_QUERY, STT_OPTION, HOOK_QUERY, HOOK_SECRET, OLD_HOOK_SECRET, SENT_KEY),
    CALLER.removeprefix("+"),
)


def environ(vendor: PulseServer, receiver: Receiver) -> dict[str, str]:
    profile = {
        "kind": "pulse-live",
        "url": f"{vendor.url}?access={STT_QUERY}",
        "api_key": STT_KEY,
        "options": {"vendor_key": STT_OPTION},
        "connect_timeout_s": 2,
    }
    return {
        "GATEWAY_LOG__LEVEL": "debug",
        "GATEWAY_API_TOKEN": API_TOKEN,
        "GATEWAY_TWILIO__AUTH_TOKEN": AUTH_TOKEN,
        "GATEWAY_WEBHOOK__URL": f"{receiver.url}?token={HOOK_QUERY}",
        "GATEWAY_WEBHOOK__SECRET": "whsec_" + HOOK_SECRET,
        "GATEWAY_WEBHOOK__PREVIOUS_SECRETS": json.dumps(["whsec_" + OLD_HOOK_SECRET]),
        "GATEWAY_WEBHOOK__ALLOW_PRIVATE": "true",
        "GATEWAY_OUTBOX__RETRY_DELAYS_S": "[0]",
        "GATEWAY_STT": json.dumps({"default": "live", "drain_s": 1, "profiles": {"live": profile}}),
        "GATEWAY_SPEECH_API__PROFILE": "live",
    }


def shown_in(text: str, secrets: tuple[str, ...] = SECRETS) -> list[str]:
    """The secrets that a text holds, as they are or as addresses write them."""
    return [secret for secret in secrets if secret in text or quote(secret, safe="") in text]


async def garbage(session: PulseSession) -> None:
    for number in range(20):
        await session.send_raw(json.dumps({"nonsense": number, "key": STT_KEY}))
    await session.receive_until("close_stream")


class Visitor:
    """Asks for everything that goes wrong, and keeps every answer."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.answers: list[str] = []
        self.stream_tokens: list[str] = []

    async def ask(self, method: str, path: str, headers: Mapping[str, str] | None = None, **options: Any) -> str:
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, self.base + path, headers=headers, **options) as answer,
        ):
            text = await answer.text()
            self.answers.append(f"{answer.status} {answer.headers} {text}")
            return text

    async def open(self, path: str, headers: Mapping[str, str] | None = None) -> None:
        """An upgrade that is refused."""
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await session.ws_connect(self.base + path, headers=headers)
        self.answers.append(f"{refused.value.status} {refused.value.headers} {refused.value.message}")

    async def send_garbage(self, line: str) -> None:
        parts = urlsplit(self.base)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(f"{line}\r\nHost: x\r\n\r\n".encode())
        async with asyncio.timeout(DEADLINE_S):
            assert b" 400 " in await reader.readline()  # what follows quotes the line back to who sent it
        writer.close()

    async def signed_stream(self, call_sid: str) -> tuple[str, str]:
        """Path and signature of a stream as our TwiML starts it."""
        form = {"CallSid": call_sid, "From": CALLER}
        signature = RequestValidator(AUTH_TOKEN).compute_signature(f"{self.base}/twilio/voice", form)
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{self.base}/twilio/voice", data=form, headers={"X-Twilio-Signature": signature}) as answer,
        ):
            (stream,) = ElementTree.fromstring(await answer.text()).iter("Stream")  # noqa: S314 - our own answer
        url = stream.attrib["url"]
        self.stream_tokens.append(url.rpartition("/")[2])
        return urlsplit(url).path, str(RequestValidator(AUTH_TOKEN).compute_signature(url, {}))

    async def call(self, call_sid: str) -> None:
        path, signature = await self.signed_stream(call_sid)
        address = self.base.replace("http", "ws", 1) + path
        async with phone(address, **{"X-Twilio-Signature": signature}) as caller:
            await caller.start(call_sid=call_sid, gw_from=CALLER)
            await caller.media(50)
            await caller.stop()
            await caller.closed()
        await self.open(path, {"X-Twilio-Signature": signature})  # the token was used
        await self.open(path, {"X-Twilio-Signature": "wrong"})


@pytest.mark.timeout(300)
async def test_nothing_that_the_gateway_shows_holds_a_secret_whatever_goes_wrong(tmp_path: Path) -> None:
    async with (
        PulseServer(refuse(401), garbage, refuse(429), refuse(500), strict=False) as vendor,
        Receiver() as receiver,
    ):
        receiver.answer = webhook_receiver.status(500)
        told = environ(vendor, receiver)
        async with GatewayProcess(tmp_path, **told) as gateway:
            visitor = Visitor(await gateway.base_url())
            for number in range(2):
                await visitor.call(f"CA{number}")
            await visitor.open("/twilio/stream/" + SENT_KEY, {"X-Twilio-Signature": SENT_KEY})
            await visitor.ask("POST", f"/twilio/voice?token={SENT_KEY}", data={"From": CALLER})
            await visitor.ask("POST", "/twilio/status", {"X-Twilio-Signature": SENT_KEY}, data={"To": CALLER})
            await visitor.open(f"/waves/v1/pulse/get_text?token={SENT_KEY}")
            await visitor.open("/waves/v1/pulse/get_text?language=en", {"Authorization": f"Bearer {API_TOKEN}"})
            await visitor.open(f"/waves/v1/stt/live?model=pulse&language=en&token={API_TOKEN}")
            recording = json.dumps({"url": f"http://localhost:1/?token={SENT_KEY}"})
            bearer = {"Authorization": f"Bearer {API_TOKEN}", "Content-Type": "application/json"}
            await visitor.ask("POST", "/waves/v1/pulse/get_text?language=en", bearer, data=recording)
            for line in (f"GET /{SENT_KEY} HTTP/9.9", f"{SENT_KEY}", f"GET /?{SENT_KEY} HTTP/1.1\r\n{SENT_KEY}"):
                await visitor.send_garbage(line)
            metrics = await visitor.ask("GET", "/metrics")
            await gateway.wait_for_log("webhook_failed")
            gateway.send_signal(signal.SIGTERM)
            await gateway.exit_code()
            log = json.dumps(gateway.log)
            errors = gateway.errors
    secrets = (*SECRETS, *visitor.stream_tokens)
    assert "stt_session_failed" in log, "the log was not as talkative as it should be"
    assert shown_in(log, secrets) == []
    assert shown_in(errors, secrets) == []
    assert shown_in(metrics, secrets) == []
    assert shown_in("".join(visitor.answers), secrets) == []


async def test_the_settings_show_no_secret_in_any_form(tmp_path: Path) -> None:
    async with PulseServer() as vendor, Receiver() as receiver:
        told = environ(vendor, receiver)
    settings = config_sources.load(environ=told)
    assert settings.twilio.auth_token is not None
    for shown in (repr(settings), str(settings), f"{settings.stt.profiles}", str(config_sources.effective(settings))):
        assert shown_in(shown) == []
    code, output, errors = await run("config", **told)
    assert (code, errors) == (0, "")
    assert "live" in output
    assert shown_in(output) == []


@pytest.mark.parametrize(
    "name",
    [
        *("GATEWAY_TWILIO", "GATEWAY_API_TOKEN", "GATEWAY_WEBHOOK__SECRET", "GATEWAY_WEBHOOK__PREVIOUS_SECRETS"),
        *("GATEWAY_WEBHOOK__URL", "GATEWAY_STT__PROFILES__LIVE", "GATEWAY_NO_SUCH", "GATEWAY_PORT"),
    ],
)
@pytest.mark.parametrize(
    "value", [SENT_KEY, f'{{"x": "{SENT_KEY}"}}', f'["{SENT_KEY}"]', f"ftp://{SENT_KEY}@host/?{SENT_KEY}"]
)
def test_a_fault_in_the_settings_is_told_without_the_value(name: str, value: str) -> None:
    shown = ""
    try:
        config_sources.load(environ={name: value})
    except ConfigError as error:  # not all of them are faults
        shown = f"{error} {error.faults} {error!r}"
    assert shown_in(shown) == []


def test_placeholders_of_an_address_stay_readable_and_everything_else_in_its_query_does_not() -> None:
    url = f"wss://user:{STT_KEY}@stt.example.com/live?access={STT_QUERY}&call={{call_id}}"
    settings = config_sources.load(
        environ={"GATEWAY_STT__PROFILES__P__KIND": "pulse-live", "GATEWAY_STT__PROFILES__P__URL": url}
    )
    shown = config_sources.effective(settings)["stt"]["profiles"]["p"]["url"]
    assert shown == "wss://**********@stt.example.com/live?access=**********&call={call_id}"
    assert settings.stt.profiles["p"].url == url


def test_what_looks_like_a_key_in_the_path_of_an_address_is_not_shown() -> None:
    url = "https://hooks.example.com/services/T024BE7LDXk93hGq0pL/transcripts/v2"
    settings = config_sources.load(
        environ={"GATEWAY_WEBHOOK__URL": url, "GATEWAY_WEBHOOK__SECRET": "whsec_" + HOOK_SECRET}
    )
    shown = str(config_sources.effective(settings))
    assert "https://hooks.example.com/services/**********/transcripts/v2" in shown
    assert "T024BE7LD" not in shown + repr(settings)


SECRET_NAME = re.compile(r"(?:^|_)(?:token|signature|secret|seal|mac|digest|api_key|password|presented)s?$", re.I)


def secrets_compared(path: Path) -> list[str]:
    """Lines that compare what is named like a secret by `==`, with anything but a literal."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Eq | ast.NotEq):
            sides = (node.left, *node.comparators)
            names = [str(getattr(side, "id", None) or getattr(side, "attr", None) or "") for side in sides]
            is_literal = any(isinstance(side, ast.Constant) for side in sides)
            if not is_literal and any(SECRET_NAME.search(name) for name in names):
                found.append(f"{path.name}:{node.lineno}")
    return found


def test_secrets_are_compared_in_constant_time_only() -> None:
    folder = Path(__file__).parent.parent / "gateway"
    assert [line for path in sorted(folder.rglob("*.py")) for line in secrets_compared(path)] == []


def test_a_comparison_that_takes_its_time_would_be_found(tmp_path: Path) -> None:
    code = tmp_path / "a.py"
    code.write_text("given != self._token\nsignature == compute()\nmode == 'token'\n")
    assert secrets_compared(code) == ["a.py:1", "a.py:2"]
