"""How many calls may be in progress, and that all of them come to an end."""

import asyncio

import pytest

from gateway.admission import Calls
from gateway.errors import CapacityError
from gateway.events import CallEvent
from tests.support.phone import line


def test_a_place_is_given_back_whatever_happens_in_it() -> None:
    calls = Calls(1)
    with pytest.raises(ZeroDivisionError), calls.place():
        raise ZeroDivisionError
    with calls.place():
        assert len(calls) == 1


def test_as_many_calls_as_allowed_and_no_more() -> None:
    calls = Calls(2)
    with calls.place(), calls.place(), pytest.raises(CapacityError) as refused, calls.place():
        pass
    assert refused.value.code == "max_calls"


async def test_after_the_drain_no_call_is_taken() -> None:
    async with Calls(2) as calls:
        await calls.drain(patience_s=0, last_words_s=0)
        with pytest.raises(CapacityError) as refused, calls.place():
            pass
    assert refused.value.code == "draining"


async def test_a_call_whose_events_nobody_takes_is_cut_off_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    published = asyncio.Event()

    async def never(_event: CallEvent) -> object:
        published.set()
        return await asyncio.Event().wait()

    async with asyncio.timeout(10), line() as server:
        monkeypatch.setattr(server.sink, "publish", never)
        async with server.phone() as phone:
            await phone.start()
            await published.wait()
            await server.calls.drain(patience_s=0, last_words_s=0.05)
