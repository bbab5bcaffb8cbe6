"""Channels: bounded, closable, and honest about what they drop."""

import asyncio

import pytest

from gateway.channels import Channel, Overflow


async def test_items_come_out_in_the_order_in_which_they_went_in() -> None:
    channel: Channel[int] = Channel(10)
    for number in range(5):
        channel.put_nowait(number)
    channel.close()
    assert [item async for item in channel] == [0, 1, 2, 3, 4]


async def test_a_full_channel_makes_the_producer_wait_until_there_is_room() -> None:
    channel: Channel[int] = Channel(1)
    await channel.put(1)
    async with asyncio.TaskGroup() as tasks:
        producer = tasks.create_task(channel.put(2))
        await asyncio.sleep(0)
        assert not producer.done()
        assert await channel.get() == 1
    assert await channel.get() == 2


async def test_drop_oldest_keeps_the_newest_and_tells_of_each_item_given_up() -> None:
    dropped: list[str] = []
    channel = Channel[str](6, Overflow.DROP_OLDEST, weight=len, on_drop=dropped.append)
    for item in ("aaa", "bbb", "cc", "dddd"):
        channel.put_nowait(item)
    assert channel.drain() == ["cc", "dddd"]
    assert dropped == ["aaa", "bbb"]
    assert channel.dropped == 2


async def test_an_item_larger_than_the_capacity_passes_through_an_empty_channel() -> None:
    channel = Channel[str](2, weight=len)
    async with asyncio.timeout(1):
        await channel.put("abcdef")
    assert await channel.get() == "abcdef"


async def test_after_close_the_rest_comes_out_and_then_none() -> None:
    channel: Channel[int] = Channel(3)
    channel.put_nowait(1)
    channel.close()
    assert await channel.get() == 1
    assert await channel.get() is None


async def test_close_wakes_a_waiting_consumer() -> None:
    channel: Channel[int] = Channel(3)
    async with asyncio.TaskGroup() as tasks:
        consumer = tasks.create_task(channel.get())
        await asyncio.sleep(0)
        channel.close()
    assert consumer.result() is None


async def test_close_wakes_a_waiting_producer_whose_item_is_counted_as_dropped() -> None:
    channel: Channel[int] = Channel(1)
    channel.put_nowait(1)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(channel.put(2))
        await asyncio.sleep(0)
        channel.close()
    assert channel.dropped == 1


async def test_a_cancelled_consumer_loses_no_item() -> None:
    channel: Channel[int] = Channel(3)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await channel.get()
    channel.put_nowait(7)
    assert await channel.get() == 7


async def test_a_cancelled_producer_leaves_no_trace() -> None:
    channel: Channel[int] = Channel(1)
    channel.put_nowait(1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await channel.put(2)
    assert channel.drain() == [1]
