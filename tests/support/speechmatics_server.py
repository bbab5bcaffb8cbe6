"""
A strict Speechmatics realtime server on loopback; how acts are played is in `strict_server`.

It wants `StartRecognition` first and once, no audio before its `RecognitionStarted`, fields and ranges of the
vendor's schema, and `EndOfStream` with the number of the last audio message. Each audio message is acknowledged.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from websockets.datastructures import Headers

from tests.support.strict_server import Refusal, StrictServer, StrictSession

KEY = "sk_test_key_of_speechmatics"
_BYTES_PER_SAMPLE = {"pcm_s16le": 2, "pcm_f32le": 4, "mulaw": 1}
_CONFIG_FIELDS = {
    "language",
    "domain",
    "output_locale",
    "additional_vocab",
    "diarization",
    "max_delay",
    "max_delay_mode",
    "speaker_diarization_config",
    "audio_filtering_config",
    "transcript_filtering_config",
    "enable_partials",
    "enable_entities",
    "operating_point",
    "model",
    "punctuation_overrides",
    "conversation_config",
    "channel_diarization_labels",
}


@dataclass
class SpeechmaticsSession(StrictSession):
    """One connection, from the server's side."""

    start: dict[str, Any] = field(default_factory=dict)
    audio: bytearray = field(default_factory=bytearray)
    audio_messages: int = 0
    controls: list[str] = field(default_factory=list)
    has_started: bool = False

    @property
    def bytes_per_s(self) -> int:
        sound = self.start["audio_format"]
        return int(_BYTES_PER_SAMPLE[sound["encoding"]] * sound["sample_rate"])

    async def check(self, message: bytes | str) -> None:
        if "EndOfStream" in self.controls:
            self.violate("a message after EndOfStream")
        if isinstance(message, bytes):
            await self._check_audio(message)
            return
        control = json.loads(message)
        self.controls.append(control["message"])
        match control:
            case {"message": "StartRecognition"}:
                if self.start:
                    self.violate("a second StartRecognition")
                self.start = control
                self._check_start(control)
            case {"message": "ForceEndOfUtterance"}:
                if not 0 <= control.get("timestamp", 0) <= len(self.audio) / self.bytes_per_s:
                    self.violate("ForceEndOfUtterance at a time that is not of the audio")
            case {"message": "EndOfStream"}:
                if control.get("last_seq_no") != self.audio_messages:
                    self.violate(f"last_seq_no {control.get('last_seq_no')} after {self.audio_messages} audio messages")
            case _:
                self.violate(f"an unknown message: {message}")

    async def begin(self) -> None:
        """Take `StartRecognition` and answer it."""
        await self.receive()
        self.has_started = True
        await self.send(
            message="RecognitionStarted",
            id="807670e9",
            language_pack_info={"word_delimiter": " ", "itn": True, "adapted": False},
        )

    async def receive_until(self, control: str) -> None:
        """Receive up to and including this control message."""
        while not (self.controls and self.controls[-1] == control):
            await self.receive()

    async def say(self, words: str, start_s: float, end_s: float, *, is_final: bool, **flags: Any) -> None:
        """Words over this time, evenly; a full stop is a result of its own, as the vendor sends it."""
        parts = words.split()
        step_s = (end_s - start_s) / max(len(parts), 1)
        results: list[dict[str, Any]] = []
        for number, part in enumerate(parts):
            begin_s, stop_s = start_s + number * step_s, start_s + (number + 1) * step_s
            results.append(_result("word", part.removesuffix("."), begin_s, stop_s))
            if part.endswith("."):
                results.append(_result("punctuation", ".", stop_s, stop_s, attaches_to="previous", is_eos=True))
        await self.send(
            message="AddTranscript" if is_final else "AddPartialTranscript",
            format="2.9",
            metadata={"start_time": start_s, "end_time": end_s, "transcript": f"{words} " if words else ""},
            results=results,
            **flags,
        )

    async def _check_audio(self, message: bytes) -> None:
        if not self.has_started:
            self.violate("audio before RecognitionStarted")
            await self.send(message="Error", type="protocol_error", reason="audio too early")
            await self.close(1003, "protocol_error")
            return
        if not message:
            self.violate("an empty audio message")
        self.audio += message
        self.audio_messages += 1
        await self.send(message="AudioAdded", seq_no=self.audio_messages)

    def _check_start(self, start: dict[str, Any]) -> None:
        sound, config = start.get("audio_format", {}), start.get("transcription_config", {})
        if sound.get("type") != "raw" or sound.get("encoding") not in _BYTES_PER_SAMPLE:
            self.violate(f"not an audio format: {sound}")
        if type(sound.get("sample_rate")) is not int:
            self.violate("the rate is not a number")
        if start.keys() - {"message", "audio_format", "transcription_config"} or config.keys() - _CONFIG_FIELDS:
            self.violate(f"unknown fields: {start}")
        if not config.get("language"):
            self.violate("no language")
        trigger = config.get("conversation_config", {}).get("end_of_utterance_silence_trigger", 0)
        delay = config.get("max_delay", 4)
        if not 0.7 <= delay <= 4 or not 0 <= trigger <= 2:
            self.violate(f"out of range: {config}")


