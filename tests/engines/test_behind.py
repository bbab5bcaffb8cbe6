"""How far a session says that its engine is behind, in virtual time; and what a session that is given up does."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from gateway.engines import wire
from gateway.engines.session import Session
from gateway.errors import RecognizerUnavailable
from gateway.events import Final, RecognizerRequest
from telephony_codecs.formats import AudioFormat
from tests.support import virtual_time
from tests.support.session_track import pass_time

REQUEST = RecognizerRequest(format=AudioFormat.parse("mulaw-8000"), call_id="call_1", track="inbound")
CHUNK = bytes(800)
"""100 ms."""


class Bench:
    """A session whose worker's part the test plays."""

    def __init__(self, request: RecognizerRequest = REQUEST) -> None:
        self.posted: list[wire.Request] = []
        self.session = Session(1, request, self.posted.append, lambda: None)

    async def speak(self, chunks: int) -> None:
        """At real time."""
        for _ in range(chunks):
            await pass_time(0.1)
            await self.session.send(CHUNK)

    def hear(self, chunks: float) -> None:
        """What the worker says when it has dealt with so many."""
        self.session.take(wire.Said(1, round(chunks * len(CHUNK))))


def play(story: Callable[[Bench], Coroutine[Any, Any, None]], request: RecognizerRequest = REQUEST) -> None:
    """Tell a story in virtual time."""

    async def main() -> None:
        await story(Bench(request))

    virtual_time.run(main())


def test_what_is_heard_at_once_is_not_behind() -> None:
    async def story(bench: Bench) -> None:
        for _ in range(30):
            await bench.speak(1)
            bench.hear(1)
            assert bench.session.behind_s == 0.0

    play(story)


def test_of_live_audio_it_is_the_age_of_the_oldest_that_is_not_heard() -> None:
    async def story(bench: Bench) -> None:
        await bench.speak(30)
        bench.hear(10)
        assert bench.session.behind_s == pytest.approx(1.9)

    play(story)


def test_it_counts_also_what_the_sender_still_has() -> None:
    """A session lets its sender wait beyond 10 s; what the engine is behind with grows on."""

    async def story(bench: Bench) -> None:
        async with asyncio.TaskGroup() as tasks:
            speaking = tasks.create_task(bench.speak(200))
            await pass_time(20.0)
            assert bench.session.unheard_bytes == 100 * len(CHUNK)
            assert bench.session.behind_s == pytest.approx(19.9)
            speaking.cancel()

    play(story)


def test_a_recording_that_is_heard_faster_than_it_was_spoken_is_not_behind() -> None:
    async def story(bench: Bench) -> None:
        for _ in range(60):
            await bench.session.send(CHUNK)
        await pass_time(2.0)
        bench.hear(30)
        assert bench.session.unheard_bytes
        assert bench.session.behind_s == 0.0

    play(story)


def test_after_a_pause_in_which_everything_was_heard_it_begins_anew() -> None:
    async def story(bench: Bench) -> None:
        await bench.speak(1)
        bench.hear(1)
        await pass_time(60.0)
        await bench.session.send(CHUNK)
        await pass_time(0.5)
        assert bench.session.behind_s == pytest.approx(0.5)

    play(story)


def test_who_is_given_up_is_told_so_and_the_worker_forgets_it() -> None:
    async def story(bench: Bench) -> None:
        await bench.speak(1)
        bench.session.shed()
        with pytest.raises(RecognizerUnavailable) as caught:
            await bench.session.send(CHUNK)
        assert (caught.value.code, caught.value.retryable) == ("engine_overloaded", True)
        assert bench.posted == [wire.Audio(1, CHUNK), wire.Close(1)]

    play(story)


def test_what_comes_after_that_is_of_no_interest() -> None:
    async def story(bench: Bench) -> None:
        await bench.speak(1)
        bench.session.shed()
        bench.session.take(wire.Said.of(1, len(CHUNK), [Final(text="late")]))
        with pytest.raises(RecognizerUnavailable):
            await anext(bench.session.events())

    play(story)


@pytest.mark.parametrize(
    ("call_id", "track", "is_live", "is_kept"),
    [("call_1", "inbound", True, True), ("session_1", "", True, False), ("", "inbound", False, False)],
)
def test_only_a_calls_audio_is_kept_and_recordings_are_not_live(
    call_id: str, track: str, is_live: bool, is_kept: bool
) -> None:
    async def story(bench: Bench) -> None:
        assert (bench.session.is_live, bench.session.is_kept) == (is_live, is_kept)

    play(story, RecognizerRequest(format=REQUEST.format, call_id=call_id, track=track))
