"""
What the routes of the history answer: the shapes of their JSON.

Times of day are ISO 8601 in UTC with milliseconds; `_s` are seconds since the call's first sample. What is not known is
null.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from gateway.events import Track, Word


class Problem(msgspec.Struct, frozen=True):
    """Why a request was not answered: `error` is a stable snake_case code, `message` is for people."""

    error: str
    message: str


class Call(msgspec.Struct, frozen=True, kw_only=True, rename={"from_number": "from", "to_number": "to"}):
    """
    A call in short.

    `ended_at`, `duration_s`, `outcome`, `reason` and `complete` are null while it goes on; all but the first also when
    its events were kept long enough and are being deleted. `finals` counts its
    `transcript.final` events; `has_recording` tells whether there is one that can be fetched now.
    """

    id: str
    platform: str
    platform_call_id: str | None
    from_number: str | None
    to_number: str | None
    metadata: Mapping[str, str]
    started_at: str
    ended_at: str | None
    duration_s: float | None
    outcome: str | None
    reason: str | None
    complete: bool | None
    tracks: tuple[Track, ...]
    finals: int
    has_recording: bool


class CallPage(msgspec.Struct, frozen=True, kw_only=True):
    """
    Calls, the newest first: those that go on by their start, then the others by their end.

    `next` is the `before` of the following page, null on the last one.
    """

    calls: tuple[Call, ...]
    next: str | None


class CallStory(Call, frozen=True, kw_only=True):
    """A call with the bodies of all its durable events, in order, as webhooks get them."""

    events: tuple[msgspec.Raw, ...]


class Passage(msgspec.Struct, frozen=True, kw_only=True):
    """
    A final of the transcript. `recovered` and `forced` as in `transcript.final`; `words` only if the recogniser gave
    their times.
    """

    track: Track
    speaker: str | None
    text: str
    start_s: float
    end_s: float
    recovered: bool
    forced: bool
    words: tuple[Word, ...] | UnsetType = UNSET


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """Audio that never arrived, or that could not be transcribed."""

    track: Track
    start_s: float
    end_s: float
    reason: str


class Digit(msgspec.Struct, frozen=True, kw_only=True):
    """A digit that was pressed."""

    track: Track | None
    digit: str
    at_s: float


class Transcript(msgspec.Struct, frozen=True, kw_only=True):
    """
    What was said, by time. `post_call`: the recording as it was transcribed after the call, the data of
    `call.transcript`; null if it was not.
    """

    call: Call
    passages: tuple[Passage, ...]
    gaps: tuple[Gap, ...]
    dtmf: tuple[Digit, ...]
    post_call: dict[str, Any] | None


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """A final in which all the words occur; `sequence` is its number within the call."""

    call: Call
    sequence: int
    track: Track
    speaker: str | None
    text: str
    start_s: float
    end_s: float


class Hits(msgspec.Struct, frozen=True, kw_only=True):
    """
    What was found, the newest first. `complete` is false while the search is still reading what the store already had,
    as after a start without the search's file; what is being said now is found within a second.
    """

    hits: tuple[Hit, ...]
    complete: bool


class Waveform(msgspec.Struct, frozen=True, kw_only=True):
    """The loudest sample of equal parts of the recording, per track, from 0 to 1."""

    duration_s: float
    tracks: Mapping[str, tuple[float, ...]]
