"""What of a track is settled: positions, seams, and words that are new."""

import pytest

from gateway.events import Final, Partial, Segment, Word
from gateway.stt.clock import SessionClock
from gateway.stt.ledger import Ledger

RATE_HZ = 8000


class Account:
    """A ledger and the clock of its present session."""

    def __init__(self, *, heard_s: float | None = None, is_recovery: bool = False) -> None:
        heard = None if heard_s is None else round(heard_s * RATE_HZ)
        self.ledger = Ledger(RATE_HZ, "en", heard=heard, is_recovery=is_recovery)
        self.ledger.begin(0)

    def open(
        self, *, has_word_times: bool = True, recovered_until_s: float = 0.0, edge_s: float = 0.0, provider: str = "one"
    ) -> float:
        """Where the session begins."""
        self.clock = SessionClock(RATE_HZ)
        start = self.ledger.open(
            provider,
            self.clock,
            has_word_times=has_word_times,
            recovered_until=round(recovered_until_s * RATE_HZ),
            edge=round(edge_s * RATE_HZ),
        )
        self.clock.sent(start, 0)
        return start / RATE_HZ

    def send(self, seconds: float) -> None:
        self.clock.sent(self.clock.position, round(seconds * RATE_HZ))

    @property
    def committed_s(self) -> float:
        return (self.ledger.committed or 0) / RATE_HZ


def word(text: str, start_s: float, end_s: float) -> Word:
    return Word(word=text, start_s=start_s, end_s=end_s)


def final(*words: Word, text: str | None = None) -> Final:
    joined = text or " ".join(each.word for each in words)
    return Final(text=joined, start_s=words[0].start_s, end_s=words[-1].end_s, words=words)


def text_of(segment: Segment | None) -> str | None:
    return None if segment is None else segment.text


def test_a_final_commits_up_to_the_end_of_its_last_word() -> None:
    account = Account()
    account.open()
    account.send(5.0)
    account.ledger.final(final(word("hello", 1.0, 1.5), word("there", 1.5, 2.0)))
    assert account.committed_s == 2.0


def test_the_next_session_begins_with_the_last_word_so_that_it_is_heard_as_a_whole() -> None:
    account = Account()
    account.open()
    account.send(5.0)
    account.ledger.final(final(word("hello", 1.0, 1.5), word("there", 1.5, 2.0)))
    assert account.open() == pytest.approx(1.4)


def test_a_last_word_that_is_too_long_is_cut_into_and_its_rest_is_dropped() -> None:
    account = Account()
    account.open()
    account.send(5.0)
    account.ledger.final(final(word("looong", 1.0, 3.0)))
    assert account.open() == pytest.approx(2.7)
    account.send(3.0)
    assert text_of(account.ledger.final(final(word("ong", 0.0, 0.3), word("and", 0.4, 0.8)))) == "and"


def test_of_the_overlap_only_words_whose_middle_is_new_are_kept_and_the_text_is_made_of_them() -> None:
    account = Account()
    account.open()
    account.send(5.0)
    account.ledger.final(final(word("hello", 1.0, 1.5)))
    account.open()
    account.send(5.0)
    segment = account.ledger.final(final(word("Hello,", 0.1, 0.59), word("there.", 0.59, 1.1), text="Hello, there."))
    assert segment is not None
    assert (segment.text, segment.start_s, segment.end_s) == ("there.", pytest.approx(1.49), pytest.approx(2.0))
    assert [each.word for each in segment.words] == ["there."]


def test_a_final_that_is_all_new_keeps_its_own_text() -> None:
    account = Account()
    account.open()
    account.send(5.0)
    assert text_of(account.ledger.final(final(word("hello", 1.0, 1.5), text="Hello!"))) == "Hello!"


def test_within_a_session_times_that_tremble_cost_no_word() -> None:
    account = Account()
    account.open()
    account.send(5.0)
    account.ledger.final(final(word("hello", 1.0, 1.52)))
    assert text_of(account.ledger.final(final(word("a", 1.46, 1.52)))) == "a"


def test_a_final_whose_words_have_no_times_but_has_its_own_is_believed() -> None:
    account = Account()
    account.open(has_word_times=False)
    account.send(5.0)
    account.ledger.final(Final(text="hello", start_s=1.0, end_s=2.0))
    assert account.open(has_word_times=False) == 2.0


def test_a_final_without_word_times_that_ends_before_the_seam_was_said_before() -> None:
    account = Account()
    account.open()
    account.send(5.0)
    account.ledger.final(final(word("hello", 1.0, 2.0)))
    account.open()
    account.send(5.0)
    assert account.ledger.final(Final(text="hello", start_s=0.0, end_s=1.0)) is None


def test_without_any_times_the_last_seconds_are_heard_again_and_repeated_words_dropped_by_their_text() -> None:
    account = Account()
    account.open()
    account.send(10.0)
    account.ledger.final(Final(text="I want a refund"))
    assert account.committed_s == 10.0
    assert account.open() == 8.0
    account.send(5.0)
    assert text_of(account.ledger.final(Final(text="nt, a refund, please now"))) == "please now"


def test_without_any_times_words_that_were_in_flight_are_not_lost() -> None:
    account = Account()
    account.open()
    account.send(10.0)
    account.ledger.final(Final(text="one two"))
    account.open()
    account.send(3.0)
    assert text_of(account.ledger.final(Final(text="two three four"))) == "three four"


