"""Audio no faster than it was spoken: when each piece goes out, in virtual time."""

import asyncio
from collections.abc import AsyncIterator

from gateway.events import Finished, RecognizerEvent
from gateway.stt.pace import PacedRecognizer
from telephony_codecs.formats import AudioFormat
from tests.support import virtual_time

CHUNK = bytes(800)
"""100 ms of mu-law."""


class Clocked:
    """A recogniser that notes when it was called for what."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, float]] = []

    def _note(self, what: str) -> None:
        self.calls.append((what, round(asyncio.get_running_loop().time(), 3)))

    async def send(self, audio: bytes) -> None:
        self._note("send")

    async def finalize(self) -> None:
        self._note("finalize")

    async def keepalive(self) -> None:
        self._note("keepalive")

    async def end(self) -> None:
        self._note("end")

    async def events(self) -> AsyncIterator[RecognizerEvent]:
        yield Finished()


def sent_at(*waits_s: float, burst_s: float = 0.3) -> list[float]:
    """When chunks go out that are given after these waits."""

    async def main() -> list[float]:
        clocked = Clocked()
        paced = PacedRecognizer(clocked, AudioFormat.parse("mulaw-8000"), burst_s)
        for wait_s in waits_s:
            await virtual_wait(wait_s)
            await paced.send(CHUNK)
        return [at_s for _, at_s in clocked.calls]

    return virtual_time.run(main())


async def virtual_wait(seconds: float) -> None:
    loop = asyncio.get_running_loop()
    passed = asyncio.Event()
    loop.call_later(seconds, passed.set)
    await passed.wait()


def test_live_audio_is_not_held_up() -> None:
    assert sent_at(0.1, 0.1, 0.1, 0.1, 0.1) == [0.1, 0.2, 0.3, 0.4, 0.5]


def test_a_backlog_goes_out_as_fast_as_it_was_spoken_but_for_one_burst() -> None:
    assert sent_at(*[0.0] * 6) == [0.0, 0.0, 0.0, 0.1, 0.2, 0.3]


def test_a_pause_earns_no_more_than_one_burst() -> None:
    assert sent_at(*[0.0] * 3, 60.0, *[0.0] * 4) == [0.0, 0.0, 0.0, 60.0, 60.0, 60.0, 60.1, 60.2]


def test_everything_else_passes_through_at_once() -> None:
    async def main() -> tuple[list[str], list[RecognizerEvent]]:
        clocked = Clocked()
        paced = PacedRecognizer(clocked, AudioFormat.parse("mulaw-8000"))
        await paced.finalize()
        await paced.keepalive()
        await paced.end()
        return [what for what, _ in clocked.calls], [event async for event in paced.events()]

    assert virtual_time.run(main()) == (["finalize", "keepalive", "end"], [Finished()])
