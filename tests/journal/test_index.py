"""Where audio lies in a file, and what is missing in it."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.events import Track
from gateway.journal.index import MARK_BYTES, Index
from telephony_codecs.formats import AudioFormat

MULAW = AudioFormat.parse("mulaw-8000")
IN, OUT = Track.INBOUND, Track.OUTBOUND


def index(*notes: tuple[Track, int, int, int, int]) -> Index:
    made = Index(MULAW)
    for note in notes:
        made.note(*note)
    return made


def test_an_empty_file_has_nothing() -> None:
    made = index()
    assert (made.extent(IN), made.samples(IN), made.missing(IN), made.tracks) == (None, 0, [], [])


def test_a_track_reaches_from_its_first_sample_to_its_last() -> None:
    made = index((OUT, 800, 400, 0, 100), (OUT, 4000, 400, 400, 600))
    assert (made.extent(OUT), made.samples(OUT), made.tracks) == ((800, 4400), 800, [OUT])


def test_a_pause_of_the_stream_is_not_missing() -> None:
    assert index((IN, 0, 800, 0, 100), (IN, 80_000, 800, 800, 1000)).missing(IN) == []


def test_audio_that_came_and_is_not_there_is_missing() -> None:
    assert index((IN, 0, 800, 0, 100), (IN, 2400, 800, 2400, 1000)).missing(IN) == [(800, 2400)]


def test_what_is_missing_in_a_pause_is_taken_to_lie_at_its_end() -> None:
    assert index((IN, 0, 800, 0, 100), (IN, 80_000, 800, 1600, 1000)).missing(IN) == [(79_200, 80_000)]


def test_what_is_missing_at_the_beginning_and_the_end_is_known() -> None:
    made = index((IN, 400, 800, 400, 100), (IN, 2000, 0, 2000, 1000))
    assert (made.missing(IN), made.extent(IN)) == ([(0, 400), (1200, 2000)], (400, 1200))


def test_tracks_are_counted_apart() -> None:
    made = index((IN, 0, 800, 0, 100), (OUT, 0, 800, 0, 1000), (IN, 800, 800, 800, 2000))
    assert (made.missing(IN), made.missing(OUT)) == ([], [])


def test_audio_that_is_there_twice_counts_once() -> None:
    made = index((IN, 0, 800, 0, 100), (IN, 400, 800, 400, 1000), (IN, 0, 400, 0, 2000))
    assert (made.samples(IN), made.extent(IN), made.missing(IN)) == (1200, (0, 1200), [])


@given(
    st.lists(st.tuples(st.sampled_from(Track), st.integers(1, 50), st.integers(0, 20)), max_size=60),
    st.integers(0, 2000),
)
def test_no_audio_from_a_position_on_lies_before_its_offset(
    records: list[tuple[Track, int, int]], position: int
) -> None:
    made = Index(MULAW)
    ends = dict.fromkeys(Track, 0)
    came = dict.fromkeys(Track, 0)
    placed: list[tuple[Track, int, int]] = []
    for number, (track, samples, pause) in enumerate(records):
        offset = (number + 1) * (MARK_BYTES // 3)
        made.note(track, ends[track] + pause, samples, came[track], offset)
        ends[track] += pause + samples
        came[track] += samples
        placed.append((track, ends[track], offset))
    for track in Track:
        start = made.offset_before(track, position)
        assert [end for of, end, offset in placed if of is track and offset < start and end > position] == []


def test_a_far_position_is_found_without_reading_the_beginning() -> None:
    made = Index(MULAW)
    for number in range(100):
        made.note(IN, number * 800, 800, number * 800, number * MARK_BYTES)
    assert made.offset_before(IN, 99 * 800) == 99 * MARK_BYTES
    assert made.offset_before(IN, 50 * 800 + 1) == 50 * MARK_BYTES
