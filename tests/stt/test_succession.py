"""When a session gives way to another."""

from gateway.stt.succession import RETRY_S, WAIT_S, Reason, Succession


def test_a_session_of_the_first_choice_without_a_limit_stays() -> None:
    held = Succession(0.0, None, None)
    assert held.wants(1e9, is_pause=True) is None
    assert not held.is_time(1e9, is_pause=True)


def test_before_the_limit_a_pause_is_waited_for() -> None:
    held = Succession(0.0, 3600.0, None)
    assert held.wants(3539.0, is_pause=True) is None
    assert held.wants(3541.0, is_pause=False) is None
    assert held.wants(3541.0, is_pause=True) is Reason.ROTATION


def test_when_none_comes_it_is_connected_all_the_same() -> None:
    assert Succession(0.0, 3600.0, None).wants(3571.0, is_pause=False) is Reason.ROTATION


def test_the_change_is_made_in_a_pause_or_after_a_while() -> None:
    held = Succession(0.0, 3600.0, None)
    held.connected(3550.0)
    assert not held.is_time(3551.0, is_pause=False)
    assert held.is_time(3551.0, is_pause=True)
    assert held.is_time(3550.0 + WAIT_S, is_pause=False)


def test_at_the_last_moment_it_is_made_in_any_case() -> None:
    held = Succession(0.0, 3600.0, None)
    assert not held.is_time(3594.0, is_pause=True)
    assert held.is_time(3596.0, is_pause=False)


def test_a_short_limit_has_a_short_window() -> None:
    held = Succession(100.0, 10.0, None)
    assert held.wants(107.9, is_pause=True) is None
    assert held.wants(108.1, is_pause=True) is Reason.ROTATION
    assert held.is_time(109.6, is_pause=False)


def test_a_fall_back_looks_for_the_first_choice_again_and_again() -> None:
    held = Succession(0.0, None, 60.0)
    assert held.wants(59.0, is_pause=False) is None
    assert held.wants(60.0, is_pause=False) is Reason.FAILBACK
    held.refused(61.0)
    assert held.wants(120.0, is_pause=True) is None
    assert held.wants(121.0, is_pause=False) is Reason.FAILBACK


def test_a_successor_that_could_not_be_connected_is_tried_again_after_a_moment() -> None:
    held = Succession(0.0, 3600.0, None)
    held.refused(3550.0)
    assert held.wants(3550.0 + RETRY_S - 0.1, is_pause=True) is None
    assert held.wants(3550.0 + RETRY_S, is_pause=True) is Reason.ROTATION
