"""
A recogniser that fails costs no word, and no call.

Elsewhere one failed keep-alive is the end of the transcript, a refused socket ends the call, a restarting recogniser
keeps the process from ending, and a fall-back works for one of two speakers.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.server import Gateway, serving
from tests.support import raw_phone
from tests.support.pulse_server import KEY, Act, PulseServer, PulseSession, read_content, recognise, refuse
from tests.support.raw_phone import STOP, RawPhone, speech, start
from tests.support.webhook_receiver import Receiver
from tests.support.whole_gateway import FAST_ENGINE, heard_by, posted_to, settings, until_ended

SAID = list(range(1, 126))  # 2.5 s, each frame different
HEARD = [f"b{value}" for value in SAID]
FINAL_S = 0.8
"""How much of the first second the first session has told when it breaks."""


@dataclass(frozen=True)
class House:
    """A gateway with one call on it, its recogniser, and who gets the events."""

    served: Gateway
    vendor: PulseServer
    receiver: Receiver
    phone: RawPhone


@asynccontextmanager
async def house(data_dir: Path, *acts: Act, stt: dict[str, Any] | None = None, **profile: Any) -> AsyncIterator[House]:
    async with PulseServer(*acts) as vendor, Receiver() as receiver:
        tree = {"webhook": posted_to(receiver), "stt": heard_by(vendor, **profile) | (stt or {}), "drain_timeout_s": 0}
        async with (
            serving(settings(data_dir, **tree), engine=FAST_ENGINE) as served,
            raw_phone.raw_phone(served.stream_url) as phone,
        ):
            yield House(served, vendor, receiver, phone)


def words(events: list[Any], track: str = "inbound") -> list[tuple[str, float]]:
    """What was said on a track and when, in the order in which it was told."""
    finals = [each["data"] for each in events if each["type"] == "transcript.final" and each["data"]["track"] == track]
    return [(word["word"], round(word["start_s"], 3)) for final in finals for word in final["words"]]


def spoken(values: list[int]) -> list[tuple[str, float]]:
    return [(f"b{value}", round(number * 0.02, 3)) for number, value in enumerate(values)]


def some_then(end: Callable[[PulseSession], Awaitable[object]]) -> Act:
    """Hear a second, tell a part of it, then this."""

    async def act(session: PulseSession) -> None:
        await session.receive_audio(1.0)
        await some_of(session)
        await end(session)

    return act


def all_then(end: Callable[[PulseSession], Awaitable[object]]) -> Act:
    """Hear everything up to the request to end, tell a part of it, then this."""

    async def act(session: PulseSession) -> None:
        await session.receive_until("close_stream")
        await some_of(session)
        await end(session)

    return act


async def some_of(session: PulseSession) -> None:
    audio = bytes(session.audio[: int(FINAL_S * session.bytes_per_s)])
    heard = read_content(audio, 0.0, session.bytes_per_s)
    await session.say(" ".join(str(word["word"]) for word in heard), heard, is_final=True)


async def cut(session: PulseSession) -> None:
    session.cut()


async def garbage(session: PulseSession) -> None:
    for number in range(10):
        await session.send_raw(f"noise {number}")


async def error(session: PulseSession) -> None:
    await session.send(type="error", status="error", message="no audio within the timeout window")


async def last_unasked(session: PulseSession) -> None:
    await session.say("", is_final=True, is_last=True)


def close(code: int) -> Callable[[PulseSession], Awaitable[object]]:
    async def end(session: PulseSession) -> None:
        await session.close(code)

    return end


ENDS = [cut, close(1011), close(1000), close(4000), garbage, error, last_unasked]
NAMES = ["cut", "1011", "1000", "4000", "garbage", "error", "last"]


@pytest.mark.parametrize(
    "first",
    [
        refuse(503),
        refuse(429, {"Retry-After": "0"}),
        *map(some_then, ENDS),
    ],
    ids=["503", "429", *NAMES],
)
async def test_whatever_breaks_a_session_in_mid_call_no_word_is_missing_or_doubled(first: Act, tmp_path: Path) -> None:
    async with house(tmp_path, first, recognise(hear=read_content)) as here:
        await here.phone.say(*start(), *speech(SAID))
        await here.vendor.until(lambda: here.vendor.attempts >= 2)
        await here.phone.say(STOP)
        events = await until_ended(here.receiver)
    assert words(events) == spoken(SAID)
    assert "call.gap" not in [event["type"] for event in events]
    assert (events[-1]["data"]["outcome"], events[-1]["data"]["complete"]) == ("completed", True)


@pytest.mark.parametrize("first", [all_then(end) for end in ENDS[:-1]], ids=NAMES[:-1])
async def test_whatever_breaks_a_session_after_the_hang_up_no_word_is_missing_or_doubled(
    first: Act, tmp_path: Path
) -> None:
    async with house(tmp_path, first, recognise(hear=read_content)) as here:
        await here.phone.say(*start(), *speech(SAID), STOP)
        events = await until_ended(here.receiver)
    assert words(events) == spoken(SAID)
    assert events[-1]["data"]["complete"] is True


@pytest.mark.parametrize("attempts", [1, 3])
async def test_a_call_that_ends_during_an_outage_is_told_when_the_recogniser_is_back(
    attempts: int, tmp_path: Path
) -> None:
    acts = [some_then(cut), *[refuse(503)] * attempts, recognise(hear=read_content)]
    async with house(tmp_path, *acts) as here:
        await here.phone.say(*start(), *speech(SAID))
        await here.vendor.until(lambda: here.vendor.attempts >= 2)
        await here.phone.say(STOP)
        events = await until_ended(here.receiver)
    assert words(events) == spoken(SAID)
    assert [event["type"] for event in events].count("stt.degraded") == 1
    assert events[-1]["data"]["complete"] is True


async def test_a_broken_session_of_one_track_leaves_the_other_alone(tmp_path: Path) -> None:
    """The first session to open is one track's, whichever that is; the other one goes on as it was."""
    agent = [value + 125 for value in SAID]
    async with house(tmp_path, some_then(cut), recognise(hear=read_content)) as here:
        await here.phone.say(*start("inbound", "outbound"), *speech(SAID), *speech(agent, "outbound"))
        await here.vendor.until(lambda: here.vendor.attempts >= 3)
        await here.phone.say(STOP)
        events = await until_ended(here.receiver)
        assert here.vendor.attempts == 3
    assert words(events) == spoken(SAID)
    assert words(events, "outbound") == spoken(agent)


