"""Where a call's audio lies in its file, coarsely, and how much of it there is."""

from array import array
from bisect import bisect_right

from gateway.events import Track
from gateway.journal.format import Kind, Record
from telephony_codecs.formats import AudioFormat

MARK_BYTES = 1 << 18
"""A mark is made about so often: 16 s of a call with two tracks, 24 bytes of memory each."""


class _Extent:
    """
    What the file holds of one track; all but `held` and `came` are positions.

    Attributes:
        ends: per mark, the position after the track's last sample before it.
        first, after: of the first sample, and after the last one; both 0 before any audio.
        held: samples that are there.
        came: samples that came, there or missing.
        missing: from and to.
    """

    __slots__ = ("after", "came", "ends", "first", "has_audio", "held", "missing")

    def __init__(self, marks: int) -> None:
        self.ends = array("q", bytes(8 * marks))
        self.first = self.after = self.held = self.came = 0
        self.has_audio = False
        self.missing: list[tuple[int, int]] = []

    def lack(self, samples: int, before: int) -> None:
        """So many samples are missing before a position."""
        start = max(self.after, before - samples)
        if start < before:
            self.missing.append((start, before))

    def grow(self, position: int, samples: int) -> None:
        """So many samples are there from a position on."""
        if not self.has_audio:
            self.has_audio = True
            self.first = self.after = position
        end = position + samples
        self.held += max(0, end - max(position, self.after))
        self.after = max(self.after, end)


class Index:
    """
    Grows with the file.

    Args:
        audio_format: of all tracks.
    """

    __slots__ = ("_extents", "_offsets", "format")

    def __init__(self, audio_format: AudioFormat) -> None:
        self.format = audio_format
        self._offsets = array("q", [0])
        self._extents: dict[Track, _Extent] = {}

    def note(self, track: Track, position: int, samples: int, came: int, offset: int) -> None:
        """
        An audio record begins at this offset; records come in the order of the file.

        Args:
            came: samples of the track that came before it.
        """
        extent = self._extents.get(track)
        if extent is None:
            extent = self._begin(track)
        if came > extent.came:
            extent.lack(came - extent.came, position)
        extent.came = max(extent.came, came + samples)
        if samples:
            if offset - self._offsets[-1] >= MARK_BYTES:
                self._mark(offset)
            extent.grow(position, samples)

    def note_record(self, record: Record) -> None:
        """Same for a record that was read; others than audio are passed over."""
        if record.kind is Kind.AUDIO:
            samples = self.format.samples(record.payload)
            self.note(record.track, record.position, samples, record.came, record.offset)

    def extent(self, track: Track) -> tuple[int, int] | None:
        """Position of the track's first sample and the one after its last; None if there is no audio."""
        found = self._extents.get(track)
        return (found.first, found.after) if found is not None and found.has_audio else None

    def samples(self, track: Track) -> int:
        """How many samples of the track are there."""
        found = self._extents.get(track)
        return 0 if found is None else found.held

    def missing(self, track: Track) -> list[tuple[int, int]]:
        """
        Spans of positions whose audio came but is not there: damaged, or never written.

        Where the stream itself paused at the same place, they are taken to lie at the end of the pause.
        """
        found = self._extents.get(track)
        return [] if found is None else list(found.missing)

    @property
    def tracks(self) -> list[Track]:
        """Tracks that have audio."""
        return [track for track in Track if self.extent(track) is not None]

    def offset_before(self, track: Track, position: int) -> int:
        """An offset at which a record begins; the track's audio from this position on lies behind it."""
        found = self._extents.get(track)
        return self._offsets[-1 if found is None else bisect_right(found.ends, position) - 1]

    def _begin(self, track: Track) -> _Extent:
        self._extents[track] = extent = _Extent(len(self._offsets))
        return extent

    def _mark(self, offset: int) -> None:
        self._offsets.append(offset)
        for extent in self._extents.values():
            extent.ends.append(extent.after)
