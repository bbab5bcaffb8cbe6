"""Pauses between attempts."""

from gateway.stt.backoff import CAP_S, Backoff


def test_the_longest_pause_doubles_from_half_a_second_to_its_cap() -> None:
    backoff = Backoff(lambda: 1.0)
    assert [backoff.failed() for _ in range(8)] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, CAP_S, CAP_S]


def test_the_pause_is_drawn_from_nothing_to_the_longest() -> None:
    draws = iter([0.0, 0.25, 1.0])
    backoff = Backoff(lambda: next(draws))
    assert [backoff.failed() for _ in range(3)] == [0.0, 0.25, 2.0]


def test_after_a_session_that_worked_the_first_attempt_comes_at_once_and_the_next_do_not() -> None:
    backoff = Backoff(lambda: 1.0)
    for _ in range(5):
        backoff.failed()
    backoff.worked()
    assert [backoff.failed() for _ in range(3)] == [0.0, 0.5, 1.0]


def test_however_often_it_fails_the_pause_stays_bounded() -> None:
    backoff = Backoff(lambda: 1.0)
    assert max(backoff.failed() for _ in range(5000)) == CAP_S
