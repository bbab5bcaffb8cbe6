"""
A strict OpenAI Realtime server for transcription sessions, on loopback; how acts are played is in `strict_server`.

It wants `intent=transcription` and no model in the address, one valid `session.update` before any audio, audio as
base64 in JSON, and refuses to commit less than 100 ms. Its voice detection takes any octet but 0xff for speech, and
200 ms of 0xff for a pause; what was said is read from the octets (`pulse_server.read_content`).
"""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

from websockets.datastructures import Headers

from tests.support.pulse_server import read_content
from tests.support.strict_server import Refusal, StrictServer, StrictSession

KEY = "sk_test_key_of_openai"
_BYTES_PER_S = 8000
_FRAME_BYTES = 80
_PAUSE_BYTES = 1600
_MAX_AUDIO_BYTES = 15 * 2**20
_STREAMING_MODELS = {"gpt-live-transcribe", "gpt-realtime-whisper"}
_TRANSCRIPTION = "conversation.item.input_audio_transcription"


@dataclass
class OpenAISession(StrictSession):
    """One connection, from the server's side; of `audio`, so much is `committed` to items."""

    audio: bytearray = field(default_factory=bytearray)
    committed: int = 0
    items: int = 0
    config: dict[str, Any] = field(default_factory=dict)
    controls: list[dict[str, Any]] = field(default_factory=list)

    async def begin(self, ready_when: asyncio.Event | None = None) -> None:
        """Greet the client, take its configuration and confirm it, where given then."""
        await self.send(type="session.created", session={"type": "transcription"})
        await self.receive()
        if ready_when is not None:
            await self.expect_silence(ready_when)
        await self.send(type="session.updated", session=self.config)

    async def check(self, message: bytes | str) -> None:
        if isinstance(message, bytes):
            self.violate("a binary message")
            return
        control = json.loads(message)
        self.controls.append(control)
        match control["type"]:
            case "session.update":
                self.config = control["session"]
                self._check_config(self.config)
            case "input_audio_buffer.append":
                if not self.config:
                    self.violate("audio before session.update")
                audio = base64.b64decode(control["audio"], validate=True)
                if not 0 < len(audio) <= _MAX_AUDIO_BYTES:
                    self.violate(f"{len(audio)} bytes of audio in a message")
                self.audio += audio
            case "input_audio_buffer.commit" | "input_audio_buffer.clear":
                pass
            case _:
                self.violate(f"an unknown message: {message}")

    async def commit(self, end: int, item_id: str | None = None) -> str:
        """Cut off an item up to this octet; returns its id."""
        previous = f"item_{self.items}" if self.items else None
        self.items += 1
        self.committed = end
        item = item_id or f"item_{self.items}"
        await self.send(type="input_audio_buffer.committed", previous_item_id=previous, item_id=item)
        return item

    async def refuse_commit(self, event_id: str | None) -> None:
        """Answer a commit of (almost) nothing."""
        error = {"type": "invalid_request_error", "code": "input_audio_buffer_commit_empty", "event_id": event_id}
        await self.send(type="error", event_id="event_9", error={**error, "message": "buffer too small", "param": None})

    async def delta(self, item_id: str, text: str) -> None:
        """More text of an item."""
        await self.send(type=f"{_TRANSCRIPTION}.delta", item_id=item_id, content_index=0, delta=text)

    async def complete(self, item_id: str, text: str, **more: Any) -> None:
        """The text of an item."""
        await self.send(type=f"{_TRANSCRIPTION}.completed", item_id=item_id, content_index=0, transcript=text, **more)

    def _check_config(self, session: dict[str, Any]) -> None:
        sound = session["audio"]["input"]
        if session.get("type") != "transcription" or session.keys() - {"type", "audio", "include"}:
            self.violate(f"not a transcription session: {session}")
        if sound["format"] not in ({"type": "audio/pcmu"}, {"type": "audio/pcm", "rate": 24000}):
            self.violate(f"a format that is not taken: {sound['format']}")
        transcription, detection = sound["transcription"], sound["turn_detection"]
        if transcription.keys() - {"model", "language", "prompt", "delay"} or "model" not in transcription:
            self.violate(f"not a transcription: {transcription}")
        if detection is not None and transcription["model"] in _STREAMING_MODELS:
            self.violate("turn detection with a model that has none")
        if detection is not None and not isinstance(detection.get("silence_duration_ms", 0), int):
            self.violate(f"not a number: {detection}")


Playing: TypeAlias = Callable[[OpenAISession], Awaitable[None]]


class OpenAIServer(StrictServer[OpenAISession]):
    """The server; recognises by itself unless told otherwise."""

    session_type: ClassVar[type[Any]] = OpenAISession

    def __init__(self, *acts: "Playing | Refusal", strict: bool = True) -> None:
        super().__init__(*(acts or (recognise(),)), path="/v1/realtime", strict=strict)

    def refusal_status(self, query: Mapping[str, str], headers: Headers) -> int | None:
        if query != {"intent": "transcription"}:
            self.note_violation(f"not the address of a transcription session: {query}")
        return None if headers.get("Authorization") == f"Bearer {KEY}" else 401


def recognise(*, ready_when: asyncio.Event | None = None, completes_late: bool = False) -> Playing:
    """
    Transcribe what the voice detection or the client cuts off.

    Args:
        ready_when: the answer to `session.update` waits for this.
        completes_late: items of voice detection are transcribed only after the client's last commit, the newest first.
    """

    async def act(session: OpenAISession) -> None:
        await session.begin(ready_when)
        detects = session.config["audio"]["input"]["turn_detection"] is not None
        waiting: list[tuple[str, int, int]] = []
        seen = 0
        speech_from: int | None = None
        last_speech = 0

        async def transcribe(item_id: str, begin: int, end: int) -> None:
            words = read_content(bytes(session.audio[begin:end]), begin / _BYTES_PER_S, _BYTES_PER_S)
            for number, word in enumerate(words):
                await session.delta(item_id, f"{' ' if number else ''}{word['word']}")
            await session.complete(item_id, " ".join(word["word"] for word in words))

        while True:
            await session.receive()
            while detects and len(session.audio) >= seen + _FRAME_BYTES:
                frame = session.audio[seen : seen + _FRAME_BYTES]
                seen += _FRAME_BYTES
                item_id = f"item_{session.items + 1}"
                if any(octet != 0xFF for octet in frame):
                    last_speech = seen
                    if speech_from is None:
                        speech_from = seen - _FRAME_BYTES
                        await session.send(
                            type="input_audio_buffer.speech_started",
                            audio_start_ms=speech_from * 1000 // _BYTES_PER_S,
                            item_id=item_id,
                        )
                elif speech_from is not None and seen - last_speech >= _PAUSE_BYTES:
                    await session.send(
                        type="input_audio_buffer.speech_stopped",
                        audio_end_ms=last_speech * 1000 // _BYTES_PER_S,
                        item_id=item_id,
                    )
                    begin, speech_from = session.committed, None
                    await session.commit(seen)
                    if completes_late:
                        waiting.append((item_id, begin, seen))
                    else:
                        await transcribe(item_id, begin, seen)
            control = session.controls[-1]
            if control["type"] == "input_audio_buffer.commit":
                begin, end = session.committed, len(session.audio)
                if end - begin < _BYTES_PER_S // 10:
                    await session.refuse_commit(control.get("event_id"))
                else:
                    waiting.append((await session.commit(end), begin, end))
                    speech_from = None
                while waiting:
                    await transcribe(*waiting.pop())

    return act
