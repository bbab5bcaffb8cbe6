"""The routes for recordings on loopback, in front of any recogniser of recordings."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway.config import BatchSettings, SpeechApiSettings
from gateway.errors import GatewayError
from gateway.events import RecordingRequest, RecordingTranscript, SpokenUtterance, SpokenWord
from gateway.speech_api.routes import SpeechApi
from gateway.speech_api.uploads import Uploads
from tests.support.scripted_recognizer import ScriptedRecognizers
from tests.support.speech_server import TOKEN

TRANSCRIPT = RecordingTranscript(
    text="Call me back.",
    words=(SpokenWord(word="Call", start_s=0.1, end_s=0.4, confidence=0.99, speaker=1),),
    utterances=(SpokenUtterance(text="Call me back.", start_s=0.1, end_s=1.0, speaker=1),),
    language="en",
    duration_s=1.25,
)


class RecordingScript:
    """
    Says one transcript of whatever it is given, or raises.

    Attributes:
        heard: the files' contents, and what was wanted.
    """

    def __init__(self, transcript: RecordingTranscript = TRANSCRIPT, error: GatewayError | None = None) -> None:
        self._transcript = transcript
        self._error = error
        self.heard: list[tuple[bytes, RecordingRequest]] = []

    async def transcribe(
        self,
        profile: str,
        recording: Path,
        request: RecordingRequest,
        *,
        on_progress: Callable[[float], None] = lambda _heard_s: None,
    ) -> RecordingTranscript:
        self.heard.append((_content(recording), request))
        if self._error is not None:
            raise self._error
        return self._transcript


def _content(path: Path) -> bytes:
    return path.read_bytes()


@asynccontextmanager
async def upload_server(
    folder: Path, recordings: Any, *, batch: dict[str, Any] | None = None, **settings: Any
) -> AsyncIterator[str]:
    """
    Serve until the context is left; yields `http://host:port`.

    Args:
        folder: where uploads wait.
        recordings: a `RecordingRecognizer`.
        batch, settings: of recordings, and of the speech APIs.
    """
    door = SpeechApi(SpeechApiSettings(**settings), ScriptedRecognizers(), TOKEN)
    app = web.Application(client_max_size=1024)
    door.add_to(app)
    Uploads(door, recordings, "local", BatchSettings(**(batch or {})), folder / "uploads").add_to(app)
    async with TestServer(app, host="127.0.0.1") as server:
        yield f"http://127.0.0.1:{server.port}"
