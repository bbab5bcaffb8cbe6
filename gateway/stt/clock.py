"""Call time from a recogniser's time."""

from bisect import bisect_right


class SessionClock:
    """
    Maps seconds of the audio that one recogniser session was sent to positions of the call.

    A recogniser counts what it hears. What it hears may begin in mid-call, skip a hole that was too long to fill, and
    hold silence that is not part of the call at all. Every such place is an anchor: from so many samples sent on, audio
    of this position.

    Args:
        rate_hz: of the track; positions and counts are samples at this rate.
    """

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._sent: list[int] = []
        self._positions: list[int] = []
        self._total = 0
        self._next = 0

    @property
    def position(self) -> int:
        """The call position up to which audio was sent."""
        return self._next

    @property
    def sent_samples(self) -> int:
        """How many samples were sent, silence that is not of the call included."""
        return self._total

    def sent(self, position: int, samples: int) -> None:
        """Audio of the call was sent."""
        if not self._sent or position != self._next:
            self._anchor(position)
        self._total += samples
        self._next = position + samples

    def inserted(self, samples: int) -> None:
        """Silence was sent that is not part of the call; times inside it mean the place where it was put."""
        self._total += samples
        self._anchor(self._next)

    def call_s(self, session_s: float) -> float:
        """
        Seconds of call time for seconds of session time.

        Times outside of what was sent are held to its ends: recognisers round, the call does not.
        """
        if not self._sent:
            return self._next / self._rate_hz
        sample = min(max(session_s * self._rate_hz, 0.0), float(self._total))
        index = max(bisect_right(self._sent, sample) - 1, 0)
        position = self._positions[index] + sample - self._sent[index]
        end = self._positions[index + 1] if index + 1 < len(self._positions) else self._next
        return min(position, float(end)) / self._rate_hz

    def _anchor(self, position: int) -> None:
        if self._sent and self._sent[-1] == self._total:
            self._positions[-1] = position
        else:
            self._sent.append(self._total)
            self._positions.append(position)
        self._next = position
