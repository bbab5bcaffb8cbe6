"""The transcript of one call, put together as segments arrive."""

from bisect import insort

from gateway.events import Segment, Track, Utterance


class Transcript:
    """Keeps a call's segments in the order in which they were spoken, whatever the order in which they came."""

    def __init__(self) -> None:
        self._lines: list[Utterance] = []
        self._counts: dict[Track, int] = {}

    def add(self, track: Track, speaker: str, segment: Segment) -> None:
        """Take a segment; those that began at the same time stay in the order in which they came."""
        line = Utterance(track=track, speaker=speaker, text=segment.text, start_s=segment.start_s, end_s=segment.end_s)
        insort(self._lines, line, key=lambda each: each.start_s)
        self._counts[track] = self._counts.get(track, 0) + 1

    def segments(self, track: Track) -> int:
        """How many segments this track has."""
        return self._counts.get(track, 0)

    @property
    def conversation(self) -> tuple[Utterance, ...]:
        """Every line, by the time at which it began."""
        return tuple(self._lines)
