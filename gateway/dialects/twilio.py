"""
Twilio Media Streams, and platforms that imitate it.

Source: Twilio documentation, "Media Streams - WebSocket Messages" and "TwiML Voice: <Stream>".
Imitators leave out ids, send numbers where Twilio sends numeric strings, and add fields and events: all accepted.

States, and the events that each one refuses (`_REFUSED` is this table):

    WAITING    until start    refuses media, dtmf, mark, stop: that message is lost
    STREAMING  until stop     refuses a second start: the stream cannot go on
    STOPPED    for good       refuses everything: that message is lost
"""

import re
from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import msgspec

from gateway.dialects.twiml import FROM_PARAMETER, TO_PARAMETER
from gateway.errors import DialectError
from gateway.events import (
    AudioFrame,
    AudioReceived,
    DigitPressed,
    MarkReached,
    StreamStarted,
    StreamStopped,
    TelephonyEvent,
    Track,
    UnknownMessage,
)
from telephony_codecs.formats import AudioFormat, Encoding

MAX_PAYLOAD_BYTES = 5 * 8000  # five seconds of G.711; Twilio sends 20 ms
MAX_PARAMETERS = 64
MAX_PARAMETER_CHARACTERS = 1000  # name and value; Twilio allows fewer than 500

# WebSocket close codes, RFC 6455, 7.4.1
_PROTOCOL_ERROR = 1002
_UNSUPPORTED_DATA = 1003
_POLICY_VIOLATION = 1008

_RATE_HZ = 8000
# Twilio sends audio/x-mulaw only. The others are RFC 3551's and imitators' names for G.711.
_ENCODINGS = {
    **dict.fromkeys(("audio/x-mulaw", "audio/mulaw", "audio/pcmu", "pcmu", "mulaw"), Encoding.MULAW),
    **dict.fromkeys(("audio/x-alaw", "audio/alaw", "audio/pcma", "pcma", "alaw"), Encoding.ALAW),
}
_FORMATS = {encoding: AudioFormat(encoding, _RATE_HZ) for encoding in (Encoding.MULAW, Encoding.ALAW)}
# Media messages say `inbound`, dtmf messages `inbound_track`; imitators mix the two.
_TRACKS = {
    "inbound": Track.INBOUND,
    "inbound_track": Track.INBOUND,
    "outbound": Track.OUTBOUND,
    "outbound_track": Track.OUTBOUND,
}
_DIGITS = frozenset("0123456789*#ABCD")
_KIND_CHARACTERS = 40


# ── The wire. The decoder is lax: "4" and 4 are the same count. ──────────────────────────────────────────────────

_Count = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]  # JSON numbers are exact up to 2**53
_COUNT_FIELDS = ("sequenceNumber", "chunk", "timestamp", "sampleRate", "channels")


class _Message(msgspec.Struct, tag_field="event", rename="camel"):
    stream_sid: str | None = None


class _MediaBody(msgspec.Struct, gc=False):
    payload: bytes  # base64, decoded by msgspec
    track: str | None = None
    chunk: _Count | None = None
    timestamp: _Count | None = None


class _Media(_Message, tag="media", gc=False):
    media: _MediaBody | None = None
    sequence_number: _Count | None = None


_Payload = Annotated[bytes, msgspec.Meta(min_length=1, max_length=MAX_PAYLOAD_BYTES)]


class _SoundBody(msgspec.Struct, gc=False, rename={"offset_ms": "timestamp"}):
    payload: _Payload
    track: str | None = None
    chunk: _Count | None = None
    offset_ms: _Count | None = None


class _Sound(msgspec.Struct, rename="camel", gc=False):
    """A media message as it should be."""

    event: Literal["media"]  # a tag could be missing, where there is no other
    media: _SoundBody
    stream_sid: str | None = None
    sequence_number: _Count | None = None


class _Connected(_Message, tag="connected"):
    pass


class _MediaFormat(msgspec.Struct, rename="camel"):
    encoding: str | None = None
    sample_rate: _Count | None = None
    channels: _Count | None = None


