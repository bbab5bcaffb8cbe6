"""Level meters of the calls in progress."""

import asyncio
import json
from typing import Any

import pytest

from gateway.errors import RecognizerUnavailable
from gateway.events import CallEnded, CallReading, CallStarted, SttDegraded, SttState, Track, TrackReading
from gateway.live.meters import FLOOR_DBFS, INTERVAL_S, Meters
from telephony_codecs.formats import AudioFormat
from tests.support import virtual_time
from tests.support.phone import Line, line
from tests.support.scripted_recognizer import ScriptedRecognizers

MULAW = AudioFormat.parse("mulaw-8000")
LOUD, SILENT = b"\x00" * 800, b"\xff" * 800


class Screen:
    """Keeps what it is shown, and when."""

    def __init__(self, *, has_viewers: bool = True) -> None:
        self.has_viewers = has_viewers
        self.shown: list[tuple[float, dict[str, Any]]] = []

    def show(self, type_: str, body: bytes, *, key: str) -> None:
        assert (type_, key) == ("call.levels", "call.levels")
        self.shown.append((asyncio.get_running_loop().time(), json.loads(body)))


def reading(
    payload: bytes = LOUD, *, position: int = 800, stt: SttState = SttState.LIVE, id_: str = "a"
) -> CallReading:
    track = TrackReading(format=MULAW, newest=payload, position=position, stt=stt)
    return CallReading(call_id=id_, at_s=position / 8000, tracks={Track.INBOUND: track})


def watched(screen: Screen, *looks: list[CallReading]) -> list[tuple[float, dict[str, Any]]]:
    """What the screen was shown when each look found these calls."""
    coming = iter(looks)

    async def main() -> None:
        async with asyncio.timeout(INTERVAL_S * (len(looks) + 0.5)):
            await Meters(screen, lambda: next(coming)).run()

    with pytest.raises(TimeoutError):
        virtual_time.run(main())
    return screen.shown


def levels(*looks: list[CallReading]) -> list[float]:
    return [body["calls"]["a"]["tracks"]["inbound"] for _, body in watched(Screen(), *looks)]


def test_twice_a_second_each_call_shows_how_far_it_is_how_loud_and_whether_it_is_heard() -> None:
    shown = watched(Screen(), [reading()], [reading(position=4800, stt=SttState.DEGRADED)])
    assert [at for at, _ in shown] == [0.5, 1.0]
    assert shown[0][1] == {
        "calls": {"a": {"at_s": 0.1, "tracks": {"inbound": pytest.approx(-0.2, abs=0.2)}, "stt": {"inbound": "live"}}}
    }
    assert shown[1][1]["calls"]["a"]["stt"] == {"inbound": "degraded"}


def test_digital_silence_is_the_floor() -> None:
    assert levels([reading(SILENT)]) == [FLOOR_DBFS]


def test_a_track_on_which_nothing_comes_any_more_falls_to_the_floor() -> None:
    shown = levels([reading()], [reading()], [reading(position=1600)])
    assert [level == FLOOR_DBFS for level in shown] == [False, True, False]


def test_a_track_that_has_not_begun_is_at_the_floor() -> None:
    assert levels([reading(b"", position=0)]) == [FLOOR_DBFS]


def test_nothing_is_measured_while_nobody_watches() -> None:
    def never() -> list[CallReading]:
        pytest.fail("somebody asked the calls")

    async def main() -> None:
        async with asyncio.timeout(10):
            await Meters(Screen(has_viewers=False), never).run()

    with pytest.raises(TimeoutError):
        virtual_time.run(main())


def test_without_a_call_nothing_is_shown() -> None:
    assert watched(Screen(), []) == []


def test_of_many_calls_none_is_left_out() -> None:
    calls = [reading(id_=str(number)) for number in range(50)]
    assert set(watched(Screen(), calls)[0][1]["calls"]) == {str(number) for number in range(50)}


async def test_a_call_tells_how_far_and_how_loud_it_is() -> None:
    async with line() as server, server.phone() as phone:
        await phone.start("inbound", "outbound")
        await phone.media(10)
        heard = await server.recognizers.session()
        await heard.until(lambda: len(heard.audio) == 1600)
        (call,) = server.calls.readings()
        assert call.at_s == pytest.approx(0.2)
        assert {name: (track.position, len(track.newest)) for name, track in call.tracks.items()} == {
            Track.INBOUND: (1600, 800),
            Track.OUTBOUND: (0, 0),
        }
        await phone.stop()
        await phone.closed()


async def test_a_call_tells_whether_somebody_hears_it() -> None:
    recognizers = ScriptedRecognizers()
    recognizers.opens.clear()
    async with line(recognizers) as server, server.phone() as phone:
        await phone.start()
        await server.sink.wait_for(CallStarted)
        states = [state_of(server)]
        recognizers.opens.set()
        await phone.media(5)
        session = await recognizers.session()
        await session.until(lambda: bool(session.audio))
        states.append(state_of(server))
        recognizers.opens.clear()
        session.fail(RecognizerUnavailable("cut", code="stt_cut"))
        await server.sink.wait_for(SttDegraded)
        states.append(state_of(server))
        recognizers.opens.set()
        await phone.stop()
        await phone.closed()
    assert states == [SttState.CONNECTING, SttState.LIVE, SttState.DEGRADED]


async def test_a_call_without_a_stream_and_one_that_is_over_tell_nothing() -> None:
    async with line() as server:
        async with server.phone() as phone:
            assert server.calls.readings() == []
            await phone.start()
            await server.sink.wait_for(CallStarted)
            await phone.stop()
            await phone.closed()
        await server.sink.wait_for(CallEnded)
    assert server.calls.readings() == []


def state_of(server: Line) -> SttState:
    (call,) = server.calls.readings()
    return call.tracks[Track.INBOUND].stt
