"""
Frozen data that crosses rooms; nothing else.

Four families, in the order in which a call produces them: what the phone platform said (telephony events), what a
recogniser said (recogniser events, in that session's own time), what that means for a track (track events, in call
time), and what the gateway tells the world (call events, in call time). Beside them stand readings, what a call is like
at a moment, and recordings. msgspec structs, because one telephony event is made per 20 ms frame.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import ClassVar, Protocol, TypeAlias

import msgspec

from telephony_codecs.formats import AudioFormat

# ── Telephony events: what a dialect makes of the platform's messages ────────────────────────────────────────────


class Track(StrEnum):
    """A direction of the call, seen from the phone platform: inbound is the caller, outbound what the caller hears."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"


class StreamStarted(msgspec.Struct, frozen=True, kw_only=True):
    """The platform announced a stream; audio of these tracks in this format follows."""

    stream_id: str
    platform_call_id: str | None
    account_id: str | None
    tracks: tuple[Track, ...]
    format: AudioFormat
    parameters: Mapping[str, str]
    from_number: str | None = None
    to_number: str | None = None


class AudioReceived(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """
    One message of audio of one track, still in the platform's encoding.

    `chunk` counts a track's messages, `sequence` all messages of the socket; `offset_ms` is the platform's own clock,
    milliseconds since the stream began. None where the platform does not say.
    """

    track: Track
    payload: bytes
    chunk: int | None = None
    sequence: int | None = None
    offset_ms: int | None = None


class AudioFrame(Protocol):
    """What a track's timeline needs of a message of audio; see `AudioReceived`."""

    @property
    def payload(self) -> bytes: ...

    @property
    def chunk(self) -> int | None: ...

    @property
    def offset_ms(self) -> int | None: ...


class DigitPressed(msgspec.Struct, frozen=True, kw_only=True):
    """A DTMF digit: 0-9, *, #, A-D."""

    digit: str
    track: Track | None = None
    offset_ms: int | None = None


class MarkReached(msgspec.Struct, frozen=True, kw_only=True):
    """Audio that the gateway sent before this mark has been played."""

    name: str


class StreamStopped(msgspec.Struct, frozen=True, kw_only=True):
    """The platform said that the stream is over."""


class UnknownMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message of a kind that this dialect does not know: platforms add kinds. `kind` is cut to 40 characters."""

    kind: str


TelephonyEvent: TypeAlias = StreamStarted | AudioReceived | DigitPressed | MarkReached | StreamStopped | UnknownMessage

# ── Recogniser events: seconds count from the first sample that this session was sent ────────────────────────────


class Word(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One recognised word. Inside recogniser events in session time, inside call events in call time."""

    word: str
    start_s: float
    end_s: float
    confidence: float | None = None


class Partial(msgspec.Struct, frozen=True, kw_only=True):
    """What the current utterance sounds like so far; the next partial or final replaces it."""

    text: str
    start_s: float | None = None
    words: tuple[Word, ...] = ()


class Final(msgspec.Struct, frozen=True, kw_only=True):
    """
    A piece of transcript that will not change.

    `from_finalize` marks the answer to a `finalize` request; only there may `text` be empty.
    """

    text: str
    start_s: float | None = None
    end_s: float | None = None
    words: tuple[Word, ...] = ()
    language: str | None = None
    confidence: float | None = None
    from_finalize: bool = False


class SpeechStarted(msgspec.Struct, frozen=True, kw_only=True):
    """The recogniser's voice detector heard somebody begin to speak."""

    at_s: float


class SpeechEnded(msgspec.Struct, frozen=True, kw_only=True):
    """The recogniser's voice detector heard them stop."""

    at_s: float


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """The recogniser has said everything about the audio it was sent; nothing follows."""


RecognizerEvent: TypeAlias = Partial | Final | SpeechStarted | SpeechEnded | Finished


class RecognizerRequest(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a recogniser session is wanted for. Options that are None are left to the recogniser.

    Args:
        format: the audio that will be sent.
        language: code as the caller gave it, such as `en`.
        call_id, track, platform_call_id, metadata: fill the placeholders of a profile's URL.
        eou_timeout_ms: silence before a final.
        endpointing: whether pauses make finals at all.
        max_words: force a final at so many words.
    """

    format: AudioFormat
    language: str | None = None
    call_id: str = ""
    track: str = ""
    platform_call_id: str | None = None
    metadata: Mapping[str, str] = {}
    eou_timeout_ms: int | None = None
    endpointing: bool | None = None
    max_words: int | None = None


# ── Track events: what a track's session makes of it, in call time ──────────────────────────────────────────────


class Hearing(msgspec.Struct, frozen=True, kw_only=True):
    """The utterance that is being spoken; the next `Hearing` or `Segment` of the track replaces it."""

    provider: str
    text: str
    start_s: float | None


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """
    A piece of one track's transcript that will not change.

    `provider`: name of the profile that heard it. `recovered`: heard after an interruption, not live. `forced`: the
    recogniser never confirmed it; it is the last partial that was heard.
    """

    provider: str
    text: str
    start_s: float
    end_s: float
    words: tuple[Word, ...] = ()
    language: str | None = None
    confidence: float | None = None
    recovered: bool = False
    forced: bool = False


class Untranscribed(msgspec.Struct, frozen=True, kw_only=True):
    """Audio that reached the gateway but no recogniser, and never will."""

    start_s: float
    end_s: float
    reason: str


class RecognizerLost(msgspec.Struct, frozen=True, kw_only=True):
    """The track's recogniser refused or went away; `at_s` is how far the call was then."""

    provider: str
    at_s: float
    reason: str


class RecognizerBack(msgspec.Struct, frozen=True, kw_only=True):
    """A recogniser hears the track again, from where the last one was lost; `at_s` is how far the call was then."""

    provider: str
    at_s: float


TrackEvent: TypeAlias = Hearing | Segment | Untranscribed | RecognizerLost | RecognizerBack

# ── Readings: how a call in progress is at this moment ─────────────────────────────────────────────────────────


class SttState(StrEnum):
    """Whether a track is being transcribed: it is; the first session is not there yet; it was lost."""

    LIVE = "live"
    CONNECTING = "connecting"
    DEGRADED = "degraded"


class TrackReading(msgspec.Struct, frozen=True, kw_only=True):
    """One track now. `newest`: the last chunk that its session was given, in `format`; it ends at sample `position`."""

    format: AudioFormat
    newest: bytes
    position: int
    stt: SttState


class CallReading(msgspec.Struct, frozen=True, kw_only=True):
    """A call in progress now; `at_s` is the call time reached."""

    call_id: str
    at_s: float
    tracks: Mapping[Track, TrackReading]


# ── Recordings: what was recognised in a whole recording at once; seconds count from its beginning ───────────────


class RecordingRequest(msgspec.Struct, frozen=True, kw_only=True):
    """
    What is wanted of a recording. Options that are None are left to the recogniser.

    Args:
        headerless: what the bytes are, if they have no container.
        apart: hear each of two channels alone (left inbound, right outbound), instead of both together.
        language: code as the caller gave it, such as `en`.
        word_times: words with their times, not only text.
        diarize: say who speaks.
        gender, emotion: say what the voices tell, where the recogniser can.
        options: further parameters, for recognisers that know them.
    """

    headerless: AudioFormat | None = None
    apart: bool = False
    language: str | None = None
    word_times: bool = False
    diarize: bool = False
    gender: bool = False
    emotion: bool = False
    options: Mapping[str, str] = {}


class SpokenWord(Word, frozen=True, kw_only=True, gc=False):
    """A word of a recording. `speaker` is the recogniser's own number; `track` is known where channels are apart."""

    speaker: int | None = None
    track: Track | None = None


class SpokenUtterance(msgspec.Struct, frozen=True, kw_only=True):
    """A sentence or turn of a recording; `speaker` and `track` as in `SpokenWord`."""

    text: str
    start_s: float
    end_s: float
    speaker: int | None = None
    track: Track | None = None


class RecordingTranscript(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a recogniser said about a recording. What it did not say is None or empty."""

    text: str
    words: tuple[SpokenWord, ...] = ()
    utterances: tuple[SpokenUtterance, ...] = ()
    language: str | None = None
    duration_s: float | None = None
    gender: str | None = None
    emotions: Mapping[str, float] | None = None


# ── Call events: what webhooks and screens receive; seconds count from the stream's first sample ─────────────────


class CallInfo(msgspec.Struct, frozen=True, kw_only=True, rename={"from_number": "from", "to_number": "to"}):
    """Which call an event belongs to. Unknown values are None."""

    id: str
    platform: str
    platform_call_id: str | None
    stream_id: str | None
    account_id: str | None
    from_number: str | None
    to_number: str | None
    metadata: Mapping[str, str]


class CallEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Base of call events. `sequence` rises by one per call over durable events, from 1; None on partials."""

    type: ClassVar[str]
    durable: ClassVar[bool] = True

    call: CallInfo
    sequence: int | None


class CallStarted(CallEvent, frozen=True, kw_only=True):
    """The stream's start message was accepted."""

    type: ClassVar[str] = "call.started"

    tracks: tuple[Track, ...]
    audio: str


class TranscriptFinal(CallEvent, frozen=True, kw_only=True):
    """
    What was said on one track from `start_s` to `end_s`.

    `recovered`: transcribed after an interruption, not live. `forced`: the recogniser never confirmed it; it is the
    last partial that was heard before the end.
    """

    type: ClassVar[str] = "transcript.final"

    track: Track
    speaker: str
    text: str
    start_s: float
    end_s: float
    language: str | None
    confidence: float | None
    words: tuple[Word, ...]
    provider: str
    recovered: bool = False
    forced: bool = False


class TranscriptPartial(CallEvent, frozen=True, kw_only=True):
    """What one track sounds like so far. Not durable: the newest replaces older ones."""

    type: ClassVar[str] = "transcript.partial"
    durable: ClassVar[bool] = False

    track: Track
    speaker: str
    text: str
    start_s: float | None
    provider: str


class AssistCue(CallEvent, frozen=True, kw_only=True):
    """
    A rule of agent assist was met by what one track said; comes right after the final that completed it.

    `cue`: the rule's name. `text`: what met it, said from `start_s` to `end_s`, where the recogniser gave no word times
    those of the finals. `note`: what the agent is to be told. `recovered`: heard after an interruption, not live.
    """

    type: ClassVar[str] = "assist.cue"

    track: Track
    speaker: str
    cue: str
    text: str
    note: str | None
    start_s: float
    end_s: float
    recovered: bool = False


class CallDtmf(CallEvent, frozen=True, kw_only=True):
    """A digit was pressed."""

    type: ClassVar[str] = "call.dtmf"

    track: Track | None
    digit: str
    at_s: float


class CallGap(CallEvent, frozen=True, kw_only=True):
    """Audio that never arrived, or that could not be transcribed."""

    type: ClassVar[str] = "call.gap"

    track: Track
    start_s: float
    end_s: float
    reason: str


class SttDegraded(CallEvent, frozen=True, kw_only=True):
    """The recogniser of one track went away; what is said meanwhile is not transcribed live."""

    type: ClassVar[str] = "stt.degraded"

    track: Track
    provider: str
    reason: str
    at_s: float


class SttRecovered(CallEvent, frozen=True, kw_only=True):
    """The recogniser of one track is back."""

    type: ClassVar[str] = "stt.recovered"

    track: Track
    provider: str
    at_s: float


class Utterance(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the conversation in `call.ended`."""

    track: Track
    speaker: str
    text: str
    start_s: float
    end_s: float


class CallTranscript(CallEvent, frozen=True, kw_only=True):
    """
    The call's recording, transcribed as a whole after the call by `provider`; comes before `call.ended`.

    `speaker` in words and utterances is the recogniser's number, `track` the call's, each where it is known.
    """

    type: ClassVar[str] = "call.transcript"

    provider: str
    text: str
    language: str | None
    duration_s: float | None
    utterances: tuple[SpokenUtterance, ...]
    words: tuple[SpokenWord, ...]


class Outcome(StrEnum):
    """How a call ended, by whose doing."""

    COMPLETED = "completed"
    CALLER_ERROR = "caller_error"
    GATEWAY_ERROR = "gateway_error"
    UPSTREAM_ERROR = "upstream_error"
    INDETERMINATE = "indeterminate"


class TrackSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one track's audio, in seconds and counts; None where a process died that knew."""

    track: Track
    audio_s: float | None
    lost_s: float | None
    untranscribed_s: float | None
    finals: int


class CallEnded(CallEvent, frozen=True, kw_only=True):
    """
    The last event of every call, exactly once.

    `complete` is true when every second that reached the gateway went through a recogniser. `outcome` is one of
    `Outcome`; `reason` is finer. `recording`: name of the file in which the call was kept, None if it was not.
    """

    type: ClassVar[str] = "call.ended"

    outcome: str
    reason: str
    complete: bool
    duration_s: float | None
    tracks: tuple[TrackSummary, ...]
    conversation: tuple[Utterance, ...]
    recording: str | None = None
