"""The moment of looking settles right behind the arrival of a chunk, and finds it again when it moves."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import ceil
from random import Random

import pytest

from gateway.media.rhythm import FRAME_S, LONGEST_RETRY_S, RETRY_S, Rhythm

CHUNK_S = 0.1


@dataclass
class Looks:
    """What came of them: for each chunk how long it had been there; when the next look was to be after each."""

    delays_s: list[float] = field(default_factory=list)
    taken: int = 0


def watch(arrivals: Iterable[float], rhythm: Rhythm, now: float = 0.0, late: float = 0.0) -> Looks:
    """Look at a stream whose chunks are complete at these times; `late`: how late each look is taken."""
    looks = Looks()
    for arrival in arrivals:
        while now < arrival:
            looks.taken += 1
            frames_missing = min(ceil((arrival - now) / FRAME_S), 5)
            now = rhythm.next(now, frames_missing * FRAME_S, is_complete=False) + late
        looks.taken += 1
        looks.delays_s.append(now - arrival)
        now = rhythm.next(now, CHUNK_S, is_complete=True) + late
    return looks


def regular(count: int, start: float = 0.013, trembling_s: float = 0.0) -> list[float]:
    draw = Random(5).random
    return [start + number * CHUNK_S + trembling_s * draw() for number in range(count)]


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def test_a_regular_stream_is_looked_at_right_after_each_chunk_and_rarely_twice() -> None:
    looks = watch(regular(1000), Rhythm(0.0))
    assert mean(looks.delays_s) < RETRY_S
    assert looks.taken < 1.2 * 1000


@pytest.mark.parametrize("trembling_s", [0.002, 0.01])
def test_a_trembling_stream_is_looked_at_where_most_chunks_are_there(trembling_s: float) -> None:
    looks = watch(regular(1000, trembling_s=trembling_s), Rhythm(0.0))
    assert mean(looks.delays_s) < trembling_s + RETRY_S
    assert looks.taken < 1.5 * 1000


def test_looks_that_are_always_late_do_not_drift() -> None:
    looks = watch(regular(1000), Rhythm(0.0), late=0.003)
    assert max(looks.delays_s[500:]) < 0.003 + 2 * RETRY_S


@pytest.mark.parametrize("moved_s", [-0.019, -0.01, 0.01, 0.05, 7.3])
def test_a_rhythm_that_moved_is_found_again_within_three_seconds(moved_s: float) -> None:
    before = regular(200)
    after = [before[-1] + moved_s + CHUNK_S * number for number in range(1, 200)]
    looks = watch([*before, *after], Rhythm(0.0))
    assert mean(looks.delays_s[230:]) < 2 * RETRY_S


def test_a_line_that_stops_before_its_last_frame_is_looked_at_ever_less() -> None:
    rhythm = Rhythm(0.0)
    rhythm.next(0.0, CHUNK_S, is_complete=True)
    now, waits = 0.1, []
    for _ in range(10):
        due = rhythm.next(now, FRAME_S, is_complete=False)
        waits.append(due - now)
        now = due
    assert waits[0] == pytest.approx(RETRY_S)
    assert waits[-1] == pytest.approx(LONGEST_RETRY_S)


def test_while_frames_are_missing_nobody_looks_before_the_last_but_one_can_be_there() -> None:
    rhythm = Rhythm(0.0)
    assert rhythm.next(0.0, CHUNK_S, is_complete=False) == pytest.approx(CHUNK_S - FRAME_S)


def test_a_backlog_is_not_waited_for() -> None:
    rhythm = Rhythm(0.0)
    assert rhythm.next(5.0, CHUNK_S, is_complete=True) == pytest.approx(5.0 + RETRY_S)
