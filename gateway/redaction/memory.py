"""What was said in calls before, as far as it decides how the next thing is masked."""

from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import Any, NamedTuple

PAUSE_S = 10.0
"""A number does not go on after a longer silence of its speaker."""
MOST_FINALS = 16
"""Of a track, that are remembered: a cue may have been said in several."""
_CALLS = 10_000


class Said(NamedTuple):
    """The text of a final, and with how many digits the one before it ended."""

    text: str
    after_digits: int


class _Voice:
    """A track's last finals, with how many digits the last one ends, and when that was."""

    __slots__ = ("digits", "end_s", "finals")

    def __init__(self) -> None:
        self.finals: deque[Said] = deque(maxlen=MOST_FINALS)
        self.digits = 0
        self.end_s = 0.0


class Memory:
    """The last finals of each track of each call; those of the calls that are silent longest are forgotten."""

    def __init__(self) -> None:
        self._calls: OrderedDict[str, dict[Any, _Voice]] = OrderedDict()

    def knows(self, call_id: str) -> bool:
        """Whether anything of this call was remembered."""
        return call_id in self._calls

    def digits_before(self, call_id: str, track: object, start_s: float | None) -> int:
        """With how many digits a track stopped a moment before this time; see `Circumstances`."""
        voice = self._calls.get(call_id, {}).get(track)
        if voice is None or (start_s is not None and start_s - voice.end_s > PAUSE_S):
            return 0
        return voice.digits

    def finals(self, call_id: str, track: object) -> Sequence[Said]:
        """The last ones of a track, the oldest first."""
        voice = self._calls.get(call_id, {}).get(track)
        return () if voice is None else voice.finals

    def note(self, call_id: str, track: object, said: Said, *, digits: int, end_s: float | None) -> None:
        """This was said, and ended with so many digits."""
        voices = self._calls.pop(call_id, {})
        self._calls[call_id] = voices
        voice = voices.setdefault(track, _Voice())
        voice.finals.append(said)
        voice.digits = digits
        voice.end_s = end_s or 0.0
        if len(self._calls) > _CALLS:
            self._calls.popitem(last=False)

    def forget(self, call_id: str) -> None:
        """The call is over."""
        self._calls.pop(call_id, None)
