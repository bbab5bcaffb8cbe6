"""The mark settles within the last frame of a chunk, stays there while numbers grow, and never waits for more."""

from random import Random

import pytest

from gateway.media.low_water import HIGHEST, LOWEST, LowWater

FRAME_S = 0.02
CHUNK = 5
"""Frames."""


def sizes(count: int, digits: int = 1) -> list[int]:
    """Of messages with three numbers that count them, from the first with so many digits on."""
    first = 10 ** (digits - 1)
    return [380 + 3 * len(str(number)) for number in range(first, first + count)]


def listen(messages: list[int], tracks: int = 1) -> tuple[int, int, int]:
    """
    Wake up as the kernel would for messages that come whole, one after another.

    Returns:
        looks; those that did not find a chunk complete; how often the mark was moved.
    """
    low, waiting, heard, looks, early, moved = LowWater(), 0, 0, 0, 0, 0
    chunk = CHUNK * tracks
    for number, size in enumerate(messages, start=1):
        waiting += size
        if waiting < low.mark:
            assert number % chunk != 0, "a chunk is complete, and nobody is woken"
            continue
        looks += 1
        early += number % chunk != 0
        came, missing = number - heard, chunk - number % chunk
        moved += low.update(waiting, 0, came * FRAME_S / tracks, missing * FRAME_S / tracks)
        heard, waiting = number, 0
    return looks, early, moved


@pytest.mark.parametrize("tracks", [1, 2])
def test_a_stream_is_looked_at_once_per_chunk(tracks: int) -> None:
    looks, early, moved = listen([383] * 1000, tracks)
    assert looks == 1 + 1000 // (CHUNK * tracks)
    assert early == 1  # the first one tells how much a frame takes
    assert moved == 2  # to the rest of that chunk, and to whole ones


@pytest.mark.parametrize("tracks", [1, 2])
@pytest.mark.parametrize("digits", [1, 2, 3, 5])
def test_numbers_that_grow_delay_no_chunk_and_move_the_mark_rarely(digits: int, tracks: int) -> None:
    messages = sizes(20_000, digits)
    looks, early, moved = listen(messages, tracks)
    assert looks - early == len(messages) // (CHUNK * tracks)
    assert early == 1
    assert moved <= 4


def test_frames_of_all_sizes_are_looked_at_a_little_early_rather_than_late() -> None:
    draw = Random(7)
    low = LowWater()
    for _ in range(10_000):
        bytes_per_s, missing_s = draw.uniform(4000, 200_000), draw.uniform(0.001, 1.0)
        came_s = draw.uniform(0.001, 1.0)
        before = low.mark
        low.update(int(bytes_per_s * came_s), 0, came_s, missing_s)
        assert LOWEST <= low.mark <= HIGHEST
        assert low.mark <= max(LOWEST, bytes_per_s * missing_s) or low.mark == before


def test_a_message_that_has_begun_is_not_waited_for_twice() -> None:
    low = LowWater()
    low.update(4 * 400 + 150, 150, 4 * FRAME_S, FRAME_S)
    assert low.mark <= 250  # the rest of the fifth
    assert low.update(250, 0, FRAME_S, CHUNK * FRAME_S)
    assert low.mark == pytest.approx(1900, abs=10)  # its beginning is not forgotten: a frame takes 400


def test_without_audio_anything_is_worth_waking_up_for() -> None:
    low = LowWater()
    assert low.update(2000, 0, 0.1, 0.1)
    assert low.mark > 1000
    assert low.update(60, 0, 0.0, 0.1)
    assert low.mark == LOWEST
    assert not low.update(60, 0, 0.0, 0.1)
