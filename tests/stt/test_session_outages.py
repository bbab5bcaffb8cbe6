"""Recognisers that fail in every way: what a track's session tries, when, and what it says about it."""

import asyncio
import itertools
import random
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.errors import GatewayError, RecognizerProtocolError, RecognizerUnavailable
from gateway.events import (
    Final,
    Finished,
    Partial,
    RecognizerBack,
    RecognizerEvent,
    RecognizerLost,
    Segment,
    Untranscribed,
)
from gateway.stt.outages import Outages
from gateway.stt.session import Unheard
from tests.support import virtual_time
from tests.support.scripted_recognizer import ScriptedRecognizer, ScriptedRecognizers
from tests.support.session_track import CHUNK, DRAIN_S, MemoryArchive, Track, pass_time, play, play_all, settings

CUT = RecognizerUnavailable("cut", code="stt_cut")
DOWN = RecognizerUnavailable("503", code="stt_refused_503")
WRONG_KEY = RecognizerUnavailable("401", code="stt_refused_401", retryable=False)
LOUD = bytes([0x20]) * CHUNK


def times(recognizers: ScriptedRecognizers, profile: str = "test") -> list[float]:
    return [round(at, 3) for name, at in recognizers.attempts if name == profile]


async def until_opened(recognizers: ScriptedRecognizers, count: int) -> ScriptedRecognizer:
    return await recognizers.session(count - 1, within_s=1000)


# ── Again and again ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "error",
    [
        RecognizerUnavailable("unreachable", code="stt_unreachable"),
        RecognizerUnavailable("503", code="stt_refused_503"),
        RecognizerUnavailable("timeout", code="stt_connect_timeout"),
        RecognizerProtocolError("garbage"),
    ],
)
def test_attempts_wait_twice_as_long_each_time_up_to_half_a_minute(error: GatewayError) -> None:
    recognizers = ScriptedRecognizers()
    recognizers.refusal = error

    async def story(_track: Track) -> None:
        await pass_time(170)

    play_all(recognizers, story)
    at = times(recognizers)
    pauses = [after - before for before, after in itertools.pairwise(at)]
    # Half of 0.5, 1, 2, 4 s by the track alone; from the fifth failure on, all tracks together wait, too.
    assert pauses[:4] == [0.25, 0.5, 1.0, 2.0]
    assert all(15.0 <= pause <= 15.0 + 25.0 for pause in pauses[8:])


@pytest.mark.parametrize("code", ["stt_closed_1011", "stt_connection_lost", "stt_stalled", "stt_ping_timeout"])
def test_a_session_that_worked_is_replaced_at_once_and_hears_again_what_is_not_final(code: str) -> None:
    recognizers = ScriptedRecognizers()

    async def story(track: Track, first: ScriptedRecognizer) -> None:
        await track.talk(10)
        first.say(Final(text="hello", start_s=0.5, end_s=4.0), Partial(text="I want", start_s=5.0))
        await pass_time(0.01)
        first.fail(RecognizerUnavailable("lost", code=code))
        second = await recognizers.session(1)
        assert second.opened_at == pytest.approx(10.01)
        await second.until(lambda: len(second.audio) == 60 * CHUNK)
        assert second.audio[:CHUNK] == bytes([40]) * CHUNK
        second.say(Final(text="I want a refund", start_s=1.0, end_s=3.0))

    track = play(recognizers, story)
    assert track.texts == ["hello", "I want a refund"]
    assert [(each.start_s, each.end_s) for each in track.of(Segment)] == [(0.5, 4.0), (5.0, 7.0)]
    assert [each.forced for each in track.of(Segment)] == [False, False]


def test_an_outage_is_reported_once_and_its_end_once() -> None:
    recognizers = ScriptedRecognizers()

    async def story(track: Track, first: ScriptedRecognizer) -> None:
        await track.talk(10)
        recognizers.refusal = DOWN
        first.fail(CUT)
        await track.talk(10)
        recognizers.refusal = None
        await track.talk(20)

    with capture_logs() as logs:
        track = play(recognizers, story)
    assert track.of(RecognizerLost) == [RecognizerLost(provider="test", at_s=10.0, reason="stt_cut")]
    (back,) = track.of(RecognizerBack)
    # Nobody says anything: so it counts as back once it has lasted for five seconds.
    assert (back.provider, 25.0 <= back.at_s <= 35.0) == ("test", True)
    assert [line["event"] for line in logs] == ["stt_lost", "stt_recovered"]


