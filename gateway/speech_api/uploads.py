"""
The routes of the pre-recorded protocol: take or fetch a recording, have it recognised, answer.

The recording waits in a file, not in memory: clients may post as many at once as sessions are allowed.
"""

import asyncio
import contextlib
import math
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from uuid import uuid4

import msgspec
import structlog
from aiohttp import web

from gateway.config import BatchSettings
from gateway.errors import PeerError, UnavailableError
from gateway.fetch import FetchFailed, fetch
from gateway.recordings import RecordingRefused
from gateway.speech_api.base import RequestRefused
from gateway.speech_api.prerecorded import (
    LARGEST_JSON_BYTES,
    Facts,
    Order,
    answer,
    filename_of,
    read_order,
    read_url,
    refusal_body,
    too_large,
)
from gateway.stt.base import RecordingRecognizer
from gateway.telemetry import SPEECH_API_ERRORS, SPEECH_API_SESSIONS

PATHS = {"/waves/v1/pulse/get_text": False, "/waves/v1/stt/": True, "/waves/v1/stt": True}
"""Where it is served, and whether that is the unified form."""
UPLOAD_IDLE_S = 30.0
RETRY_AFTER_S = 5
_ROUTES = {False: "prerecorded", True: "prerecorded_unified"}
_HEAD_BYTES = 16
_PREFIX = "upload-"

log = structlog.get_logger()


class Door(Protocol):
    """Who may come in, and with how many others; `routes.SpeechApi` is one."""

    def presented_key(self, request: web.Request) -> str:
        """What the client brought; may be empty."""

    def authorize(self, request: web.Request) -> None:
        """Raises `RequestRefused`, 401, without the right key."""

    def place(self) -> AbstractContextManager[None]:
        """One of the sessions that may be held at once; raises `RequestRefused` if there is none."""


@dataclass(frozen=True, slots=True)
class _Received:
    """A recording on disk."""

    path: Path
    size_bytes: int
    head: bytes
    filename: str | None