def test_a_repetition_may_be_spread_over_several_finals() -> None:
    account = Account()
    account.open()
    account.send(10.0)
    account.ledger.final(Final(text="one two three"))
    account.open()
    account.send(3.0)
    said = [text_of(account.ledger.final(Final(text=text))) for text in ("two", "three four", "three")]
    assert said == [None, "four", "three"]


def test_a_garbled_first_word_alone_is_dropped() -> None:
    account = Account()
    account.open()
    account.send(10.0)
    account.ledger.final(Final(text="one two three"))
    account.open()
    account.send(3.0)
    assert [text_of(account.ledger.final(Final(text=text))) for text in ("oo", "three four")] == [None, "four"]


def test_while_a_session_without_times_catches_up_nothing_earlier_is_let_go() -> None:
    account = Account()
    account.open()
    account.send(2.0)
    account.ledger.final(Final(text="one"))
    start = account.open(edge_s=60.0)
    account.send(60.0)
    account.ledger.final(Final(text="two three"))
    assert account.open(edge_s=60.0) == start


def test_what_was_said_without_times_is_complete_when_its_partial_was() -> None:
    account = Account()
    account.open()
    account.send(4.0)
    account.ledger.partial(Partial(text="hello there"))
    account.send(2.0)
    segment = account.ledger.final(Final(text="Hello there."))
    assert segment is not None
    assert segment.end_s == 4.0


def test_a_partial_shows_no_word_of_the_overlap() -> None:
    account = Account()
    account.open()
    account.send(5.0)
    account.ledger.final(final(word("hello", 1.0, 1.5)))
    account.open()
    account.send(2.0)
    words = (word("hello", 0.1, 0.6), word("there", 0.7, 1.0))
    hearing = account.ledger.partial(Partial(text="hello there", start_s=0.1, words=words))
    assert hearing is not None
    assert (hearing.text, hearing.start_s) == ("there", pytest.approx(1.6))
    assert account.ledger.partial(Partial(text="hello", start_s=0.1, words=words[:1])) is None


def test_a_final_that_is_said_twice_is_told_once() -> None:
    account = Account()
    account.open()
    account.send(5.0)
    said = final(word("hello", 1.0, 1.5))
    assert account.ledger.final(said) is not None
    assert account.ledger.final(said) is None
    assert account.ledger.final(final(word("hello", 2.0, 2.5))) is not None


def test_a_partial_settles_nothing_because_the_final_before_it_may_be_late() -> None:
    account = Account()
    account.open()
    account.send(60.0)
    account.ledger.partial(Partial(text="hello", start_s=50.0, words=(word("hello", 50.0, 50.5),)))
    assert account.committed_s == 0.0


def test_a_word_that_reaches_the_place_of_a_planned_cut_is_left_to_the_next_session() -> None:
    account = Account()
    account.open()
    account.send(5.0)
    account.ledger.cut(account.clock.position)
    segment = account.ledger.final(final(word("hello", 1.0, 1.5), word("the", 4.8, 4.99)))
    account.ledger.settle(account.clock.position)
    assert text_of(segment) == "hello"
    assert account.committed_s == 1.5


def test_a_planned_cut_in_a_pause_settles_all_but_its_last_moment() -> None:
    account = Account()
    account.open()
    account.send(5.0)
    account.ledger.cut(account.clock.position)
    account.ledger.final(final(word("hello", 1.0, 1.5)))
    account.ledger.settle(account.clock.position)
    assert account.committed_s == pytest.approx(4.7)


def test_the_last_partial_can_be_forced_once() -> None:
    account = Account()
    account.open()
    account.send(5.0)
    account.ledger.partial(Partial(text="I want", start_s=4.0))
    forced = account.ledger.forced()
    assert forced is not None
    assert (forced.text, forced.start_s, forced.end_s, forced.forced) == ("I want", 4.0, 5.0, True)
    assert account.ledger.forced() is None


def test_a_pending_partial_outlives_its_session_until_the_next_one_says_something() -> None:
    account = Account()
    account.open()
    account.send(5.0)
    account.ledger.partial(Partial(text="I want", start_s=4.0))
    account.open()
    assert account.ledger.has_pending
    account.send(5.0)
    account.ledger.final(final(word("I", 4.0, 4.1)))
    assert not account.ledger.has_pending


@pytest.mark.parametrize(("end_s", "is_recovered"), [(9.9, True), (10.1, False)])
def test_segments_that_end_before_the_live_edge_of_an_interruption_are_recovered_ones(
    end_s: float, is_recovered: bool
) -> None:
    account = Account()
    account.open(recovered_until_s=10.0)
    account.send(20.0)
    segment = account.ledger.final(final(word("hello", 9.0, end_s)))
    assert segment is not None
    assert segment.recovered is is_recovered


def test_recovery_begins_a_little_before_what_was_committed_and_repeats_none_of_it() -> None:
    account = Account(heard_s=5.0, is_recovery=True)
    assert account.open() == pytest.approx(4.7)
    account.send(5.0)
    segment = account.ledger.final(final(word("tail", 0.0, 0.3), word("new", 0.4, 0.9)))
    assert segment is not None
    assert (segment.text, segment.recovered) == ("new", True)


def test_words_of_languages_without_blanks_are_joined_without_them() -> None:
    account = Account()
    account.open()
    account.send(5.0)
    account.ledger.final(final(word("你", 1.0, 1.5)))
    account.open()
    account.send(5.0)
    words = (word("你", 0.1, 0.6), word("好", 0.6, 1.0), word("吗", 1.0, 1.3))
    assert text_of(account.ledger.final(final(*words, text="你好吗"))) == "好吗"