async def test_a_session_that_breaks_at_its_keepalive_is_replaced_and_hears_what_comes_then(tmp_path: Path) -> None:
    async def die_of_silence(session: PulseSession) -> None:
        await session.receive_until("keepalive")
        session.cut()

    async with house(tmp_path, die_of_silence, recognise(hear=read_content), keepalive_s=0.1) as here:
        await here.phone.say(*start())
        await here.vendor.until(lambda: here.vendor.attempts >= 2)
        await here.phone.say(*speech(SAID), STOP)
        events = await until_ended(here.receiver)
    assert words(events) == spoken(SAID)


async def test_a_fall_back_takes_over_on_both_tracks(tmp_path: Path) -> None:
    async with PulseServer(recognise(hear=read_content)) as spare:
        profile = {"kind": "pulse-live", "url": spare.url, "api_key": KEY}
        async with PulseServer(refuse(503)) as vendor:
            stt = heard_by(vendor, fallback=["spare"], failover_after_s=0)
            stt["profiles"]["spare"] = profile
            async with house(tmp_path, stt=stt) as here:
                agent = [value + 125 for value in SAID]
                await here.phone.say(*start("inbound", "outbound"), *speech(SAID), *speech(agent, "outbound"), STOP)
                events = await until_ended(here.receiver)
    assert words(events) == spoken(SAID)
    assert words(events, "outbound") == spoken(agent)
    assert {each["data"]["provider"] for each in events if each["type"] == "transcript.final"} == {"spare"}


async def test_a_refused_recogniser_ends_no_call_and_keeps_nobody_waiting(tmp_path: Path) -> None:
    """Neither the platform, which is let go at once, nor whoever stops the gateway meanwhile."""
    async with asyncio.timeout(10), house(tmp_path, refuse(503)) as here:
        await here.phone.say(*start(), *speech(SAID))
        await here.receiver.wait_for(2)
        await here.phone.say(STOP)
        assert await here.phone.close_code() == 1000
    told = [request.event["type"] for request in here.receiver.requests]
    assert told == ["call.started", "stt.degraded"]  # the rest is told when somebody has heard it
