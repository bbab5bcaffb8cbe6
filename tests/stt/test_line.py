"""Lines to recognisers: opened, held and released by tasks of their own."""

import asyncio
from collections.abc import Awaitable, Callable

from gateway.errors import RecognizerUnavailable
from gateway.events import RecognizerRequest
from gateway.stt.line import Lines
from gateway.stt.outages import FAILURES, Outages
from tests.support import virtual_time
from tests.support.scripted_recognizer import ScriptedRecognizers
from tests.support.session_track import MULAW

DOWN = RecognizerUnavailable("down", code="stt_unreachable")


def with_lines(
    recognizers: ScriptedRecognizers, story: Callable[[Lines], Awaitable[None]], outages: Outages | None = None
) -> None:
    async def main() -> None:
        async with asyncio.TaskGroup() as tasks:
            lines = Lines(recognizers, RecognizerRequest(format=MULAW), outages or Outages(), tasks)
            await story(lines)
            lines.release()

    virtual_time.run(main())


def test_an_open_line_is_held_until_it_is_released() -> None:
    recognizers = ScriptedRecognizers()

    async def story(lines: Lines) -> None:
        line = lines.open("one")
        assert await line.opened() is recognizers.sessions[0]
        assert not recognizers.sessions[0].closed.is_set()
        line.release()
        await recognizers.sessions[0].closed.wait()

    with_lines(recognizers, story)


def test_a_line_that_cannot_be_opened_says_why_and_so_do_the_outages() -> None:
    recognizers, outages = ScriptedRecognizers(), Outages()
    recognizers.refusal = DOWN

    async def story(lines: Lines) -> None:
        for _ in range(FAILURES):
            line = lines.open("one")
            assert await line.opened() is None
            assert line.error is DOWN
            await asyncio.sleep(0)
        assert lines.wait_s("one") > 0.0

    with_lines(recognizers, story, outages)


def test_impatience_ends_an_attempt() -> None:
    recognizers = ScriptedRecognizers()
    recognizers.opens.clear()

    async def story(lines: Lines) -> None:
        line = lines.open("one", 2.0)
        assert await line.opened() is None
        assert line.error is not None
        assert line.error.code == "stt_connect_timeout"
        assert asyncio.get_running_loop().time() == 2.0

    with_lines(recognizers, story)


def test_lines_that_are_still_being_opened_are_given_up_with_the_others() -> None:
    recognizers = ScriptedRecognizers()
    recognizers.opens.clear()

    async def story(lines: Lines) -> None:
        lines.open("one")
        await asyncio.sleep(0)

    with_lines(recognizers, story)
    assert recognizers.sessions == []
