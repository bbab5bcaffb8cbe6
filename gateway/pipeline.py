"""The way of one track's audio: timeline → joiner → recogniser session; what is known about it."""

from collections.abc import Sequence

from gateway import telemetry
from gateway.events import AudioFrame, AudioReceived, StreamStarted, Track, TrackReading, TrackSummary
from gateway.media.framing import Joiner
from gateway.media.tape import Tape
from gateway.media.timeline import Discarded, Gap, GapKind, Piece, Stretch, Timeline
from gateway.shared import shared
from gateway.stt.session import TrackSession
from gateway.transcript.assembler import Transcript


class TrackPipeline:
    """
    One track of one call.

    Attributes:
        lost_s: of audio never arrived.
        untranscribed_s: met no recogniser.
    """

    def __init__(self, track: Track, started: StreamStarted, session: TrackSession, tape: Tape, joiner: Joiner) -> None:
        self.track = track
        self.session = session
        self._tape = tape
        self.lost_s = self.untranscribed_s = 0.0
        self._audio_bytes = self._told_bytes = 0
        self._newest = Stretch(0, b"")
        self._format = started.format
        self._bytes_per_sample = started.format.bytes_per_sample
        self._bytes_per_s = shared(started.format.rate_hz * started.format.bytes_per_sample)
        self._joiner = joiner
        self._timeline: Timeline | None = None

    def receive(self, frame: AudioReceived, origin_ms: int) -> list[Gap]:
        """Take one frame; returns the gaps that showed."""
        if self._timeline is None:
            self._timeline = Timeline(self._format, origin_ms=origin_ms)
        self._audio_bytes += len(frame.payload)
        return self._pass_on(self._timeline.receive(frame))

    def expects(self, frames: Sequence[AudioFrame]) -> int | None:
        """Whether frames follow on the last one; what `follow` needs to know of that."""
        return None if self._timeline is None else self._timeline.expects(frames)

    def follow(self, frames: Sequence[AudioFrame], end: int) -> None:
        """Take frames of which `expects` has just said that they end there."""
        timeline = self._timeline
        assert timeline is not None
        position = timeline.position
        timeline.follow(frames, end)
        self._audio_bytes += (end - position) * self._bytes_per_sample
        for chunk in self._joiner.extend(position, [frame.payload for frame in frames]):
            self._feed(chunk)

    def came_s(self) -> float:
        """Audio that came since this was asked last."""
        came = self._audio_bytes - self._told_bytes
        self._told_bytes = self._audio_bytes
        return came / self._bytes_per_s

    def lacking_s(self) -> float:
        """Audio until the chunk under way is complete."""
        return self._joiner.lacking_bytes / self._bytes_per_s

    def finish(self) -> list[Gap]:
        """The stream is over: everything that is held goes to the recogniser."""
        gaps = self._pass_on(self._timeline.flush()) if self._timeline else []
        for chunk in self._joiner.flush():
            self._feed(chunk)
        self.session.close()
        return gaps

    def release(self) -> None:
        """The call is over: nothing is held any more."""
        self._tape.release()

    @property
    def audio_s(self) -> float:
        """Audio that arrived."""
        return self._audio_bytes / self._bytes_per_s

    @property
    def position(self) -> int:
        """Samples of call time reached by this track."""
        return self._timeline.position if self._timeline else 0

    @property
    def position_s(self) -> float:
        """Call time reached by this track."""
        return self.position / self._format.rate_hz

    def seconds(self, samples: int) -> float:
        return samples / self._format.rate_hz

    def seconds_after(self, position: int) -> float:
        """Call time from a position to the end of this track."""
        return self.seconds(max(0, self.position - position))

    def summary(self, transcript: Transcript) -> TrackSummary:
        """What `call.ended` says of this track."""
        return TrackSummary(
            track=self.track,
            audio_s=self.audio_s,
            lost_s=self.lost_s,
            untranscribed_s=self.untranscribed_s,
            finals=transcript.segments(self.track),
        )

    def reading(self) -> TrackReading:
        """How this track is now."""
        newest = self._newest
        end = newest.position + self._format.samples(newest.payload)
        return TrackReading(format=self._format, newest=newest.payload, position=end, stt=self.session.state)

    def _feed(self, chunk: Stretch) -> None:
        self._newest = chunk
        self.session.feed(chunk)

    def _pass_on(self, pieces: list[Piece]) -> list[Gap]:
        gaps: list[Gap] = []
        for piece in pieces:
            match piece:
                case Stretch():
                    for chunk in self._joiner.add(piece):
                        self._feed(chunk)
                case Gap():
                    telemetry.MEDIA_GAP_SECONDS.labels(piece.kind).inc(self.seconds(piece.samples))
                    if piece.kind is GapKind.LOST:
                        self.lost_s += self.seconds(piece.samples)
                        gaps.append(piece)
                case Discarded():
                    telemetry.MEDIA_FRAMES_DISCARDED.labels(piece.kind).inc()
        return gaps
