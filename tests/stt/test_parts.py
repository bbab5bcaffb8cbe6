"""Cutting long recordings and joining what was said in their parts."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gateway.events import RecordingTranscript
from gateway.stt.parts import cut, join_parts, join_tracks

HZ = 8000


@given(st.lists(st.integers(0, 9000), max_size=8), st.integers(0, 2**32 - 1))
def test_parts_are_the_recording_however_it_comes_and_none_is_too_long(sizes: list[int], seed: int) -> None:
    audio = np.random.default_rng(seed).integers(-(2**15), 2**15, sum(sizes), np.int16).tobytes()
    ends = np.cumsum(sizes) * 2
    blocks = [audio[end - size * 2 : end] for end, size in zip(ends, sizes, strict=True)]
    parts = list(cut(blocks, HZ, longest_s=1.0, search_s=0.5))
    assert b"".join(parts) == audio
    assert all(0 < len(part) <= 2 * HZ for part in parts)


def test_the_cut_is_in_the_middle_of_the_pause() -> None:
    audio = np.full(HZ * 2, 5000, "<i2")
    audio[5000:7400] = 10  # 300 ms
    first, *_ = cut([audio.tobytes()], HZ, longest_s=1.0, search_s=0.5)
    assert abs(len(first) // 2 - 6200) <= 160


def test_a_single_part_keeps_everything() -> None:
    transcript = RecordingTranscript(text="x", gender="female", emotions={"anger": 0.1}, duration_s=1, language="en")
    assert join_tracks([join_parts([(0.0, transcript)], None)]) == transcript


def test_tracks_without_times_are_put_one_after_the_other() -> None:
    tracks = [RecordingTranscript(text="a", duration_s=1), RecordingTranscript(text="b", duration_s=2)]
    assert join_tracks(tracks) == RecordingTranscript(text="a b", duration_s=2)
