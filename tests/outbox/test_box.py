import asyncio
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec
import pytest

from gateway.config import OutboxSettings
from gateway.errors import ConfigError, StorageError
from gateway.outbox import Outbox, StoredEvent
from gateway.outbox.store import Store
from tests.support import call_events
from tests.support.failing_disk import DEADLINE_S, Disk
from tests.support.manual_clock import ManualClock
from tests.support.webhook_receiver import Receiver

DAY_S = 86_400


async def test_without_receivers_events_are_only_kept(tmp_path: Path) -> None:
    async with Outbox(tmp_path) as outbox:
        await outbox.publish(call_events.started())
        await outbox.publish(call_events.ended())

        assert [event.type for event in await outbox.events_of("call_1")] == ["call.started", "call.ended"]
        assert outbox.pending() == 0
        assert await outbox.drain(1.0)


async def test_id_and_time_of_an_event_are_those_in_its_body(tmp_path: Path) -> None:
    clock = ManualClock(1_800_000_000.25)
    async with Outbox(tmp_path, clock=clock, entropy=bytes) as outbox:
        stored = await outbox.publish(call_events.dtmf())

    body = msgspec.json.decode(stored.body)
    assert body["id"] == stored.id == f"evt_{1_800_000_000_250:012x}{'00' * 10}"
    assert datetime.fromisoformat(body["timestamp"]) == datetime.fromtimestamp(clock(), UTC)


async def test_a_listener_gets_committed_events_in_order(tmp_path: Path) -> None:
    heard: list[StoredEvent] = []
    async with Outbox(tmp_path) as outbox:
        outbox.add_listener(heard.extend)
        stored = [await outbox.publish(call_events.final(sequence=sequence)) for sequence in (1, 2, 3)]

    assert heard == stored


async def test_a_call_without_its_end_is_found_after_a_restart(tmp_path: Path) -> None:
    async with Outbox(tmp_path) as outbox:
        await outbox.publish(call_events.started("over", 1))
        await outbox.publish(call_events.ended("over", 2))
        await outbox.publish(call_events.started("open", 1))
        await outbox.publish(call_events.final("open", 2))

    async with Outbox(tmp_path) as outbox:
        (unfinished,) = await outbox.unfinished_calls()
        await outbox.publish(call_events.ended("open", unfinished.last_sequence + 1))
        assert await outbox.unfinished_calls() == []

    assert unfinished.info == call_events.info("open")


async def test_a_second_end_of_a_call_is_refused(tmp_path: Path) -> None:
    async with Outbox(tmp_path) as outbox:
        await outbox.publish(call_events.ended(sequence=1))

        with pytest.raises(StorageError) as caught:
            await outbox.publish(call_events.ended(sequence=2))

    assert caught.value.code == "event_conflict"


async def test_old_events_are_gone_after_a_start(tmp_path: Path) -> None:
    clock = ManualClock()
    async with Outbox(tmp_path, clock=clock) as outbox:
        await outbox.publish(call_events.final(sequence=1))
        clock.advance(2 * DAY_S)
        await outbox.publish(call_events.final(sequence=2))

    async with Outbox(tmp_path, settings=OutboxSettings(retention_days=1), clock=clock) as outbox:
        await outbox.publish(call_events.final(sequence=3))  # committed after the pruning that the start began

        assert [event.sequence for event in await outbox.events_of("call_1")] == [2, 3]


def test_two_receivers_with_one_url_are_refused(tmp_path: Path) -> None:
    receiver = Receiver()
    receiver.port = 1

    with pytest.raises(ConfigError, match="same url"):
        Outbox(tmp_path, (receiver.settings(), receiver.settings(concurrency=2)))


async def test_a_folder_that_cannot_be_used_fails_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")

    with pytest.raises(StorageError, match="data"):
        async with Outbox(tmp_path / "data"):
            pass


async def test_a_second_signal_does_not_wait_for_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk()
    monkeypatch.setattr("gateway.outbox.box.Store", partial(Store, connect=disk.connect, backoff_s=(DEADLINE_S,)))

    async def serve() -> None:
        async with Outbox(tmp_path) as outbox:
            disk.fails_at = "COMMIT"
            await outbox.publish(call_events.final())

    async with asyncio.timeout(2), asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(serve())
        await disk.fails(1)
        serving.cancel()


def test_the_settings_do_not_show_in_the_text_of_the_outbox(tmp_path: Path) -> None:
    receiver = Receiver()
    receiver.port = 1

    assert "whsec" not in repr(vars(Outbox(tmp_path, (receiver.settings(),))))
