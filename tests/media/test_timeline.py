"""The timeline: sample-exact positions from what the platform says, whatever it says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.events import AudioReceived, Track
from gateway.media.timeline import MAX_JUMP_S, REORDER_FRAMES, Discarded, Gap, GapKind, Piece, Stretch, Timeline
from telephony_codecs.formats import AudioFormat

MULAW = AudioFormat.parse("mulaw-8000")
FRAME = 160  # samples of 20 ms


def frame(chunk: int | None, offset_ms: int | None, payload: bytes | None = None) -> AudioReceived:
    """A frame whose payload names its chunk, so that tests see where it went."""
    marked = bytes([(chunk or 0) % 250]) * FRAME if payload is None else payload
    return AudioReceived(track=Track.INBOUND, payload=marked, chunk=chunk, offset_ms=offset_ms)


def numbered(count: int, start: int = 1) -> list[AudioReceived]:
    return [frame(number, (number - 1) * 20) for number in range(start, start + count)]


def play(timeline: Timeline, frames: list[AudioReceived]) -> list[Piece]:
    return [piece for each in frames for piece in timeline.receive(each)] + timeline.flush()


def audio(pieces: list[Piece]) -> bytes:
    return b"".join(piece.payload for piece in pieces if isinstance(piece, Stretch))


def gaps(pieces: list[Piece]) -> list[Gap]:
    return [piece for piece in pieces if isinstance(piece, Gap)]


def discarded(pieces: list[Piece]) -> list[str]:
    return [piece.kind for piece in pieces if isinstance(piece, Discarded)]


def assert_continuous(pieces: list[Piece]) -> None:
    """No position is taken twice, and none is left out except by a gap that says so."""
    expected: int | None = None
    for piece in pieces:
        match piece:
            case Stretch():
                assert expected is None or piece.position == expected
                expected = piece.position + len(piece.payload)
            case Gap(filled=False):
                assert piece.position == expected
                expected = piece.position + piece.samples


def test_frames_in_order_follow_each_other_to_the_sample() -> None:
    frames = numbered(5)
    pieces = play(Timeline(MULAW), frames)
    assert [piece.position for piece in pieces if isinstance(piece, Stretch)] == [0, 160, 320, 480, 640]
    assert audio(pieces) == b"".join(each.payload for each in frames)


def test_call_time_starts_at_the_streams_origin_not_at_the_platforms_zero() -> None:
    timeline = Timeline(MULAW, origin_ms=60)
    assert timeline.receive(frame(1, 60)) == [Stretch(0, frame(1, 60).payload)]


def test_a_track_that_begins_after_the_stream_is_placed_there_without_a_gap() -> None:
    pieces = Timeline(MULAW, origin_ms=5).receive(frame(1, 26))
    assert pieces == [Stretch(168, frame(1, 26).payload)]


def test_suppressed_silence_is_filled_and_not_called_lost() -> None:
    """Twilio may skip silence: the counter goes on and the clock jumps by 420 ms."""
    pieces = play(Timeline(MULAW), [frame(1, 0), frame(2, 440)])
    assert gaps(pieces) == [Gap(160, 3360, GapKind.SILENCE, filled=True)]
    assert audio(pieces)[160:3520] == b"\xff" * 3360
    assert_continuous(pieces)


def test_a_missing_frame_is_reported_lost_and_filled_with_silence() -> None:
    frames = [each for each in numbered(30) if each.chunk != 7]
    pieces = play(Timeline(MULAW), frames)
    assert gaps(pieces) == [Gap(960, 160, GapKind.LOST, filled=True)]
    assert len(audio(pieces)) == 30 * FRAME


def test_a_gap_of_fifty_frames_advances_the_position_by_exactly_a_second() -> None:
    timeline = Timeline(MULAW)
    play(timeline, numbered(10) + numbered(15, start=61))
    assert timeline.position == 75 * FRAME


def test_a_gap_too_long_to_fill_still_advances_the_position() -> None:
    timeline = Timeline(MULAW, max_fill_s=5)
    pieces = play(timeline, [frame(1, 0), frame(2, 30_000)])
    assert gaps(pieces) == [Gap(160, 239_840, GapKind.SILENCE, filled=False)]
    assert timeline.position == 240_160


def test_reordered_chunks_are_put_back_in_order() -> None:
    one, two, three = numbered(3)
    pieces = play(Timeline(MULAW), [one, three, two])
    assert audio(pieces) == one.payload + two.payload + three.payload
    assert not gaps(pieces)


def test_a_frame_is_waited_for_no_longer_than_the_reorder_window() -> None:
    timeline = Timeline(MULAW)
    timeline.receive(frame(1, 0))
    released = [len(timeline.receive(each)) for each in numbered(REORDER_FRAMES + 1, start=3)]
    assert released[:-1] == [0] * REORDER_FRAMES
    assert released[-1] > 0


def test_a_frame_that_comes_after_it_was_given_up_is_late() -> None:
    frames = numbered(30)
    missing = frames.pop(5)
    assert discarded(play(Timeline(MULAW), [*frames, missing])) == ["late"]


@pytest.mark.parametrize("repeated", [4, 5])
def test_a_duplicate_is_discarded_and_shortens_nothing(repeated: int) -> None:
    frames = numbered(5)
    timeline = Timeline(MULAW)
    assert discarded(play(timeline, [*frames, frames[repeated - 1]])) == ["duplicate"]
    assert timeline.position == 5 * FRAME


def test_a_duplicate_of_a_waiting_frame_is_discarded() -> None:
    timeline = Timeline(MULAW)
    timeline.receive(frame(1, 0))
    timeline.receive(frame(3, 40))
    assert timeline.receive(frame(3, 40)) == [Discarded("duplicate")]


def test_a_trembling_clock_inserts_nothing() -> None:
    timeline = Timeline(MULAW)
    frames = [frame(number, (number - 1) * 20 + (7 if number % 2 else -7)) for number in range(2, 200)]
    assert not gaps(play(timeline, [frame(1, 0), *frames]))


def test_late_arrival_with_a_continuous_clock_inserts_nothing() -> None:
    """A stall shows only in arrival times, which the timeline does not know."""
    assert not gaps(play(Timeline(MULAW), numbered(100)))


def test_a_clock_behind_the_audio_shortens_nothing_and_the_next_hole_pays_for_it() -> None:
    timeline = Timeline(MULAW)
    play(timeline, [frame(1, 0), frame(2, 100), frame(3, 40), frame(4, 60), frame(5, 200)])
    assert timeline.position == (200 + 20) * 8


def test_a_counter_that_begins_anew_while_the_clock_goes_on_loses_nothing() -> None:
    frames = [*numbered(20), *(frame(number, (number + 19) * 20) for number in range(1, 6))]
    pieces = play(Timeline(MULAW), frames)
    assert len(audio(pieces)) == 25 * FRAME
    assert not discarded(pieces)


def test_a_sender_that_begins_anew_altogether_goes_on_at_the_present_position() -> None:
    timeline = Timeline(MULAW)
    pieces = play(timeline, numbered(500) + numbered(50))
    assert timeline.position == 550 * FRAME
    assert not gaps(pieces)
    assert_continuous(pieces)


def test_one_stray_old_frame_does_not_turn_the_clock_back() -> None:
    timeline = Timeline(MULAW)
    frames = numbered(500)
    pieces = play(timeline, [*frames[:400], frames[2], *frames[400:]])
    assert timeline.position == 500 * FRAME
    assert not gaps(pieces)
    assert discarded(pieces) == ["late"]


def test_a_clock_that_leaps_by_hours_is_not_believed() -> None:
    timeline = Timeline(MULAW)
    play(timeline, [frame(1, 0), frame(2, int(MAX_JUMP_S * 1000) + 40), frame(3, int(MAX_JUMP_S * 1000) + 60)])
    assert timeline.position == 3 * FRAME


def test_without_a_clock_missing_chunks_are_taken_to_be_as_long_as_their_successor() -> None:
    timeline = Timeline(MULAW)
    pieces = play(timeline, [frame(1, None), frame(4, None)])
    assert gaps(pieces) == [Gap(160, 320, GapKind.LOST, filled=True)]


def test_without_a_counter_the_clock_alone_tells_of_gaps_and_late_frames() -> None:
    pieces = play(Timeline(MULAW), [frame(None, 0), frame(None, 60), frame(None, 20)])
    assert gaps(pieces) == [Gap(160, 320, GapKind.LOST, filled=True)]
    assert discarded(pieces) == ["late"]


def test_without_counter_and_clock_audio_just_follows() -> None:
    timeline = Timeline(MULAW)
    play(timeline, [frame(None, None)] * 7)
    assert timeline.position == 7 * FRAME


def test_counters_wider_than_sixteen_and_thirty_two_bits_count_on() -> None:
    for start in (2**16 - 2, 2**32 - 2):
        timeline = Timeline(MULAW, origin_ms=(start - 1) * 20)
        assert not gaps(play(timeline, numbered(5, start=start)))
        assert timeline.position == 5 * FRAME


def test_linear_audio_is_counted_in_samples_not_bytes() -> None:
    timeline = Timeline(AudioFormat.parse("linear16-16000"))
    pieces = play(timeline, [frame(1, 0, b"\1\2" * 320), frame(2, 60, b"\1\2" * 320)])
    assert gaps(pieces) == [Gap(320, 640, GapKind.SILENCE, filled=True)]
    assert timeline.position == 1280


@given(st.lists(st.sampled_from(["send", "suppress", "lose"]), max_size=200))
def test_the_timelines_length_is_the_platforms_clock(story: list[str]) -> None:
    timeline = Timeline(MULAW, max_fill_s=0.1)
    chunk, clock_ms, frames = 1, 0, [frame(1, 0)]
    for step in story:
        clock_ms += 20
        if step != "suppress":
            chunk += 1
        if step == "send":
            frames.append(frame(chunk, clock_ms))
    pieces = play(timeline, frames)
    last_ms = frames[-1].offset_ms
    assert last_ms is not None
    assert timeline.position == (last_ms + 20) * 8
    assert_continuous(pieces)


@given(st.lists(st.integers(0, REORDER_FRAMES - 1), min_size=40, max_size=40))
def test_any_order_within_the_window_gives_the_audio_in_order(delays: list[int]) -> None:
    frames = numbered(41)
    delayed = sorted(zip(delays, frames[1:], strict=True), key=lambda each: each[0] + (each[1].chunk or 0))
    shuffled = [frames[0], *(each for _, each in delayed)]
    assert audio(play(Timeline(MULAW), shuffled)) == b"".join(each.payload for each in frames)


@given(st.lists(st.tuples(st.none() | st.integers(0, 10**6), st.none() | st.integers(0, 10**9)), max_size=60))
def test_whatever_the_counters_say_positions_never_shrink(story: list[tuple[int | None, int | None]]) -> None:
    timeline = Timeline(MULAW)
    pieces: list[Piece] = []
    reached = 0
    for chunk, offset_ms in story:
        pieces += timeline.receive(frame(chunk, offset_ms))
        assert timeline.position >= reached
        reached = timeline.position
    pieces += timeline.flush()
    assert_continuous(pieces)


# ── The short way ────────────────────────────────────────────────────────────────────────────────────────────────


ODD_FRAMES = st.builds(
    frame,
    st.one_of(st.none(), st.integers(0, 12)),
    st.one_of(st.none(), st.integers(0, 12).map(lambda number: number * 20), st.integers(0, 400)),
)


@given(st.lists(ODD_FRAMES, max_size=40), st.integers(0, 40))
def test_the_short_way_takes_only_frames_that_the_long_way_would_have_placed_alike(
    odd: list[AudioReceived], regular_count: int
) -> None:
    frames = numbered(regular_count) + odd
    long, mixed = Timeline(MULAW), Timeline(MULAW)
    for each in frames:
        expected = long.receive(each)
        before = mixed.position
        if (end := mixed.expects([each])) is not None:
            mixed.follow([each], end)
            assert expected == [Stretch(before, each.payload)]
        else:
            assert mixed.receive(each) == expected
        assert mixed.position == long.position
    assert mixed.flush() == long.flush()


@given(st.integers(1, 20), st.lists(ODD_FRAMES, min_size=1, max_size=8))
def test_frames_go_the_short_way_together_where_each_would_alone(
    regular_count: int, coming: list[AudioReceived]
) -> None:
    one_by_one, together = Timeline(MULAW), Timeline(MULAW)
    for each in numbered(regular_count):
        one_by_one.receive(each)
        together.receive(each)
    before = together.position
    end = together.expects(coming)
    assert together.position == before
    all_follow = True
    for each in coming:
        alone = one_by_one.expects([each])
        all_follow = all_follow and alone is not None
        if alone is None:
            break
        one_by_one.follow([each], alone)
    assert (end is not None) == all_follow
    if end is not None:
        together.follow(coming, end)
        assert together.position == one_by_one.position
        assert together.receive(numbered(200)[-1]) == one_by_one.receive(numbered(200)[-1])


@given(
    st.sampled_from(["mulaw-8000", "linear16-8000", "linear16-16000", "linear16-11025"]),
    st.sampled_from([160, 320, 321, 640]),
    st.integers(0, 16),
    st.lists(st.sampled_from([0] * 20 + [1, -1, 30, -30, 1000]), min_size=1, max_size=8),
    st.booleans(),
)
def test_even_frames_together_are_held_to_the_clock_as_each_would_be_alone(
    audio_format: str, size: int, ahead_ms: int, trembles_ms: list[int], grows: bool
) -> None:
    form = AudioFormat.parse(audio_format)
    interval_ms = round(1000 * size / (form.rate_hz * form.bytes_per_sample))
    first = frame(1, 0, bytes(size))
    coming = [
        frame(2 + index, ahead_ms + (1 + index) * interval_ms + tremble_ms, bytes(size * (1 + index * grows)))
        for index, tremble_ms in enumerate(trembles_ms)
    ]
    one_by_one, together = Timeline(form), Timeline(form)
    assert one_by_one.receive(first) == together.receive(first)
    for each in coming:
        alone = one_by_one.expects([each])
        if alone is None:
            assert together.expects(coming) is None
            return
        one_by_one.follow([each], alone)
    assert together.expects(coming) == one_by_one.position


def test_nearly_all_frames_of_a_good_line_go_the_short_way() -> None:
    timeline = Timeline(MULAW)
    frames = numbered(100)
    timeline.receive(frames[0])
    assert timeline.expects(frames[1:]) == 100 * len(frames[0].payload)


def test_frames_of_a_sender_that_counts_nothing_go_the_short_way_too() -> None:
    timeline = Timeline(MULAW)
    timeline.receive(frame(None, None))
    assert timeline.expects([frame(None, None)] * 10) == 11 * len(frame(None, None).payload)


def test_the_first_frame_goes_the_long_way() -> None:
    timeline = Timeline(MULAW)
    assert timeline.expects([frame(None, 0)]) is None
    assert timeline.position == 0
