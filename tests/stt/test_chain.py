"""Which profile is tried, when, and for how long."""

from gateway.errors import RecognizerProtocolError, RecognizerUnavailable
from gateway.stt.chain import LEAST_PATIENCE_S, Attempt, Chain

DOWN = RecognizerUnavailable("down", code="down")
REFUSED = RecognizerUnavailable("refused", code="refused", retryable=False)
BUSY = RecognizerUnavailable("busy", code="busy", retry_after_s=20.0)


def chain(*failover_after_s: float, slow: tuple[int, ...] = ()) -> Chain:
    links = [(f"p{number}", after_s, number in slow) for number, after_s in enumerate(failover_after_s)]
    return Chain(links, lambda: 1.0, 0.0)


def free(_profile: str) -> float:
    return 0.0


def test_the_first_choice_is_tried_at_once() -> None:
    assert chain(5.0).plan(0.0, free) == Attempt("p0", 0.0, None)


def test_a_profile_is_tried_again_while_its_time_lasts() -> None:
    tried = chain(5.0, 5.0)
    tried.failed(DOWN, 1.0)
    assert tried.plan(1.0, free) == Attempt("p0", 1.5, 3.5)
    tried.failed(DOWN, 2.0)
    assert tried.plan(2.0, free) == Attempt("p0", 3.0, 2.0)


def test_the_next_one_is_tried_when_its_time_is_up() -> None:
    tried = chain(5.0, 5.0)
    tried.failed(DOWN, 5.1)
    assert tried.plan(5.1, free).profile == "p1"


def test_a_pause_that_outlasts_its_time_is_not_waited_for() -> None:
    tried = chain(5.0, 5.0)
    tried.failed(BUSY, 1.0)
    assert tried.plan(1.0, free) == Attempt("p1", 1.0, None)


def test_a_refusal_for_good_ends_its_time_whatever_that_is() -> None:
    tried = chain(600.0, 5.0)
    tried.failed(REFUSED, 1.0)
    assert tried.plan(1.0, free).profile == "p1"


def test_without_any_time_the_first_choice_still_has_its_attempt() -> None:
    tried = chain(0.0, 5.0)
    assert tried.plan(0.1, free) == Attempt("p0", 0.1, LEAST_PATIENCE_S)
    tried.failed(DOWN, 0.2)
    assert tried.plan(0.2, free).profile == "p1"


def test_the_last_one_and_slow_ones_may_take_as_long_as_they_need_to_open() -> None:
    tried = chain(5.0, 5.0, 5.0, slow=(1,))
    patience = []
    for _ in range(3):
        patience.append(tried.plan(0.0, free).patience_s)
        tried.failed(REFUSED, 0.0)
    assert patience == [5.0, None, None]


def test_they_are_tried_round_and_round() -> None:
    tried = chain(0.0, 0.0, 0.0)
    now, names = 0.0, []
    for _ in range(6):
        attempt = tried.plan(now, free)
        now = attempt.at
        names.append(attempt.profile)
        tried.failed(DOWN, now)
    assert set(names[:3]) == set(names[3:]) == {"p0", "p1", "p2"}


def test_when_none_is_free_soon_the_soonest_is_waited_for() -> None:
    tried = chain(5.0, 5.0)
    assert tried.plan(0.0, lambda name: {"p0": 60.0, "p1": 30.0}[name]) == Attempt("p1", 30.0, None)


def test_a_session_that_was_of_use_is_replaced_at_once_and_one_that_was_not_is_not() -> None:
    tried = chain(5.0)
    tried.lost(DOWN, 100.0, was_of_use=True)
    assert tried.plan(100.0, free).at == 100.0
    tried.lost(DOWN, 101.0, was_of_use=False)
    assert tried.plan(101.0, free).at == 101.5


def test_garbage_is_a_failure_like_any_other() -> None:
    tried = chain(5.0)
    tried.failed(RecognizerProtocolError("garbage"), 0.0)
    assert tried.plan(0.0, free).at == 0.5


def test_a_session_that_was_opened_beside_another_becomes_the_current_one() -> None:
    tried = chain(5.0, 5.0)
    tried.failed(REFUSED, 0.0)
    tried.plan(0.0, free)
    assert (tried.current, tried.is_first) == ("p1", False)
    tried.took("p0")
    assert (tried.current, tried.is_first, tried.first) == ("p0", True, "p0")
