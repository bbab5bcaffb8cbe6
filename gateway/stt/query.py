"""What clients share whose vendors are told everything in the query of the address."""

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from gateway.config import SttProfile
from gateway.events import RecognizerRequest

_PLACEHOLDER = re.compile(r"\{(call_id|track|platform_call_id|metadata\.[^{}]+)\}")


def query_url(
    profile: SttProfile,
    request: RecognizerRequest,
    *,
    required: Mapping[str, str | int | None],
    defaults: Mapping[str, str | int | None],
) -> str:
    """
    The profile's address with the session's parameters; placeholders filled.

    `required` wins over the profile's options, which win over the query of its URL (there, a parameter may be
    repeated), which wins over `defaults`. Parameters that are None are left to the vendor.
    """
    parts = urlsplit(profile.url or "")
    options = {name: fill(value, request) for name, value in profile.options.items()}
    asked = options | {name: str(value) for name, value in required.items() if value is not None}
    kept = [(name, fill(value, request)) for name, value in parse_qsl(parts.query, keep_blank_values=True)]
    given = asked.keys() | {name for name, _ in kept}
    pairs = [(name, str(value)) for name, value in defaults.items() if value is not None and name not in given]
    pairs += [(name, value) for name, value in kept if name not in asked]
    # Only path and query are filled: what a call brings along must never choose the host.
    path = _PLACEHOLDER.sub(lambda match: quote(_value(match[1], request), safe=""), parts.path)
    return urlunsplit((parts.scheme, parts.netloc, path, urlencode([*pairs, *asked.items()]), ""))


def query_value(url: str, name: str) -> str | None:
    """The last value of a parameter, None if it is not there."""
    return dict(parse_qsl(urlsplit(url).query, keep_blank_values=True)).get(name)


def fill(text: str, request: RecognizerRequest) -> str:
    """The text with the call's values in its placeholders; values are not looked at again."""
    return _PLACEHOLDER.sub(lambda match: _value(match[1], request), text)


def _value(name: str, request: RecognizerRequest) -> str:
    match name:
        case "call_id":
            return request.call_id
        case "track":
            return request.track
        case "platform_call_id":
            return request.platform_call_id or ""
        case _:
            return request.metadata.get(name.removeprefix("metadata."), "")
