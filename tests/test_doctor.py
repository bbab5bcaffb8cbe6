"""Each check of the doctor finds what is well and what is not, against real servers on loopback."""

import asyncio
import contextlib
import email.utils
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gateway import doctor
from gateway.config import Settings
from gateway.doctor import Finding, Verdict
from gateway.server import serving
from tests.support.pulse_server import Act, PulseServer, recognise, refuse
from tests.support.webhook_receiver import Receiver, settings_for
from tests.support.whole_gateway import FAST_ENGINE, heard_by, posted_to, run, settings

TOKEN = "0123456789abcdef0123456789abcdef"


async def findings(examined: Settings) -> dict[str, Finding]:
    """Of every check."""
    return {finding.check: finding async for finding in doctor.examine(examined)}


async def seen_from_outside(examined: Settings) -> dict[str, Finding]:
    """Of the checks of `public_url` alone, which are quicker."""
    return {finding.check: finding async for finding in doctor._public_url(examined)}


@asynccontextmanager
async def vendor(*acts: Act) -> AsyncIterator[dict[str, Any]]:
    """Settings with this engine alone."""
    async with PulseServer(*acts) as server:
        yield {"stt": heard_by(server), "speech_api": {"enabled": False}}


# ── what needs no network ────────────────────────────────────────────────────────────────────────────────────────


def test_a_data_folder_that_can_be_written_is_good_and_made_if_need_be(tmp_path: Path) -> None:
    finding = doctor._data_folder(settings(tmp_path / "new"))
    assert finding.verdict is Verdict.GOOD
    assert list((tmp_path / "new").iterdir()) == []


def test_a_data_folder_that_cannot_be_made_is_bad_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    finding = doctor._data_folder(settings(tmp_path / "file" / "data"))
    assert (finding.verdict, "Not a directory" in finding.text) == (Verdict.BAD, True)


@pytest.mark.parametrize(("is_compiled", "verdict"), [(True, Verdict.GOOD), (False, Verdict.SKIPPED)])
def test_resampling_that_nobody_compiled_is_told(
    is_compiled: bool, verdict: Verdict, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "IS_COMPILED", is_compiled)
    assert doctor._resampling().verdict is verdict


@pytest.mark.parametrize(
    ("off_s", "verdict"), [(0, Verdict.GOOD), (30, Verdict.GOOD), (90, Verdict.BAD), (-90, Verdict.BAD)]
)
def test_a_clock_is_bad_when_it_is_more_than_a_minute_off(off_s: float, verdict: Verdict) -> None:
    assert doctor._clock(email.utils.formatdate(time.time() + off_s, usegmt=True)).verdict is verdict


@pytest.mark.parametrize("date", [None, "yesterday"])
def test_without_a_date_the_clock_is_not_judged(date: str | None) -> None:
    assert doctor._clock(date).verdict is Verdict.SKIPPED


# ── speech engine and webhook ────────────────────────────────────────────────────────────────────────────────────


async def test_an_engine_that_hears_and_a_receiver_that_is_there_are_good(tmp_path: Path) -> None:
    async with vendor() as tree, Receiver() as receiver:
        found = await findings(settings(tmp_path, webhook=posted_to(receiver), **tree))
        assert receiver.requests == []
    assert found["speech engine live"].verdict is Verdict.GOOD
    assert found["webhook 127.0.0.1"].verdict is Verdict.GOOD


async def test_an_engine_that_refuses_is_bad_and_what_is_not_configured_skipped(tmp_path: Path) -> None:
    async with vendor(refuse(401)) as tree:
        tree["stt"]["profiles"]["live"]["url"] += "?token=hidden"
        found = await findings(settings(tmp_path, **tree))
    finding = found["speech engine live"]
    assert (finding.verdict, "stt_refused_401" in finding.text) == (Verdict.BAD, True)
    assert {name for name, each in found.items() if each.verdict is Verdict.SKIPPED} == {"public_url", "webhook"}
    assert "hidden" not in str(found)


async def test_an_engine_that_never_finishes_is_bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "CHECK_S", 0.5)
    async with vendor(recognise(last_when=asyncio.Event())) as tree:
        found = await findings(settings(tmp_path, **tree))
    assert found["speech engine live"].verdict is Verdict.BAD


async def test_a_receiver_that_is_not_there_is_bad() -> None:
    finding = await doctor._webhook(settings_for("http://127.0.0.1:1/hook?token=hidden"))
    assert finding.verdict is Verdict.BAD
    assert "hidden" not in str(finding)


async def test_a_receiver_at_a_private_address_is_bad_and_says_what_to_set() -> None:
    finding = await doctor._webhook(settings_for("http://localhost:1/", allow_private=False))
    assert (finding.verdict, "allow_private" in finding.text) == (Verdict.BAD, True)


async def test_a_receiver_without_tls_behind_https_is_bad() -> None:
    async with Receiver() as receiver:
        finding = await doctor._webhook(settings_for(f"https://127.0.0.1:{receiver.port}/"))
    assert (finding.verdict, "plain port" in finding.text) == (Verdict.BAD, True)


# ── from outside in ──────────────────────────────────────────────────────────────────────────────────────────────