def test_a_session_that_breaks_at_once_each_time_is_not_opened_without_end() -> None:
    """Some vendors accept a session and close it right away when there are too many."""
    recognizers = ScriptedRecognizers(on_audio=lambda session, _audio: session.fail(CUT) or ())

    async def story(track: Track) -> None:
        await track.talk(60)
        recognizers.on_audio = lambda _session, _audio: ()
        await track.talk(60)

    play_all(recognizers, story)
    assert len(recognizers.attempts) < 15


@pytest.mark.parametrize("retry_after_s", [7.0, 45.0])
def test_retry_after_is_waited_for(retry_after_s: float) -> None:
    recognizers = ScriptedRecognizers()
    recognizers.refusal = RecognizerUnavailable("429", code="stt_refused_429", retry_after_s=retry_after_s)

    async def story(_track: Track) -> None:
        await pass_time(60)

    play_all(recognizers, story)
    assert retry_after_s <= times(recognizers)[1] <= retry_after_s + 3.0


def test_a_wrong_key_is_tried_again_after_half_a_minute_so_that_a_mended_one_is_found() -> None:
    recognizers = ScriptedRecognizers()
    recognizers.refusal = WRONG_KEY

    async def story(track: Track) -> None:
        await track.talk(20)
        recognizers.refusal = None
        await track.talk(60)

    track = play_all(recognizers, story, archive=MemoryArchive())
    assert times(recognizers)[0] == 0.0
    assert 30.0 <= times(recognizers)[1] <= 64.0
    assert track.of(RecognizerLost) == [RecognizerLost(provider="test", at_s=0.0, reason="stt_refused_401")]
    assert not track.of(Untranscribed)
    assert bytes(recognizers.sessions[0].audio[:CHUNK]) == bytes([0]) * CHUNK


# ── What is heard again ──────────────────────────────────────────────────────────────────────────────────────────


def test_segments_of_audio_from_before_the_new_session_are_recovered_ones_and_later_ones_are_not() -> None:
    recognizers = ScriptedRecognizers()

    async def story(track: Track, first: ScriptedRecognizer) -> None:
        await track.talk(10)
        first.fail(CUT)
        second = await recognizers.session(1)
        await track.talk(5)
        second.say(Final(text="before", start_s=2.0, end_s=9.0), Final(text="after", start_s=10.5, end_s=12.0))

    segments = play(recognizers, story).of(Segment)
    assert [(each.text, each.recovered) for each in segments] == [("before", True), ("after", False)]


def test_what_was_held_while_the_first_session_was_opened_is_not_recovered() -> None:
    recognizers = ScriptedRecognizers()
    recognizers.opens.clear()

    async def story(track: Track) -> None:
        await track.talk(3)
        recognizers.opens.set()
        session = await recognizers.session()
        await session.until(lambda: len(session.audio) == 30 * CHUNK)
        session.say(Final(text="hello", start_s=0.0, end_s=1.0))

    assert [each.recovered for each in play_all(recognizers, story).of(Segment)] == [False]


def test_audio_that_nobody_holds_any_more_is_reported_exactly() -> None:
    recognizers = ScriptedRecognizers()

    async def story(track: Track, first: ScriptedRecognizer) -> None:
        await track.talk(10)
        first.say(Final(text="hello", start_s=0.0, end_s=10.0))
        await pass_time(0.01)
        recognizers.refusal = DOWN
        first.fail(CUT)
        await track.talk(8)
        recognizers.refusal = None
        await track.talk(8)

    track = play(recognizers, story, buffer_s=5.0)
    (gap,) = track.of(Untranscribed)
    first_chunk = recognizers.sessions[1].audio[0]  # its samples are its number
    assert (gap.start_s, gap.end_s, gap.reason) == (10.0, pytest.approx(first_chunk / 10), "not_held")


