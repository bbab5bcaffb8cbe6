"""When a worker is relieved of sessions, and of how many: in numbers."""

from gateway.engines.overload import Overload


def growing(overload: Overload, *, per_s: float, sessions: int, since: float, until: float) -> list[int]:
    """What has to go while a worker is looked at each half second and is behind by `per_s` more each second."""
    moments = [since + step / 2 for step in range(round((until - since) * 2) + 1)]
    return [surplus for now in moments if (surplus := overload.surplus(per_s * now, sessions, now))]


def test_as_long_as_it_is_within_the_limit_nobody_goes() -> None:
    assert growing(Overload(10.0), per_s=1.0, sessions=8, since=0.0, until=10.0) == []


def test_beyond_the_limit_as_many_go_as_are_too_many() -> None:
    assert growing(Overload(10.0), per_s=0.25, sessions=8, since=0.0, until=42.0) == [2]


def test_a_little_too_much_costs_one() -> None:
    assert growing(Overload(10.0), per_s=0.01, sessions=8, since=0.0, until=1001.0) == [1]


def test_more_than_half_never_go_together() -> None:
    assert growing(Overload(10.0), per_s=1.0, sessions=8, since=0.0, until=11.0) == [4]


def test_a_worker_that_stood_still_loses_one() -> None:
    """Between two looks it was first well and then far behind: nothing is known of how many are too many."""
    overload = Overload(10.0)
    overload.surplus(0.1, 8, 0.0)
    assert overload.surplus(12.0, 8, 12.0) == 1


def test_the_only_session_never_goes() -> None:
    assert growing(Overload(10.0), per_s=1.0, sessions=1, since=0.0, until=60.0) == []


def test_those_that_stay_have_time_to_catch_up() -> None:
    overload = Overload(10.0)
    growing(overload, per_s=0.5, sessions=8, since=0.0, until=20.5)
    assert growing(overload, per_s=0.5, sessions=4, since=21.0, until=30.0) == []


def test_if_it_falls_behind_further_others_go() -> None:
    overload = Overload(10.0)
    growing(overload, per_s=0.5, sessions=8, since=0.0, until=20.5)
    assert growing(overload, per_s=0.5, sessions=4, since=21.0, until=31.0) == [2]


def test_while_it_catches_up_nobody_else_goes() -> None:
    overload = Overload(10.0)
    overload.surplus(30.0, 8, 0.0)
    assert [overload.surplus(30.0 - now, 7, now) for now in (5.0, 10.0, 15.0, 19.9)] == [0] * 4


def test_if_it_stops_catching_up_another_goes() -> None:
    overload = Overload(10.0)
    overload.surplus(30.0, 8, 0.0)
    assert [overload.surplus(20.0, 7, now) for now in (10.0, 20.0)] == [0, 1]


def test_after_it_has_caught_up_the_next_time_is_a_first_time() -> None:
    overload = Overload(10.0)
    overload.surplus(11.0, 8, 0.0)
    overload.surplus(1.0, 7, 1.0)
    assert overload.surplus(10.1, 7, 2.0) == 1
