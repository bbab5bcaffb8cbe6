"""What the store knows of a call: its events, read back."""

from collections.abc import Sequence
from typing import TypeVar

import msgspec

from gateway.events import (
    AssistCue,
    CallEnded,
    CallGap,
    CallStarted,
    Segment,
    SttDegraded,
    SttRecovered,
    Track,
    TranscriptFinal,
    Word,
)
from gateway.outbox import StoredEvent
from gateway.transcript.assembler import Transcript

D = TypeVar("D")


class _Body(msgspec.Struct):
    data: msgspec.Raw


class _Started(msgspec.Struct):
    tracks: tuple[Track, ...]


class _Final(msgspec.Struct):
    track: Track
    speaker: str
    provider: str
    text: str
    start_s: float
    end_s: float
    language: str | None = None
    words: tuple[Word, ...] = ()


class _Cue(msgspec.Struct):
    cue: str


class _Gap(msgspec.Struct):
    track: Track
    start_s: float
    end_s: float
    reason: str


class _OfTrack(msgspec.Struct):
    track: Track


class Story:
    """
    A call as far as it is told.

    Attributes:
        sequence: of its last event, 0 if there is none.
        tracks: that were announced; empty if the call was not.
        transcript: what was said.
        finals: the same, with words, in the order in which it was kept.
        cued: names of the cues that followed the last final, if nothing else did; else None.
        committed_s: call time up to which finals of a track reach.
        gaps: reported holes of a track, from, to and why.
        degraded: tracks whose recogniser was reported lost and not yet back.
        has_ended: whether the call has its end.
    """

    def __init__(self, events: Sequence[StoredEvent]) -> None:
        self.sequence = 0
        self.tracks: tuple[Track, ...] = ()
        self.transcript = Transcript()
        self.finals: list[tuple[Track, Segment]] = []
        self.cued: list[str] | None = None
        self.committed_s: dict[Track, float] = {}
        self.gaps: dict[Track, list[tuple[float, float, str]]] = {}
        self.degraded: set[Track] = set()
        self.has_ended = False
        for event in events:
            self._take(event)

    def lost_s(self, track: Track) -> float:
        """Seconds of a track that never arrived."""
        return sum(end - start for start, end, reason in self.gaps.get(track, ()) if reason == "lost")

    def untranscribed_s(self, track: Track) -> float:
        """Seconds of a track that were given up."""
        return sum(end - start for start, end, reason in self.gaps.get(track, ()) if reason != "lost")

    def add_gap(self, track: Track, start_s: float, end_s: float, reason: str) -> bool:
        """Note a hole; false if it was known already."""
        known = self.gaps.setdefault(track, [])
        if any(start <= start_s and end_s <= end for start, end, _ in known):
            return False
        known.append((start_s, end_s, reason))
        return True

    def _take(self, event: StoredEvent) -> None:
        self.sequence = max(self.sequence, event.sequence)
        self._note_cues(event)
        match event.type:
            case CallStarted.type:
                self.tracks = _data(event, _Started).tracks
            case TranscriptFinal.type:
                self._take_final(_data(event, _Final))
            case CallGap.type:
                gap = _data(event, _Gap)
                self.add_gap(gap.track, gap.start_s, gap.end_s, gap.reason)
            case SttDegraded.type:
                self.degraded.add(_data(event, _OfTrack).track)
            case SttRecovered.type:
                self.degraded.discard(_data(event, _OfTrack).track)
            case CallEnded.type:
                self.has_ended = True
            case _:
                pass  # digits, cues and whole transcripts change nothing

    def _note_cues(self, event: StoredEvent) -> None:
        if event.type == TranscriptFinal.type:
            self.cued = []
        elif event.type != AssistCue.type:
            self.cued = None
        elif self.cued is not None:
            self.cued.append(_data(event, _Cue).cue)

    def _take_final(self, final: _Final) -> None:
        self.committed_s[final.track] = max(self.committed_s.get(final.track, 0.0), final.end_s)
        segment = Segment(
            provider=final.provider,
            text=final.text,
            start_s=final.start_s,
            end_s=final.end_s,
            words=final.words,
            language=final.language,
        )
        self.transcript.add(final.track, final.speaker, segment)
        self.finals.append((final.track, segment))


def _data(event: StoredEvent, kind: type[D]) -> D:
    return msgspec.json.decode(msgspec.json.decode(event.body, type=_Body).data, type=kind)
