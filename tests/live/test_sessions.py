"""Sessions: when they end, and how many there are."""

import pytest

from gateway.live.sessions import IDLE_S, LONGEST_S, Sessions


def test_a_session_is_found_by_its_id_only() -> None:
    sessions: Sessions[str] = Sessions()
    sessions.begin("one", "full", 0.0)
    assert (sessions.find("one", 1.0), sessions.find("two", 1.0)) == ("full", None)


def test_use_keeps_a_session_alive() -> None:
    sessions: Sessions[str] = Sessions()
    sessions.begin("one", "full", 0.0)
    sessions.find("one", IDLE_S - 1)
    assert sessions.find("one", 2 * IDLE_S - 2) == "full"


def test_a_session_that_is_not_used_ends() -> None:
    sessions: Sessions[str] = Sessions()
    sessions.begin("one", "full", 0.0)
    assert sessions.find("one", IDLE_S) is None


def test_no_session_lasts_longer_than_its_longest() -> None:
    sessions: Sessions[str] = Sessions()
    sessions.begin("one", "full", 0.0)
    now = 0.0
    while now + IDLE_S / 2 < LONGEST_S:
        now += IDLE_S / 2
        assert sessions.find("one", now) == "full"
    assert sessions.find("one", LONGEST_S) is None


def test_to_ask_whether_a_session_lasts_is_no_use_of_it() -> None:
    sessions: Sessions[str] = Sessions()
    sessions.begin("one", "full", 0.0)
    assert sessions.find("one", IDLE_S - 1, is_use=False) == "full"
    assert sessions.find("one", IDLE_S) is None


def test_a_session_that_was_ended_is_gone() -> None:
    sessions: Sessions[str] = Sessions()
    sessions.begin("one", "full", 0.0)
    sessions.end("one")
    assert sessions.find("one", 0.0) is None


def test_one_too_many_ends_the_one_that_was_not_used_for_longest() -> None:
    sessions: Sessions[str] = Sessions(capacity=2)
    sessions.begin("one", "full", 0.0)
    sessions.begin("two", "full", 1.0)
    sessions.find("one", 2.0)
    sessions.begin("three", "full", 3.0)
    assert [name for name in ("one", "two", "three") if sessions.find(name, 4.0)] == ["one", "three"]


@pytest.mark.parametrize("odd", ["", "\udcff", "x" * 10_000])
def test_an_odd_id_is_no_session(odd: str) -> None:
    sessions: Sessions[str] = Sessions()
    assert sessions.find(odd, 0.0) is None


def test_many_log_ins_of_one_kind_end_none_of_the_other() -> None:
    sessions: Sessions[str] = Sessions(capacity=3)
    sessions.begin("mine", "full", 0.0)
    for number in range(10):
        sessions.begin(f"wall {number}", "read", 1.0 + number)
    assert (sessions.find("mine", 20.0), len(sessions)) == ("full", 3)
