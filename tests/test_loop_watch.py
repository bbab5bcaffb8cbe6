"""The watch of the event loop: what holds the loop up shows, and only what lasts makes it lag."""

import asyncio
import sys
from collections.abc import Sequence

import pytest

from gateway import telemetry
from gateway.loop_watch import TICK_S, WINDOW, LoopWatch
from tests.support.virtual_time import VirtualTimeLoop, run

INTERVAL_S = 0.5


def watched(*held_up_s: float) -> LoopWatch:
    """A watch whose loop was held up so long at each of these looks."""

    async def main() -> LoopWatch:
        watch = LoopWatch(interval_s=INTERVAL_S, lagging_s=0.25)
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(watch.run())
            for seconds in held_up_s:
                await look(seconds)
            await asyncio.sleep(INTERVAL_S / 2)
            watching.cancel()
        return watch

    async def look(seconds: float) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        await asyncio.sleep(INTERVAL_S / 2)
        loop.hold_up(INTERVAL_S / 2 + seconds)  # until the timer of the watch is so much overdue
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    return run(main())


def value(name: str) -> float:
    sample = telemetry.REGISTRY.get_sample_value(name)
    assert sample is not None
    return sample


def test_a_loop_that_comes_in_time_does_not_lag() -> None:
    assert not watched(*[0.0] * 3 * WINDOW).is_lagging


@pytest.mark.parametrize(
    ("held_up_s", "is_lagging"),
    [([0.3] * WINDOW, True), ([0.2] * WINDOW, False), ([1.0], False), ([6.0], True), ([6.0] + [0.0] * WINDOW, False)],
)
def test_only_what_lasts_counts_as_lagging_and_it_passes(held_up_s: Sequence[float], is_lagging: bool) -> None:
    assert watched(*held_up_s).is_lagging is is_lagging


def test_the_worst_look_of_the_window_shows_in_the_metrics_and_then_no_more() -> None:
    watched(0.0, 3.0, 0.1)
    assert value("gateway_event_loop_lag_max_seconds") == pytest.approx(3.0)
    watched(3.0, *[0.1] * WINDOW)
    assert value("gateway_event_loop_lag_max_seconds") == pytest.approx(0.1)


def test_the_longest_block_since_the_start_shows_whenever_it_comes() -> None:
    watched(0.0, 2.0, 0.0, 0.3)
    assert value("gateway_event_loop_longest_block_seconds") == pytest.approx(2.0 + INTERVAL_S / 2, abs=1.01 * TICK_S)


def test_a_block_between_two_looks_shows_as_well() -> None:
    async def main() -> None:
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(LoopWatch(interval_s=INTERVAL_S).run())
            await asyncio.sleep(INTERVAL_S * 1.2)
            loop = asyncio.get_running_loop()
            assert isinstance(loop, VirtualTimeLoop)
            loop.hold_up(INTERVAL_S * 0.2)
            await asyncio.sleep(INTERVAL_S * 0.2)
            watching.cancel()

    run(main())
    assert value("gateway_event_loop_longest_block_seconds") == pytest.approx(INTERVAL_S * 0.2, abs=1.01 * TICK_S)


def test_what_the_start_of_the_process_does_is_not_its_longest_block() -> None:
    async def main() -> None:
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(LoopWatch(interval_s=INTERVAL_S).run())
            await asyncio.sleep(0)
            loop = asyncio.get_running_loop()
            assert isinstance(loop, VirtualTimeLoop)
            loop.hold_up(30.0)
            await asyncio.sleep(INTERVAL_S)
            watching.cancel()

    run(main())
    assert value("gateway_event_loop_longest_block_seconds") == 0


def test_every_look_is_counted() -> None:
    before = value("gateway_event_loop_lag_seconds_count"), value("gateway_event_loop_lag_seconds_sum")
    watched(0.25, 0.5)
    assert value("gateway_event_loop_lag_seconds_count") - before[0] == 2
    assert value("gateway_event_loop_lag_seconds_sum") - before[1] == pytest.approx(0.75)


def test_a_timer_that_fires_early_is_not_late() -> None:
    watch = LoopWatch()
    watch.note(-0.001)
    assert value("gateway_event_loop_lag_max_seconds") == 0


async def test_the_tasks_of_the_loop_are_counted_when_asked() -> None:
    before = value("gateway_event_loop_tasks")
    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(asyncio.Event().wait()) for _ in range(3)]
        assert value("gateway_event_loop_tasks") == before + 3
        for task in waiting:
            task.cancel()


def test_outside_a_loop_there_are_no_tasks() -> None:
    assert value("gateway_event_loop_tasks") == 0


@pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")
def test_memory_and_open_files_of_the_process_are_among_the_metrics() -> None:
    assert value("process_open_fds") > 0
    assert value("process_resident_memory_bytes") > 0
