"""Where utterances begin and end, from voice decisions alone."""

import pytest

from gateway.engines.endpointing import FRAME_MS, Endpointer, Turn

PAUSE_MS = 600
PAUSE_FRAMES = PAUSE_MS // FRAME_MS


def turns(endpointer: Endpointer, frames: str) -> list[tuple[int, Turn]]:
    """Frames written `#` voiced or `.` silent, to (frame index, what it changed)."""
    steps = [endpointer.step(frame == "#") for frame in frames]
    return [(index, turn) for index, turn in enumerate(steps) if turn is not Turn.NOTHING]


@pytest.mark.parametrize("frames", ["#" * 3, ".##.#", "#.##"])
def test_speech_starts_with_the_third_voiced_frame_of_four(frames: str) -> None:
    assert turns(Endpointer(PAUSE_MS), frames) == [(len(frames) - 1, Turn.STARTED)]


@pytest.mark.parametrize("frames", ["", "." * 50, "#..." * 20, "##.." * 20])
def test_clicks_do_not_start_speech(frames: str) -> None:
    assert turns(Endpointer(PAUSE_MS), frames) == []


def test_speech_ends_after_exactly_the_pause() -> None:
    ends = turns(Endpointer(PAUSE_MS), "#" * 10 + "." * 50)[1:]
    # A tenth of the window may be voiced.
    assert ends == [(10 + PAUSE_FRAMES - PAUSE_FRAMES // 10 - 1, Turn.ENDED)]


def test_a_shorter_pause_does_not_end_speech() -> None:
    assert len(turns(Endpointer(PAUSE_MS), ("#" * 10 + "." * (PAUSE_FRAMES - 3)) * 5)) == 1


def test_a_click_in_a_pause_does_not_keep_speech_open() -> None:
    frames = "#" * 10 + "." * 10 + "#" + "." * 10
    assert turns(Endpointer(PAUSE_MS), frames)[-1][1] is Turn.ENDED


def test_the_next_utterance_is_judged_afresh() -> None:
    kinds = [turn for _, turn in turns(Endpointer(PAUSE_MS), ("#" * 10 + "." * 30) * 3)]
    assert kinds == [Turn.STARTED, Turn.ENDED] * 3


def test_reset_forgets_voiced_frames() -> None:
    endpointer = Endpointer(PAUSE_MS)
    turns(endpointer, "##")
    endpointer.reset()
    assert turns(endpointer, "##") == []
