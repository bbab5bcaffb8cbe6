"""
OpenAI Realtime, transcription session (kind `openai`): `wss://api.openai.com/v1/realtime?intent=transcription`.

Everything is JSON, audio too (base64). The session is asked for in `session.update`; audio may follow
`session.updated`. The vendor's voice detection, or our `commit`, cuts the audio into items, which are transcribed
independently and may be completed in any order; finals are given in the order in which they were spoken. Deltas are
increments. There are no word times: an item spans what the voice detection says, else what was committed.

No message ends a session: it is over when the last commit was answered and every item is transcribed. Most errors leave
it open.

Source: github.com/openai/openai-openapi, openapi.yaml; developers.openai.com, "Realtime transcription", read 2026-11;
close code 3000 for a wrong key: github.com/twilio-samples/speech-assistant-openai-realtime-api-python, issue 4.
"""

import base64
from collections import deque
from dataclasses import dataclass
from math import exp
from typing import Any, Literal, TypeAlias

import msgspec

from gateway.config import SttProfile
from gateway.errors import RecognizerProtocolError, RecognizerUnavailable
from gateway.events import Final, Finished, Partial, RecognizerEvent, RecognizerRequest, SpeechEnded, SpeechStarted
from gateway.stt.protocol import Message, Messages, closure
from gateway.stt.query import query_url
from gateway.stt.wire import bearer, decode, number, options, text_or_none

MAX_TURN_S = 15.0
"""Where the vendor does not detect turns, audio is committed at least so often: nothing is final before."""
MIN_COMMIT_S = 0.1
"""The vendor refuses to commit less."""
MAX_ITEMS = 256
"""Items under way at once; a service that is so far behind is as good as gone."""
MAX_TEXT_CHARS = 20_000
"""Shown of one item while it is transcribed; its final has all of it."""

_DEFAULT_MODEL = "gpt-4o-transcribe"
_STREAMING_MODELS = ("gpt-live-transcribe", "gpt-realtime-whisper")  # these refuse turn detection
_LOGPROB_MODELS = ("gpt-4o-transcribe", "gpt-4o-mini-transcribe")
_FATAL_ERRORS = {"invalid_api_key", "insufficient_quota", "model_not_found", "invalid_model"}
_PASSING_ERRORS = {"session_expired", "rate_limit_exceeded", "server_error"}
_TRANSCRIPTION = "conversation.item.input_audio_transcription."
_BUFFER = "input_audio_buffer."

_Purpose: TypeAlias = Literal["turn", "finalize", "end"]


class _Error(msgspec.Struct):
    type: Any = None
    code: Any = None
    event_id: Any = None


class _LogProb(msgspec.Struct):
    logprob: float


class _Message(msgspec.Struct):
    """Any server message. Fields beside the text are `Any`: an odd one must not cost the words that came with it."""

    type: str
    item_id: str = ""
    audio_start_ms: Any = None
    audio_end_ms: Any = None
    delta: str = ""
    transcript: str = ""
    languages: Any = None
    logprobs: Any = None
    error: _Error | None = None


_decoder = msgspec.json.Decoder(_Message)


@dataclass(slots=True)
class _Item:
    """A piece of audio that is transcribed as one; `final` once it is."""

    start_s: float | None = None
    end_s: float | None = None
    text: str = ""
    final: Final | None = None
    is_committed: bool = False
    has_stopped: bool = False
    from_finalize: bool = False


@dataclass(frozen=True, slots=True)
class _Commit:
    """A commit of ours that was not answered yet: why, and up to where in the session's audio."""

    id: str
    purpose: _Purpose
    at_s: float


