"""TLS at our own port, and what our clients make of certificates that nobody trusts."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from gateway.config import LimitSettings, SttProfile, TlsSettings
from gateway.errors import ConfigError, RecognizerUnavailable
from gateway.events import RecognizerRequest
from gateway.fetch import FetchFailed, fetch
from gateway.front_door import DoorSite, FrontDoor
from gateway.outbox.client import Client
from gateway.outbox.endpoint import Endpoint
from gateway.outbox.schedule import Outcome
from gateway.stt import client
from gateway.stt.client import open_session
from gateway.stt.pulse import pulse_live
from gateway.tls import ServerCertificate
from telephony_codecs.formats import AudioFormat
from tests.support.certificates import Authority, Pair
from tests.support.webhook_receiver import settings_for

DEADLINE_S = 60.0


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def pair(authority: Authority) -> Pair:
    return authority.sign("server")


def tls(pair: Pair, **changes: Any) -> TlsSettings:
    return TlsSettings.model_validate({"certificate": pair.certificate, "key": pair.key, **changes})


async def _hello(_request: web.Request) -> web.Response:
    return web.Response(text="hello")


@asynccontextmanager
async def serving(certificate: ServerCertificate, **limits: Any) -> AsyncIterator[tuple[int, FrontDoor]]:
    """An application behind the front door, with TLS; yields its port."""
    settings = LimitSettings.model_validate(limits)
    door = FrontDoor(settings)
    app = web.Application(middlewares=[door.middleware])
    app.router.add_route("*", "/{path:.*}", _hello)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await DoorSite(runner, door, settings, "127.0.0.1", 0, certificate).start()
        yield runner.addresses[0][1], door
    finally:
        await runner.cleanup()


async def shake_hands(port: int, context: ssl.SSLContext) -> tuple[str, str]:
    """Connect and ask once; the subject's name in the server's certificate, and the answer's first line."""
    async with asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
        try:
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            line = (await reader.readline()).decode().strip()
            subject = writer.get_extra_info("peercert")["subject"]
        finally:
            writer.transport.abort()
    return dict(field for part in subject for field in part)["commonName"], line


# ── what is served ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_requests_come_through_tls_to_the_routes(authority: Authority, pair: Pair) -> None:
    async with serving(ServerCertificate(tls(pair))) as (port, door):
        assert await shake_hands(port, authority.trusting()) == ("server", "HTTP/1.1 200 OK")
        assert door.waiting == 0


async def test_older_versions_than_allowed_are_refused(authority: Authority, pair: Pair) -> None:
    old = authority.trusting()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    async with serving(ServerCertificate(tls(pair, min_version="1.3"))) as (port, _):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await shake_hands(port, old)
        assert await shake_hands(port, authority.trusting())


async def test_with_mutual_tls_a_client_needs_a_certificate_of_that_authority(
    authority: Authority, pair: Pair, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path / "stranger").sign("client")
    certificate = ServerCertificate(tls(pair, client_ca=authority.certificate))
    async with serving(certificate) as (port, _):
        own = authority.trusting(authority.sign("client"))
        assert await shake_hands(port, own) == ("server", "HTTP/1.1 200 OK")
        for context in (authority.trusting(), authority.trusting(stranger)):
            line = ""
            with contextlib.suppress(ssl.SSLError, ConnectionError):  # or the end of the stream, before any answer
                _, line = await shake_hands(port, context)
            assert line == ""


