"""
Smallest's Pulse protocol, server side: `/waves/v1/pulse/get_text` and the unified `/waves/v1/stt/live`.

Both take raw audio in binary messages and control messages in JSON, and answer with JSON results. They differ in:

    |                          | get_text                          | live                   |
    | `model`                  | not looked at                     | must be `pulse`        |
    | words (if asked for)     | as `words` and `word_timestamps`  | as `words`             |
    | `full_transcript`        | on every result                   | if asked for           |
    | `transcription`          | no                                | same as `transcript`   |
    | `finalize`               | may end the session, see below    | flushes, nothing more  |
    | error messages           | carry an empty `transcript`, too  | do not                 |

`get_text` was first documented with `finalize` as the end of the session, later with `close_stream`. So that programs
of either time work, a `finalize` which nothing follows for `finalize_grace_s` after its answer is taken for the end:
the terminal message is sent and the socket lingers for the client to close it. Audio that comes all the same carries
the session on, and its real end is announced again.

`lightning` is a third, older path of the same session.

Programs on `get_text` read `transcript` from whatever arrives: nothing that lacks it is sent there unasked.

States: OPEN ⇄ LINGERING (terminal message sent on suspicion) → CLOSED, OPEN → ENDING (the client said so) → CLOSED.

Sources: Smallest, "Code Examples" (realtime) and "Transcribe (Realtime / WebSocket)", the vendor's API definitions and
its Python package 5.14, all read in 2026.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Literal, TypeAlias

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
    RequestRefused,
    Say,
)
from gateway.speech_api.parameters import Parameters
from gateway.speech_api.riff import HeaderSkipper

FinalizeMode: TypeAlias = Literal["auto", "turn", "end"]

# How long a client has to close the socket after a terminal message that it did not ask for by name.
LINGER_S = 5.0
# Clients refuse larger messages (websockets: 1 MiB by default); the rest is for the other fields.
LARGEST_MESSAGE_BYTES = 1_000_000
LARGEST_FULL_TRANSCRIPT_BYTES = 400_000

# Bad messages in a row before the client is given up.
ERROR_BUDGET = 50

_END_WORDS = frozenset({"close_stream", "end", "close"})
_EOU_MS = (100, 10_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class PulseConfig:
    """
    What the client asked for, and what its path implies.

    `typed`: results say what they are, in `type` and `status`.
    """

    request: RecognizerRequest
    typed: bool = True
    finalize: FinalizeMode
    finalize_grace_s: float
    idle_timeout_s: float
    word_fields: tuple[str, ...]
    word_confidence: bool = True
    utterances: bool
    vad_events: bool
    full_transcript: bool
    transcription: bool
    transcript_on_errors: bool


def open_get_text(query: Mapping[str, str], settings: SpeechApiSettings, session_id: str, now: float) -> "PulseSession":
    """
    A session of `/waves/v1/pulse/get_text`.

    Raises:
        RequestRefused: 400, a parameter is malformed.
    """
    parameters = Parameters(query)
    config = PulseConfig(
        request=read_request(parameters),
        finalize=settings.finalize,
        finalize_grace_s=settings.finalize_grace_s,
        idle_timeout_s=settings.idle_timeout_s,
        word_fields=("words", "word_timestamps") if parameters.flag("word_timestamps") else (),
        utterances=parameters.flag("sentence_timestamps"),
        vad_events=_wants_vad(parameters),
        full_transcript=True,
        transcription=False,
        transcript_on_errors=True,
    )
    return PulseSession(config, session_id, now)


def open_live(query: Mapping[str, str], settings: SpeechApiSettings, session_id: str, now: float) -> "PulseSession":
    """
    A session of `/waves/v1/stt/live`.

    Raises:
        RequestRefused: 400, no usable model or a parameter is malformed.
    """
    parameters = Parameters(query)
    _check_model(parameters.text("model"))
    config = PulseConfig(
        request=read_request(parameters),
        finalize="turn",
        finalize_grace_s=settings.finalize_grace_s,
        idle_timeout_s=settings.idle_timeout_s,
        word_fields=("words",) if parameters.flag("word_timestamps") else (),
        utterances=parameters.flag("sentence_timestamps"),
        vad_events=_wants_vad(parameters),
        full_transcript=parameters.flag("full_transcript"),
        transcription=True,
        transcript_on_errors=False,
    )
    return PulseSession(config, session_id, now)


def _check_model(model: str | None) -> None:
    if model == "pulse-pro":
        raise RequestRefused(
            "Pulse Pro has no streaming transport; use POST /waves/v1/stt/?model=pulse-pro", code="model_not_streaming"
        )
    if model != "pulse":
        fault = "model is required" if model is None else "model is not known"
        raise RequestRefused(f"{fault}; the streaming endpoint serves model=pulse", code="bad_model")


def read_request(parameters: Parameters) -> RecognizerRequest:
    """
    Read what concerns the recogniser, and check the rest.

    Formatting, redaction, keywords and diarization are accepted for compatibility and left to the recogniser.

    Raises:
        RequestRefused: 400, a parameter is malformed.
    """
    for name in ("format", "punctuate", "capitalize", "itn_normalize", "diarize", "redact_pii", "redact_pci"):
        parameters.flag(name)
    parameters.matching("external_session_id", r"[A-Za-z0-9_.-]{1,128}")
    silences_ms = [parameters.number(name, *_EOU_MS) for name in ("eou_timeout_ms", "endpointing_timeout")]
    max_words = parameters.number("max_words", 1, 1000)
    return RecognizerRequest(
        format=parameters.audio_format(),
        language=parameters.language(),
        # Two silences race for the final; the shorter wins.
        eou_timeout_ms=min((ms for ms in silences_ms if ms is not None), default=None),
        endpointing=parameters.flag("endpointing") if parameters.text("endpointing") else None,
        max_words=max_words if parameters.flag("finalize_on_words", default=True) else None,
    )


def _wants_vad(parameters: Parameters) -> bool:
    return any([parameters.flag("vad_events"), parameters.flag("vad")])


class _Control(msgspec.Struct):
    type: str


class _State(Enum):
    OPEN = auto()
    LINGERING = auto()
    ENDING = auto()
    CLOSED = auto()


@dataclass(slots=True)
class _FullTranscript:
    """The finals so far, joined by spaces; the beginning goes when it no longer fits a message."""

    text: str = field(default="", init=False)

    def add(self, text: str) -> None:
        self.text = f"{self.text} {text}".strip()
        if len(self.text) * 4 > LARGEST_FULL_TRANSCRIPT_BYTES:  # else it fits in whatever script
            kept = self.text.encode()[-LARGEST_FULL_TRANSCRIPT_BYTES:].decode(errors="ignore")
            self.text = kept if len(kept) == len(self.text) else kept.partition(" ")[2] or kept


class PulseSession:
    """One client's Pulse session; see `gateway.speech_api.base.Session`."""

    def __init__(self, config: PulseConfig, session_id: str, now: float) -> None:
        self._config = config
        self._session_id = session_id
        self._state = _State.OPEN
        self._header = HeaderSkipper()
        self._full = _FullTranscript()
        self._unanswered_finalizes = 0
        self._is_client_gone = False
        self._faults_in_a_row = 0
        self._may_end = False  # the client's last message was a `finalize` that may mean the end
        self._deadline: float | None = now + config.idle_timeout_s

    @property
    def request(self) -> RecognizerRequest:
        """What the recogniser is wanted for; its format is the client's."""
        return self._config.request

    def opened(self) -> list[Action]:
        """Nothing to say: this protocol's clients take the upgrade for the beginning."""
        return []

    # ── The client ──────────────────────────────────────────────────────────────────────────────────────────────

    def receive(self, message: str | bytes, now: float) -> list[Action]:
        """A message of the client: audio if binary, control if text."""
        if self._state in (_State.ENDING, _State.CLOSED):
            return []  # whatever comes after the end was announced is nobody's
        self._may_end = False
        if self._state is _State.OPEN:
            self._deadline = now + self._config.idle_timeout_s
        if isinstance(message, bytes):
            return self._receive_audio(message, now)
        return self._receive_control(message, now)

    def _receive_audio(self, message: bytes, now: float) -> list[Action]:
        had_header = self._header.found
        audio = self._header.feed(message)
        actions: list[Action] = []
        if self._header.found and not had_header and self._header.declared != self.request.format:
            actions.append(Report("riff_format_differs"))
        if audio:
            self._carry_on(now)
            self._faults_in_a_row = 0
            actions.append(Hear(audio))
        return actions

    def _receive_control(self, message: str, now: float) -> list[Action]:
        try:
            control = msgspec.json.decode(message, type=_Control)
        except (msgspec.DecodeError, RecursionError):  # not JSON, or JSON of another shape
            return self._reject("bad_message", "text messages must be JSON objects with a string `type`")
        match control.type:
            case "keepalive":
                return [_say({"type": "pong"}), KeepAlive()]
            case "finalize" if self._config.finalize != "end":
                return self._finalize(now)
            case "finalize":
                return self._end()
            case word if word in _END_WORDS:
                return self._end()
            case _:
                return self._reject("unknown_message", "unknown message type")

    def _reject(self, code: str, text: str) -> list[Action]:
        self._faults_in_a_row += 1
        closing = self._close(POLICY_VIOLATION) if self._faults_in_a_row >= ERROR_BUDGET else []
        return [Report(code), self._error(text), *closing]

    def _finalize(self, now: float) -> list[Action]:
        self._carry_on(now)
        self._may_end = self._config.finalize == "auto"
        self._unanswered_finalizes += 1
        return [Finalize()]

    def _end(self) -> list[Action]:
        if self._state is _State.LINGERING:
            return self._close(NORMAL_CLOSURE)
        self._state = _State.ENDING
        self._deadline = None
        return [End()]

    def disconnected(self) -> list[Action]:
        """The client has gone; what it sent is still recognised to its end."""
        self._is_client_gone = True
        return self._end() if self._state in (_State.OPEN, _State.LINGERING) else []

    def _carry_on(self, now: float) -> None:
        if self._state is _State.LINGERING:
            self._state = _State.OPEN
            self._deadline = now + self._config.idle_timeout_s

    # ── The recogniser ──────────────────────────────────────────────────────────────────────────────────────────

    def recognized(self, event: RecognizerEvent, now: float) -> list[Action]:
        """An event of the recogniser becomes a message, if the client wants such."""
        if self._state is _State.CLOSED:
            return []
        match event:
            case Partial():
                return [self._result(event.text, is_partial=True)]
            case Final():
                return [self._receive_final(event, now)]
            case SpeechStarted(at_s=at_s):
                return self._vad("speech_started", at_s)
            case SpeechEnded(at_s=at_s):
                return self._vad("speech_ended", at_s)
            case Finished() if self._state is _State.ENDING:
                return [self._terminal(), *self._close(CLIENT_LEFT if self._is_client_gone else NORMAL_CLOSURE)]
            case Finished():
                return self.failed("the recogniser ended the session")

    def _receive_final(self, final: Final, now: float) -> Say:
        if final.from_finalize:
            self._unanswered_finalizes -= 1
            if self._may_end and self._unanswered_finalizes <= 0:
                self._deadline = now + self._config.finalize_grace_s
        return self._final(final)

    def failed(self, message: str) -> list[Action]:
        """The recogniser is lost: say so and close."""
        if self._state is _State.CLOSED:
            return []
        return [self._error(message), *self._close(INTERNAL_ERROR)]

    # ── Time ────────────────────────────────────────────────────────────────────────────────────────────────────

    def next_deadline(self) -> float | None:
        """When a `finalize` counts as the end, the lingering is over, or the client has been silent for too long."""
        return self._deadline

    def handle_timeout(self, now: float) -> list[Action]:
        """End what the deadline was for."""
        if self._state is _State.LINGERING:
            return self._close(NORMAL_CLOSURE)
        if self._state is not _State.OPEN:
            return []
        if self._may_end and self._unanswered_finalizes <= 0:
            self._state = _State.LINGERING
            self._deadline = now + LINGER_S
            return [self._terminal()]
        return self._end()

    # ── Messages ────────────────────────────────────────────────────────────────────────────────────────────────

    def _terminal(self) -> Say:
        """Without text of its own: the vendor's voice agent stops at `is_last` before it looks at the transcript."""
        return self._final(Final(text=""), is_last=True)

    def _close(self, code: int) -> list[Action]:
        self._state = _State.CLOSED
        self._deadline = None
        return [Close(code)]

    def _final(self, final: Final, *, is_last: bool = False) -> Say:
        self._full.add(final.text)
        more: dict[str, Any] = {}
        if final.from_finalize:
            more["from_finalize"] = True
        if language := final.language or self.request.language:
            more["language"] = language
        for name in self._config.word_fields:
            more[name] = [_word(word, with_confidence=self._config.word_confidence) for word in final.words]
        if self._config.utterances:
            more["utterances"] = [_utterance(final)] if final.text else []
        return self._result(final.text, is_final=True, is_last=is_last, more=more)

    def _result(
        self,
        transcript: str,
        *,
        is_partial: bool = False,
        is_final: bool = False,
        is_last: bool = False,
        more: Mapping[str, Any] = {},
    ) -> Say:
        message = {
            "session_id": self._session_id,
            "transcript": transcript,
            "is_final": is_final,
            "is_last": is_last,
        }
        if self._config.typed:
            message = {"type": "transcription", "status": "success", **message}
        if self._config.transcription:
            message["transcription"] = transcript
        if self._config.full_transcript:
            message["full_transcript"] = self._full.text
        return _say({**message, **more}, is_partial=is_partial)

    def _error(self, text: str) -> Say:
        message: dict[str, Any] = {"type": "error", "status": "error", "session_id": self._session_id, "message": text}
        if self._config.transcript_on_errors:
            message |= {"transcript": "", "is_final": False, "is_last": False}
        return _say(message)

    def _vad(self, kind: str, at_s: float) -> list[Action]:
        if not self._config.vad_events:
            return []
        return [_say({"type": kind, "session_id": self._session_id, "timestamp": round(at_s, 3)})]


def _word(word: Word, *, with_confidence: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {"word": word.word, "start": round(word.start_s, 3), "end": round(word.end_s, 3)}
    if with_confidence and word.confidence is not None:
        entry["confidence"] = round(word.confidence, 4)
    return entry


def _utterance(final: Final) -> dict[str, Any]:
    times = {"start": final.start_s, "end": final.end_s}
    return {"text": final.text, **{name: round(at_s, 3) for name, at_s in times.items() if at_s is not None}}


def _say(message: dict[str, Any], *, is_partial: bool = False) -> Say:
    """Encode a message, leaving out what repeats other fields when it would be larger than clients accept."""
    encoded = msgspec.json.encode(message)
    for name in ("word_timestamps", "words", "utterances"):
        if len(encoded) > LARGEST_MESSAGE_BYTES and message.pop(name, None) is not None:
            encoded = msgspec.json.encode(message)
    return Say(encoded.decode(), is_partial=is_partial)
