"""The pool over real processes and pipes, with an engine that only counts."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.config import EngineSettings
from gateway.engines import process as process_module
from gateway.engines import session as session_module
from gateway.engines.pool import EnginePool
from gateway.engines.session import Session
from gateway.errors import RecognizerUnavailable
from gateway.events import Final, Finished, Partial, RecognizerEvent, RecognizerRequest
from gateway.telemetry import ENGINE_BEHIND_SECONDS, ENGINE_DECLINED, ENGINE_RESTARTS
from telephony_codecs.formats import AudioFormat
from tests.support.engines import REFUSED_RATE_HZ

FORMAT = AudioFormat.parse("mulaw-8000")
REQUEST = RecognizerRequest(format=FORMAT)
SECOND = bytes(8000)
ENGINE = "tests.support.engines:CountingEngines"


@pytest.fixture(autouse=True)
async def deadline() -> AsyncIterator[None]:
    async with asyncio.timeout(30):
        yield


@pytest.fixture
async def pool() -> AsyncIterator[EnginePool]:
    """One worker with two slots."""
    async with EnginePool(EngineSettings(workers=1, sessions_per_worker=2), engine=ENGINE) as pool:
        yield pool


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A named pipe: an engine told to `block` on it waits until the test writes."""
    path = tmp_path / "gate"
    os.mkfifo(path)
    return path


async def blocked(session: Session, gate: Path) -> int:
    """Make the session's worker stand still; the write end, whose closing lets it go on."""
    await session.send(b"block " + str(gate).encode())
    # Opening succeeds once the engine has opened its end.
    return await asyncio.to_thread(os.open, gate, os.O_WRONLY)


async def rest(session: Session) -> list[RecognizerEvent]:
    """End the session; what it still said, without partials."""
    await session.end()
    return [event async for event in session.events() if not isinstance(event, Partial)]


async def turns(session: Session) -> AsyncIterator[int]:
    """In which turns of the worker the session was heard."""
    async for event in session.events():
        if isinstance(event, Partial):
            yield int(event.text.removeprefix("turn "))


async def code_of(session: Session) -> str:
    """The error that ends this session's events."""
    with pytest.raises(RecognizerUnavailable) as caught:
        [event async for event in session.events()]
    return caught.value.code


async def test_all_audio_sent_is_heard_and_the_events_end(pool: EnginePool) -> None:
    async with pool.open(REQUEST) as session:
        for size in (1, 160, 7, 8000, 3):
            await session.send(bytes(size))
        assert await rest(session) == [Final(text="8171"), Finished()]


async def test_finalize_is_answered_in_its_place(pool: EnginePool) -> None:
    async with pool.open(REQUEST) as session:
        await session.send(bytes(100))
        await session.finalize()
        await session.keepalive()
        await session.send(bytes(100))
        assert await rest(session) == [Final(text="100", from_finalize=True), Final(text="200"), Finished()]


async def test_sessions_beyond_the_slots_are_declined_until_one_ends(pool: EnginePool) -> None:
    async with pool.open(REQUEST):
        async with pool.open(REQUEST):
            with pytest.raises(RecognizerUnavailable) as caught:
                await pool.open(REQUEST).__aenter__()
            assert (caught.value.code, caught.value.retryable) == ("engine_busy", True)
        async with pool.open(REQUEST) as session:
            assert await rest(session) == [Final(text="0"), Finished()]


async def test_a_refused_format_is_not_worth_a_retry(pool: EnginePool) -> None:
    with pytest.raises(RecognizerUnavailable) as caught:
        await pool.open(RecognizerRequest(format=AudioFormat(FORMAT.encoding, REFUSED_RATE_HZ))).__aenter__()
    assert (caught.value.code, caught.value.retryable) == ("engine_refused", False)


async def test_sessions_go_to_the_least_busy_worker() -> None:
    settings = EngineSettings(workers=2, sessions_per_worker=2)
    async with EnginePool(settings, engine=ENGINE) as pool, pool.open(REQUEST):
        assert len(pool.pids) == 1
        async with pool.open(REQUEST):
            assert len(pool.pids) == 2


async def test_a_dead_worker_takes_only_its_own_sessions_with_it() -> None:
    settings = EngineSettings(workers=2, sessions_per_worker=1)
    async with EnginePool(settings, engine=ENGINE) as pool, pool.open(REQUEST) as lost, pool.open(REQUEST) as spared:
        await lost.send(b"exit")
        assert await code_of(lost) == "engine_crashed"
        assert await rest(spared) == [Final(text="0"), Finished()]


async def test_a_dead_worker_is_replaced_counted_and_logged(pool: EnginePool) -> None:
    before = ENGINE_RESTARTS._value.get()
    with capture_logs() as logs:
        async with pool.open(REQUEST) as lost:
            await lost.send(b"exit")
            await code_of(lost)
        async with pool.open(REQUEST) as session:
            assert await rest(session) == [Final(text="0"), Finished()]
    assert ENGINE_RESTARTS._value.get() == before + 1
    died = [line for line in logs if line["event"] == "engine_worker_died"]
    assert [line["exit_status"] for line in died] == [3]


