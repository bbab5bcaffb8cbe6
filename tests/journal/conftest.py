"""A journal on a disk that fails on command, and that writes only when it is told to."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.config import JournalSettings
from gateway.journal import Journal
from tests.support.faulty_disk import FaultyDisk
from tests.support.journalled_calls import NEVER_S


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def disk() -> FaultyDisk:
    return FaultyDisk()


@pytest.fixture
async def journal(folder: Path, disk: FaultyDisk) -> AsyncIterator[Journal]:
    """One that writes only when it is told to."""
    async with Journal(folder, JournalSettings(), disk=disk, tick_s=NEVER_S) as opened:
        yield opened
