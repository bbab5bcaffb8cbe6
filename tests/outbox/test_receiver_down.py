"""A receiver that fails for an hour beside one that does not; 64 calls in virtual time: `tests.chaos.receiver_down`."""

from typing import Any

import pytest

from tests.chaos import receiver_down
from tests.chaos.receiver_down import HANGS, REFUSES, THROTTLES, Failure


@pytest.fixture(scope="module", params=[REFUSES, HANGS, THROTTLES], ids=lambda failure: str(failure[0]))
def figures(request: pytest.FixtureRequest) -> dict[str, Any]:
    failure: Failure = request.param
    return receiver_down.compare(seed=1, gap_s=400.0, fails_with=failure)


def test_another_endpoint_does_not_notice(figures: dict[str, Any]) -> None:
    assert figures["p99_ms"] <= 1.2 * min(figures["p99_well_ms"], figures["p99_alone_ms"])


def test_everything_is_delivered_afterwards_in_order_and_under_one_id_each(figures: dict[str, Any]) -> None:
    assert figures["events"] > 500
    assert (figures["in_order"], figures["dead"], figures["ids_with_two_bodies"]) == (True, 0, 0)


def test_the_backlog_has_arrived_two_minutes_after_the_receiver_is_back(figures: dict[str, Any]) -> None:
    assert figures["caught_up_s"] <= 120


def test_meanwhile_it_is_asked_about_once_a_minute(figures: dict[str, Any]) -> None:
    assert 45 <= figures["attempts_while_away"] <= 90


def test_attempts_and_tasks_are_bounded_by_the_concurrency_and_not_by_what_waits(figures: dict[str, Any]) -> None:
    concurrency, calls, services = 16, 64, 10
    assert figures["most_under_way"] <= concurrency
    assert figures["most_tasks"] <= calls + 2 * concurrency + services


def test_the_same_seed_gives_the_same_figures() -> None:
    runs = [receiver_down.receiver_down(seed=3, calls=4, gap_s=300.0) for _ in range(2)]

    assert runs[0].delays_s() == runs[1].delays_s()
    assert runs[0].failing.attempts_while_away == runs[1].failing.attempts_while_away
