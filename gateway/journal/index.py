"""Where a call's audio lies in its file, coarsely, and how much of it there is."""

from array import array
from bisect import bisect_right

from gateway.events import Track
from gateway.journal.format import Kind, Record
from telephony_codecs.formats import AudioFormat

MARK_BYTES = 1 << 18
"""A mark is made about so often: 16 s of a call with two tracks, 32 bytes of memory each."""


class Index:
    """
    Grows with the file.

    Args:
        audio_format: of all tracks.
    """

    def __init__(self, audio_format: AudioFormat) -> None:
        self.format = audio_format
        self._offsets = array("q", [0])
        self._ends = {track: array("q", [0]) for track in Track}
        self._first: dict[Track, int] = {}
        self._after: dict[Track, int] = {}
        self._held = dict.fromkeys(Track, 0)
        self._came = dict.fromkeys(Track, 0)
        self._missing: dict[Track, list[tuple[int, int]]] = {track: [] for track in Track}

    def note(self, track: Track, position: int, samples: int, came: int, offset: int) -> None:
        """
        An audio record begins at this offset; records come in the order of the file.

        Args:
            came: samples of the track that came before it.
        """
        if came > self._came[track]:
            self.note_missing(track, came - self._came[track], position)
        self._came[track] = max(self._came[track], came + samples)
        if samples:
            self._note_audio(track, position, samples, offset)

    def note_missing(self, track: Track, samples: int, before: int) -> None:
        """So many samples are missing before a position."""
        start = max(self._after.get(track, 0), before - samples)
        if start < before:
            self._missing[track].append((start, before))

    def _note_audio(self, track: Track, position: int, samples: int, offset: int) -> None:
        if offset - self._offsets[-1] >= MARK_BYTES:
            self._offsets.append(offset)
            for each, ends in self._ends.items():
                ends.append(self._after.get(each, 0))
        after = self._after.get(track)
        end = position + samples
        if after is None:
            self._first[track] = position
            after = position
        self._held[track] += max(0, end - max(position, after))
        self._after[track] = max(after, end)

    def note_record(self, record: Record) -> None:
        """Same for a record that was read; others than audio are passed over."""
        if record.kind is Kind.AUDIO:
            samples = self.format.samples(record.payload)
            self.note(record.track, record.position, samples, record.came, record.offset)

    def extent(self, track: Track) -> tuple[int, int] | None:
        """Position of the track's first sample and the one after its last; None if there is no audio."""
        return (self._first[track], self._after[track]) if track in self._first else None

    def samples(self, track: Track) -> int:
        """How many samples of the track are there."""
        return self._held[track]

    def missing(self, track: Track) -> list[tuple[int, int]]:
        """
        Spans of positions whose audio came but is not there: damaged, or never written.

        Where the stream itself paused at the same place, they are taken to lie at the end of the pause.
        """
        return list(self._missing[track])

    @property
    def tracks(self) -> list[Track]:
        """Tracks that have audio."""
        return [track for track in Track if track in self._first]

    def offset_before(self, track: Track, position: int) -> int:
        """An offset at which a record begins; the track's audio from this position on lies behind it."""
        return self._offsets[bisect_right(self._ends[track], position) - 1]
