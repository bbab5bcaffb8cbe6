"""Sockets with enough to read: each is served when it is, none suffers from another, and nothing is left behind."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random

import pytest

from gateway.arrivals import GROUP, IS_SUPPORTED, LATENESS_S, MOST_READY, Arrivals
from tests.support import virtual_time
from tests.support.loopback import line
from tests.support.session_track import pass_time

pytestmark = pytest.mark.skipif(not IS_SUPPORTED, reason="the transport reads")


def reader(near: socket.socket, heard: list[bytes]) -> Callable[[], None]:
    return lambda: heard.append(near.recv(65536))


def test_a_socket_is_served_when_it_holds_as_much_as_it_waits_for() -> None:
    async def main() -> None:
        with line() as (near, far):
            arrivals, heard = Arrivals(), list[bytes]()
            look = reader(near, heard)
            near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1000)
            arrivals.watch(near.fileno(), look)
            far.sendall(bytes(999))
            await pass_time(1)
            assert heard == []
            far.sendall(bytes(1))
            await pass_time(1)
            assert heard == [bytes(1000)]
            arrivals.forget(near.fileno(), look)

    virtual_time.run(main())


def test_the_end_of_a_connection_is_worth_waking_up_for() -> None:
    async def main() -> None:
        with line() as (near, far):
            arrivals, heard, over = Arrivals(), list[bytes](), asyncio.get_running_loop().create_future()

            def look() -> None:
                heard.append(near.recv(1000))
                if not heard[-1] and not over.done():
                    over.set_result(None)

            near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1000)
            arrivals.watch(near.fileno(), look)
            far.sendall(b"bye")
            far.close()
            await over
            assert heard == [b"bye", b""]
            arrivals.forget(near.fileno(), look)

    virtual_time.run(main())


def test_a_socket_that_is_forgotten_is_left_alone_and_nothing_is_held_for_the_last() -> None:
    async def main() -> None:
        with line() as (first, far_first), line() as (second, far_second):
            arrivals, heard = Arrivals(), list[bytes]()
            look, other = reader(first, heard), reader(second, heard)
            arrivals.watch(first.fileno(), look)
            arrivals.watch(second.fileno(), other)
            arrivals.forget(first.fileno(), look)
            far_first.sendall(b"first")
            far_second.sendall(b"second")
            await pass_time(1)
            assert heard == [b"second"]
            arrivals.forget(second.fileno(), other)
            assert arrivals._epoll is None
            arrivals.watch(first.fileno(), look)  # and begins again
            await pass_time(1)
            assert heard == [b"second", b"first"]
            arrivals.forget(first.fileno(), look)

    virtual_time.run(main())


def test_who_forgets_late_takes_nothing_from_the_next_one_with_that_number() -> None:
    async def main() -> None:
        arrivals, heard = Arrivals(), list[bytes]()
        gone, far_gone = socket.socketpair()
        number, old = gone.fileno(), reader(gone, heard)
        arrivals.watch(number, old)
        gone.close()
        near, far = socket.socketpair()
        assert near.fileno() == number
        with near, far, far_gone:
            look = reader(near, heard)
            arrivals.watch(number, look)
            arrivals.forget(number, old)
            far.sendall(b"new")
            await pass_time(1)
            assert heard == [b"new"]
            arrivals.forget(number, look)

    virtual_time.run(main())


def test_what_fails_is_reported_forgotten_and_harms_no_other() -> None:
    async def main() -> tuple[list[bytes], list[object]]:
        arrivals, heard, told = Arrivals(), list[bytes](), list[object]()
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context["exception"]))
        with line() as (first, far_first), line() as (second, far_second):
            look = reader(second, heard)
            arrivals.watch(first.fileno(), lambda: [][0])
            arrivals.watch(second.fileno(), look)
            far_first.sendall(b"first")
            far_second.sendall(b"second")
            await pass_time(1)
            arrivals.forget(second.fileno(), look)
            assert arrivals._epoll is None
        return heard, told

    heard, told = virtual_time.run(main())
    assert heard == [b"second"]
    assert [type(error) for error in told] == [IndexError]


@contextmanager
def ready(arrivals: Arrivals, count: int, serve: Callable[[int], None]) -> Iterator[None]:
    """So many sockets with something to read."""
    pairs = [socket.socketpair() for _ in range(count)]
    looks = []
    for number, (near, far) in enumerate(pairs):
        far.send(b"x")

        def look(number: int = number, near: socket.socket = near) -> None:
            near.recv(1)
            serve(number)

        looks.append(look)
        arrivals.watch(near.fileno(), look)
    yield
    for (near, far), look in zip(pairs, looks, strict=True):
        arrivals.forget(near.fileno(), look)
        near.close()
        far.close()


def test_what_is_left_for_later_happens_after_the_group_and_in_the_order_it_was_left() -> None:
    async def main() -> list[str]:
        arrivals, made = Arrivals(), list[str]()

        def send(number: int) -> None:
            made.append(f"converted {number}")
            arrivals.soon(lambda: made.append(f"sent {number}"))

        def read(number: int) -> None:
            made.append(f"read {number}")
            arrivals.soon(lambda: send(number))

        with ready(arrivals, GROUP + 1, read):
            await pass_time(0.1)
        return made

    made = virtual_time.run(main())
    first, last = range(GROUP), range(GROUP, GROUP + 1)
    assert made == [
        f"{what} {number}" for group in (first, last) for what in ("read", "converted", "sent") for number in group
    ]


def test_the_loop_gets_its_turn_between_many() -> None:
    async def main() -> list[object]:
        arrivals, made, loop = Arrivals(), list[object](), asyncio.get_running_loop()

        def read(number: int) -> None:
            if number == 0:
                loop.call_soon(made.append, "another")
            made.append(number)

        with ready(arrivals, MOST_READY + 1, read):
            await pass_time(0.1)
        return made

    made = virtual_time.run(main())
    assert sorted(each for each in made if isinstance(each, int)) == list(range(MOST_READY + 1))
    assert made.index("another") == MOST_READY


def test_while_nobody_is_served_nothing_is_left_for_later() -> None:
    made: list[str] = []
    Arrivals().soon(lambda: made.append("sent"))
    assert made == ["sent"]


def test_what_fails_later_is_reported_and_harms_no_other() -> None:
    async def main() -> tuple[list[str], list[object]]:
        arrivals, made, told = Arrivals(), list[str](), list[object]()
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context["exception"]))
        error = ValueError("later")

        def fail() -> None:
            raise error

        def read(number: int) -> None:
            arrivals.soon(fail if number == 0 else lambda: made.append("sent"))

        with ready(arrivals, 2, read):
            await pass_time(0.1)
        return made, [each is error for each in told]

    assert virtual_time.run(main()) == (["sent"], [True])


def test_what_is_timed_happens_once_in_time_and_in_order() -> None:
    async def main() -> list[tuple[float, float]]:
        arrivals, loop, made = Arrivals(), asyncio.get_running_loop(), list[tuple[float, float]]()
        draw = Random(3)
        dues = [loop.time() + draw.random() for _ in range(500)]
        for due in dues:
            arrivals.at(due, lambda due=due: made.append((due, loop.time())))  # type: ignore[misc]
        await pass_time(1.5)
        assert sorted(due for due, _ in made) == sorted(dues)
        return made

    made = virtual_time.run(main())
    assert all(0 <= at - due <= LATENESS_S + 1e-9 for due, at in made)
    assert [at for _, at in made] == sorted(at for _, at in made)


def test_a_timed_call_that_fails_is_reported_and_harms_no_other() -> None:
    async def main() -> tuple[list[str], list[object]]:
        arrivals, loop, made, told = Arrivals(), asyncio.get_running_loop(), list[str](), list[object]()
        loop.set_exception_handler(lambda _loop, context: told.append(context["exception"]))
        arrivals.at(loop.time() + 0.001, lambda: [][0])
        arrivals.at(loop.time() + 0.001, lambda: made.append("after"))
        await pass_time(0.1)
        return made, told

    made, told = virtual_time.run(main())
    assert made == ["after"]
    assert [type(error) for error in told] == [IndexError]


def test_every_other_call_completes_its_chunks_at_another_time() -> None:
    arrivals = Arrivals()
    assert [arrivals.first_chunk() for _ in range(4)] == [1.0, 0.8, 1.0, 0.8]
