import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from gateway.errors import StorageError
from gateway.outbox import schema
from gateway.outbox.database import DeliveryState
from gateway.outbox.operating import select_deliveries
from gateway.outbox.schema import FILE_NAME, SCHEMA_VERSION, lock_folder, open_beside
from gateway.outbox.store import Store
from tests.support.stored_events import ENDPOINT, NOW

VERSION_1 = """
INSERT INTO calls VALUES ('call_1', 1000.0, NULL, 2, '{}');
INSERT INTO events VALUES (1, 'evt_1', 'call_1', 1, 'call.started', 1000.0, CAST('{"a":1}' AS BLOB));
INSERT INTO events VALUES (2, 'evt_2', 'call_1', 2, 'transcript.final', 1000.0, CAST('{"a":2}' AS BLOB));
INSERT INTO deliveries (position, endpoint, call_id, state, attempts) VALUES (1, 'endpoint-a', 'call_1', 'dead', 10);
INSERT INTO deliveries (position, endpoint, call_id, state, due_at) VALUES (2, 'endpoint-a', 'call_1', 'pending', 1e3);
PRAGMA user_version = 1;
"""


@pytest.fixture
def old_folder(tmp_path: Path) -> Path:
    """A folder with a file as version 1 made it: one dead and one pending delivery."""
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(schema._STEPS[0] + VERSION_1)
    return tmp_path


async def test_a_file_of_version_1_is_brought_up_to_date_with_all_it_holds(old_folder: Path) -> None:
    async with Store(old_folder) as store:
        due = await store.lease_due(ENDPOINT, now=NOW, lease_s=60, limit=9, in_flight=())
        assert await store.register({ENDPOINT: "https://example.com"}) == frozenset()

        assert (store.pending, store.dead) == (1, 1)
    assert [(each.event_id, each.body) for each in due.deliveries] == [("evt_2", b'{"a":2}')]
    with closing(sqlite3.connect(old_folder / FILE_NAME)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)


async def test_a_new_file_and_one_brought_up_to_date_have_the_same_tables(old_folder: Path, tmp_path: Path) -> None:
    new_folder = tmp_path / "new"
    tables = []
    for folder in (old_folder, new_folder):
        async with Store(folder):
            pass
        with closing(sqlite3.connect(folder / FILE_NAME)) as db:
            tables.append(db.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY name").fetchall())

    assert tables[0] == tables[1]


def test_a_command_brings_an_old_file_up_to_date_if_no_gateway_uses_it(old_folder: Path) -> None:
    with closing(open_beside(old_folder)) as db:
        assert len(select_deliveries(db, states=list(DeliveryState))) == 2


def test_a_command_leaves_an_old_file_alone_while_a_gateway_uses_it(old_folder: Path) -> None:
    lock = lock_folder(old_folder)
    try:
        with pytest.raises(StorageError) as caught:
            open_beside(old_folder)
    finally:
        os.close(lock)

    assert caught.value.code == "store_in_use"
    with closing(sqlite3.connect(old_folder / FILE_NAME)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)


def test_a_command_makes_no_store_where_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as caught:
        open_beside(tmp_path / "data")

    assert caught.value.code == "store_missing"
    assert list(tmp_path.iterdir()) == []


async def test_a_command_can_open_what_a_gateway_uses_and_leaves_its_leases_alone(old_folder: Path) -> None:
    async with Store(old_folder) as store:
        await store.lease_due(ENDPOINT, now=NOW, lease_s=60, limit=9, in_flight=())
        open_beside(old_folder).close()

        assert (await store.lease_due(ENDPOINT, now=NOW, lease_s=60, limit=9, in_flight=())).deliveries == []
