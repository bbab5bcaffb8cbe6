import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from gateway import telemetry
from gateway.events import Track
from gateway.outbox import Outbox
from tests.support import call_events
from tests.support.webhook_receiver import DEADLINE_S, Received, Receiver, status

WANTED = ("*", "transcript.partial")


class Gate:
    """An answer that waits until the gate is opened."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()

    async def __call__(self, _request: Received) -> web.StreamResponse:
        await self.opened.wait()
        return web.Response()


@asynccontextmanager
async def outbox_to(folder: Path, receiver: Receiver, events: tuple[str, ...] = WANTED) -> AsyncIterator[Outbox]:
    async with Outbox(folder, (receiver.settings(events=events),)) as outbox:
        yield outbox


def texts(receiver: Receiver) -> list[str]:
    return [request.event["data"]["text"] for request in receiver.requests]


@pytest.fixture
def count() -> Callable[[str], float]:
    """How many partials have ended in a way since the test began."""

    def value(outcome: str) -> float:
        return telemetry.REGISTRY.get_sample_value("gateway_partials_total", {"outcome": outcome}) or 0.0

    before = {outcome: value(outcome) for outcome in ("delivered", "failed", "replaced", "dropped")}
    return lambda outcome: value(outcome) - before[outcome]


async def test_a_subscriber_gets_a_signed_partial(tmp_path: Path) -> None:
    async with Receiver() as receiver, outbox_to(tmp_path, receiver) as outbox:
        outbox.offer(call_events.partial(text="I'd li"))
        (request,) = await receiver.wait_for(1)

        assert request.verify()["type"] == "transcript.partial"
        assert request.event["id"] == request.id
        assert request.event["data"]["text"] == "I'd li"


async def test_partials_are_not_stored(tmp_path: Path) -> None:
    async with Receiver() as receiver, outbox_to(tmp_path, receiver) as outbox:
        outbox.offer(call_events.partial())
        await receiver.wait_for(1)

        assert outbox.pending() == 0
        assert await outbox.events_of("call_1") == []


async def test_the_star_does_not_subscribe_to_partials(tmp_path: Path) -> None:
    async with Receiver() as receiver, outbox_to(tmp_path, receiver, events=("*",)) as outbox:
        outbox.offer(call_events.partial())
        await outbox.publish(call_events.final())
        await outbox.drain(DEADLINE_S)

    assert [request.event["type"] for request in receiver.requests] == ["transcript.final"]


async def test_while_one_is_under_way_only_the_newest_waits(tmp_path: Path) -> None:
    gate = Gate()
    async with Receiver(gate) as receiver, outbox_to(tmp_path, receiver) as outbox:
        outbox.offer(call_events.partial(text="a"))
        await receiver.wait_for(1)
        for text in ("a b", "a b c", "a b c d"):
            outbox.offer(call_events.partial(text=text))
        gate.opened.set()
        await receiver.wait_for(2)

    assert texts(receiver) == ["a", "a b c d"]


async def test_each_track_keeps_its_own_newest(tmp_path: Path) -> None:
    gate = Gate()
    async with Receiver(gate) as receiver, outbox_to(tmp_path, receiver) as outbox:
        outbox.offer(call_events.partial(text="a"))
        await receiver.wait_for(1)
        outbox.offer(call_events.partial(text="a b"))
        outbox.offer(call_events.partial(text="x", track=Track.OUTBOUND))
        gate.opened.set()
        await receiver.wait_for(3)

    assert texts(receiver) == ["a", "a b", "x"]


async def test_other_calls_do_not_wait(tmp_path: Path) -> None:
    async with Receiver() as receiver:
        receiver.answer = receiver.hang
        async with outbox_to(tmp_path, receiver) as outbox:
            outbox.offer(call_events.partial("call_1"))
            outbox.offer(call_events.partial("call_2"))

            assert {request.call_id for request in await receiver.wait_for(2)} == {"call_1", "call_2"}


async def test_a_hanging_partial_does_not_hold_up_finals(tmp_path: Path) -> None:
    async def answer(request: Received) -> web.StreamResponse:
        return await receiver.hang(request) if request.event["type"] == "transcript.partial" else web.Response()

    async with Receiver(answer) as receiver, outbox_to(tmp_path, receiver) as outbox:
        outbox.offer(call_events.partial())
        await receiver.wait_for(1)
        await outbox.publish(call_events.final())

        assert await outbox.drain(DEADLINE_S)
        assert outbox.pending() == 0


async def test_a_final_takes_the_waiting_partial_of_its_track_away(
    tmp_path: Path, count: Callable[[str], float]
) -> None:
    gate = Gate()
    async with Receiver(gate) as receiver, outbox_to(tmp_path, receiver) as outbox:
        outbox.offer(call_events.partial(text="a"))
        await receiver.wait_for(1)
        outbox.offer(call_events.partial(text="late"))
        outbox.offer(call_events.partial(text="other track", track=Track.OUTBOUND))
        await outbox.publish(call_events.final())
        gate.opened.set()
        await receiver.wait_for(3)

    assert "late" not in texts(receiver)
    assert "other track" in texts(receiver)
    assert count("replaced") == 1


async def test_a_failed_partial_is_not_sent_again(tmp_path: Path) -> None:
    async with Receiver(status(500)) as receiver, outbox_to(tmp_path, receiver) as outbox:
        outbox.offer(call_events.partial(text="a"))
        await receiver.wait_for(1)
        outbox.offer(call_events.partial(text="b"))
        await receiver.wait_for(2)

    assert texts(receiver) == ["a", "b"]


async def test_what_waits_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: Callable[[str], float]
) -> None:
    monkeypatch.setattr("gateway.outbox.partials._CAPACITY", 2)
    async with Receiver() as receiver, outbox_to(tmp_path, receiver) as outbox:
        for number in range(5):
            outbox.offer(call_events.partial(f"call_{number}"))
        await receiver.wait_for(2)

    assert {request.call_id for request in receiver.requests} == {"call_3", "call_4"}
    assert count("dropped") == 3


async def test_an_endpoint_that_is_gone_gets_no_partials_either(tmp_path: Path, count: Callable[[str], float]) -> None:
    async with Receiver(status(410)) as gone, Receiver() as healthy:
        webhooks = tuple(receiver.settings(events=WANTED) for receiver in (gone, healthy))
        async with Outbox(tmp_path, webhooks) as outbox:
            await outbox.publish(call_events.final())
            await outbox.drain(DEADLINE_S)
            outbox.offer(call_events.partial())
            await healthy.wait_for(2)

    assert [request.event["type"] for request in gone.requests] == ["transcript.final"]
    assert count("dropped") == 1
