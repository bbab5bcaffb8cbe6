"""One thread does one thing after the other, and whoever waits gets what came of it."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from gateway.journal.hand import Hand


@pytest.fixture
def hand() -> Iterator[Hand]:
    made = Hand("test-hand")
    yield made
    made.close()


async def test_what_comes_of_it_is_returned_from_another_thread(hand: Hand) -> None:
    assert await hand.run(lambda left, right: (threading.current_thread().name, left + right), 1, 2) == ("test-hand", 3)


async def test_what_goes_wrong_is_raised_where_it_is_waited_for(hand: Hand) -> None:
    with pytest.raises(OSError, match="no room"):
        await hand.run(_fail)
    assert await hand.run(int) == 0


def _fail() -> None:
    raise OSError("no room")


async def test_everything_is_done_in_the_order_in_which_it_was_asked_for(hand: Hand) -> None:
    done: list[int] = []
    gate = threading.Event()
    hand.run_later(lambda: done.append(0 if gate.wait(10) else -1))
    async with asyncio.TaskGroup() as tasks:
        for number in (1, 2):
            tasks.create_task(hand.run(done.append, number))
            await asyncio.sleep(0)
        hand.run_later(lambda: done.append(3))
        gate.set()
    hand.close()
    assert done == [0, 1, 2, 3]


async def test_whoever_is_cancelled_waits_no_more_but_it_is_done(hand: Hand) -> None:
    done: list[int] = []
    gate = threading.Event()
    hand.run_later(lambda: done.append(0 if gate.wait(10) else -1))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await hand.run(done.append, 1)
    gate.set()
    assert await hand.run(lambda: list(done)) == [0, 1]


def test_a_loop_that_is_gone_disturbs_nobody(hand: Hand) -> None:
    gate, done = threading.Event(), threading.Event()

    async def leave() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await hand.run(gate.wait, 10)

    asyncio.run(leave())
    gate.set()
    hand.run_later(done.set)
    assert done.wait(10)


async def test_after_the_end_nothing_can_be_asked_for() -> None:
    hand = Hand("test-hand")
    hand.close()
    hand.close()
    with pytest.raises(RuntimeError, match="ended"):
        await hand.run(int)
    with pytest.raises(RuntimeError, match="ended"):
        hand.run_later(lambda: None)
