"""The whole gateway between real neighbours: phone, speech vendor and webhook receiver on loopback."""

import asyncio
import dataclasses
import json
import resource
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from gateway.errors import StorageError, UnavailableError
from gateway.server import Gateway, serving
from gateway.telemetry import REGISTRY
from tests.support import webhook_receiver
from tests.support.pulse_server import Act, PulseServer, PulseSession, recognise, refuse
from tests.support.webhook_receiver import SECRET, Received, Receiver
from tests.support.whole_gateway import (
    DEADLINE_S,
    FAST_ENGINE,
    GatewayProcess,
    heard_by,
    phone,
    posted_to,
    settings,
    until_ended,
)

TWO_S = 100  # frames


@asynccontextmanager
async def gateway(
    data_dir: Path, vendor: PulseServer, receiver: Receiver | None = None, **tree: Any
) -> AsyncIterator[Gateway]:
    tree = {"webhook": posted_to(receiver) if receiver else {}, "stt": heard_by(vendor), **tree}
    async with serving(settings(data_dir, **tree), engine=FAST_ENGINE) as served:
        yield served


async def call(stream_url: str, *tracks: str, call_sid: str = "CA1") -> None:
    """Two seconds on each track."""
    async with phone(stream_url) as caller:
        await caller.start(*tracks, call_sid=call_sid)
        for track in tracks:
            await caller.media(TWO_S, track)
        await caller.stop()
        assert await caller.closed() == 1000


async def get(url: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, await answer.text()


def types(events: list[Any]) -> list[str]:
    return [event["type"] for event in events]


# ── a call ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_call_arrives_signed_in_order_each_event_once_and_its_end_last(tmp_path: Path) -> None:
    async with PulseServer() as vendor, Receiver() as receiver:
        async with gateway(tmp_path, vendor, receiver) as served:
            await call(served.stream_url, "inbound", "outbound")
            await until_ended(receiver)
        events = [request.verify(SECRET) for request in receiver.requests]
    assert types(events) == ["call.started", *["transcript.final"] * 4, "call.ended"]
    assert [event["data"]["sequence"] for event in events] == [1, 2, 3, 4, 5, 6]
    assert len({request.id for request in receiver.requests}) == 6
    for track in ("inbound", "outbound"):
        finals = [event["data"] for event in events[1:-1] if event["data"]["track"] == track]
        assert [(final["text"], final["start_s"], final["end_s"]) for final in finals] == [
            ("second 1", 0.0, 1.0),
            ("second 2", 1.0, 2.0),
        ]
    assert events[-1]["data"]["complete"] is True
    assert len(events[-1]["data"]["conversation"]) == 4


async def test_calls_at_once_stay_apart(tmp_path: Path) -> None:
    async with PulseServer() as vendor, Receiver() as receiver, gateway(tmp_path, vendor, receiver) as served:
        async with asyncio.TaskGroup() as tasks:
            for number in range(5):
                tasks.create_task(call(served.stream_url, "inbound", call_sid=f"CA{number}"))
        events = await until_ended(receiver, 5)
    for number in range(5):
        mine = [event for event in events if event["data"]["call"]["platform_call_id"] == f"CA{number}"]
        assert types(mine) == ["call.started", "transcript.final", "transcript.final", "call.ended"]
        assert [event["data"]["sequence"] for event in mine] == [1, 2, 3, 4]


async def garbage(session: PulseSession) -> None:
    for number in range(10):
        await session.send_raw(f"noise {number}")
    await session.receive_until("close_stream")


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (refuse(401), "stt_refused_401"),
        (refuse(429), "stt_refused_429"),
        (refuse(503), "stt_refused_503"),
        (garbage, "stt_message_malformed"),
    ],
    ids=["401", "429", "503", "garbage"],
)
async def test_without_a_journal_a_vendor_that_does_not_hear_is_told_to_the_receiver_and_ends_no_call(
    act: Act, reason: str, tmp_path: Path
) -> None:
    async with (
        PulseServer(act) as vendor,
        Receiver() as receiver,
        gateway(tmp_path, vendor, receiver, journal={"enabled": False}) as served,
    ):
        await call(served.stream_url, "inbound")
        events = await until_ended(receiver)
    assert types(events) == ["call.started", "stt.degraded", "call.gap", "call.ended"]
    degraded, gap, ended = (event["data"] for event in events[1:])
    assert degraded["reason"] == gap["reason"] == reason
    assert (gap["start_s"], gap["end_s"]) == (0.0, 2.0)
    assert (ended["outcome"], ended["complete"]) == ("upstream_error", False)