class _StartBody(msgspec.Struct, rename="camel"):
    stream_sid: str | None = None
    call_sid: str | None = None
    account_sid: str | None = None
    tracks: list[Any] | str | None = None
    media_format: _MediaFormat | None = None
    custom_parameters: dict[str, Any] | None = None


class _Start(_Message, tag="start"):
    start: _StartBody | None = None


class _DtmfBody(msgspec.Struct):
    digit: str | int
    track: str | None = None
    timestamp: _Count | None = None  # imitators only


class _Dtmf(_Message, tag="dtmf"):
    dtmf: _DtmfBody | None = None


class _MarkBody(msgspec.Struct):
    name: str


class _Mark(_Message, tag="mark"):
    mark: _MarkBody | None = None


class _Stop(_Message, tag="stop"):
    pass


class _Envelope(msgspec.Struct):
    """As much of a message as it takes to say what is wrong with it."""

    event: str | None = None
    type: str | None = None


_Wire: TypeAlias = _Media | _Connected | _Start | _Dtmf | _Mark | _Stop
_decode = msgspec.json.Decoder(_Wire, strict=False).decode
_decode_sound = msgspec.json.Decoder(_Sound, strict=False).decode
_decode_envelope = msgspec.json.Decoder(_Envelope).decode


# ── The order of messages ────────────────────────────────────────────────────────────────────────────────────────


class _State(Enum):
    WAITING = auto()
    STREAMING = auto()
    STOPPED = auto()


_EVENTS = ("connected", "start", "media", "dtmf", "mark", "stop")
# state → event → (code, close code); what is not here is legal.
_REFUSED: Mapping[_State, Mapping[str, tuple[str, int | None]]] = {
    _State.WAITING: {event: (f"{event}_before_start", None) for event in ("media", "dtmf", "mark", "stop")},
    _State.STREAMING: {"start": ("second_start", _PROTOCOL_ERROR)},
    _State.STOPPED: dict.fromkeys(_EVENTS, ("after_stop", None)),
}


