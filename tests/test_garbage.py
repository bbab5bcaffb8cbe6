"""Garbage is looked for when few calls are in progress, or when it must be, and never by itself in all objects."""

import asyncio
import gc

import pytest

from gateway.garbage import MOST_YOUNG, QUIET_CALLS, YOUNG_OBJECTS, GarbageWatch
from tests.support.virtual_time import run


class Looks:
    """Counts collections of everything while it is among the callbacks."""

    def __init__(self) -> None:
        self.full = 0

    def __call__(self, phase: str, info: dict[str, int]) -> None:
        self.full += phase == "stop" and info["generation"] == 2


def looks_in_a_while(active: int, young: int) -> int:
    """How often everything is looked at in four looks, after so many looks at what was new."""

    async def main() -> int:
        looks = Looks()
        async with GarbageWatch(lambda: active, look_s=10.0):
            gc.callbacks.append(looks)
            for _ in range(young):
                gc.collect(0)
            await asyncio.sleep(45.0)
            gc.callbacks.remove(looks)
        return looks.full

    return run(main())


@pytest.mark.parametrize(
    ("active", "young", "looks"),
    [
        (0, 1, 1),
        (QUIET_CALLS, 1, 1),
        (QUIET_CALLS, 0, 0),
        (QUIET_CALLS + 1, MOST_YOUNG - 1, 0),
        (QUIET_CALLS + 1, MOST_YOUNG, 1),
    ],
)
def test_everything_is_looked_at_in_quiet_moments_and_once_it_must_be(active: int, young: int, looks: int) -> None:
    gc.collect()
    gc.disable()  # what other tests left behind must start no look of its own here
    try:
        assert looks_in_a_while(active, young) == looks
    finally:
        gc.enable()


def test_objects_that_stay_start_no_look_at_everything() -> None:
    async def main() -> int:
        looks = Looks()
        async with GarbageWatch(lambda: QUIET_CALLS + 1):
            gc.callbacks.append(looks)
            kept = [[number] for number in range(30 * YOUNG_OBJECTS)]
            gc.callbacks.remove(looks)
        assert len(kept) == 30 * YOUNG_OBJECTS
        return looks.full

    assert run(main()) == 0


def test_what_python_did_before_it_does_again_afterwards() -> None:
    before, callbacks = gc.get_threshold(), list(gc.callbacks)

    async def main() -> None:
        async with GarbageWatch(lambda: 0):
            assert gc.get_threshold() != before

    run(main())
    assert (gc.get_threshold(), gc.callbacks) == (before, callbacks)