# ── a receiver that does not take events ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("trouble", ["500", "redirect", "hang", "absent"])
async def test_a_receiver_in_trouble_neither_ends_nor_delays_a_call(trouble: str, tmp_path: Path) -> None:
    async with PulseServer() as vendor, Receiver() as receiver:
        receiver.answer = {
            "500": webhook_receiver.status(500),
            "redirect": webhook_receiver.status(302, Location="http://127.0.0.1:1/"),
            "hang": receiver.hang,
            "absent": webhook_receiver.status(204),
        }[trouble]
        hook = posted_to(receiver, timeout_s=1)
        if trouble == "absent":
            hook["url"] = "http://127.0.0.1:1/hook"
        async with gateway(tmp_path, vendor, webhook=hook, outbox={"retry_delays_s": [600]}) as served:
            await call(served.stream_url, "inbound")
            await served.calls.drain(patience_s=DEADLINE_S, last_words_s=0)
            assert served.outbox.pending() == 4
            assert await served.outbox.unfinished_calls() == []


async def test_what_failed_at_first_arrives_in_order_when_the_receiver_is_back(tmp_path: Path) -> None:
    refused: list[str] = []

    async def at_first_not(request: Received) -> web.StreamResponse:
        if request.id in refused:
            return web.Response(status=204)
        refused.append(request.id)
        return web.Response(status=500)

    async with (
        PulseServer() as vendor,
        Receiver(at_first_not) as receiver,
        gateway(tmp_path, vendor, receiver, outbox={"retry_delays_s": [0, 0]}) as served,
    ):
        await call(served.stream_url, "inbound")
        await receiver.wait_for(8)
    assert [request.sequence for request in receiver.requests] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert len({request.id for request in receiver.requests}) == 4


async def test_a_receiver_whose_name_leads_to_a_private_address_is_not_called_and_the_log_says_so(
    tmp_path: Path,
) -> None:
    async with PulseServer() as vendor, Receiver() as receiver:
        hook = {"url": f"http://localhost:{receiver.port}/hook?token=hidden", "secret": SECRET}
        with capture_logs() as logs:
            async with gateway(tmp_path, vendor, webhook=hook) as served:
                await call(served.stream_url, "inbound")
                await served.calls.drain(patience_s=DEADLINE_S, last_words_s=0)
                await served.outbox.drain(DEADLINE_S)
                assert served.outbox.pending() == 4
        assert receiver.requests == []
    assert {entry["outcome"] for entry in logs if entry["event"] == "webhook_failed"} == {"blocked_address"}
    assert "hidden" not in str(logs)


# ── health ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_it_is_alive_ready_and_counted(tmp_path: Path) -> None:
    async with PulseServer() as vendor, gateway(tmp_path, vendor) as served:
        assert await get(f"{served.url}/healthz") == (200, '{"status": "alive"}')
        assert await get(f"{served.url}/readyz") == (200, '{"status": "ready", "reasons": []}')
        status, page = await get(f"{served.url}/metrics")
    assert status == 200
    assert "gateway_accepting_calls 1.0" in page.splitlines()


