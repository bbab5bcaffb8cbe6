import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import OutboxSettings
from gateway.outbox.schedule import DAY_S, DELAYS_S, Disable, Done, GiveUp, Outcome, Retry, classify, next_step

DRAWS = st.floats(0, 1, exclude_max=True)
RETRIED = [Outcome.UNREACHABLE, Outcome.UNAVAILABLE, Outcome.BLOCKED_ADDRESS, Outcome.TIMED_OUT, Outcome.THROTTLED]
MIDDLE = 0.5  # the draw without jitter


@pytest.mark.parametrize(
    ("statuses", "outcome"),
    [
        (range(200, 300), Outcome.DELIVERED),
        (range(300, 400), Outcome.MISCONFIGURED),
        ((401, 403, 404), Outcome.MISCONFIGURED),
        ((408,), Outcome.TIMED_OUT),
        ((410,), Outcome.GONE),
        ((425, *range(500, 600)), Outcome.UNAVAILABLE),
        ((429,), Outcome.THROTTLED),
        (set(range(400, 500)) - {401, 403, 404, 408, 410, 425, 429}, Outcome.REJECTED),
    ],
)
def test_each_status_has_its_outcome(statuses: range, outcome: Outcome) -> None:
    assert {classify(status) for status in statuses} == {outcome}


def test_success_ends_the_delivery() -> None:
    assert next_step(1, Outcome.DELIVERED, draw=MIDDLE) == Done()


def test_failures_follow_the_delays_and_then_give_up() -> None:
    steps = [next_step(attempt, Outcome.UNAVAILABLE, draw=MIDDLE) for attempt in range(1, 11)]

    assert steps == [*(Retry(delay) for delay in (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)), GiveUp()]


def test_other_delays_can_be_set() -> None:
    assert next_step(1, Outcome.UNREACHABLE, draw=MIDDLE, delays_s=(7,)) == Retry(7)
    assert next_step(2, Outcome.UNREACHABLE, draw=MIDDLE, delays_s=(7,)) == GiveUp()


def test_the_settings_have_the_same_delays_by_default() -> None:
    assert OutboxSettings().retry_delays_s == DELAYS_S


@given(draw=DRAWS, attempt=st.integers(1, 9))
def test_jitter_stays_within_a_fifth(draw: float, attempt: int) -> None:
    step = next_step(attempt, Outcome.UNAVAILABLE, draw=draw)

    assert isinstance(step, Retry)
    assert 0.8 * DELAYS_S[attempt - 1] <= step.delay_s <= 1.2 * DELAYS_S[attempt - 1]


def test_jitter_uses_its_whole_range() -> None:
    steps = [next_step(1, Outcome.UNAVAILABLE, draw=draw) for draw in (0.0, 1.0)]

    assert [step.delay_s for step in steps if isinstance(step, Retry)] == pytest.approx([4, 6])


@given(draw=DRAWS, attempt=st.integers(1, 9), outcome=st.sampled_from([Outcome.TIMED_OUT, Outcome.THROTTLED]))
def test_an_overloaded_receiver_gets_at_least_a_minute(draw: float, attempt: int, outcome: Outcome) -> None:
    step = next_step(attempt, outcome, draw=draw)

    assert isinstance(step, Retry)
    assert step.delay_s >= 60 - 1e-9


@pytest.mark.parametrize(("asked_s", "waits_s"), [(1, 300), (300, 300), (400, 400), (600, 600), (5000, 600)])
def test_retry_after_counts_from_one_to_two_times_the_plan(asked_s: float, waits_s: float) -> None:
    assert next_step(2, Outcome.UNAVAILABLE, draw=MIDDLE, retry_after_s=asked_s) == Retry(waits_s)


@given(draw=DRAWS, asked_s=st.floats(0, 1e9), attempt=st.integers(1, 9))
def test_retry_after_never_exceeds_a_day_beyond_the_plan(draw: float, asked_s: float, attempt: int) -> None:
    planned = next_step(attempt, Outcome.UNAVAILABLE, draw=draw)
    step = next_step(attempt, Outcome.UNAVAILABLE, draw=draw, retry_after_s=asked_s)

    assert isinstance(planned, Retry)
    assert isinstance(step, Retry)
    assert planned.delay_s <= step.delay_s <= max(planned.delay_s, min(2 * planned.delay_s, DAY_S))


@pytest.mark.parametrize("outcome", RETRIED)
def test_what_may_pass_is_tried_to_the_end(outcome: Outcome) -> None:
    assert all(isinstance(next_step(attempt, outcome, draw=MIDDLE), Retry) for attempt in range(1, 10))
    assert next_step(10, outcome, draw=MIDDLE) == GiveUp()


def test_a_misconfigured_receiver_gets_three_attempts_in_a_row() -> None:
    steps = [next_step(n, Outcome.MISCONFIGURED, draw=MIDDLE, misconfigured=n) for n in (1, 2, 3)]

    assert steps == [Retry(5), Retry(300), GiveUp()]


def test_a_deploy_after_an_outage_does_not_kill_the_delivery() -> None:
    assert next_step(6, Outcome.MISCONFIGURED, draw=MIDDLE, misconfigured=1) == Retry(36000)


def test_a_rejected_event_is_dead_at_once() -> None:
    assert next_step(1, Outcome.REJECTED, draw=MIDDLE) == GiveUp()


def test_gone_disables_the_endpoint() -> None:
    assert next_step(1, Outcome.GONE, draw=MIDDLE) == Disable()