async def test_a_lost_session_refuses_every_further_request(pool: EnginePool) -> None:
    async with pool.open(REQUEST) as lost:
        await lost.send(b"exit")
        await code_of(lost)
        for request in (lost.send(b"1"), lost.finalize(), lost.end()):
            with pytest.raises(RecognizerUnavailable, match="died"):
                await request


async def test_what_an_engine_said_before_the_crash_is_delivered(pool: EnginePool) -> None:
    async with pool.open(REQUEST) as lost:
        await lost.send(bytes(10))
        await lost.finalize()
        await lost.send(b"exit")
        events = lost.events()
        assert [await anext(events), await anext(events)] == [
            Partial(text="turn 1"),
            Final(text="10", from_finalize=True),
        ]
        with pytest.raises(RecognizerUnavailable):
            await anext(events)


async def test_an_engine_that_raises_leaves_its_neighbour_alone(pool: EnginePool) -> None:
    async with pool.open(REQUEST) as failing, pool.open(REQUEST) as spared:
        await failing.send(b"raise")
        assert await code_of(failing) == "engine_failed"
        assert await rest(spared) == [Final(text="0"), Finished()]


async def test_what_an_engine_prints_is_not_taken_for_a_reply(pool: EnginePool) -> None:
    async with pool.open(REQUEST) as session:
        await session.send(b"print")
        assert await rest(session) == [Final(text="5"), Finished()]


async def test_a_sender_faster_than_the_engine_waits_and_loses_nothing(pool: EnginePool, gate: Path) -> None:
    async with pool.open(REQUEST) as session, asyncio.TaskGroup() as tasks:
        write_end = await blocked(session, gate)
        sending = tasks.create_task(session.send(60 * SECOND))
        while session.unheard_bytes <= 9 * len(SECOND):  # noqa: ASYNC110 - progress inside, within the deadline
            await asyncio.sleep(0)
        for _ in range(100):
            await asyncio.sleep(0)
        assert not sending.done()
        assert session.unheard_bytes <= 10 * len(SECOND)
        os.close(write_end)
        await sending
        command_bytes = len(b"block " + str(gate).encode())
        assert await rest(session) == [Final(text=str(60 * len(SECOND) + command_bytes)), Finished()]


async def test_a_worker_that_hears_nothing_is_given_up(
    pool: EnginePool, gate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "_STALLED_S", 0.05)
    async with pool.open(REQUEST) as session:
        write_end = await blocked(session, gate)
        with pytest.raises(RecognizerUnavailable) as caught:
            await session.send(60 * SECOND)
        assert caught.value.code == "engine_stalled"
        os.close(write_end)


async def test_a_burst_of_one_session_does_not_starve_another(pool: EnginePool, gate: Path) -> None:
    async with pool.open(REQUEST) as live, pool.open(REQUEST) as burst:
        write_end = await blocked(live, gate)
        await burst.send(7 * SECOND)  # with the next chunk, not more than the pipe to the worker holds
        await live.send(bytes(160))
        os.close(write_end)
        heard = [turn async for turn in _take(turns(live), 2)]
        # The second turn is the burst's, the third may be: two sessions take turns.
        assert heard[1] - heard[0] <= 2


async def test_partials_that_nobody_fetches_are_given_up_and_finals_are_not(
    pool: EnginePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "_PARTIALS_WAITING", 4)
    async with pool.open(REQUEST) as session:
        await session.send(9 * SECOND)
        await session.end()
        while session.unheard_bytes:  # noqa: ASYNC110 - progress of another process, within the deadline
            await asyncio.sleep(0)
        events = [event async for event in session.events()]
        assert [type(event) for event in events] == [Partial] * 4 + [Final, Finished]


async def test_an_interrupt_from_the_terminal_does_not_end_workers(pool: EnginePool) -> None:
    async with pool.open(REQUEST) as session:
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(pool.pids[0], number)
        assert await rest(session) == [Final(text="0"), Finished()]


async def test_stopping_leaves_no_process_and_tells_open_sessions() -> None:
    async with EnginePool(EngineSettings(workers=2, sessions_per_worker=1), engine=ENGINE) as pool:
        opened = pool.open(REQUEST), pool.open(REQUEST)
        sessions = [await each.__aenter__() for each in opened]
        pids = pool.pids
    assert [await code_of(session) for session in sessions] == ["engine_stopped"] * 2
    for each in opened:
        await each.__aexit__(None, None, None)
    assert len(pids) == 2
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def test_stopping_just_after_a_crash_leaves_no_process() -> None:
    async with EnginePool(EngineSettings(workers=1), engine=ENGINE) as pool, pool.open(REQUEST) as lost:
        (pid,) = pool.pids
        await lost.send(b"exit")
        await code_of(lost)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_stopping_does_not_wait_for_a_worker_that_hangs(gate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_module, "_EXIT_S", 0.05)
    async with EnginePool(EngineSettings(workers=1), engine=ENGINE) as pool, pool.open(REQUEST) as session:
        write_end = await blocked(session, gate)
        (pid,) = pool.pids
    os.close(write_end)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_an_error_inside_the_pool_comes_out_as_it_is() -> None:
    with pytest.raises(LookupError):
        async with EnginePool(EngineSettings(workers=1), engine=ENGINE):
            raise LookupError


