import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr
from structlog.testing import capture_logs

from gateway import telemetry
from gateway.config import OutboxSettings, WebhookSettings
from gateway.outbox import Outbox, operating
from gateway.outbox.client import Client, parse_retry_after
from gateway.outbox.database import DeliveryState
from gateway.outbox.endpoint import Endpoint
from gateway.outbox.schedule import Outcome
from gateway.outbox.schema import open_beside
from tests.support import call_events
from tests.support.manual_clock import ManualClock
from tests.support.webhook_receiver import DEADLINE_S, SECRET, Received, Receiver, settings_for, status

OLD_SECRET = "whsec_b2xkIG9sZCBvbGQgb2xkIG9sZCBvbGQgb2xkIQ=="


@asynccontextmanager
async def outbox_to(
    folder: Path, *webhooks: WebhookSettings, clock: ManualClock | None = None
) -> AsyncIterator[Outbox]:
    """A running outbox without jitter."""
    clocks: dict[str, Any] = {"clock": clock} if clock else {}
    async with Outbox(folder, webhooks, draw=lambda: 0.5, **clocks) as outbox:
        yield outbox


async def drained(outbox: Outbox) -> None:
    assert await outbox.drain(DEADLINE_S)


async def test_a_published_event_arrives_signed(tmp_path: Path) -> None:
    async with Receiver() as receiver, outbox_to(tmp_path, receiver.settings()) as outbox:
        stored = await outbox.publish(call_events.final())
        (request,) = await receiver.wait_for(1)
        await drained(outbox)

        assert request.verify()["data"]["text"] == "I'd like a refund."
        assert request.body == stored.body
        assert request.id == stored.id
        assert request.headers["content-type"] == "application/json"
        assert outbox.pending() == 0


async def test_either_secret_of_a_rotation_verifies(tmp_path: Path) -> None:
    async with Receiver() as receiver:
        settings = receiver.settings(previous_secrets=(OLD_SECRET,))
        async with outbox_to(tmp_path, settings) as outbox:
            await outbox.publish(call_events.final())
            (request,) = await receiver.wait_for(1)

    assert request.verify(SECRET) == request.verify(OLD_SECRET)


async def test_an_endpoint_gets_only_the_types_it_asked_for(tmp_path: Path) -> None:
    async with Receiver() as receiver, outbox_to(tmp_path, receiver.settings(events=("call.ended",))) as outbox:
        await outbox.publish(call_events.final(sequence=1))
        await outbox.publish(call_events.ended(sequence=2))
        await drained(outbox)

    assert [request.event["type"] for request in receiver.requests] == ["call.ended"]


async def test_events_of_a_call_arrive_one_at_a_time_and_in_order(tmp_path: Path) -> None:
    under_way = 0

    async def answer(_request: Received) -> web.StreamResponse:
        nonlocal under_way
        under_way += 1
        assert under_way == 1
        await asyncio.sleep(0)
        under_way -= 1
        return web.Response()

    async with Receiver(answer) as receiver, outbox_to(tmp_path, receiver.settings()) as outbox:
        for sequence in range(1, 21):
            await outbox.publish(call_events.final(sequence=sequence))
        await drained(outbox)

    assert [request.sequence for request in receiver.requests] == list(range(1, 21))


async def test_order_holds_through_failures_and_the_body_and_id_stay_the_same(tmp_path: Path) -> None:
    clock = ManualClock()
    async with Receiver(status(500)) as receiver, outbox_to(tmp_path, receiver.settings(), clock=clock) as outbox:
        for sequence in (1, 2, 3):
            await outbox.publish(call_events.final(sequence=sequence))
        await drained(outbox)
        clock.advance(5)
        await drained(outbox)
        receiver.answer = status(200)
        clock.advance(300)
        await drained(outbox)

    requests = receiver.requests
    assert [request.sequence for request in requests] == [1, 1, 1, 2, 3]
    assert len({(request.id, request.body) for request in requests[:3]}) == 1
    stamps = [int(request.headers["webhook-timestamp"]) for request in requests[:3]]
    assert [stamp - stamps[0] for stamp in stamps] == [0, 5, 305]
    assert len({request.headers["webhook-signature"] for request in requests[:3]}) == 3


async def test_a_failing_call_does_not_hold_up_the_others(tmp_path: Path) -> None:
    async def answer(request: Received) -> web.StreamResponse:
        return web.Response(status=503 if request.call_id == "bad" else 200)

    async with Receiver(answer) as receiver, outbox_to(tmp_path, receiver.settings(), clock=ManualClock()) as outbox:
        for sequence in (1, 2, 3):
            await outbox.publish(call_events.final("bad", sequence))
            await outbox.publish(call_events.final("good", sequence))
        await drained(outbox)
        assert outbox.pending() == 3

    seen = [(request.call_id, request.sequence) for request in receiver.requests]
    assert sorted(seen) == [("bad", 1), ("good", 1), ("good", 2), ("good", 3)]


