"""A process that was killed: its calls get their end after the next start, once."""

import signal
from pathlib import Path

from gateway.outbox import Outbox
from gateway.recovery import end_orphans
from tests.support import call_events
from tests.support.pulse_server import PulseServer
from tests.support.webhook_receiver import SECRET, Receiver
from tests.support.whole_gateway import GatewayProcess, heard_by, phone, posted_to, until_ended


async def test_a_call_that_was_killed_gets_one_end_with_all_that_was_said(tmp_path: Path) -> None:
    async with PulseServer() as vendor, Receiver() as receiver:
        environ = {"GATEWAY_STT": heard_by(vendor), "GATEWAY_WEBHOOK": posted_to(receiver)}
        async with GatewayProcess(tmp_path, **environ) as served, phone(await served.stream_url()) as caller:
            await caller.start("inbound", "outbound", tenant="acme")
            await caller.media(100)
            await caller.media(100, "outbound")
            await receiver.wait_for(5)
            served.send_signal(signal.SIGKILL)
            assert await served.exit_code() == -signal.SIGKILL
        async with GatewayProcess(tmp_path, **environ):
            await until_ended(receiver)
        events = [request.verify(SECRET) for request in receiver.requests]
    # The delivery that the kill interrupted may be made again, with its id.
    events = list({event["id"]: event for event in events}.values())
    assert [event["data"]["sequence"] for event in events] == [1, 2, 3, 4, 5, 6]
    assert [event["type"] for event in events].count("call.ended") == 1
    ended = events[-1]["data"]
    assert (ended["outcome"], ended["reason"], ended["complete"]) == ("indeterminate", "gateway_restarted", False)
    assert ended["call"]["metadata"] == {"tenant": "acme"}
    assert ended["duration_s"] is None
    assert [(each["track"], each["finals"], each["audio_s"]) for each in ended["tracks"]] == [
        ("inbound", 2, None),
        ("outbound", 2, None),
    ]
    assert sorted((each["track"], each["text"], each["start_s"]) for each in ended["conversation"]) == [
        ("inbound", "second 1", 0.0),
        ("inbound", "second 2", 1.0),
        ("outbound", "second 1", 0.0),
        ("outbound", "second 2", 1.0),
    ]
    assert [each["start_s"] for each in ended["conversation"]] == [0.0, 0.0, 1.0, 1.0]


async def test_only_calls_without_end_are_ended_and_only_once(tmp_path: Path) -> None:
    async with Outbox(tmp_path) as outbox:
        for call_id in ("over", "open"):
            await outbox.publish(call_events.started(call_id, 1))
        await outbox.publish(call_events.ended("over", 2))
    async with Outbox(tmp_path) as outbox:
        assert [await end_orphans(outbox), await end_orphans(outbox)] == [1, 0]
        assert [len(await outbox.events_of(call_id)) for call_id in ("over", "open")] == [2, 2]


async def test_a_long_call_keeps_its_whole_conversation(tmp_path: Path) -> None:
    """More events than are read from the store at once."""
    async with Outbox(tmp_path) as outbox:
        await outbox.publish(call_events.started("long", 1))
        for number in range(2, 1_104):
            await outbox.publish(call_events.final("long", number, text=str(number)))
        await end_orphans(outbox)
        (ended,) = await outbox.events_of("long", after=1_103)
    assert ended.body.count(b'"text"') == 1_102


async def test_a_call_that_had_only_begun_is_ended_without_a_conversation(tmp_path: Path) -> None:
    async with Outbox(tmp_path) as outbox:
        await outbox.publish(call_events.started("short", 1))
        await end_orphans(outbox)
        (_, ended) = await outbox.events_of("short")
    assert ended.sequence == 2
    assert b'"conversation":[]' in ended.body
