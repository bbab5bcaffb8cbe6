"""The programs of the fault harness do what they are told, and do not outlive it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.chaos import tones
from tests.chaos.programs import Program
from tests.support import signed_delivery
from tests.support.pulse_server import KEY
from tests.support.webhook_receiver import SECRET

QUERY = "model=pulse&language=en&encoding=mulaw&sample_rate=8000&word_timestamps=true"
LIMIT_S = 10.0


# ── The speech service ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def stt() -> AsyncIterator[Program]:
    async with Program("stt_server", "--seed", "1") as program:
        yield program


def dial(stt: Program) -> connect:
    return connect(f"{stt.ready['url']}?{QUERY}", additional_headers={"Authorization": f"Bearer {KEY}"})


async def speak(line: ClientConnection, values: range) -> None:
    audio = tones.speech(values)
    for at in range(0, len(audio), 800):
        await line.send(audio[at : at + 800])


async def finals(line: ClientConnection) -> list[str]:
    """Texts of the finals up to the last one."""
    found = []
    async with asyncio.timeout(LIMIT_S):
        async for message in line:
            said = json.loads(message)
            found += [said["transcript"]] if said["is_final"] else []
    return " ".join(found).split()


async def until_closed(line: ClientConnection) -> None:
    """Read whatever comes."""
    with suppress(ConnectionClosed):
        async with asyncio.timeout(LIMIT_S):
            async for _ in line:
                pass


async def test_the_speech_service_says_the_seconds_it_hears(stt: Program) -> None:
    async with dial(stt) as line:
        await speak(line, range(10, 20))
        await line.send('{"type":"close_stream"}')
        assert await finals(line) == [tones.word(value) for value in range(10, 20)]
    state = await stt.tell("state")
    assert (state["sessions"], state["audio_s"], state["violations"]) == (1, 10.0, [])


async def test_the_speech_service_refuses_with_a_pause_and_recovers(stt: Program) -> None:
    await stt.tell("refuse", status=429, retry_after=7)
    with pytest.raises(InvalidStatus) as refused:
        async with dial(stt):
            pass
    assert (refused.value.response.status_code, refused.value.response.headers["Retry-After"]) == (429, "7")
    await stt.tell("recover")
    async with dial(stt):
        pass


async def test_a_closed_port_is_opened_again_at_the_same_place(stt: Program) -> None:
    async with dial(stt) as line:
        await stt.tell("close_port")
        with pytest.raises(ConnectionClosed):
            await line.recv()
    with pytest.raises(OSError, match=r"refused|failed"):
        async with dial(stt):
            pass
    await stt.tell("recover")
    async with dial(stt):
        pass


@pytest.mark.parametrize(("how", "code"), [("abort", 1006), ("close", 1001), ("garble", 1006)])
async def test_sessions_are_cut_in_different_ways(how: str, code: int, stt: Program) -> None:
    async with dial(stt) as line:
        assert (await stt.tell("cut", how=how, match="word_timestamps"))["cut"] == 1
        await until_closed(line)
    assert line.close_code == code


async def test_a_session_that_does_not_match_is_not_cut(stt: Program) -> None:
    async with dial(stt):
        assert (await stt.tell("cut", how="abort", match="tag=other"))["cut"] == 0


async def test_a_half_open_session_does_not_answer_pings_and_can_be_dropped(stt: Program) -> None:
    async with dial(stt) as line:
        await (await line.ping())
        await stt.tell("cut", how="half_open")
        pong = await line.ping()
        await stt.tell("recover", drop=True)
        with pytest.raises(ConnectionClosed):
            await pong


async def test_a_silent_service_takes_audio_and_says_nothing(stt: Program) -> None:
    async with dial(stt) as line:
        await stt.tell("become", act="silent", now=True)
        await speak(line, range(5))
        await (await line.ping())  # read in order: the audio was
        assert (await stt.tell("state"))["finals"] == 0
        await stt.tell("recover", drop=True)
        with pytest.raises(ConnectionClosed):
            await line.recv()


# ── The receiver ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "receiver.jsonl"


@pytest.fixture
async def receiver(log: Path) -> AsyncIterator[Program]:
    async with Program("receiver", "--seed", "1", "--log", str(log)) as program:
        yield program


async def deliver(receiver: Program, sequence: int, kind: str = "call.started", secret: str = SECRET) -> int:
    return await signed_delivery.post(receiver.ready["url"], signed_delivery.event(kind, sequence), secret)


def written(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


async def test_the_receiver_writes_down_what_comes(receiver: Program, log: Path) -> None:
    assert await deliver(receiver, 1) == 204
    assert await deliver(receiver, 1, secret=signed_delivery.SECRET) == 204
    await receiver.tell("refuse", status=503, retry_after=3)
    assert await deliver(receiver, 2) == 503
    assert [(each["verified"], each["kept"], each["status"]) for each in written(log)] == [
        (True, True, 204),
        (False, True, 204),
        (True, False, 503),
    ]
    first, second, third = (each["digest"] for each in written(log))
    assert first == second != third


async def test_connections_that_are_cut_are_noted_as_kept_or_not(receiver: Program, log: Path) -> None:
    await receiver.tell("cut", share=1.0)
    answers = []
    for sequence in range(12):
        try:
            answers.append(await deliver(receiver, sequence))
        except aiohttp.ClientError:
            answers.append(0)
    assert set(answers) == {0, 200}  # one that breaks within its answer still had a status
    assert {each["kept"] for each in written(log)} == {True, False}
    assert {each["status"] for each in written(log)} == {None}


async def test_requests_that_were_held_are_answered_when_the_receiver_recovers(receiver: Program) -> None:
    await receiver.tell("stall")
    async with asyncio.TaskGroup() as tasks:
        held = tasks.create_task(deliver(receiver, 1))
        assert not (await receiver.tell("wait", requests=1, timeout_s=0.2))["reached"]
        await receiver.tell("recover")
    assert held.result() == 204


async def test_waiting_ends_when_so_many_calls_have(receiver: Program) -> None:
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(receiver.tell("wait", ended=1, timeout_s=LIMIT_S))
        await deliver(receiver, 1)
        await deliver(receiver, 2, "call.ended")
    assert waiting.result() == {"reached": True, "ended": 1, "requests": 2}


# ── Their life ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_program_ends_when_its_standard_input_does() -> None:
    async with Program("stt_server") as program:
        assert program.process.stdin is not None
        program.process.stdin.close()
        async with asyncio.timeout(LIMIT_S):
            assert await program.process.wait() == 0
