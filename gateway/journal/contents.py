"""What a call's file says besides audio; JSON in its first and its last record."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from gateway.events import CallInfo, Track, TrackSummary


class CallHeader(msgspec.Struct, frozen=True, kw_only=True):
    """
    Everything that recovery needs to go on with a call.

    Args:
        format: of all tracks, such as `mulaw-8000`.
        profile: the first choice of the call.
        started_at: Unix seconds.
    """

    call: CallInfo
    tracks: tuple[Track, ...]
    format: str
    profile: str
    language: str | None
    speakers: Mapping[Track, str]
    started_at: float


class StreamEnd(msgspec.Struct, frozen=True, kw_only=True):
    """
    How the stream ended.

    Args:
        heard: position in samples, per track, up to which nothing is left to be heard; a track that is missing may
            have been heard or not.
        ended_at: Unix seconds.
    """

    outcome: str
    reason: str
    duration_s: float
    tracks: tuple[TrackSummary, ...]
    ended_at: float
    heard: Mapping[Track, int] = {}


class RecordingInfo(msgspec.Struct, frozen=True, kw_only=True):
    """
    A WAV file that was made of a call.

    Args:
        channels: 2: left inbound, right outbound; 1 if there was one track.
        missing_s: silence in place of audio that the journal does not have, between each track's first and last
            sample, all tracks together: long pauses of the stream itself, and what was lost.
    """

    path: Path
    duration_s: float
    channels: int
    missing_s: float
