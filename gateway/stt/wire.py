"""
What clients share whose vendors are told everything in one JSON message at the start: address, key, options, answers.

Those that are told in the query of the address share `query`.
"""

from collections.abc import Mapping
from math import isfinite
from typing import Any, TypeVar

import msgspec

from gateway.config import SttProfile
from gateway.errors import RecognizerProtocolError
from gateway.events import RecognizerRequest
from gateway.stt.protocol import Message
from gateway.stt.query import fill, query_url

T = TypeVar("T")


def session_url(profile: SttProfile, request: RecognizerRequest) -> str:
    """The profile's address, placeholders filled; the options are for the opening message, and not in the query."""
    return query_url(profile.model_copy(update={"options": {}}), request, required={}, defaults={})


def bearer(profile: SttProfile) -> Mapping[str, str]:
    """The header that carries the key; none without a key."""
    key = profile.api_key.get_secret_value().strip() if profile.api_key else ""
    return {"Authorization": f"Bearer {key}"} if key else {}


def options(profile: SttProfile, request: RecognizerRequest) -> dict[str, Any]:
    """
    The profile's options as JSON values.

    `0.7`, `true` and `["a", "b"]` are what they look like; anything else is text, its placeholders filled. Text that
    looks like a value is written with quotes of its own: `"12"`.
    """
    return {name: _json_value(text, request) for name, text in profile.options.items()}


def opening_message(fields: Mapping[str, Any]) -> str:
    """The JSON of these fields; those that are None are left to the vendor."""
    return msgspec.json.encode({name: value for name, value in fields.items() if value is not None}).decode()


def decode(decoder: msgspec.json.Decoder[T], message: Message) -> T:
    """
    Read a vendor's message.

    Raises:
        RecognizerProtocolError: it is binary, not JSON, or not of this vendor's shape.
    """
    if isinstance(message, bytes):
        raise RecognizerProtocolError("the recogniser sent a binary message", code="stt_message_binary")
    try:
        return decoder.decode(message)
    except (msgspec.MsgspecError, RecursionError, UnicodeEncodeError):
        raise RecognizerProtocolError(
            "the recogniser sent a message that is not of its protocol", code="stt_message_malformed"
        ) from None


def number(value: Any) -> float | None:
    """A finite number, None for anything else: an odd field must not cost the words that came with it."""
    if type(value) not in (int, float):
        return None
    try:
        found = float(value)
    except OverflowError:  # JSON's integers have no bounds
        return None
    return found if isfinite(found) else None


def text_or_none(value: Any) -> str | None:
    """Text that is not empty, None for anything else."""
    return value if isinstance(value, str) and value else None


def _json_value(text: str, request: RecognizerRequest) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return fill(text, request)
