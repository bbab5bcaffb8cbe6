"""Joining: chunks of the wanted size, never across a jump."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.media.framing import Joiner
from gateway.media.timeline import Stretch


def test_five_frames_make_one_chunk_at_the_position_of_the_first() -> None:
    joiner = Joiner(800, 1)
    done = [joiner.add(Stretch(1000 + 160 * number, bytes([number]) * 160)) for number in range(5)]
    assert done[:4] == [[], [], [], []]
    assert done[4] == [Stretch(1000, b"".join(bytes([number]) * 160 for number in range(5)))]


def test_a_jump_of_the_position_ends_a_chunk_early() -> None:
    joiner = Joiner(800, 1)
    joiner.add(Stretch(0, b"a" * 160))
    assert joiner.add(Stretch(9999, b"b" * 160)) == [Stretch(0, b"a" * 160)]
    assert joiner.flush() == [Stretch(9999, b"b" * 160)]


def test_the_tail_is_not_lost_at_the_end() -> None:
    joiner = Joiner(800, 1)
    joiner.add(Stretch(0, b"a" * 160))
    assert joiner.flush() == [Stretch(0, b"a" * 160)]
    assert joiner.flush() == []


def test_positions_count_samples_of_two_bytes() -> None:
    joiner = Joiner(640, 2)
    joiner.add(Stretch(0, b"a" * 320))
    assert joiner.add(Stretch(160, b"b" * 320)) == [Stretch(0, b"a" * 320 + b"b" * 320)]


@given(st.lists(st.binary(min_size=1, max_size=400), max_size=50))
def test_joining_loses_and_adds_nothing(payloads: list[bytes]) -> None:
    joiner = Joiner(800, 1)
    position, chunks = 0, []
    for payload in payloads:
        chunks += joiner.add(Stretch(position, payload))
        position += len(payload)
    chunks += joiner.flush()
    assert b"".join(chunk.payload for chunk in chunks) == b"".join(payloads)
    assert all(len(chunk.payload) >= 800 for chunk in chunks[:-1])


def test_audio_that_follows_on_needs_no_stretch_of_its_own() -> None:
    joiner = Joiner(480, 1)
    assert joiner.extend(0, [bytes(160), bytes([1]) * 160]) == []
    assert joiner.lacking_bytes == 160
    (chunk,) = joiner.extend(320, [bytes([2]) * 160])
    assert (chunk.position, chunk.payload) == (0, bytes(160) + bytes([1]) * 160 + bytes([2]) * 160)
    assert joiner.lacking_bytes == 480


def test_what_comes_at_once_is_cut_as_if_it_had_come_one_by_one() -> None:
    joiner = Joiner(320, 2)
    chunks = joiner.extend(1000, [bytes([number]) * 160 for number in range(5)])
    assert [(chunk.position, chunk.payload[::160]) for chunk in chunks] == [(1000, b"\0\1"), (1160, b"\2\3")]
    assert [(chunk.position, chunk.payload[:1]) for chunk in joiner.flush()] == [(1320, b"\4")]


def test_both_ways_fill_the_same_chunk() -> None:
    joiner = Joiner(320, 1)
    assert joiner.add(Stretch(1000, bytes(160))) == []
    assert [chunk.position for chunk in joiner.extend(1160, [bytes(160)])] == [1000]


def test_the_first_chunk_may_be_another_one() -> None:
    joiner = Joiner(800, 1, first_bytes=480)
    assert joiner.lacking_bytes == 480
    assert [len(chunk.payload) for chunk in joiner.extend(0, [bytes(160)] * 13)] == [480, 800, 800]
    assert joiner.lacking_bytes == 800