async def test_a_receiver_that_hangs_holds_up_neither_publishing_nor_another_receiver(tmp_path: Path) -> None:
    async with Receiver() as hung, Receiver() as healthy:
        hung.answer = hung.hang
        async with outbox_to(tmp_path, hung.settings(concurrency=2), healthy.settings()) as outbox:
            for number in range(10):
                await outbox.publish(call_events.final(f"call_{number}"))
            await healthy.wait_for(10)
            await hung.wait_for(2)

            assert not await outbox.drain(0.001)
            assert len(hung.requests) == 2


async def test_concurrency_is_bounded_across_calls(tmp_path: Path) -> None:
    under_way, most = 0, 0
    gate = asyncio.Event()

    async def answer(_request: Received) -> web.StreamResponse:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await gate.wait()
        under_way -= 1
        return web.Response()

    async with Receiver(answer) as receiver, outbox_to(tmp_path, receiver.settings(concurrency=3)) as outbox:
        for number in range(9):
            await outbox.publish(call_events.final(f"call_{number}"))
        await receiver.wait_for(3)
        gate.set()
        await drained(outbox)

    assert len(receiver.requests) == 9
    assert most == 3


async def test_more_than_a_hundred_requests_can_be_under_way(tmp_path: Path) -> None:
    """aiohttp's client stops at 100 connections unless told otherwise."""
    async with Receiver() as receiver:
        receiver.answer = receiver.hang
        async with outbox_to(tmp_path, receiver.settings(concurrency=120)) as outbox:
            async with asyncio.TaskGroup() as tasks:
                for number in range(120):
                    tasks.create_task(outbox.publish(call_events.final(f"call_{number}")))

            await receiver.wait_for(120)


async def test_gone_stops_the_endpoint_also_after_a_restart_and_keeps_its_events(tmp_path: Path) -> None:
    async with Receiver(status(410)) as receiver:
        with capture_logs() as logs:
            async with outbox_to(tmp_path, receiver.settings()) as outbox:
                for sequence in (1, 2):
                    await outbox.publish(call_events.final(sequence=sequence))
                await drained(outbox)
            receiver.answer = status(200)
            async with outbox_to(tmp_path, receiver.settings()) as outbox:
                await outbox.publish(call_events.final(sequence=3))
                await drained(outbox)
                assert outbox.pending() == 3
                assert outbox.dead() == 0

    assert [request.sequence for request in receiver.requests] == [1]
    assert [line["event"] for line in logs if "endpoint" in line["event"]] == [
        "webhook_endpoint_disabled",
        "webhook_endpoint_still_disabled",
    ]


async def test_a_changed_url_is_a_new_endpoint(tmp_path: Path) -> None:
    async with Receiver(status(410)) as old, Receiver() as new:
        async with outbox_to(tmp_path, old.settings()) as outbox:
            await outbox.publish(call_events.final())
            await drained(outbox)
        async with outbox_to(tmp_path, new.settings()) as outbox:
            await outbox.publish(call_events.final("call_2"))
            await drained(outbox)

    assert [request.call_id for request in new.requests] == ["call_2"]


async def test_a_running_gateway_notices_that_an_endpoint_was_enabled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.outbox.box._LOOK_S", 0.001)
    async with Receiver(status(410)) as receiver, outbox_to(tmp_path, receiver.settings()) as outbox:
        for sequence in (1, 2):
            await outbox.publish(call_events.final(sequence=sequence))
        await drained(outbox)
        receiver.answer = status(200)

        with closing(open_beside(tmp_path)) as db:
            assert operating.enable(db, Endpoint.of(receiver.settings()).key)

        assert [request.sequence for request in await receiver.wait_for(3)] == [1, 1, 2]