async def test_an_engine_that_cannot_be_loaded_fails_the_opening() -> None:
    async with EnginePool(EngineSettings(workers=1), engine="tests.support.engines:Missing") as pool:
        with pytest.raises(RecognizerUnavailable) as caught:
            await pool.open(REQUEST).__aenter__()
        assert caught.value.code == "engine_crashed"


def call(number: int) -> RecognizerRequest:
    """What a call's track asks for."""
    return RecognizerRequest(format=FORMAT, call_id=f"call_{number}", track="inbound")


def impatient(*, sessions: int, workers: int = 1) -> EngineSettings:
    """A pool for which a twentieth of a second is far behind."""
    settings = EngineSettings(workers=workers, sessions_per_worker=sessions)
    return settings.model_copy(update={"max_behind_s": 0.05})


async def until_behind(pool: EnginePool) -> None:
    """Wait until the pool is behind by much more than it may be."""
    while pool.behind_s <= 0.2:  # noqa: ASYNC110 - time passes by itself, within the deadline
        await asyncio.sleep(0)


async def test_while_the_engine_is_behind_further_sessions_are_declined_and_counted(gate: Path) -> None:
    before = ENGINE_DECLINED.labels("engine_overloaded")._value.get()
    async with EnginePool(impatient(sessions=4), engine=ENGINE) as pool, pool.open(call(1)) as session:
        write_end = await blocked(session, gate)
        await until_behind(pool)
        with pytest.raises(RecognizerUnavailable) as caught:
            await pool.open(call(2)).__aenter__()
        os.close(write_end)
    assert (caught.value.code, caught.value.retryable) == ("engine_overloaded", True)
    assert ENGINE_DECLINED.labels("engine_overloaded")._value.get() == before + 1


async def test_a_session_goes_to_the_worker_that_keeps_up(gate: Path) -> None:
    async with EnginePool(impatient(sessions=4, workers=2), engine=ENGINE) as pool, pool.open(call(1)) as session:
        write_end = await blocked(session, gate)
        await until_behind(pool)
        async with pool.open(call(2)), pool.open(call(3)) as further:  # the third would be the first one's turn
            assert await rest(further) == [Final(text="0"), Finished()]
        os.close(write_end)


async def test_when_it_has_caught_up_sessions_are_taken_again(gate: Path) -> None:
    async with EnginePool(impatient(sessions=4), engine=ENGINE) as pool, pool.open(call(1)) as session:
        write_end = await blocked(session, gate)
        await until_behind(pool)
        os.close(write_end)
        while pool.behind_s:  # noqa: ASYNC110 - progress of another process, within the deadline
            await asyncio.sleep(0)
        async with pool.open(call(2)) as further:
            assert await rest(further) == [Final(text="0"), Finished()]


async def test_too_far_behind_the_newest_session_of_a_call_gives_way_and_the_others_are_heard(gate: Path) -> None:
    client = RecognizerRequest(format=FORMAT, call_id="session_1")
    async with (
        EnginePool(impatient(sessions=4), engine=ENGINE) as pool,
        pool.open(call(1)) as first,
        pool.open(call(2)) as second,
        pool.open(client) as newest,
    ):
        write_end = await blocked(first, gate)
        for session in (first, second, newest):
            await session.send(bytes(100))
        await until_behind(pool)
        with capture_logs() as logs:
            os.close(write_end)
            assert await code_of(second) == "engine_overloaded"
            assert await rest(newest) == [Final(text="100"), Finished()]
            command_bytes = len(b"block " + str(gate).encode())
            assert await rest(first) == [Final(text=str(100 + command_bytes)), Finished()]
    assert [line["sessions"] for line in logs if line["event"] == "engine_session_shed"] == [3]


async def test_the_only_session_is_never_given_up(gate: Path) -> None:
    async with EnginePool(impatient(sessions=4), engine=ENGINE) as pool, pool.open(call(1)) as session:
        write_end = await blocked(session, gate)
        await session.send(bytes(100))
        await until_behind(pool)
        os.close(write_end)
        command_bytes = len(b"block " + str(gate).encode())
        assert await rest(session) == [Final(text=str(100 + command_bytes)), Finished()]


async def test_the_metric_says_how_far_it_is_behind(gate: Path) -> None:
    async with EnginePool(impatient(sessions=4), engine=ENGINE) as pool, pool.open(call(1)) as session:
        write_end = await blocked(session, gate)
        await until_behind(pool)
        assert next(iter(ENGINE_BEHIND_SECONDS.collect())).samples[0].value > 0.2
        os.close(write_end)
    assert next(iter(ENGINE_BEHIND_SECONDS.collect())).samples[0].value == 0.0


async def _take(items: AsyncIterator[int], count: int) -> AsyncIterator[int]:
    """The first so many."""
    async for item in items:
        yield item
        count -= 1
        if count == 0:
            return