def test_what_is_lost_is_reported_once_and_without_the_holes_of_the_call() -> None:
    recognizers = ScriptedRecognizers()

    async def story(track: Track, first: ScriptedRecognizer) -> None:
        await track.talk(4)
        recognizers.refusal = DOWN
        first.fail(CUT)
        await track.talk(10)
        recognizers.refusal = None
        second = await recognizers.session(1, within_s=60)
        await second.until(lambda: len(second.audio) >= CHUNK)
        recognizers.refusal = DOWN
        second.fail(CUT)
        track.position += 160_000
        await track.talk(5)

    gaps = [(gap.start_s, gap.end_s) for gap in play(recognizers, story, buffer_s=60.0).of(Untranscribed)]
    assert len(gaps) == 2
    assert gaps[0][0] == 0.0
    assert gaps[1] == (gaps[0][1] + 20.0, gaps[0][1] + 25.0)
    short = play(recognizers := ScriptedRecognizers(), story, buffer_s=2.0).of(Untranscribed)
    assert all(before.end_s <= after.start_s for before, after in itertools.pairwise(short))
    assert sum(gap.end_s - gap.start_s for gap in short) == pytest.approx(gaps[0][1] + 5.0, abs=0.11)


def test_a_hole_of_the_call_is_no_missing_audio() -> None:
    async def story(track: Track, first: ScriptedRecognizer) -> None:
        track.speak(10)
        track.position += 80_000
        track.speak(10)
        await first.until(lambda: len(first.audio) == 20 * CHUNK)
        first.say(Final(text="after the hole", start_s=1.0, end_s=1.5))
        await pass_time(0.01)

    track = play(ScriptedRecognizers(), story)
    assert not track.of(Untranscribed)
    assert [(each.start_s, each.end_s) for each in track.of(Segment)] == [(11.0, 11.5)]


def test_with_an_archive_memory_holds_less_than_two_seconds_of_a_healthy_call() -> None:
    held: list[float] = []

    async def story(track: Track, _first: ScriptedRecognizer) -> None:
        for _ in range(60):
            await track.talk(1)
            held.append(((track.tape.end or 0) - (track.tape.oldest or track.tape.end or 0)) / 8000)

    play(ScriptedRecognizers(), story, archive=MemoryArchive())
    assert max(held) < 2.0


def test_long_silences_of_a_backlog_are_left_out_and_times_hold() -> None:
    recognizers = ScriptedRecognizers()
    quiet = b"\xff" * CHUNK

    async def story(track: Track, first: ScriptedRecognizer) -> None:
        await track.talk(1)
        recognizers.refusal = DOWN
        first.fail(CUT)
        await track.talk(40, quiet)
        await track.talk(10, LOUD)
        recognizers.refusal = None
        await track.talk(30, LOUD)
        second = recognizers.sessions[1]
        heard_s = second.audio.index(LOUD) / 8000
        assert heard_s == pytest.approx(2.0)  # the first second again, half a second after it, half before the next
        second.say(Final(text="hello", start_s=heard_s, end_s=heard_s + 1.0))

    segments = play(recognizers, story, buffer_s=120.0).of(Segment)
    assert [(each.start_s, each.end_s) for each in segments] == [(41.0, 42.0)]


def test_live_silence_is_never_left_out() -> None:
    async def story(track: Track, first: ScriptedRecognizer) -> None:
        await track.talk(60, b"\xff" * CHUNK)
        await first.until(lambda: len(first.audio) == 600 * CHUNK)

    play(ScriptedRecognizers(), story)


def test_a_backlog_goes_out_at_the_multiple_of_real_time_that_the_kind_allows() -> None:
    recognizers = ScriptedRecognizers()
    recognizers.opens.clear()

    async def story(track: Track) -> None:
        track.speak(300)
        recognizers.opens.set()
        session = await recognizers.session()
        await session.until(lambda: len(session.audio) == 300 * CHUNK, within_s=60)
        assert asyncio.get_running_loop().time() == pytest.approx((30 - 5) / 1.25, abs=0.2)

    play_all(recognizers, story, stt=settings("test", kind="deepgram"))


# ── Other profiles ───────────────────────────────────────────────────────────────────────────────────────────────


