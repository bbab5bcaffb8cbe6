"""The queue to a client that may read slowly."""

import asyncio

import pytest

from gateway.speech_api.base import Close, Say
from gateway.speech_api.outbound import Outbound, Outgoing, Pong

ROOMY = 1 << 20


async def drained(outbound: Outbound) -> list[Outgoing]:
    """All that is held, up to a `Close` put here."""
    await outbound.close(1000)
    items: list[Outgoing] = []
    while not isinstance(item := await outbound.get(), Close):
        items.append(item)
    return items


async def test_the_newest_partial_replaces_one_that_waits() -> None:
    outbound = Outbound(ROOMY)
    for text in ("a", "a b", "a b c"):
        await outbound.put(Say(text, is_partial=True))
    assert await drained(outbound) == [Say("a b c", is_partial=True)]
    assert outbound.merged_partials == 2


async def test_a_final_replaces_the_partial_before_it() -> None:
    outbound = Outbound(ROOMY)
    await outbound.put(Say("a", is_partial=True))
    await outbound.put(Say("A."))
    assert await drained(outbound) == [Say("A.")]


async def test_finals_and_pongs_are_all_kept_in_order() -> None:
    outbound = Outbound(ROOMY)
    items: list[Outgoing] = [Say("A."), Pong(b"1"), Say("B."), Say("c", is_partial=True)]
    for item in items:
        await outbound.put(item)
    assert await drained(outbound) == items


async def test_put_waits_for_room() -> None:
    outbound = Outbound(1)
    await outbound.put(Say("A."))
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        second = tasks.create_task(outbound.put(Say("B.")))
        await asyncio.sleep(0)
        assert not second.done()
        assert await outbound.get() == Say("A.")
    assert await outbound.get() == Say("B.")


async def test_a_close_finds_room_in_a_full_queue_and_ends_the_waiting() -> None:
    outbound = Outbound(1)
    await outbound.put(Say("A."))
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        tasks.create_task(outbound.put(Say("B.")))
        await asyncio.sleep(0)
        await outbound.close(1001)
    assert [await outbound.get(), await outbound.get()] == [Say("A."), Close(1001)]


async def test_nothing_follows_a_close() -> None:
    outbound = Outbound(ROOMY)
    await outbound.put(Close(1000))
    await outbound.put(Say("A."))
    assert await outbound.get() == Close(1000)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await outbound.get()
