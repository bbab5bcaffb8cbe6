"""Reading the store beside its writer."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from gateway.errors import CapacityError, StorageError
from gateway.live import reading
from gateway.live.reading import StoreReader
from tests.support.history_house import House, final, history, short_call, started

DEADLINE_S = 60.0
ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with history(tmp_path) as served:
        yield served


def count(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT count(*) FROM events").fetchone()[0])


class Hold:
    """A reading that has begun, and does not go on before it is told."""

    def __init__(self) -> None:
        self._begun = asyncio.Event()
        self._may_go_on = threading.Event()
        self._loop = asyncio.get_running_loop()

    def __call__(self, db: sqlite3.Connection) -> tuple[int, int]:
        before = count(db)
        self._loop.call_soon_threadsafe(self._begun.set)
        assert self._may_go_on.wait(DEADLINE_S)
        return before, count(db)

    async def begun(self) -> None:
        async with asyncio.timeout(DEADLINE_S):
            await self._begun.wait()

    def go_on(self) -> None:
        self._may_go_on.set()


async def test_a_reading_cannot_change_anything(house: House) -> None:
    await house.publish(*short_call("call_1"))
    async with StoreReader(house.folder) as reader:
        with pytest.raises(StorageError) as refused:
            await reader.read(lambda db: db.execute("DELETE FROM deliveries"))
        assert refused.value.code == "history_unreadable"
        assert await reader.read(count) == 2


async def test_a_reading_sees_one_state_and_keeps_no_event_from_being_written(house: House) -> None:
    await house.publish(started("call_1"))
    async with StoreReader(house.folder) as reader, asyncio.TaskGroup() as tasks:
        hold = Hold()
        held = tasks.create_task(reader.read(hold))
        await hold.begun()
        async with asyncio.timeout(DEADLINE_S):
            await house.publish(final("call_1", 2, "Hello."))
        hold.go_on()
        assert await held == (1, 1)
        assert await reader.read(count) == 2


async def test_a_reading_that_takes_too_long_is_given_up_and_the_next_one_works(house: House) -> None:
    async with StoreReader(house.folder, limit_s=0.05) as reader:
        with pytest.raises(StorageError) as refused:
            await reader.read(lambda db: db.execute(ENDLESS).fetchone())
        assert refused.value.code == "history_too_slow"
    async with StoreReader(house.folder) as reader:
        assert await reader.read(count) == 0


async def test_the_end_does_not_wait_for_a_long_reading(house: House) -> None:
    async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as tasks:
        hold = Hold()

        def hold_for_ever(db: sqlite3.Connection) -> None:
            hold(db)
            db.execute(ENDLESS).fetchone()

        async def read() -> str:
            with pytest.raises(StorageError) as refused:
                await reader.read(hold_for_ever)
            return refused.value.code

        async with StoreReader(house.folder, limit_s=3600) as reader:
            reads = tasks.create_task(read())
            await hold.begun()
            hold.go_on()
        assert await reads == "history_too_slow"


async def test_whoever_comes_when_too_many_wait_is_told_so(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MOST_WAITING", 1)
    async with StoreReader(house.folder) as reader, asyncio.TaskGroup() as tasks:
        hold = Hold()
        held = tasks.create_task(reader.read(hold))
        await hold.begun()
        with pytest.raises(CapacityError) as refused:
            await reader.read(count)
        assert refused.value.code == "history_busy"
        hold.go_on()
        await held
        assert await reader.read(count) == 0


async def test_a_client_is_told_when_the_history_is_busy(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MOST_WAITING", 0)
    status, headers, body = await house.get("/api/calls")
    assert (status, msgspec.json.decode(body)["error"], headers["Retry-After"]) == (503, "history_busy", "5")
