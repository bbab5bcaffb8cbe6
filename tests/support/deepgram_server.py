"""
A strict Deepgram live server on loopback; how acts are played is in `strict_server`.

It wants a token, a query that describes the audio, messages of at most 250 ms, controls as text, and something at least
every `idle_s`: else it says `Metadata` and closes with 1011, as the vendor does after 10 s.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

from websockets.datastructures import Headers

from tests.support.strict_server import Refusal, StrictServer, StrictSession

KEY = "test_key_of_deepgram"
_BYTES_PER_SAMPLE = {"linear16": 2, "mulaw": 1, "alaw": 1}
_CONTROLS = {"KeepAlive", "Finalize", "CloseStream"}


@dataclass
class DeepgramSession(StrictSession):
    """One connection, from the server's side."""

    audio: bytearray = field(default_factory=bytearray)
    controls: list[str] = field(default_factory=list)
    idle_s: float = 10.0

    @property
    def bytes_per_s(self) -> int:
        return _BYTES_PER_SAMPLE[self.query["encoding"]] * int(self.query["sample_rate"])

    async def receive(self) -> bytes | str:
        """The client's next message; a client that is silent for too long is done for."""
        try:
            async with asyncio.timeout(self.idle_s):
                return await super().receive()
        except TimeoutError:
            self.violate("NET-0001: neither audio nor text in time")
            await self.say_metadata()
            await self.close(1011, "NET-0001")
            return await super().receive()

    async def check(self, message: bytes | str) -> None:
        if "CloseStream" in self.controls:
            self.violate("a message after CloseStream")
        if isinstance(message, str):
            self.controls.append(json.loads(message)["type"])
            if self.controls[-1] not in _CONTROLS:
                self.violate(f"an unknown control message: {message}")
            return
        if not message:
            self.violate("an empty binary message")
        if message.startswith(b"{"):
            self.violate("a control message as binary, which is taken for audio")
        if len(message) > self.bytes_per_s // 4:
            self.violate("more than 250 ms in a message")
        self.audio += message

    async def receive_until(self, control: str) -> None:
        """Receive up to and including this control message."""
        while not (self.controls and self.controls[-1] == control):
            await self.receive()

    async def say(self, text: str, start_s: float, end_s: float, **flags: bool) -> None:
        """A result over this time, its words evenly in it; flags are `is_final`, `speech_final`, `from_finalize`."""
        parts = text.split()
        step_s = (end_s - start_s) / max(1, len(parts))
        words = [
            {
                "word": part.lower().strip("."),
                "start": start_s + number * step_s,
                "end": start_s + (number + 1) * step_s,
                "confidence": 0.9,
                "punctuated_word": part,
            }
            for number, part in enumerate(parts)
        ]
        alternative = {"transcript": text, "confidence": 0.9 if words else 0.0, "words": words}
        await self.send(
            type="Results",
            channel_index=[0, 1],
            start=start_s,
            duration=end_s - start_s,
            channel={"alternatives": [alternative]},
            **{"is_final": False, "speech_final": False, "from_finalize": False, **flags},
        )

    async def say_metadata(self) -> None:
        """The summary that comes last."""
        await self.send(type="Metadata", request_id="r-1", duration=len(self.audio) / self.bytes_per_s, channels=1)


Playing: TypeAlias = Callable[[DeepgramSession], Awaitable[None]]


class DeepgramServer(StrictServer[DeepgramSession]):
    """The server; recognises by itself unless told otherwise."""

    session_type: ClassVar[type[Any]] = DeepgramSession

    def __init__(self, *acts: "Playing | Refusal", strict: bool = True) -> None:
        super().__init__(*(acts or (recognise(),)), path="/v1/listen", strict=strict)

    def refusal_status(self, query: Mapping[str, str], headers: Headers) -> int | None:
        if headers.get("Authorization") != f"Token {KEY}":
            return 401
        if fault := _fault(query):
            self.note_violation(fault)
            return 400
        return None


def recognise(*, idle_s: float = 10.0, answers_empty_finalize: bool = True) -> Playing:
    """`second <n>.` for each second of audio, in two segments; only the second one ends the utterance."""

    async def act(session: DeepgramSession) -> None:
        session.idle_s = idle_s
        done = 0

        async def rest(**flags: bool) -> None:
            nonlocal done
            rate, has_audio = session.bytes_per_s, len(session.audio) > done
            text = f"second {done // rate + 1}." if has_audio else ""
            if has_audio or answers_empty_finalize:
                await session.say(text, done / rate, len(session.audio) / rate, is_final=True, **flags)
            done = len(session.audio)

        while True:
            message = await session.receive()
            rate = session.bytes_per_s
            if isinstance(message, bytes):
                while len(session.audio) >= done + rate:
                    start_s = done / rate
                    number = int(start_s) + 1
                    await session.say("second", start_s, start_s + 0.5)
                    await session.say("second", start_s, start_s + 0.5, is_final=True)
                    await session.say(f"{number}.", start_s + 0.5, start_s + 1, is_final=True, speech_final=True)
                    done += rate
            elif session.controls[-1] == "Finalize":
                await rest(from_finalize=True)
            elif session.controls[-1] == "CloseStream":
                await rest()
                await session.say_metadata()
                await session.close()
                return

    return act


def _fault(query: Mapping[str, str]) -> str | None:
    """What the vendor would answer 400 to, or what makes a transcript worthless."""
    if query.get("encoding") not in _BYTES_PER_SAMPLE or not query.get("sample_rate", "").isdigit():
        return "headerless audio needs encoding and sample_rate"
    if query.get("model", "").startswith("nova-3") and "keywords" in query:
        return "keywords with nova-3"
    if "utterance_end_ms" in query:
        if query.get("interim_results") != "true":
            return "utterance_end_ms without interim_results"
        if not 1000 <= int(query["utterance_end_ms"]) <= 5000:
            return "utterance_end_ms out of range"
    return None
