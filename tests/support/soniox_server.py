"""
A strict Soniox realtime server on loopback; how acts are played is in `strict_server`.

It wants the key in the header and not in the start message, a start message with known fields only, audio that is not
empty, `finalize` no more often than every two seconds of audio, and nothing after the empty message that ends a stream.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from websockets.datastructures import Headers

from tests.support.strict_server import Refusal, StrictServer, StrictSession

KEY = "sk_test_key_of_soniox"
FINALIZE_EVERY_S = 2.0
_BYTES_PER_SAMPLE = {"pcm_s16le": 2, "mulaw": 1, "alaw": 1}
_FIELDS = {
    "model",
    "audio_format",
    "sample_rate",
    "num_channels",
    "language_hints",
    "language_hints_strict",
    "context",
    "enable_speaker_diarization",
    "enable_language_identification",
    "enable_endpoint_detection",
    "max_endpoint_delay_ms",
    "endpoint_sensitivity",
    "client_reference_id",
    "translation",
}

Token: TypeAlias = dict[str, Any]


@dataclass
class SonioxSession(StrictSession):
    """One connection, from the server's side. `controls` holds `end` for the empty message."""

    start: dict[str, Any] = field(default_factory=dict)
    audio: bytearray = field(default_factory=bytearray)
    controls: list[str] = field(default_factory=list)
    finalized_s: float | None = None

    @property
    def bytes_per_s(self) -> int:
        return int(_BYTES_PER_SAMPLE[self.start["audio_format"]] * self.start["sample_rate"])

    @property
    def audio_s(self) -> float:
        """Seconds of audio received."""
        return len(self.audio) / self.bytes_per_s

    async def check(self, message: bytes | str) -> None:
        if "end" in self.controls:
            self.violate("a message after the end")
        if not self.start:
            self._check_start(message)
        elif not message:
            self.controls.append("end")
        elif isinstance(message, bytes):
            self.audio += message
        else:
            self._check_control(json.loads(message))

    async def receive_until(self, control: str) -> None:
        """Receive up to and including this control message."""
        while not (self.controls and self.controls[-1] == control):
            await self.receive()

    async def say(self, *tokens: Token, **more: Any) -> None:
        """Send a response of these tokens."""
        now_ms = round(self.audio_s * 1000)
        await self.send(tokens=tokens, final_audio_proc_ms=now_ms, total_audio_proc_ms=now_ms, **more)

    async def fail(self, code: int, text: str = "no") -> None:
        """Send an error, and close as the vendor does."""
        await self.send(error_code=code, error_message=text)
        await self.close()

    def _check_start(self, message: bytes | str) -> None:
        start = json.loads(message) if isinstance(message, str) and message else {}
        if not start.get("model"):
            self.violate("no model, or no start message")
        if start.get("audio_format") not in _BYTES_PER_SAMPLE or type(start.get("sample_rate")) is not int:
            self.violate(f"not an audio format: {start}")
        if start.get("num_channels") != 1:
            self.violate("no number of channels")
        if start.keys() - _FIELDS:
            self.violate(f"unknown fields: {sorted(start.keys() - _FIELDS)}")
        if not 500 <= start.get("max_endpoint_delay_ms", 500) <= 3000:
            self.violate("max_endpoint_delay_ms out of range")
        self.start = start or {"model": None}

    def _check_control(self, control: dict[str, Any]) -> None:
        kind = control.get("type")
        self.controls.append(str(kind))
        if kind not in ("finalize", "keepalive"):
            self.violate(f"an unknown control message: {control}")
        if kind == "finalize":
            if self.finalized_s is not None and self.audio_s - self.finalized_s < FINALIZE_EVERY_S:
                self.violate("finalize too often")
            self.finalized_s = self.audio_s


Playing: TypeAlias = Callable[[SonioxSession], Awaitable[None]]


class SonioxServer(StrictServer[SonioxSession]):
    """The server; recognises by itself unless told otherwise."""

    session_type = SonioxSession

    def __init__(self, *acts: "Playing | Refusal", strict: bool = True) -> None:
        super().__init__(*(acts or (recognise(),)), path="/transcribe-websocket", strict=strict)

    def refusal_status(self, query: Mapping[str, str], headers: Headers) -> int | None:
        return None if headers.get("Authorization") == f"Bearer {KEY}" else 401


def recognise() -> Playing:
    """`Second <n>.` for each second of audio, in sub-words that are first not final, and an `<end>`."""

    async def act(session: SonioxSession) -> None:
        await session.receive()
        done_s = 0.0

        def tokens(end_s: float, *, is_final: bool = True) -> list[Token]:
            if end_s <= done_s:
                return []
            middle_s = (done_s + end_s) / 2
            return [
                token(" Sec", done_s, middle_s, is_final=is_final),
                token("ond", done_s, middle_s, is_final=is_final),
                token(f" {int(done_s) + 1}", middle_s, end_s, is_final=is_final),
                token(".", end_s, end_s, is_final=is_final),
            ]

        while True:
            message = await session.receive()
            if message and isinstance(message, bytes):
                while session.audio_s >= done_s + 1:
                    await session.say(*tokens(done_s + 0.5, is_final=False))
                    await session.say(*tokens(done_s + 1), marker("<end>"))
                    done_s += 1
            elif session.controls[-1] == "finalize":
                await session.say(*tokens(session.audio_s), marker("<fin>"))
                done_s = session.audio_s
            elif session.controls[-1] == "end":
                await session.say(*tokens(session.audio_s))
                await session.say(finished=True)
                await session.close()
                return

    return act


def token(text: str, start_s: float, end_s: float, *, is_final: bool = True, **more: Any) -> Token:
    """A piece of a word."""
    times = {"start_ms": round(start_s * 1000), "end_ms": round(end_s * 1000)}
    return {"text": text, **times, "confidence": 0.9, "is_final": is_final, "language": "en", **more}


def marker(text: str) -> Token:
    """`<end>` or `<fin>`: a token that is no text."""
    return {"text": text, "is_final": True, "confidence": 1.0}
