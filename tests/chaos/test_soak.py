"""A few hundred short calls, good and bad, leave nothing behind."""

import sys

import pytest

from tests.chaos import soak


@pytest.mark.timeout(180)
@pytest.mark.skipif(sys.platform != "linux", reason="what a process holds is read from /proc")
async def test_short_calls_leave_no_memory_task_file_or_socket_behind() -> None:
    outcome = await soak.run(1, short=True)
    assert outcome["ok"], outcome