def test_the_next_profile_takes_over_when_the_first_is_away_for_too_long() -> None:
    recognizers = ScriptedRecognizers()

    async def story(track: Track, first: ScriptedRecognizer) -> None:
        await track.talk(10)
        recognizers.refusals["one"] = DOWN
        first.fail(CUT)
        await track.talk(10)
        second = recognizers.sessions[1]
        assert (second.profile, 13.0 <= second.opened_at <= 15.1) == ("two", True)
        second.say(Final(text="hello", start_s=1.0, end_s=2.0))

    with capture_logs() as logs:
        track = play(recognizers, story, stt=settings("one", "two", failover_after_s=5.0))
    assert [each.provider for each in track.of(Segment)] == ["two"]
    assert track.of(RecognizerLost) == [RecognizerLost(provider="one", at_s=10.0, reason="stt_cut")]
    assert [each.provider for each in track.of(RecognizerBack)] == ["two"]
    switches = [line for line in logs if line["event"] == "stt_switched"]
    assert [(line["profile"], line["to"], line["reason"]) for line in switches] == [("one", "two", "failover")]


def test_a_profile_that_can_never_work_gives_way_at_once() -> None:
    recognizers = ScriptedRecognizers()
    recognizers.refusals["one"] = WRONG_KEY

    async def story(track: Track) -> None:
        await track.talk(3)

    play_all(recognizers, story, stt=settings("one", "two", failover_after_s=60.0))
    assert recognizers.attempts == [("one", 0.0), ("two", 0.0)]


def test_when_all_are_down_each_is_tried_again_and_again() -> None:
    recognizers = ScriptedRecognizers()
    recognizers.refusal = DOWN

    async def story(track: Track) -> None:
        await track.talk(200)
        recognizers.refusal = None
        await track.talk(60)

    play_all(recognizers, story, stt=settings("one", "two", "three"), archive=MemoryArchive())
    late = {name for name, at in recognizers.attempts if at > 100}
    assert late == {"one", "two", "three"}
    assert len(recognizers.sessions) >= 1


def test_a_fall_back_gives_way_to_the_first_choice_when_that_is_back_without_losing_a_word() -> None:
    def last_words(session: ScriptedRecognizer) -> list[RecognizerEvent]:
        said = Final(text="still speaking", start_s=29.0, end_s=len(session.audio) / 8000)
        return [said, Finished()] if session.profile == "two" else [Finished()]

    recognizers = ScriptedRecognizers(on_end=last_words)
    recognizers.refusals["one"] = WRONG_KEY

    async def story(track: Track) -> None:
        await track.talk(30)
        del recognizers.refusals["one"]
        recognizers.sessions[0].say(Partial(text="still speaking", start_s=29.0))
        await track.talk(100)

    track = play_all(
        recognizers, story, stt=settings("one", "two", failback_after_s=60.0), outages=Outages(lambda: 0.0)
    )
    two, one = recognizers.sessions
    assert (two.profile, one.profile) == ("two", "one")
    assert 60.0 <= one.opened_at <= 62.0
    assert len(two.audio) / 8000 == pytest.approx(one.opened_at + 4.0, abs=0.2)  # so long it waited for a pause
    assert not track.of(Untranscribed)
    assert len(track.of(RecognizerLost)) == 1
    assert track.texts == ["still speaking"]
    assert (len(two.audio) + len(one.audio)) / 8000 == pytest.approx(130, abs=0.5)


def test_what_a_replaced_session_never_made_final_is_heard_again_and_nothing_before_it() -> None:
    recognizers = ScriptedRecognizers()

    async def story(track: Track, first: ScriptedRecognizer) -> None:
        await track.talk(60)
        for number in range(40):
            if not first.closed.is_set():
                first.say(Partial(text=f"speaking {number}", start_s=60.0))
            await track.talk(1)
        second = recognizers.sessions[1]
        assert second.audio[0] == round((60.0 - 0.4) * 10) % 255

    play(recognizers, story, stt=settings("test", max_session_s=100), buffer_s=120.0)


def test_a_session_is_replaced_before_the_vendors_limit_in_a_pause() -> None:
    recognizers = ScriptedRecognizers()

    async def story(track: Track, first: ScriptedRecognizer) -> None:
        await track.talk(80)
        first.say(Partial(text="speaking", start_s=80.0))
        await track.talk(4)
        assert len(recognizers.sessions) == 1
        first.say(Final(text="speaking", start_s=80.0, end_s=84.0))
        await track.talk(2)
        assert len(recognizers.sessions) == 2
        assert first.calls[-1] == "end"

    track = play(recognizers, story, stt=settings("test", max_session_s=100))
    assert not track.of(RecognizerLost)


