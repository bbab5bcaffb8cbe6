"""What all calls know together about recognisers that are down."""

import pytest

from gateway.errors import RecognizerProtocolError, RecognizerUnavailable
from gateway.stt.outages import FAILURES, LONGEST_S, PROBE_S, REFUSED_S, Outages

DOWN = RecognizerUnavailable("down", code="stt_unreachable")
REFUSED = RecognizerUnavailable("401", code="stt_refused_401", retryable=False)


def outages() -> Outages:
    return Outages(lambda: 1.0)


def broken(now: float = 0.0) -> Outages:
    known = outages()
    for _ in range(FAILURES):
        known.failed("one", DOWN, now)
    return known


def test_what_nothing_is_known_of_may_be_tried() -> None:
    assert outages().wait_s("one", 0.0) == 0.0


def test_a_few_failures_keep_nobody_from_trying() -> None:
    known = outages()
    for _ in range(FAILURES - 1):
        known.failed("one", DOWN, 0.0)
    assert known.wait_s("one", 0.0) == 0.0


def test_after_more_of_them_everybody_waits_and_other_profiles_are_not_touched() -> None:
    known = broken()
    assert known.wait_s("one", 0.0) > 1.0
    assert known.wait_s("two", 0.0) == 0.0


def test_then_one_at_a_time_may_try() -> None:
    known = broken()
    assert known.wait_s("one", 1.1) == 0.0
    known.begin("one", 1.1)
    assert known.wait_s("one", 1.1) > 0.0


def test_a_probe_that_works_lets_everybody_in() -> None:
    known = broken()
    known.begin("one", 1.1)
    known.worked("one")
    assert known.wait_s("one", 1.2) == 0.0
    known.begin("one", 1.2)
    assert known.wait_s("one", 1.2) == 0.0


def test_each_probe_that_fails_doubles_the_time_to_the_next_up_to_a_cap() -> None:
    known = broken()
    now, waits = 0.0, []
    for _ in range(8):
        now += known.free_at("one", now) - now
        known.begin("one", now)
        known.failed("one", DOWN, now)
        waits.append(known.free_at("one", now) - now)
    assert waits == [2.0, 4.0, 8.0, 16.0, LONGEST_S, LONGEST_S, LONGEST_S, LONGEST_S]


def test_a_probe_that_nobody_tells_the_end_of_is_forgotten() -> None:
    known = broken()
    known.begin("one", 2.0)
    assert known.wait_s("one", 2.0 + PROBE_S - 0.1) > 0.0
    assert known.wait_s("one", 2.0 + PROBE_S) == 0.0


def test_whoever_gives_up_a_probe_lets_the_next_try() -> None:
    known = broken()
    known.begin("one", 2.0)
    known.unknown("one")
    assert known.wait_s("one", 2.0) == 0.0


def test_retry_after_holds_for_all() -> None:
    known = outages()
    known.failed("one", RecognizerUnavailable("429", code="stt_refused_429", retry_after_s=12.0), 0.0)
    assert known.wait_s("one", 11.9) > 0.0
    assert known.wait_s("one", 12.0) == 0.0


@pytest.mark.parametrize("code", ["stt_refused_401", "stt_refused_403", "stt_tls_failed", "unknown_profile"])
def test_a_wrong_key_is_tried_by_one_call_in_half_a_minute_to_a_minute(code: str) -> None:
    known = outages()
    known.failed("one", RecognizerUnavailable("no", code=code, retryable=False), 0.0)
    assert REFUSED_S <= known.free_at("one", 0.0) <= 2 * REFUSED_S
    known.begin("one", 60.0)
    assert known.wait_s("one", 60.0) > 0.0


def test_a_refusal_that_may_be_about_one_calls_own_request_keeps_no_other_call_out() -> None:
    known = outages()
    known.failed("one", RecognizerUnavailable("400", code="stt_refused_400", retryable=False), 0.0)
    assert known.wait_s("one", 0.0) == 0.0


@pytest.mark.parametrize("code", ["engine_busy", "engine_overloaded"])
def test_an_engine_of_ours_that_is_full_is_no_outage(code: str) -> None:
    known = outages()
    for _ in range(50):
        known.failed("local", RecognizerUnavailable("full", code=code), 0.0)
    assert known.wait_s("local", 0.0) == 0.0


def test_garbage_counts_like_any_failure() -> None:
    known = outages()
    for _ in range(FAILURES):
        known.failed("one", RecognizerProtocolError("garbage"), 0.0)
    assert known.wait_s("one", 0.0) > 0.0
