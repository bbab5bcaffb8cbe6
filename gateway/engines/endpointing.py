"""Where utterances begin and end, from one voice decision per frame. Pure: it sees no audio."""

from collections import deque
from enum import Enum, auto

FRAME_MS = 30
# Three of four frames (about 100 ms) begin an utterance: shorter than any word, longer than a click.
_START_WINDOW = 4
_START_VOICED = 3
# A pause may contain this share of voiced frames: breaths and line noise must not keep an utterance open.
_PAUSE_VOICED = 0.1


class Turn(Enum):
    """What a frame changed."""

    NOTHING = auto()
    STARTED = auto()
    ENDED = auto()


class Endpointer:
    """
    Follows one session frame by frame.

    Args:
        pause_ms: silence that ends an utterance, rounded to frames of `FRAME_MS`.
    """

    def __init__(self, pause_ms: int) -> None:
        self._pause_frames = max(1, round(pause_ms / FRAME_MS))
        self._window: deque[bool] = deque()
        self.in_speech = False

    def step(self, voiced: bool) -> Turn:
        """Judge the next frame."""
        self._window.append(voiced)
        while len(self._window) > (self._pause_frames if self.in_speech else _START_WINDOW):
            self._window.popleft()
        if self.in_speech:
            return self._while_speaking(voiced)
        if sum(self._window) >= _START_VOICED:
            self._enter(in_speech=True)
            return Turn.STARTED
        return Turn.NOTHING

    def reset(self) -> None:
        """Begin anew, as if nothing had been heard."""
        self._enter(in_speech=False)

    def _while_speaking(self, voiced: bool) -> Turn:
        paused = len(self._window) == self._pause_frames and not voiced
        if paused and sum(self._window) <= _PAUSE_VOICED * self._pause_frames:
            self._enter(in_speech=False)
            return Turn.ENDED
        return Turn.NOTHING

    def _enter(self, *, in_speech: bool) -> None:
        self.in_speech = in_speech
        self._window.clear()