def test_at_the_last_moment_a_session_is_replaced_although_somebody_speaks() -> None:
    recognizers = ScriptedRecognizers()

    async def story(track: Track, first: ScriptedRecognizer) -> None:
        await track.talk(1)
        for number in range(120):
            if not first.closed.is_set():
                first.say(Partial(text=f"speaking {number}", start_s=1.0))
            await track.talk(1)
        assert recognizers.sessions[1].opened_at < 100
        assert len(first.audio) < 100 * 8000

    play(recognizers, story, stt=settings("test", max_session_s=100))


# ── Alive ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_session_that_takes_speech_and_says_nothing_is_asked_and_then_replaced() -> None:
    """The socket is open and everything that is sent is taken: nothing else would tell."""
    recognizers = ScriptedRecognizers(on_finalize=lambda _session: ())

    async def story(track: Track, _first: ScriptedRecognizer) -> None:
        await track.talk(18, LOUD)
        assert len(recognizers.sessions) == 2

    track = play(recognizers, story, stt=settings("test", kind="pulse-live"))
    assert track.of(RecognizerLost)[0].reason == "stt_silent"
    assert recognizers.sessions[0].calls.count("finalize") == 1
    assert 15.0 <= track.of(RecognizerLost)[0].at_s <= 17.5


def test_music_does_not_cost_session_after_session() -> None:
    recognizers = ScriptedRecognizers(on_finalize=lambda _session: ())

    async def story(track: Track) -> None:
        await track.talk(600, LOUD)

    play_all(recognizers, story, stt=settings("test", kind="pulse-live"), archive=MemoryArchive())
    assert 2 <= len(recognizers.sessions) <= 8


def test_silence_is_no_reason_to_doubt_a_session() -> None:
    async def story(track: Track, first: ScriptedRecognizer) -> None:
        await track.talk(50, b"\xff" * CHUNK)
        assert "finalize" not in first.calls

    assert not play(ScriptedRecognizers(), story, stt=settings("test", kind="pulse-live")).of(RecognizerLost)


def test_an_engine_of_this_machine_that_is_slow_is_not_taken_for_dead() -> None:
    """Its own pool sees when it hangs; another session would only make it slower."""

    async def story(track: Track, _first: ScriptedRecognizer) -> None:
        await track.talk(60, LOUD)

    assert not play(ScriptedRecognizers(on_finalize=lambda _session: ()), story).of(RecognizerLost)


def test_a_kind_whose_finalize_may_end_the_session_is_never_asked() -> None:
    recognizers = ScriptedRecognizers()

    async def story(track: Track, _first: ScriptedRecognizer) -> None:
        await track.talk(60, LOUD)

    play(recognizers, story, stt=settings("test", kind="pulse"), archive=MemoryArchive())
    assert not any("finalize" in session.calls for session in recognizers.sessions)
    assert len(recognizers.sessions) > 1


# ── After the call ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_session_lost_after_the_call_is_replaced_while_there_is_time() -> None:
    recognizers = ScriptedRecognizers(on_end=lambda _session: ())

    async def story(track: Track, first: ScriptedRecognizer) -> None:
        await track.talk(10)
        track.close()
        await first.until(lambda: "end" in first.calls)
        first.fail(CUT)
        second = await recognizers.session(1)
        await second.until(lambda: "end" in second.calls)
        second.say(Final(text="hello", start_s=0.0, end_s=9.0), Finished())

    track = play(recognizers, story)
    assert track.texts == ["hello"]
    assert not track.of(Untranscribed)
    assert track.result is None


def test_with_an_archive_the_rest_is_left_to_whoever_comes_later() -> None:
    recognizers = ScriptedRecognizers()

    async def story(track: Track, first: ScriptedRecognizer) -> None:
        await track.talk(10)
        first.say(Final(text="hello", start_s=0.0, end_s=4.0), Partial(text="and", start_s=5.0))
        await pass_time(0.01)
        recognizers.refusal = DOWN
        first.fail(CUT)

    track = play(recognizers, story, archive=MemoryArchive())
    assert track.result == Unheard(position=32_000, reason="stt_refused_503")
    assert track.texts == ["hello"]
    assert not track.of(Untranscribed)


