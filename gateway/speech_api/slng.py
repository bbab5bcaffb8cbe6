"""
SLNG's unified speech-to-text protocol, server side: `/v1/stt/slng/deepgram/nova:3-en` and the unified bridge.

    C> {"type":"init","config":{"language":"en","sample_rate":16000,"encoding":"linear16"}}
    S< {"type":"ready","session_id":"…"}           always the first message; the recogniser is open
    C> audio, binary or {"type":"audio","data":base64}
    S< {"type":"partial_transcript","transcript":"cancel my"}
    S< {"type":"final_transcript","transcript":"Cancel my order.", …}
    C> {"type":"close"}
    S< the remaining finals, then close 1000

What the recogniser is wanted for is known from `init` only. Audio before `init` closes with 1008; audio between
`init` and `ready` is held, because one of the vendor's own clients does not wait. A fault in `init` ends the session, a
fault later is answered with an `error` message and forgiven. Values that the recogniser does not give are left out.

States: WAITING (for `init`) → OPEN → ENDING (the client said so, or left) → CLOSED.

Sources: docs.slng.ai, "Speech-to-text WebSocket examples", "WebSocket API reference" and "Unified STT"; the packages
pipecat-slng and livekit-plugins-slng, all read in 2026.
"""

import base64
import re
from collections.abc import Mapping
from enum import Enum, auto
from typing import Any

import msgspec

from gateway.config import SpeechApiSettings
from gateway.events import (
    Final,
    Finished,
    Partial,
    RecognizerEvent,
    RecognizerRequest,
    SpeechEnded,
    SpeechStarted,
    Word,
)
from gateway.speech_api.base import (
    CLIENT_LEFT,
    INTERNAL_ERROR,
    NORMAL_CLOSURE,
    POLICY_VIOLATION,
    Action,
    Close,
    End,
    Finalize,
    Hear,
    KeepAlive,
    Report,
    Say,
)
from gateway.speech_api.riff import HeaderSkipper
from telephony_codecs.formats import AudioFormat, Encoding

SAMPLE_RATES_HZ = (8000, 16000, 22050, 24000, 32000, 48000)

# Bad messages in a row before the client is given up.
ERROR_BUDGET = 50
# Clients refuse larger messages (websockets: 1 MiB by default).
LARGEST_MESSAGE_BYTES = 1_000_000

HTTP_CODES = {"unauthorized": "auth_error", "too_many_sessions": "rate_limit_exceeded", "draining": "not_ready"}
"""What the vendor calls the reasons for which a request is refused before the upgrade."""

_END_WORDS = frozenset({"close", "stop"})
_SILENCE_MS = (100, 10_000)
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*|multi")


class _Config(msgspec.Struct):
    """`config` of `init`. What tunes a voice detector or tells speakers apart is left to the recogniser."""

    language: str | None = None
    sample_rate: int = 16000
    encoding: str = Encoding.LINEAR16
    channels: int | None = None
    enable_partials: bool | None = None
    enable_partial_transcripts: bool | None = None
    enable_vad: bool | None = None
    vad_threshold: float | None = None
    vad_min_silence_duration_ms: int | None = None
    vad_speech_pad_ms: int | None = None
    enable_diarization: bool | None = None
    min_speakers: int | None = None
    max_speakers: int | None = None

    @property
    def wants_partials(self) -> bool:
        """Under either name; yes unless told otherwise."""
        return False not in (self.enable_partials, self.enable_partial_transcripts)


class _Message(msgspec.Struct):
    type: str
    config: msgspec.Raw = msgspec.Raw(b"{}")
    data: Any = None


class _ConfigFault(ValueError):
    """`init` asks for what is not served; the text goes to the client."""


class _State(Enum):
    WAITING = auto()
    OPEN = auto()
    ENDING = auto()
    CLOSED = auto()


def open_slng(query: Mapping[str, str], settings: SpeechApiSettings, session_id: str, now: float) -> "SlngSession":
    """A session of any of SLNG's paths; the query holds nothing but, perhaps, a key."""
    return SlngSession(settings.idle_timeout_s, session_id, now)


