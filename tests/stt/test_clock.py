"""Call time from recogniser time."""

import pytest

from gateway.stt.clock import SessionClock


def test_a_session_from_the_start_has_the_calls_own_time() -> None:
    clock = SessionClock(8000)
    clock.sent(0, 16_000)
    assert clock.call_s(1.25) == 1.25


def test_a_session_that_begins_in_mid_call_is_shifted_by_the_position_of_its_first_sample() -> None:
    clock = SessionClock(8000)
    clock.sent(80_000, 8000)
    assert clock.call_s(0.5) == 10.5


def test_audio_after_a_skipped_hole_is_placed_after_the_hole() -> None:
    clock = SessionClock(8000)
    clock.sent(0, 8000)
    clock.sent(240_000, 8000)
    assert clock.call_s(0.9) == pytest.approx(0.9)
    assert clock.call_s(1.5) == pytest.approx(30.5)


def test_inserted_silence_takes_no_call_time() -> None:
    clock = SessionClock(8000)
    clock.sent(0, 8000)
    clock.inserted(4000)
    clock.sent(8000, 8000)
    assert clock.call_s(1.25) == 1.0
    assert clock.call_s(1.5) == 1.0
    assert clock.call_s(1.75) == 1.25


def test_silence_inserted_piece_by_piece_counts_as_one() -> None:
    clock = SessionClock(8000)
    clock.sent(0, 8000)
    for _ in range(5):
        clock.inserted(800)
    clock.sent(8000, 8000)
    assert clock.call_s(2.0) == 1.5


@pytest.mark.parametrize(("session_s", "call_s"), [(-3.0, 5.0), (99.0, 6.0)])
def test_times_outside_of_what_was_sent_are_held_to_its_ends(session_s: float, call_s: float) -> None:
    clock = SessionClock(8000)
    clock.sent(40_000, 8000)
    assert clock.call_s(session_s) == call_s


def test_before_any_audio_every_time_is_the_beginning() -> None:
    assert SessionClock(8000).call_s(1.0) == 0.0
