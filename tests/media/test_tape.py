"""What memory holds of a track: until both readers are done with it, and never more than allowed."""

from gateway.media.tape import Budget, Tape
from gateway.media.timeline import Stretch
from telephony_codecs.formats import AudioFormat

MULAW = AudioFormat.parse("mulaw-8000")
LINEAR = AudioFormat.parse("linear16-8000")


def chunk(position: int, samples: int = 800) -> Stretch:
    return Stretch(position, bytes([position // 800 % 256]) * samples)


def tape(chunks: int = 0, *, capacity: int = 8000, archived: bool = False, budget: Budget | None = None) -> Tape:
    made = Tape(MULAW, capacity, is_archived=archived, budget=budget)
    for number in range(chunks):
        made.append(chunk(number * 800))
    return made


def test_a_reader_walks_from_chunk_to_chunk() -> None:
    held = tape(3)
    assert [held.next(position) for position in (0, 800, 1600)] == [chunk(0), chunk(800), chunk(1600)]


def test_nothing_comes_before_it_was_appended() -> None:
    held = tape(1)
    assert held.next(800) is None
    assert tape().next(0) is None


def test_a_position_in_mid_chunk_gets_its_rest() -> None:
    assert tape(3).next(1000) == Stretch(1000, bytes([1]) * 600)


def test_a_position_in_the_last_chunk_gets_its_rest() -> None:
    assert tape(3).next(2000) == Stretch(2000, bytes([2]) * 400)


def test_a_cut_never_splits_a_sample() -> None:
    held = Tape(LINEAR, 10_000)
    held.append(Stretch(0, bytes(range(200))))
    assert held.next(10) == Stretch(10, bytes(range(20, 200)))


def test_a_hole_is_stepped_over() -> None:
    held = tape(1)
    held.append(chunk(8000))
    assert held.next(800) == chunk(8000)


def test_a_reader_may_go_back_to_what_is_held() -> None:
    held = tape(3)
    held.next(1600)
    assert held.next(0) == chunk(0)


def test_what_was_heard_is_let_go() -> None:
    held = tape(3)
    held.heard(1600)
    assert held.oldest == 1600


def test_a_chunk_that_was_heard_in_part_is_kept() -> None:
    held = tape(3)
    held.heard(1599)
    assert held.oldest == 800


def test_an_archived_tape_waits_for_the_journal() -> None:
    held = tape(3, archived=True)
    held.heard(2400)
    assert held.oldest == 0
    held.wrote(800)
    assert held.oldest == 800


def test_a_full_tape_gives_up_its_oldest() -> None:
    held = tape(12, capacity=8000)
    assert held.oldest == 1600


def test_reading_what_memory_gave_up_gets_the_oldest_that_it_has() -> None:
    assert tape(12, capacity=8000).next(0) == chunk(1600)


def test_what_the_journal_never_saw_is_counted() -> None:
    held = tape(10, archived=True)
    held.wrote(1000)
    for number in range(10, 12):
        held.append(chunk(number * 800))
    assert held.missed == 600


def test_the_journal_is_given_each_chunk_once() -> None:
    held = tape(2, archived=True)
    assert held.unwritten() == [chunk(0), chunk(800)]
    held.wrote(1600)
    assert held.unwritten() == []
    held.append(chunk(1600))
    assert held.unwritten() == [chunk(1600)]


def test_one_chunk_is_always_taken() -> None:
    held = tape(capacity=100)
    held.append(chunk(0))
    assert held.next(0) == chunk(0)


def test_tapes_share_a_budget() -> None:
    budget = Budget(2400)
    first, second = tape(2, budget=budget), tape(budget=budget)
    second.append(chunk(0))
    second.append(chunk(800))
    assert (first.oldest, second.oldest) == (0, 800)


def test_a_released_tape_returns_what_it_took() -> None:
    budget = Budget(8000)
    tape(3, budget=budget).release()
    assert budget.used_bytes == 0


def test_a_budget_that_is_nearly_used_up_is_short() -> None:
    budget = Budget(2400)
    tape(2, budget=budget)
    assert not budget.is_short
    tape(1, budget=budget)
    assert budget.is_short


def test_the_tape_knows_where_it_began_and_ends() -> None:
    held = tape()
    held.append(chunk(8000))
    assert (held.start, held.end) == (8000, 8800)
