"""
A strict SLNG server that does what a test tells it to, in either dialect; see `strict_server`.

It notes what the vendor would not accept, and closes with 1008 when audio comes before it was ready for it.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from websockets.datastructures import Headers

from tests.support.strict_server import Refusal, StrictServer, StrictSession

KEY = "sk_test_key_of_slng"
PATH = "/v1/stt/slng/deepgram/nova:3-en"
_RATES_HZ = {8000, 16000, 22050, 24000, 32000, 48000}


@dataclass
class SlngSession(StrictSession):
    """One connection, from the server's side."""

    config: dict[str, Any] = field(default_factory=dict)
    controls: list[str] = field(default_factory=list)
    audio: bytearray = field(default_factory=bytearray)
    is_open_to_audio: bool = False

    async def check(self, message: bytes | str) -> None:
        if "close" in self.controls:
            self.violate("a message after close")
        if isinstance(message, bytes):
            if not self.is_open_to_audio:
                self.violate("audio before ready")
                await self.close(1008)
            self.audio += message
            return
        control = json.loads(message)
        self.controls.append(control["type"])
        if control["type"] == "init":
            self.config = control["config"]
            if self.config["encoding"] != "linear16" or self.config["sample_rate"] not in _RATES_HZ:
                self.violate("audio that is not taken")
        elif control["type"] not in {"finalize", "keepalive", "close"}:
            self.violate(f"an unknown control message: {message}")

    async def receive_until(self, control: str) -> None:
        """Receive up to and including this control message."""
        while not (self.controls and self.controls[-1] == control):
            await self.receive()

    async def ready(self) -> None:
        """Take `init`, and say that audio may come."""
        await self.receive_until("init")
        self.is_open_to_audio = True
        await self.send(type="ready", session_id="sl-7")

    async def final(self, text: str, **fields: Any) -> None:
        """Say a final in SLNG's own dialect."""
        await self.send(type="final_transcript", transcript=text, **fields)


Playing: TypeAlias = Callable[[SlngSession], Awaitable[None]]


class SlngServer(StrictServer[SlngSession]):
    """The server; an async context manager."""

    session_type = SlngSession

    def __init__(self, *acts: Playing | Refusal, path: str = PATH, strict: bool = True) -> None:
        super().__init__(*acts, path=path, strict=strict)

    def refusal_status(self, query: Mapping[str, str], headers: Headers) -> int | None:
        return None if headers.get("Authorization") == f"Bearer {KEY}" else 401
