"""
The driver of batch profiles: one recording over HTTP, tried again while that can help.

What to send and what answers mean is in `batch`; here are the request, its bounds, and the pauses between attempts. No
redirects: the recording and the key go to the configured address only.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import structlog
from yarl import URL

from gateway.config import SttProfile
from gateway.errors import RecognizerProtocolError, RecognizerUnavailable
from gateway.events import RecordingRequest, RecordingTranscript
from gateway.stt.batch import Post, read_answer, read_refusal, request_of
from gateway.telemetry import STT_ERRORS

log = structlog.get_logger()

ATTEMPTS = 5
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
LARGEST_ANSWER_BYTES = 32 << 20
_CHUNK_BYTES = 1 << 18


class BatchClient:
    """
    Sends recordings to batch profiles.

    Args:
        sleep: waits between attempts.
        draw: uniform in [0, 1), for jitter.
    """

    def __init__(
        self,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._sleep = sleep
        self._draw = draw

    async def transcribe(self, profile: SttProfile, recording: Path, request: RecordingRequest) -> RecordingTranscript:
        """
        Recognise a recording; the caller bounds the time of all attempts together.

        Raises:
            RecognizerUnavailable: refused, or not reached after the last attempt.
            RecognizerProtocolError: it answered, but not as its protocol says.
        """
        post = request_of(profile, request)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await _try(profile, post, recording)
            except RecognizerProtocolError as error:
                STT_ERRORS.labels(profile.kind, error.code).inc()
                raise
            except RecognizerUnavailable as error:
                STT_ERRORS.labels(profile.kind, error.code).inc()
                if not error.retryable or attempt == ATTEMPTS:
                    raise
                pause_s = self._pause_s(attempt, error.retry_after_s)
                log.warning("stt_recording_retried", kind=profile.kind, code=error.code, pause_s=round(pause_s, 1))
                await self._sleep(pause_s)
        raise AssertionError("the last attempt returns or raises")

    def _pause_s(self, attempt: int, wanted_s: float | None) -> float:
        """Doubling from half a second, up to a quarter more at random; what the service asks for counts if longer."""
        planned_s = min(FIRST_PAUSE_S * 2.0 ** (attempt - 1), LONGEST_PAUSE_S) * (1 + self._draw() / 4)
        return max(planned_s, min(wanted_s or 0.0, LONGEST_PAUSE_S))


async def _try(profile: SttProfile, post: Post, recording: Path) -> RecordingTranscript:
    length = (await asyncio.to_thread(recording.stat)).st_size
    timeout = aiohttp.ClientTimeout(total=None, connect=profile.connect_timeout_s)
    try:
        async with (
            aiohttp.ClientSession(
                timeout=timeout,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": "media-stream-gateway"},
                trust_env=False,
            ) as session,
            session.post(
                URL(post.url, encoded=True),
                headers={**post.headers, "Content-Length": str(length)},
                data=_chunks(recording),
                allow_redirects=False,
            ) as answer,
        ):
            body = await _read(answer)
            if answer.status == 200:
                return read_answer(body)
            raise read_refusal(answer.status, {name.lower(): value for name, value in answer.headers.items()}, body)
    except aiohttp.ServerTimeoutError:
        raise RecognizerUnavailable("the recogniser did not answer in time", code="stt_connect_timeout") from None
    except aiohttp.ClientConnectorCertificateError:
        raise RecognizerUnavailable(
            "no TLS connection to the recogniser", code="stt_tls_failed", retryable=False
        ) from None
    except (aiohttp.InvalidURL, ValueError):
        raise RecognizerUnavailable(
            "the recogniser's URL cannot be called", code="stt_url_invalid", retryable=False
        ) from None
    except (aiohttp.ClientError, OSError):
        raise RecognizerUnavailable("the recogniser cannot be reached", code="stt_unreachable") from None


async def _chunks(recording: Path) -> AsyncIterator[bytes]:
    with await asyncio.to_thread(recording.open, "rb") as file:
        while chunk := await asyncio.to_thread(file.read, _CHUNK_BYTES):
            yield chunk


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in answer.content.iter_chunked(_CHUNK_BYTES):
        body += chunk
        if len(body) > LARGEST_ANSWER_BYTES:
            raise RecognizerProtocolError("the recogniser's answer is too large", code="stt_answer_too_large")
    return bytes(body)