class TwilioDialect:
    """
    One Twilio media stream. See `Dialect` for what the methods promise.

    Args:
        bidirectional: the stream was opened with `<Connect>`. The wire does not tell, and on any other stream one
            message from us makes Twilio end it (error 31924).
        is_expected: whether the stream may belong to this call; asked of the start message's CallSid.
    """

    name: ClassVar[str] = "twilio"

    def __init__(
        self, *, bidirectional: bool = False, is_expected: Callable[[str | None], bool] = lambda _call_sid: True
    ) -> None:
        self._bidirectional = bidirectional
        self._is_expected = is_expected
        self._state = _State.WAITING
        self._stream_id = ""
        # What media messages may call a declared track; None when they may leave it out.
        self._tracks: Mapping[str | None, Track] = {}

    @property
    def is_bidirectional(self) -> bool:
        return self._bidirectional

    # ── From the platform ────────────────────────────────────────────────────────────────────────────────────

    def receive(self, message: str | bytes) -> list[TelephonyEvent]:
        try:
            wire: _Wire = _decode(message)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            return self._undecoded(message, error)
        if isinstance(wire, _Media):  # first, because nearly every message is one
            frame = self._audio(wire)
            return [] if frame is None else [frame]
        self._check_order(str(wire.__struct_config__.tag))
        match wire:
            case _Connected():
                return []
            case _Start():
                return [self._start(wire)]
            case _Dtmf():
                return [self._digit(wire)]
            case _Mark():
                return [self._mark(wire)]
            case _Stop():
                return [self._stop(wire)]

    def audio(self, messages: Sequence[bytes]) -> Mapping[Track, list[AudioFrame]]:
        """The hot path, for 50 messages a second and track: nothing is called here that need not be."""
        frames: dict[Track, list[AudioFrame]] = {}
        if self._state is not _State.STREAMING:
            return frames
        try:
            wires = [_decode_sound(message) for message in messages]
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return frames  # `receive` says what it is
        stream_ids = [wire.stream_sid for wire in wires]
        if stream_ids.count(self._stream_id) < len(wires) and not {*stream_ids} <= {self._stream_id, "", None}:
            return frames
        bodies: list[AudioFrame] = [wire.media for wire in wires]
        names = [wire.media.track for wire in wires]
        tracks = self._tracks
        if names.count(names[0]) == len(names):
            return {tracks[names[0]]: bodies} if names[0] in tracks else frames
        if not tracks.keys() >= {*names}:
            return frames
        for name, body in zip(names, bodies, strict=True):
            frames.setdefault(tracks[name], []).append(body)
        return frames

    def _audio(self, wire: _Media) -> AudioReceived | None:
        """None for a frame without audio."""
        if self._state is not _State.STREAMING:
            self._check_order("media")
        if wire.stream_sid != self._stream_id:
            self._check_stream(wire.stream_sid)
        body = wire.media
        if body is None:
            raise _missing("media")
        track = self._tracks.get(body.track)
        if track is None:
            raise DialectError("audio of a track that the start message did not declare", code="unknown_track")
        payload = body.payload
        if not payload:
            return None
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise DialectError(f"more than {MAX_PAYLOAD_BYTES} bytes of audio in one message", code="oversized_payload")
        return AudioReceived(
            track=track,
            payload=payload,
            chunk=body.chunk,
            sequence=wire.sequence_number,
            offset_ms=body.timestamp,
        )

    def _start(self, wire: _Start) -> StreamStarted:
        body = wire.start or _StartBody()
        stream_id = wire.stream_sid or body.stream_sid
        if not stream_id:
            raise DialectError("start without a stream id", code="missing_stream_id", close_code=_PROTOCOL_ERROR)
        if not self._is_expected(body.call_sid or None):
            raise DialectError("the stream of another call", code="unexpected_call", close_code=_POLICY_VIOLATION)
        tracks = _tracks(body.tracks)
        parameters = _parameters(body.custom_parameters or {})
        started = StreamStarted(
            stream_id=stream_id,
            platform_call_id=body.call_sid or None,
            account_id=body.account_sid or None,
            tracks=tracks,
            format=_format(body.media_format or _MediaFormat()),
            from_number=parameters.pop(FROM_PARAMETER, None) or None,
            to_number=parameters.pop(TO_PARAMETER, None) or None,
            parameters=parameters,
        )
        self._stream_id = stream_id
        self._tracks = _named(tracks)
        self._state = _State.STREAMING
        return started

    def _digit(self, wire: _Dtmf) -> DigitPressed:
        self._check_stream(wire.stream_sid)
        body = wire.dtmf
        if body is None:
            raise _missing("dtmf")
        digit = str(body.digit).upper()
        if digit not in _DIGITS:
            raise DialectError("not a DTMF digit", code="bad_digit")
        return DigitPressed(digit=digit, track=_TRACKS.get(body.track or ""), offset_ms=body.timestamp)

    def _mark(self, wire: _Mark) -> MarkReached:
        self._check_stream(wire.stream_sid)
        if wire.mark is None:
            raise _missing("mark")
        return MarkReached(name=wire.mark.name)

    def _stop(self, wire: _Stop) -> StreamStopped:
        self._check_stream(wire.stream_sid)
        self._state = _State.STOPPED
        return StreamStopped()

    def _check_order(self, event: str) -> None:
        refusal = _REFUSED[self._state].get(event)
        if refusal is not None:
            code, close_code = refusal
            raise DialectError(f"{event} message out of order", code=code, close_code=close_code)

    def _check_stream(self, stream_id: str | None) -> None:
        """Audio of another stream on this socket would put one caller's words into another's transcript."""
        if stream_id and stream_id != self._stream_id:
            raise DialectError("message of another stream", code="wrong_stream")

    def _undecoded(self, message: str | bytes, error: Exception) -> list[TelephonyEvent]:
        """What a message is that is none of the known ones, or one with a fault."""
        if not _is_unicode(message):
            raise DialectError("message is not UTF-8", code="bad_encoding") from None
        if not isinstance(error, msgspec.ValidationError):
            raise DialectError("message is not JSON", code="bad_json") from None
        try:
            envelope = _decode_envelope(message)
        except msgspec.ValidationError:
            raise DialectError("message is not an object with an event", code="bad_shape") from None
        except (msgspec.DecodeError, RecursionError):
            raise DialectError("message is not JSON", code="bad_json") from None
        if envelope.event is None:
            if envelope.type == "setup":
                raise DialectError(
                    "this is ConversationRelay, which sends text; Media Streams sends audio",
                    code="not_media_streams",
                    close_code=_UNSUPPORTED_DATA,
                ) from None
            raise DialectError("message without an event", code="bad_shape") from None
        if envelope.event not in _EVENTS:
            return [UnknownMessage(kind=envelope.event[:_KIND_CHARACTERS])]
        self._check_order(envelope.event)
        raise _fault(envelope.event, error) from None

    # ── To the platform ──────────────────────────────────────────────────────────────────────────────────────

    def play(self, payload: bytes) -> list[str | bytes]:
        return [self._outward("media", media={"payload": payload})]

    def mark(self, name: str) -> list[str | bytes]:
        return [self._outward("mark", mark={"name": name})]

    def clear_playback(self) -> list[str | bytes]:
        return [self._outward("clear")]

    def _outward(self, event: str, **body: Mapping[str, str | bytes]) -> str:
        if not self._bidirectional:
            raise DialectError("this stream takes no messages", code="one_way_stream")
        if self._state is not _State.STREAMING:
            raise DialectError("there is no stream to send to", code="not_streaming")
        return msgspec.json.encode({"event": event, "streamSid": self._stream_id, **body}).decode()


