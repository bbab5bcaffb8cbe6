"""
Whatever is slow behind a call, the platform's socket is read on: a platform whose audio waits throws it away.

The same for clocks that jump: a call's times are counted in its samples, and nothing else.
"""

import asyncio
import itertools
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from gateway.events import CallDtmf, CallEnded, CallEvent, Final, TranscriptFinal
from tests.support.phone import Line, Phone, Sink, line
from tests.support.scripted_recognizer import ScriptedRecognizer, ScriptedRecognizers

TEN_S = 500  # frames
MANY = 100


class HangingSink(Sink):
    """Keeps nothing until it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.may_keep = asyncio.Event()

    async def publish(self, event: CallEvent) -> object:
        await self.may_keep.wait()
        return await super().publish(event)


def with_sink(server: Line, sink: Sink) -> None:
    """Calls from now on report there."""
    server.sink = sink
    server.rooms = replace(server.rooms, sink=sink)


async def test_a_recogniser_that_takes_nothing_does_not_stop_the_reading() -> None:
    async with line() as server, server.phone() as phone:
        await phone.start()
        recognizer = await server.recognizers.session()
        recognizer.listening.clear()
        await phone.media(TEN_S)
        await phone.stop()
        assert await phone.closed() == 1000  # `stop` was read, and so was all before it
        assert server.sink.of(CallEnded) == []
        recognizer.listening.set()
        (ended,) = await server.sink.wait_for(CallEnded)
        assert len(recognizer.audio) == TEN_S * 160
    assert ended.complete


async def test_a_store_that_hangs_does_not_stop_the_reading() -> None:
    async with line() as server:
        sink = HangingSink()
        with_sink(server, sink)
        async with server.phone() as phone:
            await phone.start()
            for number in range(MANY):
                await phone.media(TEN_S // MANY)
                digit = {"track": "inbound_track", "digit": str(number % 10)}
                await phone.say({"event": "dtmf", "streamSid": "MZ1", "dtmf": digit})
            await phone.stop()
            assert await phone.closed() == 1000
        assert sink.events == []
        recognizer = await server.recognizers.session()
        assert len(recognizer.audio) == TEN_S * 160  # and it was heard meanwhile
        sink.may_keep.set()
        await sink.wait_for(CallEnded)
    assert [event.digit for event in sink.of(CallDtmf)] == [str(number % 10) for number in range(MANY)]
    assert [event.sequence for event in sink.events] == list(range(1, MANY + 3))


async def say_a_word(phone: Phone, recognizer: ScriptedRecognizer) -> None:
    await phone.media(50)
    await recognizer.until(lambda: len(recognizer.audio) == 50 * 160)
    recognizer.say(Final(text="hello", start_s=0.5, end_s=0.9))


@pytest.mark.parametrize("step_s", [-3600.0, 0.0, 3600.0])
async def test_a_wall_clock_that_jumps_moves_no_word(step_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: Iterator[int] = itertools.count()
    now = time.time()
    async with line(ScriptedRecognizers()) as server, server.phone() as phone:
        monkeypatch.setattr("time.time", lambda: now + step_s * next(steps))
        await phone.start()
        await say_a_word(phone, await server.recognizers.session())
        await phone.stop()
        (final,) = await server.sink.wait_for(TranscriptFinal)
        (ended,) = await server.sink.wait_for(CallEnded)
    assert (final.start_s, final.end_s, ended.duration_s) == (0.5, 0.9, 1.0)
