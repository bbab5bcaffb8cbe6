"""
The timeline of one track: every sample gets its position in the call, and no position is ever taken back.

The platform tells two stories about each frame. Its *clock* (`offset_ms`) says where the audio belongs, its *counter*
(`chunk`) says whether a message is missing:

    counter goes on, clock goes on     audio follows audio; a clock that trembles by less than TOLERANCE_MS is ignored
    counter goes on, clock jumps       silence suppression: nothing was said, nothing was lost
    counter jumps                      messages are missing; the next ones wait a moment in case those are only late
    counter goes back, clock goes on   the sender began to count anew
    both go back a little              a duplicate, or a frame that comes too late
    both go back far                   the sender began anew altogether, once a second frame confirms it

A hole up to `max_fill_s` is filled with silence, so that recognisers hear the pause; a longer one is skipped. Either
way the position advances by the hole's full length. A clock that falls behind the audio is never allowed to shorten
it: the next hole is the shorter for it. Arrival time plays no part: late is not lost.
"""

from collections import deque
from collections.abc import Sequence
from enum import StrEnum
from typing import TypeAlias

import msgspec

from gateway.events import AudioFrame, AudioReceived
from gateway.shared import shared
from telephony_codecs.formats import AudioFormat

TOLERANCE_MS = 15
"""Clock deviation that is taken for trembling: less than one 20 ms frame."""
REORDER_FRAMES = 10
"""How many frames may wait for a missing one; 200 ms of ordinary frames."""
RESTART_S = 2.0
"""A clock that goes back by more than this belongs to a sender that began anew, not to a late frame."""
MAX_JUMP_S = 3600.0
"""A clock that leaps ahead further than this is broken; it is taken anew from the next sample."""


class GapKind(StrEnum):
    """Why there is no audio at some place."""

    SILENCE = "silence_suppressed"
    LOST = "lost"


class Stretch(msgspec.Struct, frozen=True, gc=False):
    """Audio from `position` on, in samples since the stream's first one; `payload` in the track's format."""

    position: int
    payload: bytes


class Gap(msgspec.Struct, frozen=True):
    """
    No audio arrived for `samples` samples from `position` on.

    `filled`: a stretch of silence of that length follows; else the position jumps.
    """

    position: int
    samples: int
    kind: GapKind
    filled: bool


class Discarded(msgspec.Struct, frozen=True):
    """A frame that was not used: `duplicate`, or `late`, its place being taken."""

    kind: str


Piece: TypeAlias = Stretch | Gap | Discarded


