import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import OutboxSettings
from gateway.outbox.breaker import PROBE_DELAYS_S, Breaker, Turn
from gateway.outbox.schedule import Outcome

DOWN = [Outcome.UNREACHABLE, Outcome.TIMED_OUT, Outcome.THROTTLED, Outcome.UNAVAILABLE]
ANSWERED = [Outcome.DELIVERED, Outcome.REJECTED, Outcome.GONE]
NEITHER = [Outcome.MISCONFIGURED, Outcome.BLOCKED_ADDRESS]
NOW = 1000.0
MIDDLE = 0.5  # the draw without jitter


def end(
    breaker: Breaker,
    outcome: Outcome,
    call_id: str = "a",
    now: float = NOW,
    *,
    began_at: float | None = None,
    draw: float = MIDDLE,
    retry_after_s: float | None = None,
) -> Turn:
    """An attempt that took no time, unless told otherwise."""
    return breaker.end(
        outcome,
        call_id,
        began_at=now if began_at is None else began_at,
        now=now,
        draw=draw,
        retry_after_s=retry_after_s,
    )


def opened(now: float = NOW) -> Breaker:
    breaker = Breaker()
    for number in range(5):
        end(breaker, Outcome.UNREACHABLE, f"call_{number}", now)
    assert breaker.is_open
    return breaker


def probe(breaker: Breaker, outcome: Outcome, now: float, **options: float) -> Turn:
    assert breaker.room(now, 16, 0) == 1
    breaker.begin_probe("probe")
    return end(breaker, outcome, "probe", now, **options)


def test_a_closed_circuit_leaves_room_for_as_many_as_are_not_under_way() -> None:
    assert [Breaker().room(NOW, 16, in_flight) for in_flight in (0, 10, 16, 20)] == [16, 6, 0, 0]


@pytest.mark.parametrize("outcome", DOWN)
def test_five_failures_in_a_row_of_different_calls_open_it(outcome: Outcome) -> None:
    breaker = Breaker()

    turns = [end(breaker, outcome, call_id) for call_id in "abcde"]

    assert turns == [Turn.NONE] * 4 + [Turn.OPENED]
    assert breaker.opened_at == NOW


def test_failures_of_one_call_in_quick_succession_do_not_open_it() -> None:
    breaker = Breaker()

    assert [end(breaker, Outcome.UNAVAILABLE, "a", NOW + n) for n in range(50)] == [Turn.NONE] * 50


def test_three_failures_over_a_minute_open_it_also_for_a_single_call() -> None:
    """The schedule tries at once, after 5 s and after 5 min: an outage of an hour must not reach its steps of hours."""
    breaker = Breaker()

    turns = [end(breaker, Outcome.UNREACHABLE, "a", NOW + at) for at in (0, 5, 305)]

    assert turns == [Turn.NONE, Turn.NONE, Turn.OPENED]


@pytest.mark.parametrize("outcome", ANSWERED)
def test_an_answer_about_an_event_starts_the_count_again(outcome: Outcome) -> None:
    breaker = Breaker()
    for call_id in "abcd":
        end(breaker, Outcome.UNAVAILABLE, call_id)

    end(breaker, outcome, "e")

    assert [end(breaker, Outcome.UNAVAILABLE, call_id) for call_id in "fghi"] == [Turn.NONE] * 4


@pytest.mark.parametrize("outcome", NEITHER)
def test_a_wrong_setting_neither_counts_nor_starts_the_count_again(outcome: Outcome) -> None:
    breaker = Breaker()
    for call_id in "abcd":
        end(breaker, Outcome.UNAVAILABLE, call_id)

    assert [end(breaker, outcome, call_id) for call_id in "efghij"] == [Turn.NONE] * 6
    assert end(breaker, Outcome.UNAVAILABLE, "k") is Turn.OPENED


def test_while_open_there_is_room_for_one_probe_at_its_time() -> None:
    breaker = opened()

    assert breaker.next_at() == NOW + 5
    assert breaker.room(NOW + 4.9, 16, 0) == 0
    assert breaker.room(NOW + 5, 16, 3) == 1
    breaker.begin_probe("a")
    assert breaker.room(NOW + 100, 16, 0) == 0
    assert breaker.next_at() is None