async def test_a_client_that_never_shakes_hands_is_cut_off(pair: Pair) -> None:
    async with serving(ServerCertificate(tls(pair)), handshake_timeout_s=0.1) as (port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(DEADLINE_S):
            assert await reader.read() == b""
        writer.close()


# ── files that change ────────────────────────────────────────────────────────────────────────────────────────────


def copy(source: Pair, target: Pair) -> None:
    for old, new in ((source.certificate, target.certificate), (source.key, target.key)):
        new.unlink(missing_ok=True)
        new.write_bytes(old.read_bytes())


async def test_a_renewed_certificate_is_used_for_new_connections_and_open_ones_go_on(
    authority: Authority, pair: Pair, tmp_path: Path
) -> None:
    live = Pair(tmp_path / "live.pem", tmp_path / "live.key")
    copy(pair, live)
    certificate = ServerCertificate(tls(live))
    context = authority.trusting()
    async with serving(certificate) as (port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
        copy(authority.sign("renewed"), live)
        certificate.refresh()
        assert await shake_hands(port, authority.trusting()) == ("renewed", "HTTP/1.1 200 OK")
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        async with asyncio.timeout(DEADLINE_S):
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
        writer.transport.abort()


@pytest.mark.parametrize("fault", ["half a pair", "nonsense", "gone"])
async def test_a_change_that_cannot_be_used_is_reported_once_and_the_old_certificate_stays(
    fault: str, authority: Authority, pair: Pair, tmp_path: Path
) -> None:
    live = Pair(tmp_path / "live.pem", tmp_path / "live.key")
    copy(pair, live)
    certificate = ServerCertificate(tls(live))
    match fault:
        case "half a pair":
            live.certificate.write_bytes(authority.sign("other").certificate.read_bytes())
        case "nonsense":
            live.key.write_text("not a key")
        case _:
            live.key.unlink()
    async with serving(certificate) as (port, _):
        with capture_logs() as logs:
            certificate.refresh()
            certificate.refresh()
        assert await shake_hands(port, authority.trusting()) == ("server", "HTTP/1.1 200 OK")
    assert [line["event"] for line in logs] == ["tls_certificate_unusable"]


def test_files_that_did_not_change_are_not_read_again(pair: Pair) -> None:
    certificate = ServerCertificate(tls(pair))
    with capture_logs() as logs:
        certificate.refresh()
    assert logs == []


# ── faults at the start ──────────────────────────────────────────────────────────────────────────────────────────


def fault(settings: TlsSettings) -> str:
    with pytest.raises(ConfigError) as refused:
        ServerCertificate(settings)
    (found,) = refused.value.faults
    return found


def test_each_fault_of_the_files_is_named(authority: Authority, pair: Pair, tmp_path: Path) -> None:
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("hello")
    assert "No such file" in fault(tls(pair, certificate=tmp_path / "absent.pem"))
    assert "No such file" in fault(tls(pair, key=tmp_path / "absent.key"))
    assert "does not belong" in fault(tls(pair, key=authority.sign("other").key))
    assert "not what it should be" in fault(tls(pair, certificate=nonsense))
    assert "tls.client_ca" in fault(tls(pair, client_ca=nonsense))
    assert "tls.client_ca" in fault(tls(pair, client_ca=tmp_path / "absent.pem"))


# ── what our clients trust ───────────────────────────────────────────────────────────────────────────────────────


async def test_the_authorities_are_read_once_for_all_speech_sessions(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time takes 20 ms of the event loop, and memory that a call should not cost."""
    made: list[ssl.SSLContext] = []
    make = ssl.create_default_context
    monkeypatch.setattr(
        ssl, "create_default_context", lambda *args, **given: made.append(make(*args, **given)) or made[-1]
    )
    monkeypatch.setattr(client, "_trust", cache(client._trust.__wrapped__))
    async with serving(ServerCertificate(tls(pair))) as (port, _door):
        profile = SttProfile(kind="pulse-live", url=f"wss://localhost:{port}/live")
        request = RecognizerRequest(format=AudioFormat.parse("mulaw-8000"))
        for _ in range(3):
            with pytest.raises(RecognizerUnavailable):
                async with open_session(profile, pulse_live(profile, request)):
                    pass
    assert len(made) == 1


async def test_nobody_is_sent_anything_whose_certificate_is_not_trusted(pair: Pair, tmp_path: Path) -> None:
    """Webhooks, recordings and speech services: each verifies with the system's authorities, to which ours is none."""
    async with serving(ServerCertificate(tls(pair))) as (port, door):
        endpoint = Endpoint.of(settings_for(f"https://localhost:{port}/hook"))
        async with Client(endpoint, connections=1, timeout_s=DEADLINE_S) as client:
            assert (await client.post("evt_1", b"{}")).outcome is Outcome.UNREACHABLE
        url = f"https://localhost:{port}/recording"
        with pytest.raises(FetchFailed) as refused:
            await fetch(url, tmp_path / "file", max_bytes=1000, timeout_s=DEADLINE_S, allow_private=True)
        assert refused.value.code == "fetch_unreachable"
        profile = SttProfile(kind="pulse-live", url=f"wss://localhost:{port}/live")
        request = RecognizerRequest(format=AudioFormat.parse("mulaw-8000"))
        with pytest.raises(RecognizerUnavailable):
            async with open_session(profile, pulse_live(profile, request)):
                pass
        assert len(door) == 0
