"""
A strict Pulse server that does what a test tells it to: a real WebSocket server on loopback.

    async with PulseServer() as server:                      # recognises by itself
    async with PulseServer(refuse(429, {"Retry-After": "7"}), recognise()) as server:   # first refuses, then works

An act is a coroutine function of a `PulseSession`; those that tests share are below. How acts are played and what
becomes of a client that breaks the rules is in `strict_server`.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from websockets.datastructures import Headers

from tests.support.strict_server import Refusal, StrictServer, StrictSession, refuse

__all__ = ["refuse"]  # tests take it from here, with the other acts

KEY = "sk_test_key_of_pulse"
LIVE_PATH = "/waves/v1/stt/live"
PULSE_PATH = "/waves/v1/pulse/get_text"
_BYTES_PER_SAMPLE = {"linear16": 2, "linear32": 4, "mulaw": 1, "alaw": 1}
_RATES_HZ = {"8000", "16000", "22050", "24000", "44100", "48000"}
_CONTROLS = {"finalize", "close_stream", "end", "keepalive"}

Word: TypeAlias = dict[str, Any]
Hearing: TypeAlias = Callable[[bytes, float, int], list[Word]]
"""Makes words of a piece of audio that begins at so many seconds of the session and has so many bytes per second."""


@dataclass
class PulseSession(StrictSession):
    """One connection, from the server's side."""

    audio: bytearray = field(default_factory=bytearray)
    controls: list[str] = field(default_factory=list)

    @property
    def bytes_per_s(self) -> int:
        return _BYTES_PER_SAMPLE[self.query["encoding"]] * int(self.query["sample_rate"])

    @property
    def audio_s(self) -> float:
        """Seconds of audio received."""
        return len(self.audio) / self.bytes_per_s

    async def check(self, message: bytes | str) -> None:
        if "close_stream" in self.controls:
            self.violate("a message after close_stream")
        if isinstance(message, bytes):
            if not message:
                self.violate("an empty binary message")
            self.audio += message
        else:
            self.controls.append(self._control(message))

    async def receive_until(self, control: str) -> None:
        """Receive up to and including this control message."""
        while not (self.controls and self.controls[-1] == control):
            await self.receive()

    async def receive_audio(self, seconds: float) -> None:
        """Receive until the session has had so much audio."""
        while self.audio_s < seconds:
            await self.receive()

    async def say(self, text: str, words: list[Word] | None = None, **flags: bool) -> None:
        """Send a result; flags are `is_final`, `is_last` and `from_finalize`."""
        named = {"words": words} if words else {}
        state = {"is_final": False, "is_last": False, **flags}
        language = {"language": self.query["language"]} if state["is_final"] else {}
        await self.send(
            type="transcription",
            status="success",
            session_id="s-1",
            transcript=text,
            **state,
            **language,
            **named,
        )

    def _control(self, message: str) -> str:
        try:
            kind = json.loads(message).get("type")
        except (ValueError, AttributeError):
            kind = None
        if kind not in _CONTROLS:
            self.violate(f"an unknown control message: {message}")
        return str(kind)


Playing: TypeAlias = Callable[[PulseSession], Awaitable[None]]
Act: TypeAlias = Playing | Refusal


class PulseServer(StrictServer[PulseSession]):
    """
    The server; recognises by itself unless told otherwise.

    Args:
        acts, strict: see `StrictServer`.
        path: served path; decides which query is required.
    """

    session_type = PulseSession

    def __init__(self, *acts: Act, path: str = LIVE_PATH, strict: bool = True) -> None:
        super().__init__(*(acts or (recognise(),)), path=path, strict=strict)

    def refusal_status(self, query: Mapping[str, str], headers: Headers) -> int | None:
        if headers.get("Authorization") != f"Bearer {KEY}":
            return 401
        if fault := _fault(query, is_live=self._path == LIVE_PATH):
            self.note_violation(fault)
            return 400
        return None


# ── Acts ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def recognise(*, every_s: float = 1.0, hear: Hearing | None = None, last_when: asyncio.Event | None = None) -> Playing:
    """
    Recognise as Pulse does, with words that follow from the audio.

    Args:
        every_s: audio per final; a partial comes at half of it.
        hear: words of a piece of audio; by default one per final, `second <n>`, over the whole piece.
        last_when: the answer to `close_stream` waits for this.
    """
    listen = hear or count_seconds

    async def act(session: PulseSession) -> None:
        step = int(every_s * session.bytes_per_s)
        done = 0

        def words(end: int) -> list[Word]:
            rate = session.bytes_per_s
            return listen(bytes(session.audio[done:end]), done / rate, rate) if end > done else []

        while True:
            message = await session.receive()
            match session.controls[-1] if isinstance(message, str) else "audio":
                case "audio":
                    while len(session.audio) >= done + step:
                        await _say_words(session, words(done + step // 2))
                        await _say_words(session, words(done + step), is_final=True)
                        done += step
                case "keepalive":
                    await session.send(type="pong")
                case "finalize":
                    await _say_words(session, words(len(session.audio)), is_final=True, from_finalize=True)
                    done = len(session.audio)
                case _:
                    if last_when is not None:
                        await last_when.wait()
                    await _say_words(session, words(len(session.audio)), is_final=True, is_last=True)
                    await session.close()
                    return

    return act


def cut_after(seconds: float) -> Playing:
    """Take so much audio, say nothing, drop the connection."""

    async def act(session: PulseSession) -> None:
        await session.receive_audio(seconds)
        session.cut()

    return act


def say_nothing() -> Playing:
    """Take everything, answer nothing, also not `close_stream`."""

    async def act(session: PulseSession) -> None:
        while True:
            await session.receive()

    return act


def count_seconds(audio: bytes, start_s: float, bytes_per_s: int) -> list[Word]:
    """`second <n>` for the piece that begins at second n - 1."""
    end_s = start_s + len(audio) / bytes_per_s
    middle_s = (start_s + end_s) / 2
    return [
        {"word": "second", "start": start_s, "end": middle_s, "confidence": 0.5},
        {"word": str(int(start_s) + 1), "start": middle_s, "end": end_s, "confidence": 0.75},
    ]


def read_content(audio: bytes, start_s: float, bytes_per_s: int) -> list[Word]:
    """
    One word `b<value>` per run of equal bytes, with its times: what was heard names the audio itself, so that lost,
    repeated and shifted audio shows in the transcript, also across sessions. 0xff is silence.
    """
    words: list[Word] = []
    begin = 0
    for index in range(1, len(audio) + 1):
        if index == len(audio) or audio[index] != audio[begin]:
            if audio[begin] != 0xFF:
                start, end = start_s + begin / bytes_per_s, start_s + index / bytes_per_s
                words.append({"word": f"b{audio[begin]}", "start": start, "end": end, "confidence": 1.0})
            begin = index
    return words


async def _say_words(session: PulseSession, words: list[Word], **flags: bool) -> None:
    await session.say(" ".join(word["word"] for word in words), words, **flags)


def _fault(query: Mapping[str, str], *, is_live: bool) -> str | None:
    """What the vendor would answer 400 to, or what makes a transcript worthless."""
    if is_live and query.get("model") != "pulse":
        return "live without model=pulse"
    if not query.get("language"):
        return "no language"
    if query.get("encoding") not in _BYTES_PER_SAMPLE or query.get("sample_rate") not in _RATES_HZ:
        return "encoding or sample_rate missing or unknown"
    if query.get("word_timestamps") != "true":
        return "no word times asked for"
    return None
