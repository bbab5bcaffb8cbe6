"""The JSON body of an event, and the id under which receivers know it."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from gateway.events import CallEvent

_ENCODER = msgspec.json.Encoder()
ENTROPY_BYTES = 10


def event_id(at: datetime, entropy: bytes) -> str:
    """
    Make an id that sorts by time: `evt_`, 12 hex digits of Unix milliseconds, then the entropy in hex.

    It holds no full stop, which would make the signed text ambiguous (Standard Webhooks, "Signature scheme").

    Args:
        at: when the event happened, aware.
        entropy: `ENTROPY_BYTES` random bytes.
    """
    return f"evt_{int(at.timestamp() * 1000):012x}{entropy.hex()}"


def encode(event: CallEvent, id_: str, at: datetime, mask: Callable[[dict[str, Any]], object] | None = None) -> bytes:
    """
    Encode an event as the exact bytes that are stored, signed and sent at every attempt.

    Args:
        event: any call event; its fields become `data`, unknown values `null`.
        id_: the event's id, also sent as `webhook-id`.
        at: when it happened, aware; written in UTC with milliseconds.
        mask: changes in place what is not to be kept; gets the whole event.

    Returns:
        UTF-8 JSON. Numbers whose name ends in `_s` are rounded to a millisecond.
    """
    timestamp = at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    data = msgspec.to_builtins(event)
    _round_seconds(data)
    whole = {"type": event.type, "id": id_, "timestamp": timestamp, "data": data}
    if mask is not None:
        mask(whole)
    return _ENCODER.encode(whole)


def _round_seconds(data: dict[str, Any]) -> None:
    """In place: most of what there is to encode are words, and most of their fields are left as they are."""
    for key, value in data.items():
        kind = type(value)
        if kind is float:
            if key.endswith("_s"):
                data[key] = round(value, 3)
        elif kind is dict:
            _round_seconds(value)
        elif kind is list or kind is tuple:
            for item in value:
                if type(item) is dict:
                    _round_seconds(item)
