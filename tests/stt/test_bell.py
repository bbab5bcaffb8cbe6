"""Waking one coroutine by news or by time."""

import asyncio

import pytest

from gateway.stt.bell import Bell
from tests.support import virtual_time


def test_a_ring_wakes_whoever_waits_at_once() -> None:
    async def main() -> float:
        bell, loop = Bell(), asyncio.get_running_loop()
        loop.call_later(0.5, bell.ring)
        await bell.wait(10.0)
        bell.silence()
        return loop.time()

    assert virtual_time.run(main()) == 0.5


def test_without_a_ring_it_wakes_in_time_however_often_that_was_moved() -> None:
    async def main() -> list[float]:
        bell, loop = Bell(), asyncio.get_running_loop()
        woken = []
        for number in range(3):
            loop.call_at(number + 0.5, bell.ring)
            await bell.wait(number + 2.0)
            woken.append(loop.time())
        await bell.wait(10.0)
        woken.append(loop.time())
        await bell.wait(10.25)
        return [*woken, loop.time()]

    assert virtual_time.run(main()) == [0.5, 1.5, 2.5, 10.0, 10.25]


def test_an_earlier_time_than_the_last_one_is_kept() -> None:
    async def main() -> float:
        bell, loop = Bell(), asyncio.get_running_loop()
        loop.call_soon(bell.ring)
        await bell.wait(100.0)
        await bell.wait(1.0)
        return loop.time()

    assert virtual_time.run(main()) == pytest.approx(1.0)


def test_a_ring_that_nobody_waits_for_is_forgotten() -> None:
    async def main() -> float:
        bell, loop = Bell(), asyncio.get_running_loop()
        bell.ring()
        await bell.wait(1.0)
        return loop.time()

    assert virtual_time.run(main()) == 1.0