Playing: TypeAlias = Callable[[SpeechmaticsSession], Awaitable[None]]


class SpeechmaticsServer(StrictServer[SpeechmaticsSession]):
    """The server; recognises by itself unless told otherwise."""

    session_type = SpeechmaticsSession

    def __init__(self, *acts: "Playing | Refusal", strict: bool = True) -> None:
        super().__init__(*(acts or (recognise(),)), path="/v2/", strict=strict)

    def refusal_status(self, query: Mapping[str, str], headers: Headers) -> int | None:
        return None if headers.get("Authorization") == f"Bearer {KEY}" else 401


def recognise(*, starts_when: asyncio.Event | None = None) -> Playing:
    """`second <n>.` for each second of audio, in two finals; the answer to the start waits for `starts_when`."""

    async def act(session: SpeechmaticsSession) -> None:
        if starts_when is not None:
            await starts_when.wait()
        await session.begin()
        done = 0

        async def rest(**flags: Any) -> None:
            nonlocal done
            rate = session.bytes_per_s
            words = f"second {done // rate + 1}" if len(session.audio) > done else ""
            await session.say(words, done / rate, len(session.audio) / rate, is_final=True, **flags)
            done = len(session.audio)

        while True:
            message = await session.receive()
            rate = session.bytes_per_s
            if isinstance(message, bytes):
                while len(session.audio) >= done + rate:
                    start_s = done / rate
                    number = int(start_s) + 1
                    await session.say("second", start_s, start_s + 0.5, is_final=False)
                    await session.say("second", start_s, start_s + 0.5, is_final=True)
                    await session.say(f"{number}.", start_s + 0.5, start_s + 1, is_final=True)
                    done += rate
            elif session.controls[-1] == "ForceEndOfUtterance":
                await rest(forced=True)
                now_s = len(session.audio) / rate
                await session.send(
                    message="EndOfUtterance", metadata={"start_time": now_s, "end_time": now_s}, forced=True
                )
            elif session.controls[-1] == "EndOfStream":
                await rest()
                await session.send(message="EndOfTranscript")
                await session.close()
                return

    return act


def fail(kind: str, code: int) -> Playing:
    """Answer the start with this error, as the vendor does: in band, then as the reason of the close."""

    async def act(session: SpeechmaticsSession) -> None:
        await session.receive()
        await session.send(message="Error", type=kind, reason="no", code=code)
        await session.close(code, kind)

    return act


def _result(kind: str, content: str, start_s: float, end_s: float, **more: Any) -> dict[str, Any]:
    alternative = {"content": content, "confidence": 0.9, "language": "en", "speaker": "UU"}
    return {"type": kind, "start_time": start_s, "end_time": end_s, "alternatives": [alternative], **more}