def test_without_an_archive_the_last_partial_is_kept_and_what_follows_it_is_reported() -> None:
    recognizers = ScriptedRecognizers()

    async def story(track: Track, first: ScriptedRecognizer) -> None:
        await track.talk(5)
        first.say(Partial(text="and", start_s=4.0))
        await pass_time(0.01)
        recognizers.refusal = DOWN
        first.fail(CUT)
        await track.talk(5)

    track = play(recognizers, story)
    (forced,) = track.of(Segment)
    assert (forced.text, forced.forced, forced.start_s, forced.end_s) == ("and", True, 4.0, 5.0)
    assert [(gap.start_s, gap.end_s) for gap in track.of(Untranscribed)] == [(5.0, 10.0)]


def test_attempts_go_on_for_the_time_of_the_drain_and_no_longer() -> None:
    recognizers = ScriptedRecognizers()
    recognizers.refusal = DOWN
    ended_at: list[float] = []

    async def main() -> Track:
        track = Track(recognizers, archive=MemoryArchive())
        track.speak(50)
        track.close()
        await track.run()
        ended_at.append(asyncio.get_running_loop().time())
        return track

    assert virtual_time.run(main()).result == Unheard(position=0, reason="stt_refused_503")
    assert len(recognizers.attempts) > 3
    assert ended_at[0] <= DRAIN_S


def test_a_slow_catching_up_after_the_call_is_progress() -> None:
    """Half a minute of backlog at the pace of speech takes longer than the drain."""
    recognizers = ScriptedRecognizers()
    recognizers.opens.clear()

    async def story(track: Track) -> None:
        track.speak(400)
        recognizers.opens.set()

    track = play_all(recognizers, story, stt=settings("test", kind="deepgram"), buffer_s=60.0)
    assert recognizers.sessions[0].calls[-1] == "end"
    assert not track.of(RecognizerLost)


def test_recovery_hears_the_archive_from_where_nothing_is_committed() -> None:
    recognizers = ScriptedRecognizers(
        on_end=lambda session: (Final(text="rest", start_s=1.0, end_s=len(session.audio) / 8000), Finished())
    )

    async def main() -> Track:
        archive = MemoryArchive()
        live = Track(recognizers, archive=archive)
        live.speak(100)
        archive.write(live.tape)
        track = Track(recognizers, archive=archive, heard=40_000, is_recovery=True, buffer_s=0)
        track.session.close()
        await track.run()
        return track

    track = virtual_time.run(main())
    assert track.result is None
    (segment,) = track.of(Segment)
    assert (segment.text, segment.recovered) == ("rest", True)
    assert (segment.start_s, segment.end_s) == (pytest.approx(5.7), 10.0)


def test_a_session_can_be_stopped_at_any_moment_and_knows_what_is_committed() -> None:
    recognizers = ScriptedRecognizers()

    async def main() -> Track:
        track = Track(recognizers, archive=MemoryArchive())
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(track.run())
            first = await recognizers.session()
            await track.talk(10)
            first.say(Final(text="hello", start_s=0.0, end_s=4.0))
            await pass_time(0.5)
            running.cancel()
        assert first.closed.is_set()
        return track

    assert virtual_time.run(main()).session.committed == 32_000


# ── Many calls ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_five_hundred_calls_do_not_storm_a_vendor_that_is_down_and_all_come_back() -> None:
    recognizers = ScriptedRecognizers()
    recognizers.refusal = DOWN

    async def main() -> None:
        outages = Outages()
        tracks = [Track(recognizers, outages=outages, archive=MemoryArchive(), **_chance()) for _ in range(500)]
        async with asyncio.TaskGroup() as tasks:
            for track in tracks:
                track.speak(1)
                tasks.create_task(track.run())
            await pass_time(120)
            during = len(recognizers.attempts)
            recognizers.refusal = None
            await pass_time(60)
            back = len(recognizers.sessions)
            for track in tracks:
                track.close()
        assert during < 500 + 60
        assert back == 500

    virtual_time.run(main())


def _chance() -> dict[str, Any]:
    return {"draw": random.Random(1).random}
