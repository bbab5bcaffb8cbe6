"""
`gateway doctor`: everything a call needs, checked from outside in, and what to mend.

Each check does the real thing: resolves the name, opens the socket, asks the speech engine. It runs beside the gateway,
not inside it, so that proxies and firewalls on the way are checked, too.
"""

import asyncio
import email.utils
import os
import secrets
import ssl
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

import aiohttp
from rich.console import Console
from rich.markup import escape

from gateway.config import Settings, WebhookSettings
from gateway.dialects import twilio_signature
from gateway.engines.pool import EnginePool
from gateway.errors import GatewayError
from gateway.events import Finished, RecognizerRequest
from gateway.guard import GuardedResolver
from gateway.stream_tokens import NONCE_BYTES, StreamTokens, derived_key
from gateway.stt.profiles import ProfiledRecognizers
from gateway.twilio_routes import STREAM_PATH
from telephony_codecs.formats import AudioFormat
from telephony_codecs.resample import IS_COMPILED

CHECK_S = 15.0
MAX_CLOCK_ERROR_S = 60.0  # webhook receivers refuse deliveries that are five minutes off

_TWILIO_ERRORS = {
    31901: "connection timed out: a firewall or a tunnel that is down; is port 443 reachable from anywhere?",
    31902: "connection refused: nothing listens at the stream's address; is `gateway serve` running behind the proxy?",
    31903: "broken pipe: the gateway went away, or the idle time-out of a proxy or load balancer cut the stream. Our "
    "side of a one-way stream is silent for the whole call: raise the read time-out above the longest call",
    31910: "TLS failed: self-signed certificate, incomplete chain, or a plain port behind wss://",
    31920: "the upgrade was not answered 101: wrong path (404), signature or stream token refused (403: auth token "
    "or public_url differ from what Twilio uses), gateway draining or full (503), or a proxy that does not pass "
    "upgrades on",
    31921: "the gateway closed the stream: its log line call_ended says why; on a two-way stream it is the normal end",
    31922: "unsupported scheme: the stream's address must begin with wss://",
    31923: "malformed address: spaces or missing host in the stream's address",
    31924: "protocol error: something sent a message on a one-way stream, or a proxy rewrites frames",
    31930: "Twilio dropped audio because it was read too slowly: the machine is overloaded; see gateway_calls_active",
    31941: "unknown track: TwiML of your own names another one than inbound_track, outbound_track or both_tracks",
    31950: "a message to Twilio was malformed: the gateway sends none on one-way streams; a proxy rewrites frames",
    31951: "a message to Twilio was not valid: see 31950",
}


class Verdict(StrEnum):
    """How a check came out."""

    GOOD = "good"
    BAD = "bad"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what was looked at, how it came out, and what to mend."""

    check: str
    verdict: Verdict
    text: str


def explain(number: int) -> str:
    """The cause of an error in Twilio's debugger. Source: Twilio error dictionary, read 2026-11."""
    if number in _TWILIO_ERRORS:
        return f"{number}: {_TWILIO_ERRORS[number]}"
    return f"{number} is not an error of media streams; known are {', '.join(map(str, sorted(_TWILIO_ERRORS)))}"


async def run(settings: Settings) -> int:
    """Make every check and print it as it is made. Returns 1 if one is bad, else 0."""
    console = Console(highlight=False, soft_wrap=True)
    signs = {Verdict.GOOD: "[green]good   [/]", Verdict.BAD: "[red]bad    [/]", Verdict.SKIPPED: "[dim]skipped[/]"}
    is_bad = False
    async for finding in examine(settings):
        is_bad |= finding.verdict is Verdict.BAD
        console.print(f"{signs[finding.verdict]}  {finding.check:<24} {escape(finding.text)}")
    return 1 if is_bad else 0


async def examine(settings: Settings) -> AsyncIterator[Finding]:
    """Every check, one after the other."""
    yield Finding("settings", Verdict.GOOD, "valid")
    yield _data_folder(settings)
    yield _resampling()
    async for finding in _public_url(settings):
        yield finding
    async for finding in _profiles(settings):
        yield finding
    if not settings.endpoints:
        yield Finding("webhook", Verdict.SKIPPED, "no webhook is configured: events stay in the store")
    for endpoint in settings.endpoints:
        yield await _webhook(endpoint)