async def test_a_running_gateway_notices_a_retry_and_sends_the_same_id_and_body(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.outbox.box._LOOK_S", 0.001)
    async with Receiver(status(422)) as receiver, outbox_to(tmp_path, receiver.settings()) as outbox:
        stored = await outbox.publish(call_events.final())
        await drained(outbox)
        assert (outbox.pending(), outbox.dead()) == (0, 1)
        receiver.answer = status(200)

        with closing(open_beside(tmp_path)) as db:
            operating.retry(db, stored.id, None, time.time())
        first, second = await receiver.wait_for(2)
        await drained(outbox)

        assert (first.id, first.body) == (second.id, second.body)
        assert (outbox.pending(), outbox.dead()) == (0, 0)


async def outage(outbox: Outbox, clock: ManualClock, seconds: int, step_s: int = 5) -> None:
    """Let time pass, and everything that falls due on the way be tried."""
    for _ in range(0, seconds, step_s):
        await drained(outbox)
        clock.advance(step_s)
    await drained(outbox)


@pytest.mark.parametrize("calls", [1, 40])
async def test_an_hour_without_the_receiver_costs_a_delivery_hardly_an_attempt(tmp_path: Path, calls: int) -> None:
    """With the schedule alone it would stand at its fourth or fifth attempt by then, and wait for two hours."""
    clock = ManualClock()
    async with Receiver(status(503)) as receiver, outbox_to(tmp_path, receiver.settings(), clock=clock) as outbox:
        for number in range(calls):
            for sequence in (1, 2):
                await outbox.publish(call_events.final(f"call_{number}", sequence))
        await outage(outbox, clock, 3600, 10)
        attempts_while_away = len(receiver.requests)
        with closing(open_beside(tmp_path)) as db:
            counted = [each.attempts for each in operating.select_deliveries(db, states=[DeliveryState.PENDING])]
        receiver.requests.clear()
        receiver.answer = status(200)
        await outage(outbox, clock, 80)

        assert outbox.pending() == 0
    assert max(counted) <= 2
    assert attempts_while_away < 100
    arrived: dict[str, list[int]] = {}
    for request in receiver.requests:
        arrived.setdefault(request.call_id, []).append(request.sequence)
    assert arrived == {f"call_{number}": [1, 2] for number in range(calls)}


async def test_an_open_circuit_is_told_in_the_log_and_by_a_gauge(tmp_path: Path) -> None:
    clock = ManualClock()

    def gauge() -> float | None:
        labels = {"endpoint": Endpoint.of(receiver.settings()).key}
        return telemetry.REGISTRY.get_sample_value("gateway_webhook_circuit_open", labels)

    async with Receiver(status(503)) as receiver, outbox_to(tmp_path, receiver.settings(), clock=clock) as outbox:
        with capture_logs() as logs:
            for number in range(6):
                await outbox.publish(call_events.final(f"call_{number}"))
            await drained(outbox)
            was_open = gauge()
            receiver.answer = status(200)
            await outage(outbox, clock, 10)

    assert (was_open, gauge()) == (1, 0)
    opened, closed = (line for line in logs if "circuit" in line["event"])
    assert (opened["event"], opened["log_level"], opened["probe_in_s"]) == ("webhook_circuit_opened", "error", 5.0)
    assert (closed["event"], closed["log_level"], closed["open_s"]) == ("webhook_circuit_closed", "info", 5.0)
    assert not any("hidden" in str(line) for line in logs)


async def test_an_event_that_the_receiver_chokes_on_holds_up_no_other_call(tmp_path: Path) -> None:
    """It opens the circuit when nothing else is to be sent; the next event of another call is the next probe."""
    clock = ManualClock()

    async def answer(request: Received) -> web.StreamResponse:
        return web.Response(status=500 if request.call_id == "bad" else 200)

    async with Receiver(answer) as receiver, outbox_to(tmp_path, receiver.settings(), clock=clock) as outbox:
        await outbox.publish(call_events.final("bad"))
        with capture_logs() as logs:
            await outage(outbox, clock, 600)
        for sequence in (1, 2, 3):
            await outbox.publish(call_events.final("good", sequence))
        await outage(outbox, clock, 75)

        assert [request.sequence for request in receiver.requests if request.call_id == "good"] == [1, 2, 3]
    assert "webhook_circuit_opened" in [line["event"] for line in logs]


async def test_a_receiver_that_is_down_gets_no_partials(tmp_path: Path) -> None:
    events = ("transcript.partial", "transcript.final")
    clock = ManualClock()
    async with (
        Receiver(status(503)) as receiver,
        outbox_to(tmp_path, receiver.settings(events=events), clock=clock) as outbox,
    ):
        for number in range(5):
            await outbox.publish(call_events.final(f"call_{number}"))
        await drained(outbox)
        receiver.answer = status(200)
        outbox.offer(call_events.partial("call_9", "too early"))
        await outage(outbox, clock, 10)
        outbox.offer(call_events.partial("call_9", "in time"))
        requests = await receiver.wait_for(5 + 5 + 1)

    assert [one.event["data"]["text"] for one in requests if "partial" in one.event["type"]] == ["in time"]


async def test_the_age_of_the_oldest_waiting_event_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.outbox.box._LOOK_S", 0.001)
    clock = ManualClock()

    def oldest_age_s() -> float | None:
        return telemetry.REGISTRY.get_sample_value("gateway_outbox_oldest_age_seconds")

    async def age_becomes(seconds: float) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while oldest_age_s() != seconds:  # noqa: ASYNC110 - the next look, within the deadline
                await asyncio.sleep(0)

    async with Receiver(status(500)) as receiver, outbox_to(tmp_path, receiver.settings(), clock=clock) as outbox:
        await outbox.publish(call_events.final("a"))
        await drained(outbox)
        clock.advance(3)
        await outbox.publish(call_events.final("b"))
        await drained(outbox)
        await age_becomes(3)
        receiver.answer = status(200)
        clock.advance(10)
        await drained(outbox)
        await age_becomes(0)


async def test_a_rejected_event_is_given_up_and_the_next_one_follows(tmp_path: Path) -> None:
    async def answer(request: Received) -> web.StreamResponse:
        return web.Response(status=422 if request.sequence == 1 else 200)

    async with Receiver(answer) as receiver, outbox_to(tmp_path, receiver.settings()) as outbox:
        for sequence in (1, 2):
            await outbox.publish(call_events.final(sequence=sequence))
        await drained(outbox)

        assert outbox.pending() == 0
    assert [request.sequence for request in receiver.requests] == [1, 2]


async def test_a_receiver_that_is_missing_for_a_while_gets_three_attempts(tmp_path: Path) -> None:
    clock = ManualClock()
    async with Receiver(status(404)) as receiver, outbox_to(tmp_path, receiver.settings(), clock=clock) as outbox:
        await outbox.publish(call_events.final())
        for _ in range(5):
            await drained(outbox)
            clock.advance(86_400)

        assert outbox.pending() == 0
    assert len(receiver.requests) == 3


async def test_redirects_are_not_followed(tmp_path: Path) -> None:
    async with (
        Receiver() as elsewhere,
        Receiver(status(307, Location=elsewhere.url)) as receiver,
        outbox_to(tmp_path, receiver.settings(), clock=ManualClock()) as outbox,
    ):
        await outbox.publish(call_events.final())
        await drained(outbox)
        assert outbox.pending() == 1

    assert (len(receiver.requests), len(elsewhere.requests)) == (1, 0)


@pytest.mark.parametrize("value", ["100", "date"])
async def test_retry_after_delays_the_next_attempt(tmp_path: Path, value: str) -> None:
    """429: planned 75 s (a minute and the jitter's room); asked for 100 s, which is less than twice that."""
    clock = ManualClock()
    asked = value if value == "100" else formatdate(clock() + 100, usegmt=True)
    async with (
        Receiver(status(429, Retry_After=asked)) as receiver,
        outbox_to(tmp_path, receiver.settings(), clock=clock) as outbox,
    ):
        await outbox.publish(call_events.final())
        await drained(outbox)
        clock.advance(99)
        await drained(outbox)
        assert len(receiver.requests) == 1
        clock.advance(1)
        await drained(outbox)
        assert len(receiver.requests) == 2


async def test_a_time_out_is_tried_again_after_a_minute_at_the_earliest(tmp_path: Path) -> None:
    clock = ManualClock()
    async with Receiver() as receiver:
        receiver.answer = receiver.hang
        async with outbox_to(tmp_path, receiver.settings(timeout_s=0.05), clock=clock) as outbox:
            await outbox.publish(call_events.final())
            await drained(outbox)
            clock.advance(59)
            await drained(outbox)
            assert len(receiver.requests) == 1
            receiver.answer = status(200)
            clock.advance(31)
            await drained(outbox)

    assert len(receiver.requests) == 2


async def test_an_event_for_an_unreachable_receiver_stays_pending(tmp_path: Path) -> None:
    clock = ManualClock()
    async with Receiver() as receiver:
        settings = receiver.settings()
    async with outbox_to(tmp_path, settings, clock=clock) as outbox:
        await outbox.publish(call_events.final())
        await drained(outbox)
        assert outbox.pending() == 1


async def test_the_sender_wakes_by_itself_when_the_next_attempt_is_due(tmp_path: Path) -> None:
    async with Receiver(status(500)) as receiver:
        settings = OutboxSettings(retry_delays_s=(0.001,) * 3)
        async with Outbox(tmp_path, (receiver.settings(),), settings) as outbox:
            await outbox.publish(call_events.final())

            assert len(await receiver.wait_for(4)) == 4


async def test_after_a_restart_what_was_not_delivered_is_sent_first_and_in_order(tmp_path: Path) -> None:
    async with Receiver(status(500)) as receiver:
        async with outbox_to(tmp_path, receiver.settings(), clock=ManualClock(1_000)) as outbox:
            for sequence in (1, 2):
                await outbox.publish(call_events.final(sequence=sequence))
            await drained(outbox)
        receiver.answer = status(200)
        async with outbox_to(tmp_path, receiver.settings(), clock=ManualClock(2_000)) as outbox:
            await outbox.publish(call_events.final(sequence=3))
            await drained(outbox)

    assert [request.sequence for request in receiver.requests] == [1, 1, 2, 3]


async def test_an_attempt_cut_off_by_the_end_of_the_process_is_made_again(tmp_path: Path) -> None:
    async with Receiver() as receiver:
        receiver.answer = receiver.hang
        async with outbox_to(tmp_path, receiver.settings()) as outbox:
            await outbox.publish(call_events.final())
            await receiver.wait_for(1)
        receiver.answer = status(200)
        async with outbox_to(tmp_path, receiver.settings()) as outbox:
            await drained(outbox)

    first, second = receiver.requests
    assert (first.id, first.body) == (second.id, second.body)


async def test_private_addresses_are_refused_before_a_connection_is_made(tmp_path: Path) -> None:
    async with Receiver() as receiver:
        settings = WebhookSettings(url=f"http://localhost:{receiver.port}/", secret=SecretStr(SECRET))
        async with outbox_to(tmp_path, settings, clock=ManualClock()) as outbox:
            with capture_logs() as logs:
                await outbox.publish(call_events.final())
                await drained(outbox)

    assert receiver.requests == []
    assert [line["outcome"] for line in logs if line["event"] == "webhook_failed"] == ["blocked_address"]


@pytest.mark.parametrize("host", ["127.1", "2130706433", "[64:ff9b::7f00:1]"])
async def test_numbers_that_lead_inside_are_refused_although_no_name_is_resolved(host: str) -> None:
    settings = WebhookSettings(url=f"http://{host}:1/", secret=SecretStr(SECRET))

    assert await post(settings) is Outcome.BLOCKED_ADDRESS


async def test_the_log_has_neither_the_path_nor_the_query_nor_the_speech(tmp_path: Path) -> None:
    async with Receiver(status(500)) as receiver, outbox_to(tmp_path, receiver.settings()) as outbox:
        with capture_logs() as logs:
            await outbox.publish(call_events.final())
            await drained(outbox)

    (line,) = [line for line in logs if line["event"] == "webhook_failed"]
    assert (line["attempt"], line["status"], line["outcome"]) == (1, 500, "unavailable")
    assert not any(word in str(line) for word in ("hook?", "hidden", "refund"))


async def post(settings: WebhookSettings, timeout_s: float = DEADLINE_S) -> Outcome:
    async with Client(Endpoint.of(settings), connections=1, timeout_s=timeout_s) as client:
        return (await client.post("evt_1", b"{}")).outcome


async def test_a_success_counts_although_the_rest_of_its_answer_never_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.outbox.client._ANSWER_TIMEOUT_S", 0.01)
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nx")
        await over.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server:
        outcome = await post(settings_for(url))
        over.set()

    assert outcome is Outcome.DELIVERED


async def test_an_endless_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.outbox.client._ANSWER_TIMEOUT_S", 1000.0)  # only its size can end it

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        try:
            while True:
                writer.write(bytes(65536))
                await writer.drain()
        except ConnectionError:
            closed.set()
            writer.close()

    closed = asyncio.Event()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server:
        outcome = await post(settings_for(url))
        async with asyncio.timeout(DEADLINE_S):
            await closed.wait()

    assert outcome is Outcome.DELIVERED


@pytest.mark.parametrize("answer", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000])
async def test_whatever_is_no_http_is_an_unreachable_receiver(answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        outcome = await post(settings_for(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"))

    assert outcome is Outcome.UNREACHABLE


def test_retry_after_has_two_forms_and_anything_else_is_ignored() -> None:
    now = 1_800_000_000.0

    assert parse_retry_after(" 120 ", now) == 120
    assert parse_retry_after(formatdate(now + 90, usegmt=True), now) == 90
    assert parse_retry_after(formatdate(now - 90, usegmt=True), now) == 0
    assert parse_retry_after("9" * 500, now) == 999_999_999
    assert [parse_retry_after(text, now) for text in (None, "", "-1", "soon", "1.5", "²")] == [None] * 6