async def test_while_draining_it_is_alive_not_ready_refuses_calls_and_finishes_those_in_progress(
    tmp_path: Path,
) -> None:
    async with PulseServer() as vendor, Receiver() as receiver:
        async with (
            gateway(tmp_path, vendor, receiver) as served,
            phone(served.stream_url) as caller,
            asyncio.TaskGroup() as tasks,
        ):
            await caller.start()
            await receiver.wait_for(1)
            draining = tasks.create_task(served.calls.drain(DEADLINE_S, 1))
            status, page = await get(f"{served.url}/readyz")
            assert (status, page) == (503, '{"status": "not_ready", "reasons": ["draining"]}')
            assert (await get(f"{served.url}/healthz"))[0] == 200
            assert REGISTRY.get_sample_value("gateway_accepting_calls") == 0
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await call(served.stream_url, "inbound")
            assert refused.value.status == 503
            assert not draining.done()
            await caller.media(TWO_S)
            await caller.stop()
            assert await caller.closed() == 1000
        events = await until_ended(receiver)
    assert events[-1]["data"]["complete"] is True


async def test_a_request_body_that_is_too_big_is_refused(tmp_path: Path) -> None:
    async with (
        PulseServer() as vendor,
        gateway(tmp_path, vendor) as served,
        aiohttp.ClientSession() as session,
        session.post(f"{served.url}/twilio/voice", data={"From": "5" * 100_000}) as answer,
    ):
        assert answer.status == 413


async def test_a_bug_in_a_route_tells_the_client_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> bytes:
        raise ZeroDivisionError("my secret")

    monkeypatch.setattr("gateway.telemetry.metrics_page", broken)
    with capture_logs() as logs:
        async with PulseServer() as vendor, gateway(tmp_path, vendor) as served:
            status, answer = await get(f"{served.url}/metrics")
    assert (status, json.loads(answer)["error"], "secret" in answer) == (500, "internal_error", False)
    assert [entry["route"] for entry in logs if entry["event"] == "request_failed"] == ["/metrics"]


async def test_a_bug_in_a_chore_ends_no_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    has_failed = asyncio.Event()
    loop = asyncio.get_running_loop()

    def broken(*_: object) -> int:
        loop.call_soon_threadsafe(has_failed.set)
        raise ZeroDivisionError

    monkeypatch.setattr("gateway.post_call._prune", broken)
    with capture_logs() as logs:
        async with PulseServer() as vendor, gateway(tmp_path, vendor) as served, phone(served.stream_url) as caller:
            await caller.start()
            await has_failed.wait()
            await caller.media(50)
            await caller.stop()
            assert await caller.closed() == 1000
    assert [entry["task"] for entry in logs if entry["event"] == "background_failed"] == ["recordings-prune"]


# ── what keeps it from starting ──────────────────────────────────────────────────────────────────────────────────


async def test_a_data_folder_that_cannot_be_used_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="data folder"):
        async with serving(settings(tmp_path / "file" / "data"), engine=FAST_ENGINE):
            pass


async def test_a_port_that_is_taken_is_an_unavailable_error_that_names_it(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ExceptionGroup) as failed:
            async with serving(settings(tmp_path, port=port), engine=FAST_ENGINE):
                pass
    foreseen, unforeseen = failed.value.split(UnavailableError)
    assert unforeseen is None
    assert f"127.0.0.1:{port}" in repr(foreseen)


# ── the process ──────────────────────────────────────────────────────────────────────────────────────────────────


def process(data_dir: Path, vendor: PulseServer, receiver: Receiver, **environ: Any) -> GatewayProcess:
    tree = {"GATEWAY_STT": heard_by(vendor), "GATEWAY_WEBHOOK": posted_to(receiver), **environ}
    return GatewayProcess(data_dir, **tree)


async def test_sigterm_lets_calls_finish_delivers_their_events_and_exits_with_0(tmp_path: Path) -> None:
    async with PulseServer() as vendor, Receiver() as receiver, process(tmp_path, vendor, receiver) as served:
        async with phone(await served.stream_url()) as caller:
            await caller.start()
            await receiver.wait_for(1)
            served.send_signal(signal.SIGTERM)
            await served.wait_for_log("gateway_draining")
            await caller.media(TWO_S)
            await caller.stop()
            assert await caller.closed() == 1000
        assert await served.exit_code() == 0
        assert types([each.event for each in receiver.requests]) == [
            "call.started",
            "transcript.final",
            "transcript.final",
            "call.ended",
        ]
        assert receiver.requests[-1].event["data"]["complete"] is True


