"""The front door and TLS as a whole gateway has them: a process of its own, on the loop that it really runs on."""

import asyncio
import contextlib
import resource
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from gateway import front_door
from tests.support.certificates import Authority
from tests.support.phone import Phone
from tests.support.pulse_server import PulseServer
from tests.support.webhook_receiver import Receiver
from tests.support.whole_gateway import DEADLINE_S, GatewayProcess, heard_by, phone, posted_to, run, until_ended

TWO_S = 100  # frames


def process(data_dir: Path, vendor: PulseServer, receiver: Receiver, **environ: Any) -> GatewayProcess:
    tree = {"GATEWAY_STT": heard_by(vendor), "GATEWAY_WEBHOOK": posted_to(receiver), **environ}
    return GatewayProcess(data_dir, **tree)


async def test_with_a_certificate_a_whole_call_goes_through_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tls")
    pair = authority.sign("server")
    tls = {"certificate": str(pair.certificate), "key": str(pair.key)}
    async with (
        PulseServer() as vendor,
        Receiver() as receiver,
        process(tmp_path / "data", vendor, receiver, GATEWAY_TLS=tls) as served,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=authority.trusting())) as session,
    ):
        stream_url = (await served.stream_url()).replace("ws://127.0.0.1", "wss://localhost")
        async with session.ws_connect(stream_url) as socket:
            caller = Phone(socket)
            await caller.start()
            await caller.media(TWO_S)
            await caller.stop()
            assert await caller.closed() == 1000
        events = await until_ended(receiver)
    assert [each["text"] for each in events[-1]["data"]["conversation"]] == ["second 1", "second 2"]


async def test_a_certificate_that_cannot_be_used_is_a_fault_of_the_settings(tmp_path: Path) -> None:
    for command in (("serve",), ("config", "--check")):
        code, _, errors = await run(*command, GATEWAY_TLS__CERTIFICATE=str(tmp_path / "absent.pem"), GATEWAY_PORT="0")
        assert code == 2
        assert errors == f"gateway: tls: {tmp_path / 'absent.pem'}: No such file or directory\n"


async def test_silent_connections_are_cut_off_and_a_call_is_not(tmp_path: Path) -> None:
    limits = {"handshake_timeout_s": 0.3}
    async with (
        PulseServer() as vendor,
        Receiver() as receiver,
        process(tmp_path, vendor, receiver, GATEWAY_LIMITS=limits) as served,
    ):
        base = urlsplit(await served.base_url())
        async with phone(await served.stream_url()) as caller:
            await caller.start()
            silent = [await asyncio.open_connection(base.hostname, base.port) for _ in range(10)]
            async with asyncio.timeout(DEADLINE_S):
                for reader, writer in silent:
                    with contextlib.suppress(ConnectionResetError):
                        assert await reader.read() == b""
                    writer.close()
            await caller.media(TWO_S)
            await caller.stop()
            assert await caller.closed() == 1000
        events = await until_ended(receiver)
    assert events[-1]["data"]["complete"] is True


async def test_it_takes_as_many_open_files_as_it_is_allowed(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        async with PulseServer() as vendor, Receiver() as receiver, process(tmp_path, vendor, receiver) as served:
            await served.base_url()
            least, most = resource.prlimit(served.process.pid, resource.RLIMIT_NOFILE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert least == min(most, front_door.MOST_FILES) > 256