class Certificate(NamedTuple):
    """For `localhost`, signed by itself."""

    certificate: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    folder = tmp_path_factory.mktemp("tls")
    made = Certificate(folder / "certificate.pem", folder / "key.pem")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    extension = ("-addext", "subjectAltName=DNS:localhost")
    files = ("-keyout", str(made.key), "-out", str(made.certificate))
    try:
        subprocess.run([*command.split(), *extension, *files], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    return made


@asynccontextmanager
async def tls_in_front_of(port: int, certificate: Certificate) -> AsyncIterator[str]:
    """A proxy that ends TLS, as in front of every real gateway; yields its address."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(copy(reader, inner_writer))
            tasks.create_task(copy(inner_reader, writer))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with await asyncio.start_server(serve, sock=listener, ssl=certificate.context()):
            yield f"https://localhost:{listener.getsockname()[1]}"


@asynccontextmanager
async def public_gateway(
    data_dir: Path, certificate: Certificate, auth_token: str = TOKEN, **twilio: str
) -> AsyncIterator[dict[str, Any]]:
    """A gateway behind its proxy; yields the settings that the doctor shares with it."""
    with socket.create_server(("127.0.0.1", 0)) as placeholder:
        port = placeholder.getsockname()[1]
    async with vendor() as tree, tls_in_front_of(port, certificate) as public_url:
        tree |= {"public_url": public_url, "twilio": {"auth_token": auth_token, **twilio}}
        async with serving(settings(data_dir, **{**tree, "port": port}), engine=FAST_ENGINE):
            yield tree


def environ(tree: dict[str, Any], certificate: Certificate, **changes: str) -> dict[str, str]:
    """For a process of its own: which certificates are trusted is decided when it starts."""
    live = tree["stt"]["profiles"]["live"]
    return {
        "SSL_CERT_FILE": str(certificate.certificate),
        "GATEWAY_PUBLIC_URL": tree["public_url"],
        "GATEWAY_TWILIO__AUTH_TOKEN": TOKEN,
        "GATEWAY_SPEECH_API__ENABLED": "false",
        "GATEWAY_STT__DEFAULT": "live",
        **{f"GATEWAY_STT__PROFILES__LIVE__{name.upper()}": str(value) for name, value in live.items()},
        **changes,
    }


async def test_behind_a_good_proxy_every_check_is_good(tmp_path: Path, certificate: Certificate) -> None:
    async with public_gateway(tmp_path / "served", certificate) as tree:
        code, output, errors = await run("doctor", **environ(tree, certificate, GATEWAY_DATA_DIR=str(tmp_path)))
    verdicts = {line.split()[1]: line.split()[0] for line in output.splitlines()}
    assert (code, errors) == (0, "")
    for check in ("settings", "data", "name", "TLS", "health", "clock", "media", "speech"):
        assert verdicts[check] == "good", output
    assert "a right signature passes, a wrong one does not" in output


@pytest.mark.parametrize("choice", ["required", "off"])
async def test_the_doctor_brings_the_stream_token_that_is_required(
    choice: str, tmp_path: Path, certificate: Certificate
) -> None:
    async with public_gateway(tmp_path / "served", certificate, stream_token=choice) as tree:
        told = environ(tree, certificate, GATEWAY_DATA_DIR=str(tmp_path), GATEWAY_TWILIO__STREAM_TOKEN=choice)
        code, output, _ = await run("doctor", **told)
    assert code == 0, output
    assert "a right signature passes, a wrong one does not" in output


async def test_another_auth_token_than_the_gateways_is_found(tmp_path: Path, certificate: Certificate) -> None:
    async with public_gateway(tmp_path / "served", certificate, auth_token="another") as tree:
        code, output, _ = await run("doctor", **environ(tree, certificate, GATEWAY_DATA_DIR=str(tmp_path)))
    (line,) = [line for line in output.splitlines() if "media stream" in line]
    assert code == 1
    assert line.startswith("bad")
    assert "answered 403" in line
    assert TOKEN not in output


async def test_a_certificate_that_nobody_trusts_is_found(tmp_path: Path, certificate: Certificate) -> None:
    async with tls_in_front_of(1, certificate) as public_url:
        found = await seen_from_outside(settings(tmp_path, public_url=public_url))
    assert (found["TLS"].verdict, "not trusted" in found["TLS"].text) == (Verdict.BAD, True)
    assert "media stream" not in found


async def test_a_plain_port_behind_https_is_found(tmp_path: Path) -> None:
    async with Receiver() as receiver:
        found = await seen_from_outside(settings(tmp_path, public_url=f"https://127.0.0.1:{receiver.port}"))
    assert (found["TLS"].verdict, "plain port" in found["TLS"].text) == (Verdict.BAD, True)


@pytest.mark.parametrize(
    ("public_url", "check", "hint"),
    [
        ("https://127.0.0.1:1", "health", "proxy"),
        ("https://nowhere.invalid", "name", "DNS"),
        ("http://127.0.0.1:1", "TLS", "wss"),
    ],
)
async def test_what_is_wrong_with_the_public_address_is_named(
    public_url: str, check: str, hint: str, tmp_path: Path
) -> None:
    found = await seen_from_outside(settings(tmp_path, public_url=public_url))
    assert (found[check].verdict, hint in found[check].text) == (Verdict.BAD, True)
