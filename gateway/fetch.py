"""
Fetch a file from a URL that somebody else supplied.

Only http and https, only public addresses unless told otherwise (`guard` checks every address of a name, and the
connection goes to one that was checked), no redirects, no proxies, no credentials, bounded in size and time.
"""

from pathlib import Path

import aiohttp
from yarl import URL

from gateway.errors import UnavailableError
from gateway.guard import GuardedResolver, check_url

_CHUNK_BYTES = 1 << 18


class FetchFailed(UnavailableError):
    """
    It could not be fetched: `bad_url`, `blocked_address`, `fetch_refused`, `fetch_unreachable`, `fetch_timeout`,
    `too_large`. The text never holds the URL, which may hold a token.
    """

    default_code = "fetch_unreachable"


async def fetch(
    url: str, target: Path, *, max_bytes: int, timeout_s: float, allow_private: bool = False, connect_s: float = 10.0
) -> None:
    """
    Write what is at `url` to `target`.

    Raises:
        FetchFailed: and why; part of the file may have been written.
    """
    address = _checked(url, allow_private=allow_private)
    resolver = GuardedResolver(allow_private=allow_private)
    connector = aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False, force_close=True)
    try:
        async with (
            aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=timeout_s, connect=connect_s),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": "media-stream-gateway", "Accept-Encoding": "identity"},
                auto_decompress=False,
                trust_env=False,
            ) as session,
            session.get(address, allow_redirects=False) as answer,
        ):
            _check_status(answer.status)
            await _save(answer, target, max_bytes)
    except FetchFailed:
        raise
    except UnavailableError as error:  # the guard's
        raise FetchFailed(str(error), code=error.code, retryable=False) from None
    except TimeoutError:
        raise FetchFailed("the recording did not arrive in time", code="fetch_timeout") from None
    except (aiohttp.ClientError, OSError, ValueError):
        raise FetchFailed("the recording's server cannot be reached", code="fetch_unreachable") from None
    finally:
        await resolver.close()


def _check_status(status: int) -> None:
    if status != 200:
        retryable = status in (408, 425, 429) or status >= 500
        raise FetchFailed(f"the recording's server answered {status}", code="fetch_refused", retryable=retryable)


async def _save(answer: aiohttp.ClientResponse, target: Path, max_bytes: int) -> None:
    if (answer.content_length or 0) > max_bytes:
        raise _too_large()
    left = max_bytes
    with target.open("wb") as file:  # the page cache takes it; the disk is not waited for
        async for chunk in answer.content.iter_chunked(_CHUNK_BYTES):
            left -= len(chunk)
            if left < 0:
                raise _too_large()
            file.write(chunk)


def _checked(url: str, *, allow_private: bool) -> URL:
    try:
        address = URL(url)
    except ValueError:
        raise FetchFailed("not a URL", code="bad_url", retryable=False) from None
    if address.scheme not in ("http", "https") or not address.host:
        raise FetchFailed("must be an http:// or https:// URL", code="bad_url", retryable=False)
    if address.user is not None or address.password is not None:
        raise FetchFailed("must not carry a user name or password", code="bad_url", retryable=False)
    if not allow_private:
        try:
            check_url(address)
        except UnavailableError as error:
            raise FetchFailed(str(error), code=error.code, retryable=False) from None
    return address


def _too_large() -> FetchFailed:
    return FetchFailed("the recording is too large", code="too_large", retryable=False)