class Uploads:
    """
    Serves whole recordings.

    Args:
        door: shared with the streaming routes.
        recordings: recognises them.
        profile: by which.
        settings: bounds.
        folder: where recordings wait; made if it is not there. What an earlier process left is deleted.
    """

    def __init__(
        self, door: Door, recordings: RecordingRecognizer, profile: str, settings: BatchSettings, folder: Path
    ) -> None:
        self._door = door
        self._recordings = recordings
        self._profile = profile
        self._settings = settings
        self._folder = folder
        for left_over in folder.glob(f"{_PREFIX}*"):
            shutil.rmtree(left_over, ignore_errors=True)

    def add_to(self, app: web.Application) -> None:
        """Serve every path."""
        for path, is_unified in PATHS.items():
            app.router.add_post(path, self._handler(is_unified))

    def _handler(self, is_unified: bool) -> Callable[[web.Request], Awaitable[web.Response]]:
        route = _ROUTES[is_unified]

        async def handle(request: web.Request) -> web.Response:
            request_id = uuid4().hex
            with structlog.contextvars.bound_contextvars(session_id=request_id, route=route):
                try:
                    self._door.authorize(request)
                    order = read_order(request.query, is_unified=is_unified)
                    with self._door.place():
                        body = await self._serve(request, order, request_id)
                except RequestRefused as refusal:
                    return self._refuse(request, refusal, is_unified, request_id)
                SPEECH_API_SESSIONS.labels(route, "completed").inc()
                return _json(body, request_id)

        return handle

    async def _serve(self, request: web.Request, order: Order, request_id: str) -> dict[str, object]:
        started = asyncio.get_running_loop().time()
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=self._folder) as folder:
            received = await self._receive(request, order, Path(folder) / "recording")
            with _as_refusals(order):
                transcript = await self._recordings.transcribe(
                    self._profile, received.path, order.for_bytes(received.head)
                )
        seconds = asyncio.get_running_loop().time() - started
        log.info(
            "speech_api_recording_answered",
            file_bytes=received.size_bytes,
            audio_s=transcript.duration_s,
            processing_s=round(seconds, 3),
        )
        return answer(transcript, order, Facts(request_id, received.size_bytes, received.filename, seconds))

    # ── The recording ───────────────────────────────────────────────────────────────────────────────────────────

    async def _receive(self, request: web.Request, order: Order, path: Path) -> _Received:
        if request.content_type != "application/json":
            await self._save(request, path, self._settings.max_mb << 20, order)
            filename = None
        else:
            await self._save(request, path, LARGEST_JSON_BYTES, order)
            url = _url_in(path, order)
            await self._fetch(url, path, order)
            filename = filename_of(url)
        received = _look_at(path, filename)
        if not received.size_bytes:
            raise RequestRefused("no audio was sent", code="no_audio")
        return received

    async def _save(self, request: web.Request, path: Path, most_bytes: int, order: Order) -> None:
        if (request.content_length or 0) > most_bytes:
            raise too_large(is_unified=order.is_unified)
        left = most_bytes
        with path.open("wb") as file:
            while True:
                try:
                    async with asyncio.timeout(UPLOAD_IDLE_S):
                        chunk = await request.content.readany()
                except TimeoutError:
                    raise RequestRefused("the upload stopped", code="upload_timeout", status=408) from None
                if not chunk:
                    return
                left -= len(chunk)
                if left < 0:
                    raise too_large(is_unified=order.is_unified)
                file.write(chunk)  # the page cache takes it; the disk is not waited for

    async def _fetch(self, url: str, path: Path, order: Order) -> None:
        try:
            await fetch(
                url,
                path,
                max_bytes=self._settings.max_mb << 20,
                timeout_s=self._settings.fetch_timeout_s,
                allow_private=self._settings.fetch_private,
            )
        except FetchFailed as error:
            if error.code == "too_large":
                raise too_large(is_unified=order.is_unified) from error
            raise RequestRefused(f"the url could not be fetched: {error}", code=error.code) from error

    def _refuse(self, request: web.Request, refusal: RequestRefused, is_unified: bool, request_id: str) -> web.Response:
        SPEECH_API_ERRORS.labels(_ROUTES[is_unified], refusal.code).inc()
        log.warning("speech_api_request_refused", code=refusal.code, status=refusal.status)
        had_key = bool(self._door.presented_key(request))
        body = refusal_body(refusal, is_unified=is_unified, request_id=request_id, had_key=had_key)
        response = _json(body, request_id, refusal.status)
        if refusal.retry_after_s is not None:
            response.headers["Retry-After"] = str(refusal.retry_after_s)
        if refusal.status == 401:
            response.headers["WWW-Authenticate"] = "Bearer"
        return response


@contextlib.contextmanager
def _as_refusals(order: Order) -> Iterator[None]:
    """What the recogniser raises, as the client is told."""
    try:
        yield
    except RecordingRefused as error:
        text = f"{error}; audio without a container needs encoding and sample_rate" if error.code == "not_audio" else ""
        raise RequestRefused(text or str(error), code=error.code) from error
    except UnavailableError as error:
        if error.code == "stt_recording_too_large":
            raise too_large(is_unified=order.is_unified) from error
        wait_s = math.ceil(error.retry_after_s or RETRY_AFTER_S) if error.retryable else None
        raise RequestRefused("no recogniser is available", code=error.code, status=503, retry_after_s=wait_s) from error
    except PeerError as error:
        raise RequestRefused("the recogniser failed", code=error.code, status=502) from error


def _url_in(path: Path, order: Order) -> str:
    return read_url(path.read_bytes(), order)


def _look_at(path: Path, filename: str | None) -> _Received:
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    return _Received(path, path.stat().st_size, head, filename)


def _json(body: dict[str, object], request_id: str, status: int = 200) -> web.Response:
    return web.Response(
        status=status,
        body=msgspec.json.encode(body),
        content_type="application/json",
        headers={"X-Request-Id": request_id},
    )