class OpenAIProtocol:
    """
    One OpenAI transcription session.

    Args:
        profile: `options` are `model`, `prompt`, `delay`, `noise_reduction`, `turn_detection` (`server_vad`,
            `semantic_vad` or `none`) and its `threshold`, `prefix_padding_ms`, `silence_duration_ms`, `eagerness`.
        request: what is wanted; wins over `options`, which win over the profile's language. `max_words` has no
            counterpart. The format must be mulaw at 8 kHz: linear audio is taken at 24 kHz only.
    """

    def __init__(self, profile: SttProfile, request: RecognizerRequest) -> None:
        without_options = profile.model_copy(update={"options": {}})
        self.url = query_url(without_options, request, required={}, defaults={"intent": "transcription"})
        self.headers = bearer(profile)
        self.is_ready = False
        session = _session(profile, request)
        self._opening = _encoded({"type": "session.update", "session": session})
        self._detects_turns = session["audio"]["input"]["turn_detection"] is not None
        self._format = request.format
        self._sent_samples = 0
        self._cut_s = 0.0
        self._commits: deque[_Commit] = deque()
        self._commits_made = 0
        self._items: dict[str, _Item] = {}
        self._shows_text = False
        self._was_end_answered = False

    def opening(self) -> Messages:
        return (self._opening,)

    def audio(self, chunk: bytes) -> Messages:
        self._sent_samples += self._format.samples(chunk)
        if self._detects_turns or self._sent_s - self._last_commit_s < MAX_TURN_S:
            return (_append(chunk),)
        return (_append(chunk), self._commit("turn"))

    def finalize(self) -> Messages:
        return (self._commit("finalize"),)

    def keepalive(self) -> Messages:
        return ()  # sessions wait

    def end(self) -> Messages:
        uncommitted_s = self._sent_s - self._last_commit_s
        if self._detects_turns or not 0 < uncommitted_s < MIN_COMMIT_S:
            return (self._commit("end"),)
        missing = round((MIN_COMMIT_S - uncommitted_s) * self._format.rate_hz)
        return (_append(self._format.silence(missing)), self._commit("end"))

    def receive(self, message: Message) -> list[RecognizerEvent]:
        decoded = decode(_decoder, message)
        kind = decoded.type.removeprefix(_TRANSCRIPTION).removeprefix(_BUFFER)
        match kind:
            case "session.updated":
                self.is_ready = True
            case "speech_started":
                return self._speech_started(decoded)
            case "speech_stopped":
                return self._speech_stopped(decoded)
            case "committed":
                self._committed(decoded.item_id)
            case "delta":
                item = self._item(decoded.item_id)
                item.text = (item.text + decoded.delta)[:MAX_TEXT_CHARS]
                return self._show()
            case "completed":
                return self._completed(decoded)
            case "failed":
                raise RecognizerUnavailable("the recogniser could not transcribe", code="stt_transcription_failed")
            case "error":
                return self._error(decoded.error or _Error())
            case _:  # `session.created`, items, rate limits, and kinds that the vendor has added since
                pass
        return []

    def closed(self, code: int) -> list[RecognizerEvent]:
        if code in (1008, 3000):
            raise _failure("stt_unauthorized", retryable=False)
        raise closure(code)

    @property
    def _sent_s(self) -> float:
        return self._sent_samples / self._format.rate_hz

    @property
    def _last_commit_s(self) -> float:
        return self._commits[-1].at_s if self._commits else self._cut_s

    def _commit(self, purpose: _Purpose) -> str:
        self._commits_made += 1
        commit = _Commit(f"{purpose}-{self._commits_made}", purpose, self._sent_s)
        self._commits.append(commit)
        return _encoded({"type": "input_audio_buffer.commit", "event_id": commit.id})

    def _item(self, item_id: str) -> _Item:
        if item_id not in self._items and len(self._items) >= MAX_ITEMS:
            raise RecognizerUnavailable("the recogniser is too far behind", code="stt_stalled")
        return self._items.setdefault(item_id, _Item())

    def _speech_started(self, message: _Message) -> list[RecognizerEvent]:
        at_s = _seconds(message.audio_start_ms)
        self._item(message.item_id).start_s = at_s
        return [] if at_s is None else [SpeechStarted(at_s=at_s)]

    def _speech_stopped(self, message: _Message) -> list[RecognizerEvent]:
        at_s = _seconds(message.audio_end_ms)
        item = self._item(message.item_id)
        item.end_s = at_s
        item.has_stopped = True
        return [] if at_s is None else [SpeechEnded(at_s=at_s)]

    def _committed(self, item_id: str) -> None:
        """An item is cut off: by us, unless the voice detection has said that speech stopped."""
        item = self._item(item_id)
        item.is_committed = True
        if self._commits and not item.has_stopped:
            self._answered(item)
        if item.end_s is not None:
            self._cut_s = item.end_s

    def _answered(self, item: _Item) -> None:
        """Our oldest commit made this item, of everything that was not in others: what was announced never comes."""
        commit = self._commits.popleft()
        item.start_s = self._cut_s if item.start_s is None else item.start_s
        item.end_s = max(commit.at_s, item.start_s)
        item.from_finalize = commit.purpose == "finalize"
        self._was_end_answered |= commit.purpose == "end"
        self._items = {name: each for name, each in self._items.items() if each.is_committed or each.has_stopped}

    def _completed(self, message: _Message) -> list[RecognizerEvent]:
        item = self._item(message.item_id)
        item.is_committed = True
        item.final = Final(
            text=message.transcript.strip(),
            start_s=item.start_s,
            end_s=item.end_s,
            language=_language(message.languages),
            confidence=_confidence(message.logprobs),
            from_finalize=item.from_finalize,
        )
        return self._release()

    def _release(self) -> list[RecognizerEvent]:
        """Every item that is transcribed, up to the first one that is not; the end, once nothing can follow."""
        events: list[RecognizerEvent] = []
        for item_id, item in list(self._items.items()):
            if not item.is_committed:
                continue
            if item.final is None:
                break
            del self._items[item_id]
            if item.final.text or item.final.from_finalize:
                events.append(item.final)
                self._shows_text = False
        events += self._show()
        if self._was_end_answered and not any(item.is_committed for item in self._items.values()):
            events.append(Finished())
        return events

    def _show(self) -> list[RecognizerEvent]:
        """What was said since the last final."""
        spoken = [item for item in self._items.values() if _text(item)]
        if not spoken and not self._shows_text:
            return []
        self._shows_text = bool(spoken)
        text = " ".join(_text(item) for item in spoken)
        return [Partial(text=text, start_s=spoken[0].start_s if spoken else None)]

    def _error(self, error: _Error) -> list[RecognizerEvent]:
        names = {name for name in (error.type, error.code) if isinstance(name, str)}
        if commit := self._refused_commit(error, names):
            return self._nothing_to_commit(commit)
        if names & _FATAL_ERRORS:
            raise _failure("stt_unauthorized", retryable=False)
        if names & {"session_expired", "rate_limit_exceeded"}:
            raise _failure(f"stt_{error.code}", retryable=True)
        if not self.is_ready:
            raise _failure("stt_session_refused", retryable=bool(names & _PASSING_ERRORS))
        raise RecognizerProtocolError("the recogniser reported an error", code="stt_vendor_error")

    def _refused_commit(self, error: _Error, names: set[str]) -> _Commit | None:
        for commit in self._commits:
            if commit.id == error.event_id or (error.event_id is None and "input_audio_buffer_commit_empty" in names):
                return commit
        return None

    def _nothing_to_commit(self, commit: _Commit) -> list[RecognizerEvent]:
        """All that was heard is in earlier items: the answer takes its place behind them."""
        self._commits.remove(commit)
        self._was_end_answered |= commit.purpose == "end"
        if commit.purpose == "finalize":
            self._items[commit.id] = _Item(is_committed=True, final=Final(text="", from_finalize=True))
        return self._release()


