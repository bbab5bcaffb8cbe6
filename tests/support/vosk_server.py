"""
A strict vosk-server on loopback; how acts are played is in `strict_server`.

It compares its two controls byte for byte and takes every other text without `config` for audio, which crashes the real
one; it wants whole samples, and its configuration before any audio. Each message but the configuration gets one answer.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from tests.support.strict_server import Refusal, StrictServer, StrictSession

EOF = '{"eof" : 1}'
RESET = '{"reset" : 1}'


@dataclass
class VoskSession(StrictSession):
    """One connection, from the server's side. A fresh server's rate is 8000, and it shows words."""

    config: dict[str, Any] = field(default_factory=dict)
    audio: bytearray = field(default_factory=bytearray)

    @property
    def audio_s(self) -> float:
        """Seconds of audio received."""
        return len(self.audio) / (2 * self.config.get("sample_rate", 8000))

    async def check(self, message: bytes | str) -> None:
        if EOF in self.messages[:-1]:
            self.violate("a message after eof")
        if isinstance(message, bytes):
            if not message or len(message) % 2:
                self.violate("no whole samples")
            self.audio += message
        elif "config" in message:
            self._check_config(json.loads(message)["config"])
        elif message not in (EOF, RESET):
            self.violate(f"text for audio: {message}")
            await self.close(1011)

    async def receive_heard(self) -> bytes | str:
        """The next message that wants an answer."""
        while isinstance(message := await self.receive(), str) and "config" in message:
            pass
        return message

    async def partial(self, text: str) -> None:
        """Answer that so much of an utterance was heard."""
        await self.send(partial=text)

    async def final(self, text: str, start_s: float, end_s: float) -> None:
        """Answer with an utterance; without words, as the real one, if there are none or they are not shown."""
        words = text.split()
        step_s = (end_s - start_s) / max(len(words), 1)
        result = [
            {"conf": 0.9, "end": start_s + (number + 1) * step_s, "start": start_s + number * step_s, "word": word}
            for number, word in enumerate(words)
        ]
        fields = {"result": result, "text": text} if result and self.config.get("words", True) else {"text": text}
        if self.config.get("max_alternatives"):
            fields.pop("text")
            best = {"confidence": 231.5, "text": f" {text}", **fields}
            await self.send(alternatives=[best, {"confidence": 120.0, "text": "something else"}])
        else:
            await self.send(**fields)

    def _check_config(self, config: dict[str, Any]) -> None:
        if self.audio:
            self.violate("configuration after audio")
        if "model" in config:
            self.violate("the model of every client replaced")
        if type(config.get("sample_rate")) is not int:
            self.violate("the rate left to chance")
        if config.get("words") is not True:
            self.violate("words left to chance")
        self.config = config


Playing: TypeAlias = Callable[[VoskSession], Awaitable[None]]


class VoskServer(StrictServer[VoskSession]):
    """The server; recognises by itself unless told otherwise."""

    session_type = VoskSession

    def __init__(self, *acts: "Playing | Refusal", strict: bool = True) -> None:
        super().__init__(*(acts or (recognise(),)), path="/", strict=strict)


def recognise(*, answers_when: asyncio.Event | None = None) -> Playing:
    """`second <n>` for each second of audio; the clock goes on through `reset`. All answers wait for `answers_when`."""

    async def act(session: VoskSession) -> None:
        done_s = answered_s = 0.0
        if answers_when is not None:
            await answers_when.wait()
        while True:
            message = await session.receive_heard()
            answered_s = session.audio_s
            words = f"second {int(done_s) + 1}" if answered_s > done_s else ""
            if isinstance(message, str):
                await session.final(words, done_s, answered_s)
                done_s = answered_s
                if message == EOF:
                    await session.close()
                    return
            elif answered_s >= done_s + 1:
                await session.final(words, done_s, answered_s)
                done_s = answered_s
            else:
                await session.partial("second" if answered_s > done_s + 0.5 else "")

    return act