class SlngSession:
    """One client's SLNG session; see `gateway.speech_api.base.Session`."""

    def __init__(self, idle_timeout_s: float, session_id: str, now: float) -> None:
        self._idle_timeout_s = idle_timeout_s
        self._session_id = session_id
        self._state = _State.WAITING
        self._request: RecognizerRequest | None = None
        self._config = _Config()
        self._header = HeaderSkipper()
        self._is_ready = False
        self._is_client_gone = False
        self._faults_in_a_row = 0
        self._deadline: float | None = now + idle_timeout_s

    @property
    def request(self) -> RecognizerRequest | None:
        """What the recogniser is wanted for, once `init` has said so."""
        return self._request

    # ── The client ──────────────────────────────────────────────────────────────────────────────────────────────

    def receive(self, message: str | bytes, now: float) -> list[Action]:
        """A message of the client: audio if binary, else control."""
        if self._state in (_State.ENDING, _State.CLOSED):
            return []  # whatever comes after the end was announced is nobody's
        self._deadline = now + self._idle_timeout_s
        if isinstance(message, bytes):
            return self._receive_audio(message)
        try:
            control = msgspec.json.decode(message, type=_Message)
        except (msgspec.DecodeError, RecursionError):  # not JSON, or JSON of another shape
            return self._reject("bad_message", "text messages must be JSON objects with a string `type`")
        return self._receive_early(control) if self._state is _State.WAITING else self._receive_control(control)

    def _receive_early(self, control: _Message) -> list[Action]:
        match control.type:
            case "init":
                return self._init(control.config)
            case "audio":
                return self._refuse_audio()
            case "keepalive":
                return []
            case word if word in _END_WORDS:
                return self._close(NORMAL_CLOSURE)
            case _:
                return self._reject("not_ready", "the first message must be init", code="not_ready")

    def _receive_control(self, control: _Message) -> list[Action]:
        match control.type:
            case "audio":
                return self._receive_base64(control.data)
            case "finalize":
                return [Finalize()]
            case "keepalive":
                return [KeepAlive()]
            case word if word in _END_WORDS:
                return self._end()
            case "init":
                return self._reject("second_init", "the session is initialised already")
            case _:
                return self._reject("unknown_message", "unknown message type")

    def _init(self, config: msgspec.Raw) -> list[Action]:
        try:
            self._config = _read_config(config)
        except _ConfigFault as fault:
            return [Report("bad_config"), *self._give_up("config_error", str(fault))]
        self._request = RecognizerRequest(
            format=AudioFormat(Encoding.LINEAR16, self._config.sample_rate),
            language=self._config.language,
            eou_timeout_ms=_within(self._config.vad_min_silence_duration_ms, *_SILENCE_MS),
        )
        self._state = _State.OPEN
        return []

    def _receive_base64(self, data: Any) -> list[Action]:
        try:
            audio = base64.b64decode(data, validate=True)
        except (TypeError, ValueError):
            return self._reject("bad_audio", "`data` must be audio in base64")
        return self._receive_audio(audio)

    def _receive_audio(self, message: bytes) -> list[Action]:
        if self._request is None:
            return self._refuse_audio()
        had_header = self._header.found
        audio = self._header.feed(message)
        actions: list[Action] = []
        if self._header.found and not had_header and self._header.declared != self._request.format:
            actions.append(Report("riff_format_differs"))
        if audio:
            self._faults_in_a_row = 0
            actions.append(Hear(audio))
        return actions

    def _refuse_audio(self) -> list[Action]:
        return [Report("audio_before_init"), *self._give_up("not_ready", "audio came before init")]

    def _reject(self, reason: str, text: str, *, code: str = "invalid_request") -> list[Action]:
        self._faults_in_a_row += 1
        closing = self._close(POLICY_VIOLATION) if self._faults_in_a_row >= ERROR_BUDGET else []
        return [Report(reason), _error(code, text), *closing]

    def _give_up(self, code: str, text: str) -> list[Action]:
        return [_error(code, text), *self._close(POLICY_VIOLATION)]

    def _end(self) -> list[Action]:
        self._state = _State.ENDING
        self._deadline = None
        return [End()]

    def disconnected(self) -> list[Action]:
        """The client has gone; what it sent is still recognised to its end."""
        self._is_client_gone = True
        match self._state:
            case _State.WAITING:
                return self._close(CLIENT_LEFT)
            case _State.OPEN:
                return self._end()
            case _:
                return []

    # ── The recogniser ──────────────────────────────────────────────────────────────────────────────────────────

    def opened(self) -> list[Action]:
        """The recogniser listens: the client may send."""
        if self._state is _State.CLOSED:
            return []
        self._is_ready = True
        return [_say({"type": "ready", "session_id": self._session_id, "slng_request_id": self._session_id})]

    def recognized(self, event: RecognizerEvent, now: float) -> list[Action]:
        """An event of the recogniser becomes a message, if the client wants such."""
        if self._state is _State.CLOSED:
            return []
        match event:
            case Partial(text=text):
                message = {"type": "partial_transcript", "transcript": text}
                return [_say(message, is_partial=True)] if self._config.wants_partials else []
            case Final():
                return [self._final(event)]
            case SpeechStarted():
                return []
            case SpeechEnded(at_s=at_s):
                wanted = self._config.enable_vad
                return [_say({"type": "utterance_end", "last_word_end": round(at_s, 3)})] if wanted else []
            case Finished() if self._state is _State.ENDING:
                return self._close(CLIENT_LEFT if self._is_client_gone else NORMAL_CLOSURE)
            case Finished():
                return self.failed("the recogniser ended the session")

    def failed(self, message: str) -> list[Action]:
        """The recogniser could not be opened or is lost: say so and close."""
        if self._state is _State.CLOSED:
            return []
        code = "backend_error" if self._is_ready else "backend_connection_failed"
        return [_error(code, message), *self._close(INTERNAL_ERROR)]

    # ── Time ────────────────────────────────────────────────────────────────────────────────────────────────────

    def next_deadline(self) -> float | None:
        """When the client has been silent for too long."""
        return self._deadline

    def handle_timeout(self, now: float) -> list[Action]:
        """End a session that its client has forgotten; finals still come."""
        text = "nothing came from the client for too long"
        match self._state:
            case _State.WAITING:
                return self._give_up("idle_timeout_exceeded", text)
            case _State.OPEN:
                return [_error("idle_timeout_exceeded", text), *self._end()]
            case _:
                return []

    # ── Messages ────────────────────────────────────────────────────────────────────────────────────────────────

    def _close(self, code: int) -> list[Action]:
        self._state = _State.CLOSED
        self._deadline = None
        return [Close(code)]

    def _final(self, final: Final) -> Say:
        span_s = None if final.start_s is None or final.end_s is None else round(final.end_s - final.start_s, 3)
        language = final.language or self._config.language
        known = {
            "confidence": _rounded(final.confidence),
            "language": language,
            "duration": span_s,
            "words": [_word(word) for word in final.words] or None,
            "from_finalize": final.from_finalize or None,
        }
        message = {"type": "final_transcript", "transcript": final.text}
        return _say(message | {name: value for name, value in known.items() if value is not None})