def _session(profile: SttProfile, request: RecognizerRequest) -> dict[str, Any]:
    given = options(profile, request)
    model = given.get("model", _DEFAULT_MODEL)
    transcription = {
        "model": model,
        "language": request.language or given.get("language") or profile.language,
        "prompt": given.get("prompt"),
        "delay": given.get("delay"),
    }
    reduction = given.get("noise_reduction")
    session: dict[str, Any] = {
        "type": "transcription",
        "audio": {
            "input": {
                "format": {"type": "audio/pcmu"},
                "transcription": {name: value for name, value in transcription.items() if value is not None},
                "turn_detection": _turn_detection(given, str(model), request),
                **({"noise_reduction": {"type": reduction}} if reduction else {}),
            }
        },
    }
    if model in _LOGPROB_MODELS:
        session["include"] = ["item.input_audio_transcription.logprobs"]
    return session


def _turn_detection(given: dict[str, Any], model: str, request: RecognizerRequest) -> dict[str, Any] | None:
    """The vendor's voice detection; None where the model has none, or pauses are not to end turns."""
    kind = given.get("turn_detection") or "server_vad"
    if kind == "none" or model.startswith(_STREAMING_MODELS) or request.endpointing is False:
        return None
    settings = ("threshold", "prefix_padding_ms", "silence_duration_ms", "eagerness")
    wanted = {"type": kind} | {name: given[name] for name in settings if name in given}
    if request.eou_timeout_ms is not None and kind == "server_vad":
        wanted["silence_duration_ms"] = request.eou_timeout_ms
    return wanted


def _append(audio: bytes) -> str:
    return _encoded({"type": "input_audio_buffer.append", "audio": base64.b64encode(audio).decode()})


def _encoded(message: dict[str, Any]) -> str:
    return msgspec.json.encode(message).decode()


def _text(item: _Item) -> str:
    return item.final.text if item.final is not None else item.text.strip()


def _seconds(milliseconds: Any) -> float | None:
    value = number(milliseconds)
    return None if value is None else value / 1000


def _language(languages: Any) -> str | None:
    """The first of several; the vendor has given them as codes and as objects with a code."""
    first = languages[0] if isinstance(languages, list) and languages else None
    return text_or_none(first.get("code") if isinstance(first, dict) else first)


def _confidence(logprobs: Any) -> float | None:
    """The mean probability of the transcript's tokens, as their logarithms give it."""
    try:
        found = msgspec.convert(logprobs or [], list[_LogProb])
    except msgspec.ValidationError:
        return None
    return round(exp(min(0.0, sum(each.logprob for each in found) / len(found))), 4) if found else None


def _failure(code: str, *, retryable: bool) -> RecognizerUnavailable:
    return RecognizerUnavailable("the recogniser ended or refused the session", code=code, retryable=retryable)
