"""The benchmark's look at single calls: how much later each comes out while others watch."""

import pytest

from tests.bench import report
from tests.bench.figures import Figures
from tests.bench.growth import ADDED, BEYOND, Change, Growth, Window, chunks_late, growth
from tests.bench.outcome import Behind, Sent, TrackHeard, TrackSent
from tests.bench.run import PRODUCT, Run, measure
from tests.bench.scenarios import Scenario

CHUNK_S = 0.1
CONTROL, ALONE, WATCHED = Window(0.0, 10.0), Window(10.0, 20.0), Window(21.0, 31.0)


def call_of(late_s: list[tuple[Window, float]], *, every_s: float = CHUNK_S) -> tuple[list[float], list[float]]:
    """When each chunk's end was sent and when it came: in each window so much later."""
    sent, came = [], []
    for window, late in late_s:
        for number in range(round((window.ends - window.begins) / every_s)):
            at = window.begins + (number + 0.5) * every_s
            sent.append(at)
            came.append(at + late)
    return sent, came


def both_ends(**calls: tuple[list[float], list[float]]) -> tuple[Sent, Behind]:
    sent = {f"{name}-inbound": TrackSent(frames=0, pulses=[], chunks=times) for name, (times, _) in calls.items()}
    heard = {
        f"{name}-inbound": TrackHeard(
            frames=0.0,
            sessions=1,
            messages=len(came),
            pulses=[],
            chunks=[(at, 5.0 * number) for number, at in enumerate(came, 1)],
        )
        for name, (_, came) in calls.items()
    }
    behind = Behind(tracks=heard, finals=[], events={}, disordered=0, incomplete=0)
    return Sent(tracks=sent, faults=[], connect_s=[], late_s=[]), behind


# ── Chunks ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_chunk_is_late_from_its_last_frame_to_the_message_that_ends_it() -> None:
    found = list(chunks_late([1.0, 1.1], [(1.002, 5.0), (1.105, 10.0)]))
    assert [at for at, _ in found] == [1.0, 1.1]
    assert [late for _, late in found] == pytest.approx([0.002, 0.005])


def test_a_message_of_several_chunks_ends_all_of_them() -> None:
    assert [late for _, late in chunks_late([1.0, 1.1, 1.2], [(1.3, 15.0)])] == pytest.approx([0.3, 0.2, 0.1])


def test_a_message_that_ends_within_a_chunk_does_not_end_it() -> None:
    assert [late for _, late in chunks_late([1.0], [(0.9, 4.0), (1.2, 6.0)])] == pytest.approx([0.2])


def test_what_a_resampler_still_holds_is_not_waited_for() -> None:
    assert [late for _, late in chunks_late([1.0, 1.1], [(1.01, 4.8), (1.13, 9.8)])] == pytest.approx([0.01, 0.03])


def test_chunks_that_never_came_are_left_out() -> None:
    assert len(list(chunks_late([1.0, 1.1], [(1.01, 5.0)]))) == 1


# ── Growth ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_each_call_is_compared_with_itself() -> None:
    slowed = call_of([(CONTROL, 0.002), (ALONE, 0.002), (WATCHED, 0.004)])
    steady = call_of([(CONTROL, 0.010), (ALONE, 0.010), (WATCHED, 0.010)])
    beyond, _ = growth(*both_ends(slowed=slowed, one=steady, two=steady), CONTROL, ALONE, WATCHED)
    assert (beyond.what, beyond.calls) == (BEYOND, 3)
    assert beyond.p99_ms == pytest.approx(10.0)
    assert [beyond.watched.median, beyond.watched.greatest] == pytest.approx([1.0, 2.0])
    assert (beyond.watched.above, beyond.control.above) == (1, 0)


def test_the_control_shows_what_comes_without_viewers() -> None:
    restless = call_of([(CONTROL, 0.002), (ALONE, 0.003), (WATCHED, 0.003)])
    [beyond, _] = growth(*both_ends(restless=restless), CONTROL, ALONE, WATCHED)
    assert [beyond.control.median, beyond.control.greatest] == pytest.approx([1.5, 1.5])
    assert (beyond.control.above, beyond.watched.above) == (1, 0)


def test_added_latency_has_the_wait_for_the_chunk_in_it() -> None:
    slowed = call_of([(CONTROL, 0.002), (ALONE, 0.002), (WATCHED, 0.004)])
    [_, added] = growth(*both_ends(slowed=slowed), CONTROL, ALONE, WATCHED)
    assert (added.what, added.watched.above) == (ADDED, 0)
    assert [added.p99_ms, added.watched.greatest] == pytest.approx([82.0, 84 / 82])


def test_the_six_latest_of_a_minutes_chunks_are_above_the_figure() -> None:
    minute = Window(0.0, 60.0)
    sent, came = call_of([(minute, 0.001)])
    came[:6] = [at + 0.050 for at in came[:6]]
    later = [(Window(100.0, 160.0), 0.001), (Window(200.0, 260.0), 0.001)]
    more_sent, more_came = call_of(later)
    found = growth(*both_ends(call=(sent + more_sent, came + more_came)), minute, *(window for window, _ in later))
    assert found[0].control.greatest == pytest.approx(1.0)


def test_both_tracks_of_a_call_are_one_call() -> None:
    sent, behind = both_ends(call=call_of([(CONTROL, 0.002), (ALONE, 0.002), (WATCHED, 0.002)]))
    sent.tracks["call-outbound"], behind.tracks["call-outbound"] = (
        sent.tracks["call-inbound"],
        behind.tracks["call-inbound"],
    )
    assert growth(sent, behind, CONTROL, ALONE, WATCHED)[0].calls == 1


def test_a_call_that_was_not_there_all_the_time_is_left_out() -> None:
    gone = call_of([(CONTROL, 0.002), (ALONE, 0.002)])
    assert growth(*both_ends(gone=gone), CONTROL, ALONE, WATCHED) == ()


# ── The whole ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_table_has_the_control_beside_the_growth() -> None:
    change = Change(median=1.01, greatest=1.5, above=3)
    found = Growth(what=BEYOND, calls=200, p99_ms=3.9, watched=change, control=Change(median=1, greatest=1.4, above=2))
    run = Run(Figures(frames_lost=0, first_frames_lost=0), (), (found,))
    head, _, row = report.growth_table({(Scenario(name="viewers", calls=200, viewers=50), PRODUCT): [run]}).splitlines()
    assert row == "| viewers | beyond the chunk | 3.9 | 1.01 / 1.50 | 3 of 200 | 1.00 / 1.40 | 2 of 200 |"
    assert head.count("|") == row.count("|")


def test_without_viewers_there_is_no_such_table() -> None:
    run = Run(Figures(frames_lost=0, first_frames_lost=0), ())
    assert report.growth_table({(Scenario(name="mulaw", calls=4), PRODUCT): [run]}) == ""


async def test_a_small_load_with_viewers_tells_what_they_did_to_each_call() -> None:
    tiny = Scenario(
        name="tiny", calls=3, finals_per_s=6.0, viewers=2, seconds=1.0, settle_s=1.0, ramp_s=0.1, join_s=1.0
    )
    run = await measure(tiny, PRODUCT)
    assert run.faults == ()
    assert [(each.what, each.calls) for each in run.growth] == [(BEYOND, 3), (ADDED, 3)]
    assert run.figures is not None
    assert run.figures.shown_p50 is not None
