"""Work beside the calls: a fault of it ends neither itself for good nor anything else."""

import asyncio

import pytest
from structlog.testing import capture_logs

from gateway.background import Background

DEADLINE_S = 60.0


async def test_a_fault_is_reported_and_the_work_begun_again() -> None:
    tries = 0
    is_well = asyncio.Event()

    async def work() -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise RuntimeError("what somebody said")
        is_well.set()
        await asyncio.Event().wait()

    with capture_logs() as logs:
        async with asyncio.timeout(DEADLINE_S), Background(pause_s=0) as background:
            background.start(work, name="chore")
            await is_well.wait()
    assert [(entry["event"], entry["task"]) for entry in logs] == [("background_failed", "chore")] * 2


async def test_a_fault_leaves_the_others_and_the_owner_alone() -> None:
    has_ticked = asyncio.Event()

    async def broken() -> None:
        raise RuntimeError

    async def sound() -> None:
        for _ in range(10):
            await asyncio.sleep(0)
        has_ticked.set()

    with capture_logs():
        async with asyncio.timeout(DEADLINE_S), Background() as background:
            background.start(broken, name="broken")
            background.start(sound, name="sound")
            await has_ticked.wait()


async def test_leaving_ends_what_goes_on_also_in_the_pause_after_a_fault() -> None:
    async def broken() -> None:
        raise RuntimeError

    async def endless() -> None:
        await asyncio.Event().wait()

    before = asyncio.all_tasks()
    with capture_logs():
        async with asyncio.timeout(DEADLINE_S), Background(pause_s=3600) as background:
            background.start(broken, name="broken")
            background.start(endless, name="endless")
            await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_work_that_is_done_is_not_begun_again() -> None:
    done = 0

    async def work() -> None:
        nonlocal done
        done += 1

    async with Background(pause_s=0) as background:
        background.start(work, name="once")
        for _ in range(5):
            await asyncio.sleep(0)
    assert done == 1


async def test_an_error_in_the_context_is_the_owners() -> None:
    async def endless() -> None:
        await asyncio.Event().wait()

    async def fail() -> None:
        async with Background() as background:
            background.start(endless, name="endless")
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