def _data_folder(settings: Settings) -> Finding:
    folder = settings.data_dir
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return Finding("data folder", Verdict.BAD, f"{folder}: {error.strerror}; let the gateway's user write there")
    return Finding("data folder", Verdict.GOOD, f"{folder} can be written")


def _resampling() -> Finding:
    if IS_COMPILED:
        return Finding("resampling", Verdict.GOOD, "compiled")
    hint = "not compiled: it takes up to five times as long; install a C compiler, then the gateway again"
    return Finding("resampling", Verdict.SKIPPED, hint)


async def _public_url(settings: Settings) -> AsyncIterator[Finding]:
    base = settings.public_url
    if base is None:
        yield Finding(
            "public_url", Verdict.SKIPPED, "not set: set it to the address under which the platform reaches you"
        )
        return
    parts = urlsplit(base)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        async with asyncio.timeout(CHECK_S):
            found = await asyncio.get_running_loop().getaddrinfo(parts.hostname, port)
    except (OSError, TimeoutError):
        yield Finding("name", Verdict.BAD, f"{parts.hostname} does not resolve: check the DNS record")
        return
    yield Finding("name", Verdict.GOOD, f"{parts.hostname} resolves to {len({info[4][0] for info in found})} addresses")
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=CHECK_S)) as session:
        async for finding in _through_proxy(session, base):
            yield finding
            if finding.verdict is Verdict.BAD:
                return
        yield await _upgrade(session, settings, base)


async def _through_proxy(session: aiohttp.ClientSession, base: str) -> AsyncIterator[Finding]:
    if not base.startswith("https"):
        yield Finding("TLS", Verdict.BAD, "public_url is not https: Twilio opens wss:// only")
        return
    try:
        async with session.get(f"{base}/healthz", allow_redirects=False) as answer:
            yield Finding("TLS", Verdict.GOOD, "the certificate is valid and its chain complete")
            if answer.status != 200:
                yield Finding(
                    "health", Verdict.BAD, f"/healthz answers {answer.status}: does the proxy pass it to the gateway?"
                )
                return
            yield Finding("health", Verdict.GOOD, "the gateway answers through public_url")
            yield _clock(answer.headers.get("Date"))
    except aiohttp.ClientConnectorCertificateError:
        yield Finding(
            "TLS", Verdict.BAD, "the certificate is not trusted: self-signed, expired, or the chain is incomplete"
        )
    except ssl.SSLError:
        yield Finding("TLS", Verdict.BAD, "no TLS: is a plain port behind https://?")
    except (aiohttp.ClientError, TimeoutError) as error:
        yield Finding(
            "health", Verdict.BAD, f"not reached ({type(error).__name__}): is the proxy up, is the port open?"
        )


def _clock(date: str | None) -> Finding:
    try:
        answered_at = email.utils.parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        return Finding("clock", Verdict.SKIPPED, "the answer has no date")
    off_s = abs(time.time() - answered_at)
    if off_s > MAX_CLOCK_ERROR_S:
        return Finding("clock", Verdict.BAD, f"{off_s:.0f} s off: receivers will refuse signatures; set up time sync")
    return Finding("clock", Verdict.GOOD, f"within {MAX_CLOCK_ERROR_S:.0f} s")


