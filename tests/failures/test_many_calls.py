"""
Calls at once share nothing, and cost nothing when they are over.

Elsewhere a second call silences the first, 70 calls are the end, and a hung-up call leaves a loop that spins for ever.
"""

import asyncio
import os
from pathlib import Path

import pytest

from gateway.server import serving
from tests.support import raw_phone
from tests.support.pulse_server import PulseServer, read_content, recognise
from tests.support.raw_phone import STOP, speech, start
from tests.support.webhook_receiver import Receiver
from tests.support.whole_gateway import FAST_ENGINE, GatewayProcess, heard_by, posted_to, settings, until_ended

SECOND = 50  # frames


async def place(stream_url: str, number: int, begin: asyncio.Barrier) -> None:
    """Two seconds on both tracks; each track of each call says another octet."""
    async with raw_phone.raw_phone(stream_url) as phone:
        await phone.say(*start("inbound", "outbound", call_sid=f"CA{number}"))
        await begin.wait()
        caller, agent = speech([number] * 2 * SECOND), speech([number + 100] * 2 * SECOND, "outbound")
        for caller_frame, agent_frame in zip(caller, agent, strict=True):
            await phone.say(caller_frame, agent_frame)
        await phone.say(STOP)
        assert await phone.close_code() == 1000


@pytest.mark.parametrize("calls", [2, 64])
async def test_calls_at_once_hear_themselves_and_nobody_else(calls: int, tmp_path: Path) -> None:
    async with (
        PulseServer(recognise(hear=read_content)) as vendor,
        Receiver() as receiver,
        serving(
            settings(tmp_path, webhook=posted_to(receiver, concurrency=64), stt=heard_by(vendor)), engine=FAST_ENGINE
        ) as served,
    ):
        begin = asyncio.Barrier(calls)
        async with asyncio.TaskGroup() as tasks:
            for number in range(calls):
                tasks.create_task(place(served.stream_url, number, begin))
        events = await until_ended(receiver, calls)
    for number in range(calls):
        mine = [event["data"] for event in events if event["data"]["call"]["platform_call_id"] == f"CA{number}"]
        assert [each["sequence"] for each in mine] == list(range(1, len(mine) + 1))
        heard = {(each["track"], each["text"]) for each in mine if "text" in each}
        assert heard == {("inbound", f"b{number}"), ("outbound", f"b{number + 100}")}
        assert mine[-1]["complete"] is True
    assert len({event["data"]["call"]["id"] for event in events}) == calls


async def test_a_call_that_comes_and_goes_disturbs_nobody(tmp_path: Path) -> None:
    async with (
        PulseServer(recognise(hear=read_content)) as vendor,
        Receiver() as receiver,
        serving(settings(tmp_path, webhook=posted_to(receiver), stt=heard_by(vendor)), engine=FAST_ENGINE) as served,
        raw_phone.raw_phone(served.stream_url) as phone,
    ):
        said = speech([7] * SECOND + [8] * SECOND)
        await phone.say(*start(call_sid="CA-first"), *said[:SECOND])
        async with raw_phone.raw_phone(served.stream_url) as second:
            await second.say(*start(call_sid="CA-second"), *speech([9] * SECOND))
            second.reset()
        await receiver.wait_for(4)
        await phone.say(*said[SECOND:], STOP)
        events = await until_ended(receiver, 2)
    first = [event["data"] for event in events if event["data"]["call"]["platform_call_id"] == "CA-first"]
    assert [each["text"] for each in first[1:-1]] == ["b7", "b8"]


def cpu_s(pid: int) -> float:
    """Processor time that a process has used. Source: proc(5), /proc/pid/stat, fields 14 and 15."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def test_calls_that_broke_off_leave_nothing_that_spins(tmp_path: Path) -> None:
    async with PulseServer(recognise(hear=read_content)) as vendor, Receiver() as receiver:
        environ = {"GATEWAY_STT": heard_by(vendor), "GATEWAY_WEBHOOK": posted_to(receiver)}
        async with GatewayProcess(tmp_path, **environ) as served:
            url = await served.stream_url()
            for hang_up in ("hang_up", "half_close", "reset") * 3:
                async with raw_phone.raw_phone(url) as phone:
                    await phone.say(*start(), *speech([1] * SECOND))
                    getattr(phone, hang_up)()
                    await phone.until_end()
            await until_ended(receiver, 9)
            before = cpu_s(served.process.pid)
            with pytest.raises(TimeoutError):  # it neither ends nor works for a second
                async with asyncio.timeout(1.0):
                    await served.process.wait()
            assert cpu_s(served.process.pid) - before < 0.2
