"""
However a call ends, its last words are told, and its end is told once.

Others lose words here: they close the recogniser with the phone's socket, forget a rest below their chunk size, wait
for a platform that never answers a close, or have no event for some order of hanging up.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from gateway.server import serving
from tests.support import raw_phone, raw_websocket
from tests.support.held_line import HeldLine
from tests.support.pulse_server import PulseServer, read_content, recognise
from tests.support.raw_phone import STOP, RawPhone, speech, start
from tests.support.webhook_receiver import Receiver
from tests.support.whole_gateway import FAST_ENGINE, heard_by, posted_to, settings, until_ended

SAID = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]  # 260 ms: two chunks of 100 ms and a rest
HEARD = [f"b{value}" for value in SAID]
HangUp: TypeAlias = Callable[[RawPhone], Awaitable[None]]


@dataclass(frozen=True)
class House:
    """A gateway, its recogniser behind a line that can be held, and who gets the events."""

    stream_url: str
    vendor: PulseServer
    line: HeldLine
    receiver: Receiver


@asynccontextmanager
async def house(
    data_dir: Path, vendor: PulseServer | None = None, *, limits: dict[str, float] | None = None
) -> AsyncIterator[House]:
    async with (
        vendor or PulseServer(recognise(hear=read_content)) as listening,
        HeldLine(listening.url) as line,
        Receiver() as receiver,
    ):
        stt = heard_by(listening, url=line.url)
        tree: dict[str, Any] = {"webhook": posted_to(receiver), "stt": stt, "limits": limits or {}}
        async with serving(settings(data_dir, **tree), engine=FAST_ENGINE) as served:
            yield House(served.stream_url, listening, line, receiver)


def finals(events: list[Any]) -> list[str]:
    """Every word of a call's finals."""
    return [word for event in events if event["type"] == "transcript.final" for word in event["data"]["text"].split()]


def assert_told_once(events: list[Any], words: list[str]) -> None:
    assert [event["type"] for event in events] == [
        "call.started",
        *["transcript.final"] * (1 if words else 0),
        "call.ended",
    ]
    assert [event["data"]["sequence"] for event in events] == list(range(1, len(events) + 1))
    assert finals(events) == words
    assert events[-1]["data"]["complete"] is True


# ── ways to hang up ──────────────────────────────────────────────────────────────────────────────────────────────


async def stop(phone: RawPhone) -> None:
    await phone.say(STOP)


async def stop_then_close(phone: RawPhone) -> None:
    await phone.say(STOP)
    await phone.close_frame()
    phone.hang_up()


async def stop_twice(phone: RawPhone) -> None:
    await phone.say(STOP, STOP)


async def stop_then_reset(phone: RawPhone) -> None:
    await phone.say(STOP)
    phone.reset()


async def close_without_stop(phone: RawPhone) -> None:
    await phone.close_frame()


async def close_without_a_status(phone: RawPhone) -> None:
    await phone.write(raw_websocket.frame(raw_websocket.CLOSE))


async def close_with_going_away(phone: RawPhone) -> None:
    await phone.close_frame(1001)
    phone.hang_up()


async def end_without_close(phone: RawPhone) -> None:
    phone.hang_up()


async def half_close(phone: RawPhone) -> None:
    phone.half_close()


async def second_start(phone: RawPhone) -> None:
    await phone.say(*start())


async def vanish(_phone: RawPhone) -> None:
    """Nothing at all comes any more, not even the end of the connection."""


ORDERS: list[HangUp] = [
    stop,
    stop_then_close,
    stop_twice,
    close_without_stop,
    close_without_a_status,
    close_with_going_away,
    end_without_close,
    half_close,
    second_start,
    vanish,
]


def limits(hang_up: HangUp) -> dict[str, float]:
    return {"idle_timeout_s": 0.2} if hang_up is vanish else {}


def named(hang_up: HangUp) -> str:
    return hang_up.__name__


@pytest.mark.parametrize("hang_up", [close_without_stop, close_without_a_status, close_with_going_away], ids=named)
async def test_an_orderly_close_is_an_orderly_end(hang_up: HangUp, tmp_path: Path) -> None:
    async with house(tmp_path) as here, raw_phone.raw_phone(here.stream_url) as phone:
        here.line.let_through.set()
        await phone.say(*start(), *speech(SAID))
        await hang_up(phone)
        events = await until_ended(here.receiver)
    assert (events[-1]["data"]["outcome"], events[-1]["data"]["reason"]) == ("completed", "closed")