async def _upgrade(session: aiohttp.ClientSession, settings: Settings, base: str) -> Finding:
    url = "wss" + base.removeprefix("https") + STREAM_PATH
    token = settings.twilio.auth_token
    if token is None:
        if settings.twilio.stream_token == "required":  # noqa: S105 - a choice, not a token
            return Finding("media stream", Verdict.SKIPPED, "without twilio.auth_token nobody else can make its tokens")
        status = await _upgrade_status(session, url, None)
        return _upgrade_finding(status, "twilio.auth_token is not set, so nobody's signature is checked")
    if (status := await _upgrade_status(session, url, "wrong")) != 403:
        return Finding(
            "media stream",
            Verdict.BAD,
            f"a wrong signature is answered {status} instead of 403: another server answers",
        )
    if settings.twilio.stream_token != "off":  # noqa: S105 - a choice, not a token
        tokens = StreamTokens(derived_key(token.get_secret_value()), settings.twilio.token_ttl_s)
        url += "/" + tokens.issue("doctor", time.time(), secrets.token_bytes(NONCE_BYTES))
    right = twilio_signature.compute(token.get_secret_value(), url)
    return _upgrade_finding(
        await _upgrade_status(session, url, right), "a right signature passes, a wrong one does not"
    )


def _upgrade_finding(status: int, text: str) -> Finding:
    if status == 101:
        return Finding("media stream", Verdict.GOOD, text)
    return Finding("media stream", Verdict.BAD, f"the upgrade is answered {status}: {_TWILIO_ERRORS[31920]}")


async def _upgrade_status(session: aiohttp.ClientSession, url: str, signature: str | None) -> int:
    headers = {} if signature is None else {"X-Twilio-Signature": signature}
    try:
        async with session.ws_connect(url, headers=headers):
            return 101
    except aiohttp.WSServerHandshakeError as error:
        return error.status
    except (aiohttp.ClientError, TimeoutError):
        return 0


async def _profiles(settings: Settings) -> AsyncIterator[Finding]:
    """Open a real session with each engine in use, send it a second of silence, and wait for its end."""
    used = {settings.stt.default}
    if settings.speech_api.enabled:
        used.add(settings.speech_api.profile)
    source = AudioFormat.parse("mulaw-8000")
    async with EnginePool(settings.engine) as engines:
        recognizers = ProfiledRecognizers(settings.stt.profiles, engines.open)
        for name in sorted(used):
            wanted = recognizers.audio_format(name, source)
            request = RecognizerRequest(format=wanted, call_id="doctor", track="inbound")
            try:
                async with asyncio.timeout(CHECK_S), recognizers.open(name, request) as recognizer:
                    await recognizer.send(wanted.silence(wanted.rate_hz))
                    await recognizer.end()
                    async for event in recognizer.events():
                        if isinstance(event, Finished):
                            break
                yield Finding(f"speech engine {name}", Verdict.GOOD, "took audio and finished")
            except GatewayError as error:
                yield Finding(f"speech engine {name}", Verdict.BAD, f"{error} ({error.code}): check url and api_key")
            except TimeoutError:
                yield Finding(f"speech engine {name}", Verdict.BAD, f"did not finish within {CHECK_S:.0f} s")


async def _webhook(endpoint: WebhookSettings) -> Finding:
    """Resolve and connect as a delivery would, without posting anything."""
    assert endpoint.url is not None
    parts = urlsplit(endpoint.url)
    check = f"webhook {parts.hostname}"
    port = parts.port or (443 if parts.scheme == "https" else 80)
    resolver = GuardedResolver(allow_private=endpoint.allow_private)
    try:
        async with asyncio.timeout(endpoint.connect_timeout_s):
            addresses = await resolver.resolve(parts.hostname or "", port)
            context = ssl.create_default_context() if parts.scheme == "https" else None
            _, writer = await asyncio.open_connection(
                addresses[0]["host"], port, ssl=context, server_hostname=parts.hostname if context else None
            )
            writer.close()
    except GatewayError as error:
        return Finding(check, Verdict.BAD, f"{error} ({error.code}); set allow_private if it is meant to be there")
    except ssl.SSLCertVerificationError:
        return Finding(check, Verdict.BAD, "its certificate is not trusted")
    except ssl.SSLError:
        return Finding(check, Verdict.BAD, "no TLS: is a plain port behind https://?")
    except (OSError, TimeoutError) as error:
        return Finding(
            check, Verdict.BAD, f"not reached ({type(error).__name__}): check the name, the port and firewalls"
        )
    finally:
        await resolver.close()
    return Finding(check, Verdict.GOOD, "reached")
