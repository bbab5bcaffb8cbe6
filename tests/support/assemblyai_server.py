"""
A strict AssemblyAI Universal-Streaming server on loopback; how acts are played is in `strict_server`.

It checks the key after the upgrade, wants the model named, no audio before `Begin`, 50 to 1000 ms of audio per message
and no more than was spoken since the first one (`AHEAD_S` at most): else `Error`, and a close with the same code.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

from websockets.datastructures import Headers

from tests.support.strict_server import Refusal, StrictServer, StrictSession

KEY = "test_key_of_assemblyai"
AHEAD_S = 1.1
"""How far audio may be ahead of the clock: a longest message, and what timers are late."""
_BYTES_PER_SAMPLE = {"pcm_s16le": 2, "pcm_mulaw": 1}
_CONTROLS = {"UpdateConfiguration", "ForceEndpoint", "KeepAlive", "Terminate"}


@dataclass
class AssemblyAISession(StrictSession):
    """One connection, from the server's side."""

    audio: bytearray = field(default_factory=bytearray)
    controls: list[str] = field(default_factory=list)
    first_audio_at: float | None = None

    @property
    def bytes_per_s(self) -> int:
        return _BYTES_PER_SAMPLE[self.query["encoding"]] * int(self.query["sample_rate"])

    async def begin(self) -> bool:
        """Check the key and begin; False if the session was refused."""
        if self.request_headers.get("Authorization") != KEY:
            await self.fail(1008, "Unauthorized Connection: Missing Authorization header")
            return False
        await self.send(type="Begin", id="s-1", expires_at=1790000000)
        return True

    async def fail(self, code: int, reason: str) -> None:
        """End the session with an error."""
        await self.send(type="Error", error_code=code, error=reason)
        await self.close(code, reason)

    async def check(self, message: bytes | str) -> None:
        if "Terminate" in self.controls:
            self.violate("a message after Terminate")
        if isinstance(message, bytes):
            await self._check_audio(message)
            return
        self.controls.append(json.loads(message)["type"])
        if self.controls[-1] not in _CONTROLS:
            self.violate(f"an unknown control message: {message}")
            await self.fail(3006, "Invalid Message Type")
        if self.controls[-1] == "KeepAlive" and "inactivity_timeout" not in self.query:
            self.violate("a keep-alive that nobody needs")

    async def receive_until(self, control: str) -> None:
        """Receive up to and including this control message."""
        while not (self.controls and self.controls[-1] == control):
            await self.receive()

    async def say(self, turn: int, text: str, start_s: float, end_s: float, **flags: Any) -> None:
        """A turn over this time, its words evenly in it; flags are `end_of_turn` and `turn_is_formatted`."""
        parts = text.split()
        step_ms = (end_s - start_s) * 1000 / max(1, len(parts))
        words = [
            {
                "text": part,
                "start": round(start_s * 1000 + number * step_ms),
                "end": round(start_s * 1000 + (number + 1) * step_ms),
                "confidence": 0.8,
                "word_is_final": True,
            }
            for number, part in enumerate(parts)
        ]
        state = {"end_of_turn": False, "turn_is_formatted": False, **flags}
        await self.send(
            type="Turn",
            turn_order=turn,
            transcript=text,
            words=words,
            end_of_turn_confidence=0.5,
            utterance="",
            **state,
        )

    async def _check_audio(self, message: bytes) -> None:
        now = asyncio.get_running_loop().time()
        if self.first_audio_at is None:
            self.first_audio_at = now
        self.audio += message
        audio_s, elapsed_s = len(self.audio) / self.bytes_per_s, now - self.first_audio_at
        if not 0.05 <= len(message) / self.bytes_per_s <= 1:
            self.violate(f"{len(message)} bytes of audio in a message")
            await self.fail(3007, "Input duration violation")
        elif audio_s > elapsed_s + AHEAD_S:
            self.violate(f"{audio_s:.2f} s of audio in {elapsed_s:.2f} s")
            await self.fail(3007, "Audio Transmission Rate Exceeded")


Playing: TypeAlias = Callable[[AssemblyAISession], Awaitable[None]]


class AssemblyAIServer(StrictServer[AssemblyAISession]):
    """The server; recognises by itself unless told otherwise."""

    session_type: ClassVar[type[Any]] = AssemblyAISession

    def __init__(self, *acts: "Playing | Refusal", strict: bool = True) -> None:
        super().__init__(*(acts or (recognise(),)), path="/v3/ws", strict=strict)

    def refusal_status(self, query: Mapping[str, str], headers: Headers) -> int | None:
        if not query.get("speech_model"):
            self.note_violation("no speech_model")
        if query.get("encoding") not in _BYTES_PER_SAMPLE or query.get("sample_rate") not in ("8000", "16000"):
            self.note_violation("encoding or sample_rate missing or unknown")
            return 400
        return None


def recognise(*, every_s: float = 0.5, begins_when: asyncio.Event | None = None) -> Playing:
    """A turn `turn <n>` for each half second of audio; where asked for, it ends twice, bare and formatted."""

    async def act(session: AssemblyAISession) -> None:
        if begins_when is not None:
            await session.expect_silence(begins_when)
        if not await session.begin():
            return
        step = int(every_s * session.bytes_per_s)
        turn = done = 0

        async def end_turn(end: int) -> None:
            nonlocal turn, done
            if end > done:
                times = (done / session.bytes_per_s, end / session.bytes_per_s)
                await session.say(turn, f"turn {turn}", *times)
                await session.say(turn, f"turn {turn}", *times, end_of_turn=True)
                if session.query.get("format_turns") == "true":
                    await session.say(turn, f"Turn {turn}.", *times, end_of_turn=True, turn_is_formatted=True)
                turn, done = turn + 1, end

        while True:
            message = await session.receive()
            if isinstance(message, bytes):
                while len(session.audio) >= done + step:
                    await end_turn(done + step)
            elif session.controls[-1] == "ForceEndpoint":
                await end_turn(len(session.audio))
            elif session.controls[-1] == "Terminate":
                await end_turn(len(session.audio))
                await session.send(type="Termination", audio_duration_seconds=1, session_duration_seconds=1)
                await session.close()
                return

    return act
