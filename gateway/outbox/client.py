"""One request to one receiver: signed, guarded, bounded in time and size."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Self

import aiohttp
import structlog

from gateway import guard
from gateway.errors import UnavailableError
from gateway.outbox.endpoint import Endpoint
from gateway.outbox.schedule import Outcome, classify

_ANSWER_BYTES = 4096
_ANSWER_TIMEOUT_S = 1.0
# Below the least idle time after which a usual server hangs up (gunicorn: 2 s), because a POST that meets a connection
# which is just being closed fails, and costs a pause of the schedule.
_KEEPALIVE_S = 1.5
_USER_AGENT = "media-stream-gateway"

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Attempt:
    """How one request ended. `status` is None if no answer came; `retry_after_s` is what the receiver asked for."""

    outcome: Outcome
    status: int | None = None
    retry_after_s: float | None = None
    duration_s: float = 0.0


class Client:
    """
    Posts to one endpoint. Use as an async context manager.

    Args:
        endpoint: where to and with which keys.
        connections: requests under way at once; aiohttp's own limit of 100 would make the others wait unseen.
        timeout_s: bound of one attempt.
        clock: Unix seconds, for the signature and for dates in `Retry-After`.
    """

    def __init__(
        self, endpoint: Endpoint, *, connections: int, timeout_s: float, clock: Callable[[], float] = time.time
    ) -> None:
        self._endpoint = endpoint
        self._connections = connections
        self._timeout = aiohttp.ClientTimeout(
            total=timeout_s, connect=min(endpoint.settings.connect_timeout_s, timeout_s)
        )
        self._clock = clock

    async def __aenter__(self) -> Self:
        resolver = guard.GuardedResolver(allow_private=self._endpoint.settings.allow_private)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self._connections, resolver=resolver, use_dns_cache=False, keepalive_timeout=_KEEPALIVE_S
            ),
            timeout=self._timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": _USER_AGENT},
            auto_decompress=False,
            trust_env=False,
        )
        self._resolver = resolver
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()
        await self._resolver.close()

    async def post(self, event_id: str, body: bytes) -> Attempt:
        """Send once. Whatever the network and the receiver do is an outcome, not an exception."""
        started = time.perf_counter()
        status, retry_after_s = None, None
        try:
            status, retry_after_s = await self._request(event_id, body)
            outcome = classify(status)
        except UnavailableError:
            outcome = Outcome.BLOCKED_ADDRESS
        except TimeoutError:
            outcome = Outcome.TIMED_OUT
        except (aiohttp.ClientError, OSError):
            outcome = Outcome.UNREACHABLE
        except Exception as error:  # noqa: BLE001 - the edge: no answer of a receiver may stop the other deliveries
            # The error's text may hold the answer; its kind is enough to look for our fault.
            _log.error("webhook_attempt_crashed", endpoint=self._endpoint.origin, error=type(error).__name__)
            outcome = Outcome.UNREACHABLE
        return Attempt(outcome, status, retry_after_s, time.perf_counter() - started)

    async def _request(self, event_id: str, body: bytes) -> tuple[int, float | None]:
        if not self._endpoint.settings.allow_private:
            guard.check_url(self._endpoint.url)
        now = self._clock()
        headers = self._endpoint.signer.headers(event_id, datetime.fromtimestamp(now, UTC), body)
        headers["Content-Type"] = "application/json"
        async with self._session.post(self._endpoint.url, data=body, headers=headers, allow_redirects=False) as answer:
            await _skim(answer)
            return answer.status, parse_retry_after(answer.headers.get("Retry-After"), now)


async def _skim(answer: aiohttp.ClientResponse) -> None:
    """
    Read a short answer to its end, so that the connection can serve again; of a longer or slower one the rest is not
    wanted, and aiohttp closes the connection. The status has been received: nothing here changes the outcome.
    """
    try:
        async with asyncio.timeout(_ANSWER_TIMEOUT_S):
            left = _ANSWER_BYTES
            while chunk := await answer.content.read(left):  # nothing at the end, and when nothing is left to read
                left -= len(chunk)
    except (TimeoutError, aiohttp.ClientError, OSError):
        answer.close()


def parse_retry_after(value: str | None, now: float) -> float | None:
    """
    Seconds to wait, from either form of the header (RFC 9110, 10.2.3); None if there is none or it makes no sense.

    Args:
        now: Unix seconds, from which a date counts.
    """
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now)