def _read_config(raw: msgspec.Raw) -> _Config:
    """
    What `init` asks for; numbers and booleans may be strings, and what is `null` or empty was not said.

    Raises:
        _ConfigFault: malformed, or not served here.
    """
    try:
        given = msgspec.json.decode(raw, type=dict[str, Any] | None) or {}
        said = {name: value for name, value in given.items() if value not in (None, "")}
        config = msgspec.convert(said, _Config, strict=False)
    except (msgspec.DecodeError, RecursionError) as error:  # names the field and the types, not the value
        raise _ConfigFault(f"config is malformed: {error}") from None
    if config.encoding != Encoding.LINEAR16:
        raise _ConfigFault("encoding must be linear16; other encodings are not decoded here")
    if config.sample_rate not in SAMPLE_RATES_HZ:
        raise _ConfigFault(f"sample_rate must be one of {', '.join(map(str, SAMPLE_RATES_HZ))}")
    if config.channels not in (None, 1):
        raise _ConfigFault("channels must be 1: open a session for each channel")
    if config.language is not None and not _LANGUAGE.fullmatch(config.language):
        raise _ConfigFault("language must be a code such as en or en-US, or multi")
    return config


def _within(value: int | None, least: int, most: int) -> int | None:
    return None if value is None else min(max(value, least), most)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _word(word: Word) -> dict[str, Any]:
    """As Deepgram writes words, whose model the path names."""
    entry: dict[str, Any] = {"word": word.word, "start": round(word.start_s, 3), "end": round(word.end_s, 3)}
    if word.confidence is not None:
        entry["confidence"] = round(word.confidence, 4)
    return entry


def _error(code: str, text: str) -> Say:
    return _say({"type": "error", "code": code, "message": text})


def _say(message: dict[str, Any], *, is_partial: bool = False) -> Say:
    """Encode a message, without its words if it would be larger than clients accept."""
    encoded = msgspec.json.encode(message)
    if len(encoded) > LARGEST_MESSAGE_BYTES and message.pop("words", None) is not None:
        encoded = msgspec.json.encode(message)
    return Say(encoded.decode(), is_partial=is_partial)