async def test_a_call_that_outlasts_the_drain_is_closed_with_1001_and_keeps_its_words(tmp_path: Path) -> None:
    async with (
        PulseServer() as vendor,
        Receiver() as receiver,
        process(tmp_path, vendor, receiver, GATEWAY_DRAIN_TIMEOUT_S="0.2") as served,
    ):
        async with phone(await served.stream_url()) as caller:
            await caller.start()
            await caller.media(TWO_S)
            await receiver.wait_for(3)
            served.send_signal(signal.SIGTERM)
            assert await caller.closed() == 1001
        assert await served.exit_code() == 0
        ended = receiver.requests[-1].event
    assert (ended["type"], ended["data"]["reason"]) == ("call.ended", "shutdown")
    assert [each["text"] for each in ended["data"]["conversation"]] == ["second 1", "second 2"]


async def test_a_second_signal_ends_it_now_and_what_was_said_is_delivered_after_the_next_start(
    tmp_path: Path,
) -> None:
    async with PulseServer(recognise()) as vendor, Receiver() as receiver:
        async with process(tmp_path, vendor, receiver) as served, phone(await served.stream_url()) as caller:
            await caller.start()
            await caller.media(TWO_S)
            await receiver.wait_for(3)
            served.send_signal(signal.SIGTERM)
            await served.wait_for_log("gateway_draining")
            served.send_signal(signal.SIGTERM)
            assert await served.exit_code() == 130
        assert "Traceback" not in served.errors
        assert "call.ended" not in types([each.event for each in receiver.requests])
        async with process(tmp_path, vendor, receiver):
            events = await until_ended(receiver)
    assert [event["data"]["sequence"] for event in events] == [1, 2, 3, 4]
    assert events[-1]["data"]["reason"] == "gateway_restarted"
    assert [each["text"] for each in events[-1]["data"]["conversation"]] == ["second 1", "second 2"]


async def test_a_full_disk_makes_it_not_ready_and_its_events_wait_until_there_is_room(tmp_path: Path) -> None:
    async with PulseServer() as vendor, Receiver() as receiver, process(tmp_path, vendor, receiver) as served:
        base = await served.base_url()
        _set_largest_file(served.process.pid, 1)
        await call(await served.stream_url(), "inbound")
        async with asyncio.timeout(DEADLINE_S):
            while (answer := await get(f"{base}/readyz"))[0] == 200:
                pass
        reasons = {"outbox_not_writable", "journal_not_writable"}
        assert answer[0] == 503
        assert set(json.loads(answer[1])["reasons"]) <= reasons
        assert receiver.requests == []
        _set_largest_file(served.process.pid, resource.RLIM_INFINITY)
        events = await until_ended(receiver)
        async with asyncio.timeout(DEADLINE_S):
            while (await get(f"{base}/readyz"))[0] != 200:
                pass
    assert [event["data"]["sequence"] for event in events] == [1, 2, 3, 4]


def _set_largest_file(pid: int, size_bytes: int) -> None:
    """As good as a full disk: no write goes beyond this size."""
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size_bytes, resource.RLIM_INFINITY))


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("::", "[::1]"),
        ("2001:db8::1", "[2001:db8::1]"),
    ],
)
async def test_the_consoles_address_is_one_that_a_browser_here_can_open(tmp_path: Path, host: str, shown: str) -> None:
    async with PulseServer() as vendor, serving(settings(tmp_path, stt=heard_by(vendor))) as served:
        moved = dataclasses.replace(served, host=host, port=8080, api_token="made & kept")
    assert moved.console_url == f"http://{shown}:8080/?token=made%20%26%20kept"
    assert moved.stream_url == f"ws://{shown}:8080/twilio/stream"
    assert "made" not in repr(moved)
