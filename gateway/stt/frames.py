"""
WebSocket frames as a client sends them: whole messages, masked.

Source: RFC 6455, 5.2 (layout) and 5.3 (masking: each frame has a fresh key that cannot be foreseen).
"""

import os
import struct
from functools import lru_cache

try:
    from websockets.speedups import apply_mask
except ImportError:  # a platform for which there is no compiled one
    from websockets.utils import apply_mask

_TEXT, _BINARY = 0x81, 0x82  # FIN, and the opcode
_SHORT = struct.Struct("!BB")
_MIDDLE = struct.Struct("!BBH")
_LONG = struct.Struct("!BBQ")
_POOL_BYTES = 4096


class Masker:
    """Makes frames. Asking the system for one key takes as long as all the rest: so it is asked for many at once."""

    def __init__(self) -> None:
        self._pool = b""
        self._next = 0

    def frame(self, message: str | bytes) -> bytes:
        """The frame of a text or binary message, masked."""
        kind, payload = (_TEXT, message.encode()) if isinstance(message, str) else (_BINARY, message)
        start = self._next
        if start == len(self._pool):
            self._pool, start = os.urandom(_POOL_BYTES), 0
        self._next = end = start + 4
        key = self._pool[start:end]
        return _head(kind, len(payload)) + key + apply_mask(payload, key)


@lru_cache(maxsize=64)
def _head(kind: int, size: int) -> bytes:
    """Chunks of a call are mostly of one size."""
    if size < 126:
        return _SHORT.pack(kind, 0x80 | size)
    if size < 1 << 16:
        return _MIDDLE.pack(kind, 0xFE, size)
    return _LONG.pack(kind, 0xFF, size)