class Timeline:
    """
    Places one track's frames.

    Args:
        audio_format: of the track.
        origin_ms: the platform's clock at call time 0, the same for all tracks of a stream.
        max_fill_s: longest hole that is filled with silence.

    `position` is where the next sample goes.
    """

    def __init__(self, audio_format: AudioFormat, *, origin_ms: int = 0, max_fill_s: float = 5.0) -> None:
        self._format = audio_format
        self._origin_ms = origin_ms
        self._per_ms = shared(audio_format.rate_hz / 1000)
        self._bytes_per_sample = audio_format.bytes_per_sample
        self._tolerance = shared(TOLERANCE_MS * self._per_ms)
        self._max_fill = shared(int(max_fill_s * audio_format.rate_hz))
        self._next_chunk: int | None = None
        self._waiting: dict[int, AudioReceived] = {}
        self._given_up: deque[range] = deque(maxlen=16)
        self._newcomer: AudioReceived | None = None
        self._begun = False
        self._is_even = False  # it has begun, and nothing waits
        self.position = 0

    def receive(self, frame: AudioReceived) -> list[Piece]:
        """Place one frame; returns what can now be said for certain, in order of position."""
        pieces = self._receive(frame)
        self._is_even = self._begun and not self._waiting and self._newcomer is None
        return pieces

    def _receive(self, frame: AudioReceived) -> list[Piece]:
        chunk, expected = frame.chunk, self._next_chunk
        if chunk is None or expected is None or chunk == expected:
            pieces = self._reject_newcomer()
            pieces += self._place(frame, GapKind.LOST if chunk is None else GapKind.SILENCE)
            return pieces + self._release() if self._waiting else pieces
        if chunk > expected:
            if chunk in self._waiting:
                return [Discarded("duplicate")]
            self._waiting[chunk] = frame
            return self._release()
        return self._went_back(frame, chunk)

    def expects(self, frames: Sequence[AudioFrame]) -> int | None:
        """
        Whether frames are those that were expected, where they were expected, as nearly all are.

        Returns:
            the position behind them, to be handed to `follow`; None: not all are, and `receive` has to see them.
        """
        if not self._is_even:
            return None
        chunk, position, per_ms, width = self._next_chunk, self.position, self._per_ms, self._bytes_per_sample
        origin, tolerance = self._origin_ms * per_ms, self._tolerance
        for frame in frames:
            if frame.chunk != chunk:
                return None
            if chunk is not None:
                chunk += 1
            offset_ms = frame.offset_ms
            if offset_ms is not None and abs(offset_ms * per_ms - origin - position) >= tolerance:
                return None
            position += len(frame.payload) // width
        return position

    def follow(self, frames: Sequence[AudioFrame], end: int) -> None:
        """Place frames at `position`, which then lies behind them: at `end`, as `expects` said of them just now."""
        if self._next_chunk is not None:
            self._next_chunk += len(frames)
        self.position = end

    def flush(self) -> list[Piece]:
        """Place what still waits; the stream is over."""
        return self._reject_newcomer() + self._release(force=True)

    def _release(self, *, force: bool = False) -> list[Piece]:
        """Place waiting frames that follow on, and those that have waited long enough for a missing one."""
        pieces: list[Piece] = []
        while self._waiting:
            chunk = min(self._waiting)
            if chunk == self._next_chunk:
                pieces += self._place(self._waiting.pop(chunk), GapKind.SILENCE)
            elif force or len(self._waiting) > REORDER_FRAMES:
                assert self._next_chunk is not None
                self._given_up.append(range(self._next_chunk, chunk))
                pieces += self._place(self._waiting.pop(chunk), GapKind.LOST)
            else:
                break
        return pieces

    def _place(self, frame: AudioReceived, hole: GapKind) -> list[Piece]:
        """Put a frame at its place, which is at or after `position`, with the hole before it if there is one."""
        samples = self._format.samples(frame.payload)
        pieces: list[Piece] = []
        ahead = self._ahead(frame)
        if ahead is None:
            if hole is GapKind.LOST and frame.chunk is not None and self._next_chunk is not None:
                pieces += self._leave_hole((frame.chunk - self._next_chunk) * samples, hole)
        elif abs(ahead) > MAX_JUMP_S * self._format.rate_hz or ahead < -RESTART_S * self._format.rate_hz:
            self._take_clock_anew(frame)
        elif ahead > self._tolerance:
            pieces += self._leave_hole(ahead, hole)
        elif frame.chunk is None and -ahead >= max(samples, self._tolerance):
            return [Discarded("late")]
        if frame.chunk is not None:
            self._next_chunk = frame.chunk + 1
        self._begun = True
        pieces.append(Stretch(self.position, frame.payload))
        self.position += samples
        return pieces

    def _leave_hole(self, samples: int, kind: GapKind) -> list[Piece]:
        start = self.position
        self.position += samples
        if not self._begun:
            return []  # a track that begins after the stream did has no gap before it
        if samples > self._max_fill:
            return [Gap(start, samples, kind, filled=False)]
        return [Gap(start, samples, kind, filled=True), Stretch(start, self._format.silence(samples))]

    def _went_back(self, frame: AudioReceived, chunk: int) -> list[Piece]:
        ahead = self._ahead(frame)
        if ahead is not None and ahead >= -self._tolerance:
            return self._release(force=True) + self._place(frame, GapKind.LOST)  # only the counter began anew
        far = RESTART_S * self._format.rate_hz
        if (ahead is not None and ahead < -far) or (ahead is None and chunk <= 1):
            return self._confirm_newcomer(frame, chunk)
        late = any(chunk in missing for missing in self._given_up)
        return [Discarded("late" if late else "duplicate")]

    def _confirm_newcomer(self, frame: AudioReceived, chunk: int) -> list[Piece]:
        """One old frame is a stray; two that follow on are a sender that began anew."""
        first, self._newcomer = self._newcomer, None
        if first is None or first.chunk is None or first.chunk + 1 != chunk:
            self._newcomer = frame
            return [] if first is None else [Discarded("late")]
        pieces = self._release(force=True)
        self._take_clock_anew(first)
        self._given_up.clear()
        self._next_chunk = first.chunk
        return pieces + self._place(first, GapKind.SILENCE) + self._place(frame, GapKind.SILENCE)

    def _reject_newcomer(self) -> list[Piece]:
        if self._newcomer is None:
            return []
        self._newcomer = None
        return [Discarded("late")]

    def _ahead(self, frame: AudioReceived) -> int | None:
        """How far the clock puts this frame past `position`, in samples."""
        if frame.offset_ms is None:
            return None
        return round((frame.offset_ms - self._origin_ms) * self._per_ms) - self.position

    def _take_clock_anew(self, frame: AudioReceived) -> None:
        """Let this frame's clock mean the present position, so that nothing shrinks and nothing leaps."""
        if frame.offset_ms is not None:
            self._origin_ms = frame.offset_ms - round(self.position / self._per_ms)
