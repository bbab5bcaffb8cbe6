"""Many timed calls with few wake-ups: each once, never early, at most a tick late, and none harmed by another."""

import asyncio
from random import Random

from gateway.ticker import GROUP, TICK_S, Ticker
from tests.support import virtual_time
from tests.support.session_track import pass_time


def test_each_call_is_made_once_in_time_and_in_order() -> None:
    async def main() -> list[tuple[float, float]]:
        ticker, loop, made = Ticker(), asyncio.get_running_loop(), list[tuple[float, float]]()
        draw = Random(3)
        dues = [loop.time() + draw.random() for _ in range(500)]
        for due in dues:
            ticker.at(due, lambda due=due: made.append((due, loop.time())))  # type: ignore[misc]
        await pass_time(1.5)
        assert sorted(due for due, _ in made) == sorted(dues)
        return made

    made = virtual_time.run(main())
    assert all(0 <= at - due <= TICK_S + 1e-9 for due, at in made)
    assert [at for _, at in made] == sorted(at for _, at in made)


def test_a_call_may_ask_for_the_next() -> None:
    async def main() -> list[float]:
        ticker, loop, made = Ticker(), asyncio.get_running_loop(), list[float]()

        def again() -> None:
            made.append(loop.time())
            if len(made) < 10:
                ticker.at(loop.time() + 0.1, again)

        ticker.at(loop.time(), again)
        await pass_time(2)
        return made

    made = virtual_time.run(main())
    assert len(made) == 10
    assert made[-1] - made[0] < 9 * (0.1 + TICK_S) + 1e-9


def test_what_is_due_earlier_is_not_kept_waiting_by_what_is_due_later() -> None:
    async def main() -> list[str]:
        ticker, loop, made = Ticker(), asyncio.get_running_loop(), list[str]()
        ticker.at(loop.time() + 1.0, lambda: made.append("later"))
        ticker.at(loop.time() + 0.1, lambda: made.append("earlier"))
        await pass_time(0.2)
        return made

    assert virtual_time.run(main()) == ["earlier"]


def test_a_call_that_fails_is_reported_and_harms_no_other() -> None:
    async def main() -> tuple[list[str], list[object]]:
        ticker, loop, made, told = Ticker(), asyncio.get_running_loop(), list[str](), list[object]()
        loop.set_exception_handler(lambda _loop, context: told.append(context["exception"]))
        ticker.at(loop.time(), lambda: made.append("before"))
        ticker.at(loop.time(), lambda: [][0])
        ticker.at(loop.time(), lambda: made.append("after"))
        await pass_time(0.1)
        return made, told

    made, told = virtual_time.run(main())
    assert made == ["before", "after"]
    assert [type(error) for error in told] == [IndexError]


def test_the_loop_rests_while_nothing_is_due() -> None:
    async def main() -> asyncio.TimerHandle | None:
        ticker = Ticker()
        ticker.at(asyncio.get_running_loop().time(), lambda: None)
        await pass_time(0.1)
        return ticker._timer

    assert virtual_time.run(main()) is None


def test_what_is_left_for_later_happens_after_the_group_and_in_the_order_it_was_left() -> None:
    async def main() -> list[str]:
        ticker, loop, made = Ticker(), asyncio.get_running_loop(), list[str]()

        def send(number: int) -> None:
            made.append(f"converted {number}")
            ticker.soon(lambda: made.append(f"sent {number}"))

        def read(number: int) -> None:
            made.append(f"read {number}")
            ticker.soon(lambda: send(number))

        due = loop.time() + 0.01
        for number in range(GROUP + 1):
            ticker.at(due, lambda number=number: read(number))  # type: ignore[misc]
        await pass_time(0.1)
        return made

    made = virtual_time.run(main())
    first, last = range(GROUP), range(GROUP, GROUP + 1)
    assert made == [
        f"{what} {number}" for group in (first, last) for what in ("read", "converted", "sent") for number in group
    ]


def test_outside_of_a_tick_nothing_is_left_for_later() -> None:
    made: list[str] = []
    Ticker().soon(lambda: made.append("sent"))
    assert made == ["sent"]


def test_what_fails_later_is_reported_and_harms_no_other() -> None:
    async def main() -> tuple[list[str], list[object]]:
        ticker, loop, made, told = Ticker(), asyncio.get_running_loop(), list[str](), list[object]()
        loop.set_exception_handler(lambda _loop, context: told.append(context["exception"]))
        error = ValueError("later")

        def fail() -> None:
            raise error

        ticker.at(loop.time(), lambda: ticker.soon(fail))
        ticker.at(loop.time(), lambda: ticker.soon(lambda: made.append("sent")))
        await pass_time(0.1)
        return made, [each is error for each in told]

    assert virtual_time.run(main()) == (["sent"], [True])