@pytest.mark.parametrize("hang_up", ORDERS, ids=named)
async def test_after_every_way_to_hang_up_the_last_words_and_one_end_are_told(hang_up: HangUp, tmp_path: Path) -> None:
    async with house(tmp_path, limits=limits(hang_up)) as here, raw_phone.raw_phone(here.stream_url) as phone:
        here.line.let_through.set()
        await phone.say(*start(), *speech(SAID))
        await here.vendor.until(lambda: bool(here.vendor.sessions) and len(here.vendor.sessions[0].audio) >= 1600)
        await hang_up(phone)
        events = await until_ended(here.receiver)
    assert_told_once(events, HEARD)


@pytest.mark.parametrize("hang_up", ORDERS, ids=named)
async def test_whoever_hangs_up_before_the_recogniser_was_reached_is_heard_all_the_same(
    hang_up: HangUp, tmp_path: Path
) -> None:
    async with house(tmp_path, limits=limits(hang_up)) as here, raw_phone.raw_phone(here.stream_url) as phone:
        await phone.say(*start(), *speech(SAID))
        await here.line.reached.wait()
        await hang_up(phone)
        here.line.let_through.set()
        events = await until_ended(here.receiver)
    assert_told_once(events, HEARD)


@pytest.mark.parametrize("hang_up", ORDERS, ids=named)
async def test_a_call_without_a_sound_has_a_start_and_an_end(hang_up: HangUp, tmp_path: Path) -> None:
    async with house(tmp_path, limits=limits(hang_up)) as here, raw_phone.raw_phone(here.stream_url) as phone:
        here.line.let_through.set()
        await phone.say(*start())
        await hang_up(phone)
        events = await until_ended(here.receiver)
    assert_told_once(events, [])


async def test_after_a_reset_whatever_had_come_is_heard_and_one_end_told(tmp_path: Path) -> None:
    """A reset may take back what the system had not yet handed over, so only what was heard before it must be there."""
    async with house(tmp_path) as here, raw_phone.raw_phone(here.stream_url) as phone:
        here.line.let_through.set()
        await phone.say(*start(), *speech(SAID))
        await here.vendor.until(lambda: bool(here.vendor.sessions) and len(here.vendor.sessions[0].audio) >= 1600)
        await stop_then_reset(phone)
        events = await until_ended(here.receiver)
    assert_told_once(events, HEARD)


async def test_a_whole_call_in_one_piece_is_heard_from_its_first_frame_to_its_last(tmp_path: Path) -> None:
    async with house(tmp_path) as here, raw_phone.raw_phone(here.stream_url) as phone:
        here.line.let_through.set()
        await phone.say(*start(), *speech(SAID), STOP)
        events = await until_ended(here.receiver)
    assert_told_once(events, HEARD)


@pytest.mark.parametrize("frames", [1, 4, 5, 6, 9, 14, 49, 51])
@pytest.mark.parametrize("audio", ["mulaw-8000", "linear16-16000"])
async def test_not_one_frame_is_missing_at_the_end_whatever_the_length(frames: int, audio: str, tmp_path: Path) -> None:
    """A rest that is shorter than a chunk, or still inside the resampler, is part of the last word."""
    async with (
        PulseServer() as vendor,
        Receiver() as receiver,
        serving(
            settings(tmp_path, webhook=posted_to(receiver), stt=heard_by(vendor, audio=audio)), engine=FAST_ENGINE
        ) as served,
        raw_phone.raw_phone(served.stream_url) as phone,
    ):
        await phone.say(*start(), *speech(range(frames)), STOP)
        events = await until_ended(receiver)
    assert vendor.sessions[0].audio_s == pytest.approx(frames * 0.02, abs=1e-9)
    assert events[-1]["data"]["conversation"][-1]["end_s"] == pytest.approx(frames * 0.02, abs=0.001)


async def test_the_last_final_may_come_long_after_the_phones_socket_is_gone(tmp_path: Path) -> None:
    may_finish = asyncio.Event()
    vendor = PulseServer(recognise(hear=read_content, last_when=may_finish))
    async with house(tmp_path, vendor) as here, raw_phone.raw_phone(here.stream_url) as phone:
        here.line.let_through.set()
        await phone.say(*start(), *speech(SAID), STOP)
        await here.vendor.until(lambda: bool(vendor.sessions) and "close_stream" in vendor.sessions[0].controls)
        await phone.close_frame()
        await phone.until_end()
        may_finish.set()
        events = await until_ended(here.receiver)
    assert_told_once(events, HEARD)


async def test_a_platform_that_never_answers_our_close_delays_nothing(tmp_path: Path) -> None:
    """Its answer is waited for, but not by those who wait for the words."""
    async with house(tmp_path) as here, raw_phone.raw_phone(here.stream_url) as phone:
        here.line.let_through.set()
        await phone.say(*start(), *speech(SAID), STOP)
        assert await phone.close_code() == 1000
        events = await until_ended(here.receiver)
        assert not phone.reader.at_eof()  # so soon that the gateway still waits for the answer
    assert_told_once(events, HEARD)
