"""The command line: what it says, and with which exit code it ends."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import click
import pytest
import structlog
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway.cli import cli, main
from gateway.doctor import _TWILIO_ERRORS
from gateway.events import CallStarted
from gateway.outbox import Outbox
from gateway.simulate.listener import new_secret
from tests.support.phone import line
from tests.support.signed_delivery import SECRET, event, post
from tests.support.wav_file import wav
from tests.support.whole_gateway import DEADLINE_S, run, start

COMMANDS = sorted(cli.commands)
WITH_EXAMPLES = [name for name in COMMANDS if name != "demo"]


class Ran(NamedTuple):
    """How a command ended."""

    code: int
    output: str
    errors: str


Gateway = Callable[..., Ran]


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Gateway]:
    """Runs `gateway …` in this process, with no settings but those it is given."""
    for name in [name for name in os.environ if name.startswith("GATEWAY_")]:
        monkeypatch.delenv(name)

    def ran(*arguments: str, **environ: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["gateway", *arguments])
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            main()
        return Ran(int(ended.value.code or 0), *capsys.readouterr())

    yield ran
    structlog.reset_defaults()


# ── help ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_help_names_every_command(gateway: Gateway) -> None:
    ran = gateway("--help")
    assert ran.code == 0
    assert all(f"\n  {name}" in ran.output for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_option_has_its_help(command: str, gateway: Gateway) -> None:
    ran = gateway(command, "--help")
    assert ran.code == 0
    options = [each for each in cli.commands[command].params if isinstance(each, click.Option)]
    assert [option.name for option in options if not option.help] == []


@pytest.mark.parametrize("command", WITH_EXAMPLES)
def test_help_shows_examples_whose_options_exist(command: str, gateway: Gateway) -> None:
    examples = gateway(command, "--help").output.partition("Examples:")[2].partition("Options:")[0]
    assert f"gateway {command}" in examples
    known = {each for option in cli.commands[command].params for each in option.opts}
    assert {word for word in examples.split() if word.startswith("-") and word != "-"} <= known


def test_the_version_is_told(gateway: Gateway) -> None:
    assert gateway("--version").output.startswith("gateway, version ")


# ── 2: the command line or the settings are wrong ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "arguments",
    [
        ("nothing",),
        ("serve", "--nothing"),
        ("serve", "--port", "many"),
        ("call",),
        ("call", "none.wav"),
        ("call", __file__, "--count", "0"),
        ("call", __file__, "--dialect", "smoke"),
        ("call", __file__),
        ("listen", "--fail-rate", "2"),
        ("listen", "--secret", "whsec_"),
        ("demo", "--speed", "0"),
        ("config", "--config", "none.toml"),
        ("config", "--set", "stt.drain_s"),
        ("doctor", "--config", "none.toml"),
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_ends_with_2_and_says_why(arguments: tuple[str, ...], gateway: Gateway) -> None:
    ran = gateway(*arguments)
    assert ran.code == 2
    assert ran.errors
    assert "Traceback" not in ran.errors


def test_a_parameter_without_a_value_ends_with_2(tmp_path: Path, gateway: Gateway) -> None:
    (tmp_path / "a.wav").write_bytes(wav(b"", rate_hz=8000))
    ran = gateway("call", str(tmp_path / "a.wav"), "-p", "tenant")
    assert (ran.code, "NAME=VALUE" in ran.errors) == (2, True)


@pytest.mark.parametrize("command", [("config",), ("config", "--check"), ("serve",), ("doctor",)], ids=" ".join)
def test_every_fault_of_the_settings_is_told_on_a_line_of_its_own_without_secrets(
    command: tuple[str, ...], tmp_path: Path, gateway: Gateway
) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text('port = 99999\nnothing = 1\n[stt]\ndefault = "none"\n[webhook]\nurl = "ftp://hunter2@x"\n')
    ran = gateway(*command, "--config", str(file), GATEWAY_WEBHOOK__SECRET="hunter2")
    assert ran.code == 2
    lines = ran.errors.splitlines()
    for setting in ("port", "nothing", "stt", "webhook.url", "webhook.secret"):
        assert any(line.startswith(f"gateway: {setting}:") for line in lines), setting
    assert "hunter2" not in ran.output + ran.errors


# ── config ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_config_prints_what_holds_in_the_end_with_secrets_masked(tmp_path: Path, gateway: Gateway) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text('port = 1\nhost = "127.0.0.2"\ndrain_timeout_s = 1\n')
    ran = gateway(
        "config",
        "--config",
        str(file),
        "--set",
        "port=3",
        GATEWAY_PORT="2",
        GATEWAY_DRAIN_TIMEOUT_S="2",
        GATEWAY_API_TOKEN="hunter2",
    )
    shown = json.loads(ran.output)
    assert (ran.code, shown["port"], shown["drain_timeout_s"], shown["host"]) == (0, 3, 2.0, "127.0.0.2")
    assert shown["api_token"]
    assert "hunter2" not in ran.output


def test_the_file_may_be_named_by_the_environment(tmp_path: Path, gateway: Gateway) -> None:
    (tmp_path / "gateway.toml").write_text("port = 1234\n")
    ran = gateway("config", GATEWAY_CONFIG=str(tmp_path / "gateway.toml"))
    assert json.loads(ran.output)["port"] == 1234


def test_config_check_says_that_all_is_well(gateway: Gateway) -> None:
    assert gateway("config", "--check")[:2] == (0, "the settings are valid\n")


def test_config_table_has_a_row_per_setting(gateway: Gateway) -> None:
    ran = gateway("config", "--table")
    assert ran.code == 0
    assert "| `port` | `GATEWAY_PORT` | `8080` |" in ran.output


# ── doctor ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("number", sorted(_TWILIO_ERRORS))
def test_each_error_of_twilio_is_explained(number: int, gateway: Gateway) -> None:
    ran = gateway("doctor", "--twilio-error", str(number))
    assert (ran.code, ran.output.startswith(f"{number}: ")) == (0, True)


def test_of_an_unknown_error_the_known_ones_are_named(gateway: Gateway) -> None:
    assert "known are 31901, 31902" in gateway("doctor", "--twilio-error", "1").output


# ── 3: somebody else is not there ────────────────────────────────────────────────────────────────────────────────


def test_a_data_folder_that_cannot_be_used_ends_serve_with_3_and_one_clear_line(
    tmp_path: Path, gateway: Gateway
) -> None:
    (tmp_path / "file").write_text("in the way")
    ran = gateway("serve", "--port", "0", "--data-dir", str(tmp_path / "file" / "data"))
    assert ran.code == 3
    (line,) = ran.errors.splitlines()
    assert line.startswith("gateway: cannot use the data folder ")


async def test_a_data_folder_that_another_gateway_uses_ends_serve_with_3(tmp_path: Path) -> None:
    async with Outbox(tmp_path):
        code, _, errors = await run("serve", GATEWAY_PORT="0", GATEWAY_DATA_DIR=str(tmp_path))
    assert code == 3
    assert "another process uses the data folder" in errors


def test_a_port_that_is_taken_ends_serve_with_3_and_one_line_that_names_it(tmp_path: Path, gateway: Gateway) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ran = gateway("serve", "--port", port, "--data-dir", str(tmp_path))
    assert ran.code == 3
    (line,) = ran.errors.splitlines()
    assert f"127.0.0.1:{port}" in line


def test_a_port_that_is_taken_ends_listen_with_3(gateway: Gateway) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ran = gateway("listen", "--port", str(taken.getsockname()[1]))
    assert (ran.code, "cannot listen" in ran.errors) == (3, True)


@pytest.fixture
def recording(tmp_path: Path) -> str:
    """A tenth of a second."""
    path = tmp_path / "a.wav"
    path.write_bytes(wav(b"\0\0" * 800, rate_hz=8000))
    return str(path)


def test_a_call_to_nobody_ends_with_3(recording: str, gateway: Gateway) -> None:
    ran = gateway("call", recording, "--url", "ws://127.0.0.1:1/twilio/stream")
    assert (ran.code, ran.output) == (3, "")
    assert ran.errors.startswith("gateway: the gateway was not reached")


async def test_a_refused_call_ends_with_3_and_tells_the_status(recording: str) -> None:
    async def refuse(_request: web.Request) -> web.Response:
        return web.Response(status=403)

    app = web.Application()
    app.router.add_get("/twilio/stream", refuse)
    async with TestServer(app, host="127.0.0.1") as server:
        code, _, errors = await run("call", recording, "--url", f"ws://127.0.0.1:{server.port}/twilio/stream")
    assert (code, errors) == (3, "gateway: the gateway refused the stream: HTTP 403\n")


async def test_calls_at_once_fail_each_for_itself(recording: str) -> None:
    """Of three calls two are let in and one of these is cut; the third goes well."""
    numbers = iter(range(3))

    async def serve(request: web.Request) -> web.StreamResponse:
        number = next(numbers)
        if number == 0:
            return web.Response(status=503)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if number == 1 or json.loads(message.data)["event"] == "stop":
                await socket.close(code=1000 if number == 2 else 1008)
        return socket

    app = web.Application()
    app.router.add_get("/twilio/stream", serve)
    async with TestServer(app, host="127.0.0.1") as server:
        url = f"ws://127.0.0.1:{server.port}/twilio/stream"
        code, output, errors = await run("call", recording, "--url", url, "--count", "3")
    assert code == 3
    assert "HTTP 503" in errors
    assert "Traceback" not in errors
    assert "played 0.1 s, closed 1000" in output


async def test_calls_go_to_a_real_gateway_with_their_parameters(recording: str) -> None:
    async with line() as server:
        code, output, errors = await run("call", recording, "--url", server._url, "--count", "2", "-p", "tenant=acme")
        started = await server.sink.wait_for(CallStarted, 2)
    assert (code, errors) == (0, "")
    assert output.count("played 0.1 s, closed 1000") == 2
    assert [each.call.metadata for each in started] == [{"tenant": "acme"}] * 2


# ── listen ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def listening(process: Any) -> str:
    """Where it listens, once it does."""
    async with asyncio.timeout(DEADLINE_S):
        line = (await process.stderr.readline()).decode()
    return line.removeprefix("listening on ").strip()


@pytest.mark.parametrize(("forged", "expected"), [(False, 0), (True, 1)])
async def test_listen_ends_with_the_call_and_tells_whether_a_delivery_was_forged(forged: bool, expected: int) -> None:
    options = ("--port", "0", "--calls", "1", "--json")
    process = await start("listen", *options, GATEWAY_WEBHOOK__SECRET=SECRET)
    url = await listening(process)
    if forged:
        assert await post(url, event("call.started", 1), secret=new_secret()) == 401
    await post(url, event("call.started", 1))
    await post(url, event("call.ended", 2))
    async with asyncio.timeout(DEADLINE_S):
        output, errors = await process.communicate()
    assert (process.returncode, b"no valid signature" in errors) == (expected, forged)
    assert [json.loads(line)["type"] for line in output.splitlines()] == ["call.started", "call.ended"]


# ── 130: interrupted ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_interrupted_it_ends_with_130_and_without_a_traceback() -> None:
    process = await start("listen", "--port", "0", GATEWAY_WEBHOOK__SECRET=SECRET)
    async with aiohttp.ClientSession() as session, session.post(await listening(process)) as answer:
        assert answer.status == 401
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(DEADLINE_S):
        _, errors = await process.communicate()
    assert (process.returncode, errors.strip()) == (130, b"")
