"""
What is said while everything is still being set up is heard, and placed where it was said.

Others lose the first words to the recogniser's handshake, send what they held in one message that the vendor refuses,
or let the platform wait for an answer until slow work is done.
"""

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from gateway.server import serving
from tests.support import raw_phone
from tests.support.held_line import HeldLine
from tests.support.pulse_server import PulseServer, read_content, recognise
from tests.support.raw_phone import STOP, speech, start
from tests.support.webhook_receiver import Receiver
from tests.support.whole_gateway import FAST_ENGINE, heard_by, posted_to, settings, until_ended

CHUNK_MS = 100
SAID = [value % 250 for value in range(150)]  # three seconds, each frame different from the one before


async def test_what_is_said_during_the_recognisers_handshake_is_heard_whole_and_at_its_time(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        vendor = await stack.enter_async_context(PulseServer(recognise(hear=read_content)))
        line = await stack.enter_async_context(HeldLine(vendor.url))
        receiver = await stack.enter_async_context(Receiver())
        stt = heard_by(vendor, url=line.url, connect_timeout_s=30)
        tree = settings(tmp_path, webhook=posted_to(receiver), stt=stt)
        served = await stack.enter_async_context(serving(tree, engine=FAST_ENGINE))
        phone = await stack.enter_async_context(raw_phone.raw_phone(served.stream_url))
        await phone.say(*start(), *speech(SAID))
        await line.reached.wait()
        line.let_through.set()
        await phone.say(STOP)
        events = await until_ended(receiver)
    words = [word for event in events[1:-1] for word in event["data"]["words"]]
    assert [word["word"] for word in words] == [f"b{value}" for value in SAID]
    assert [word["start_s"] for word in words] == pytest.approx([number * 0.02 for number in range(150)])
    assert {event["data"]["recovered"] for event in events[1:-1]} == {False}
    sent = [len(message) for message in vendor.sessions[0].messages if isinstance(message, bytes)]
    assert max(sent) <= CHUNK_MS * 8  # as small as live audio, however much was held


async def test_a_call_is_taken_and_told_before_anything_slow_is_done(tmp_path: Path) -> None:
    """A platform that waits for set-up work gives the call up; the recogniser here is never reached at all."""
    async with (
        PulseServer() as vendor,
        HeldLine(vendor.url) as line,
        Receiver() as receiver,
        serving(
            settings(
                tmp_path,
                webhook=posted_to(receiver),
                stt={**heard_by(vendor, url=line.url), "drain_s": 0.1},
                drain_timeout_s=0,
            ),
            engine=FAST_ENGINE,
        ) as served,
        raw_phone.raw_phone(served.stream_url) as phone,
    ):
        await phone.say(*start())
        (started,) = await receiver.wait_for(1)
        assert started.event["type"] == "call.started"
        assert vendor.attempts == 0