# ── Parts of messages ────────────────────────────────────────────────────────────────────────────────────────────


def _format(media_format: _MediaFormat) -> AudioFormat:
    """What is left out is what Twilio always sends: mu-law, 8 kHz, mono."""
    name = media_format.encoding or "audio/x-mulaw"
    encoding = _ENCODINGS.get(name.lower())
    rate_hz = _RATE_HZ if media_format.sample_rate is None else media_format.sample_rate
    channels = 1 if media_format.channels is None else media_format.channels
    if encoding is None or rate_hz != _RATE_HZ or channels != 1:
        raise DialectError(
            "only G.711 at 8000 Hz, mono, is supported", code="unsupported_format", close_code=_UNSUPPORTED_DATA
        )
    return _FORMATS[encoding]


@cache
def _named(tracks: tuple[Track, ...]) -> Mapping[str | None, Track]:
    """What media messages may call the tracks of a stream; the same for all calls that have the same tracks."""
    named: dict[str | None, Track] = {name: track for name, track in _TRACKS.items() if track in tracks}
    return {**named, None: tracks[0]} if len(tracks) == 1 else named


def _tracks(names: list[Any] | str | None) -> tuple[Track, ...]:
    """The tracks that are known, each once; the caller's when there is none."""
    listed = [names] if isinstance(names, str) else names or []
    known = dict.fromkeys(_TRACKS[name] for name in listed if isinstance(name, str) and name in _TRACKS)
    return tuple(known) or (Track.INBOUND,)


def _parameters(wire: Mapping[str, Any]) -> dict[str, str]:
    """Values as text; null is left out, and so is what is too much to be copied into each event of the call."""
    parameters: dict[str, str] = {}
    for name, value in wire.items():
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        if value is None or len(name) + len(text) > MAX_PARAMETER_CHARACTERS:
            continue
        if len(parameters) == MAX_PARAMETERS:
            break
        parameters[name] = text
    return parameters


# ── Faults ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _missing(event: str) -> DialectError:
    return DialectError(f"{event} message without its body", code="bad_shape")


def _fault(event: str, error: msgspec.ValidationError) -> DialectError:
    """Name the fault of a known message by the place that msgspec gives: "… - at `$.media.payload`"."""
    match = re.search(r" - at `\$\.([^`]*)`$", str(error))
    place = match[1] if match else "message"
    if place == "media.payload":
        code = "bad_payload"
    elif place.endswith(_COUNT_FIELDS):
        code = "bad_number"
    else:
        code = "bad_shape"
    # Without a start message there will never be a stream.
    close_code = _PROTOCOL_ERROR if event == "start" else None
    return DialectError(f"{event} message with a fault at {place}", code=code, close_code=close_code)


def _is_unicode(message: str | bytes) -> bool:
    try:
        message.decode() if isinstance(message, bytes) else message.encode()
    except UnicodeError:
        return False
    return True
