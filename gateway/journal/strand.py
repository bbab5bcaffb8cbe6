"""One track of a live call on its way from memory to the file, counted so that no loss goes unnoticed."""

from gateway import telemetry
from gateway.events import Track
from gateway.journal.disk import TrackAudio
from gateway.media.tape import Tape


class Strand:
    """
    What a track's tape has that the file has not.

    Every sample that came was written, is to be written, or was missed: memory gave it up before.
    """

    __slots__ = ("_counted", "_given_up", "_saved", "_seen", "_written", "tape", "track")

    def __init__(self, track: Track, tape: Tape) -> None:
        self.track = track
        self.tape = tape
        self._written = 0
        self._saved = 0
        self._given_up = 0
        self._counted = 0
        self._seen = 0

    @property
    def missed(self) -> int:
        """Samples that will never be in the file."""
        return self.tape.missed - self._saved + self._given_up

    @property
    def has_unwritten(self) -> bool:
        return bool(self.tape.unwritten())

    def collect(self, *, is_over: bool) -> TrackAudio | None:
        """What there is to write; with `is_over`, also the record that closes the track. None: nothing."""
        tape = self.tape
        if tape.missed > self._seen:
            self._count()
        chunks = tape.unwritten()
        if is_over and tape.end is not None:
            return TrackAudio(self.track, chunks, self.came, tape.missed, tape.end)
        return TrackAudio(self.track, chunks, self.came, tape.missed) if chunks else None

    def settle(self, audio: TrackAudio, samples: int) -> None:
        """It was written: so many samples."""
        tape = self.tape
        if tape.missed > audio.missed:  # memory gave some of it up while it was on its way to the disk: that is no loss
            self._saved += min(tape.missed - audio.missed, samples)
        self._written += samples
        if audio.chunks:
            last = audio.chunks[-1]
            tape.wrote(last.position + tape.format.samples(last.payload))

    def give_up(self) -> int:
        """What is not written will never be; returns how many samples."""
        chunks = self.tape.unwritten()
        lost = sum(self.tape.format.samples(chunk.payload) for chunk in chunks)
        if self.tape.end is not None:
            self.tape.wrote(self.tape.end)
        self._given_up += lost
        self._count()
        return lost

    @property
    def came(self) -> int:
        """Samples that were written or missed."""
        return self._written + self.missed

    def _count(self) -> None:
        self._seen = self.tape.missed
        if self.missed > self._counted:
            telemetry.JOURNAL_MISSED_SECONDS.inc((self.missed - self._counted) / self.tape.format.rate_hz)
            self._counted = self.missed