def test_pauses_between_probes_grow_to_a_bound() -> None:
    breaker, pauses_s, now = opened(), [], NOW
    for _ in range(7):
        pauses_s.append(breaker.probe_at - now)
        now = breaker.probe_at
        probe(breaker, Outcome.TIMED_OUT, now)

    assert pauses_s == [5, 10, 20, 40, 60, 60, 60]


@given(draw=st.floats(0, 1, exclude_max=True))
def test_jitter_stays_within_a_fifth(draw: float) -> None:
    breaker = opened()
    probe(breaker, Outcome.TIMED_OUT, NOW + 5, draw=draw)

    assert 8 <= breaker.probe_at - (NOW + 5) <= 12


@pytest.mark.parametrize(("asked_s", "waits_s"), [(1, 10), (300, 300), (86_400, 3600)])
def test_a_longer_retry_after_is_honoured_up_to_an_hour(asked_s: float, waits_s: float) -> None:
    breaker = opened()
    probe(breaker, Outcome.THROTTLED, NOW + 5, retry_after_s=asked_s)

    assert breaker.probe_at - (NOW + 5) == waits_s


@pytest.mark.parametrize("outcome", ANSWERED)
def test_an_answer_about_an_event_closes_it(outcome: Outcome) -> None:
    breaker = opened()

    assert probe(breaker, outcome, NOW + 5) is Turn.CLOSED
    assert breaker.room(NOW + 5, 16, 0) == 16
    assert breaker.next_at() is None


@pytest.mark.parametrize("outcome", NEITHER)
def test_a_probe_that_meets_a_wrong_setting_leaves_it_open_and_counts_as_an_attempt(outcome: Outcome) -> None:
    breaker = opened()

    assert probe(breaker, outcome, NOW + 5) is Turn.NONE
    assert breaker.is_open
    assert breaker.probe_at == NOW + 15
    assert not breaker.excuses(outcome)


def test_failures_are_excused_only_while_it_is_open() -> None:
    breaker = Breaker()
    excused = []
    for call_id in "abcde":
        end(breaker, Outcome.UNAVAILABLE, call_id)
        excused.append(breaker.excuses(Outcome.UNAVAILABLE))

    assert excused == [False] * 4 + [True]


def test_attempts_that_were_under_way_when_it_opened_do_not_move_the_probe() -> None:
    breaker = opened()

    assert end(breaker, Outcome.TIMED_OUT, "late", NOW + 4, began_at=NOW - 11) is Turn.NONE
    assert breaker.probe_at == NOW + 5


def test_time_outs_of_attempts_begun_before_it_closed_do_not_open_it_again() -> None:
    breaker = opened()
    probe(breaker, Outcome.DELIVERED, NOW + 5)

    turns = [end(breaker, Outcome.TIMED_OUT, f"late_{n}", NOW + 6, began_at=NOW - 9) for n in range(20)]

    assert turns == [Turn.NONE] * 20


def test_an_attempt_that_was_under_way_when_it_opened_can_close_it() -> None:
    breaker = opened()

    assert end(breaker, Outcome.DELIVERED, "late", NOW + 4, began_at=NOW - 11) is Turn.CLOSED


def test_the_settings_have_the_same_pauses_by_default() -> None:
    assert OutboxSettings().probe_delays_s == PROBE_DELAYS_S


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(list(Outcome)), st.sampled_from("abcdef"), st.floats(0, 400), st.floats(0, 0.99)),
        max_size=60,
    )
)
def test_whatever_happens_a_receiver_that_is_back_is_noticed_within_the_longest_pause(
    steps: list[tuple[Outcome, str, float, float]],
) -> None:
    breaker, now = Breaker(), NOW
    for outcome, call_id, pause_s, draw in steps:
        now += pause_s
        if breaker.room(now, 4, 0):
            if breaker.is_open:
                breaker.begin_probe(call_id)
            end(breaker, outcome, call_id, now, draw=draw)

    assert breaker.is_open == (breaker.next_at() is not None)
    assert breaker.room(now + 60 * 1.2, 4, 0) >= 1
