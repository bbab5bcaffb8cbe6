"""
WebSocket octets by hand (RFC 6455): for clients that must be fast, or that must send what no library sends.

Frames of clients are masked with a key of zeros, which is as good as any to the other side and costs nothing here.
"""

import struct
from dataclasses import dataclass

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
_KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # the RFC's own example
NO_STATUS = 1005


def upgrade(path: str, *, host: str = "127.0.0.1", **headers: str) -> bytes:
    """The request that asks for a WebSocket; further headers by name with underscores, and they may replace ours."""
    lines = {
        "Host": host,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": _KEY,
    } | {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"GET {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1", errors="replace")


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, masked: bool = True, rsv: int = 0) -> bytes:
    """One frame as a client sends it, or as it must not: `rsv` are the three reserved bits."""
    first = (0x80 if fin else 0) | (rsv << 4) | opcode
    mask = 0x80 if masked else 0
    size = len(payload)
    if size < 126:
        head = bytes((first, mask | size))
    elif size < 1 << 16:
        head = struct.pack("!BBH", first, mask | 126, size)
    else:
        head = struct.pack("!BBQ", first, mask | 127, size)
    return head + (bytes(4) if masked else b"") + payload


def message(content: str | bytes) -> bytes:
    """A whole message in one frame: text as text, bytes as binary."""
    return frame(TEXT, content.encode()) if isinstance(content, str) else frame(BINARY, content)


def close(code: int = 1000) -> bytes:
    """A close frame."""
    return frame(CLOSE, struct.pack("!H", code))


def close_code(payload: bytes) -> int:
    """What a close frame's payload says."""
    return int(struct.unpack("!H", payload[:2])[0]) if len(payload) >= 2 else NO_STATUS


@dataclass(slots=True)
class Frame:
    """One frame, unmasked."""

    opcode: int
    payload: bytes


class FrameReader:
    """Takes octets in any pieces and gives whole frames; fragments are frames of their own."""

    def __init__(self) -> None:
        self._octets = bytearray()

    def feed(self, octets: bytes) -> list[Frame]:
        """The frames that these octets complete."""
        self._octets += octets
        found = []
        while (each := self._next()) is not None:
            found.append(each)
        return found

    def _next(self) -> Frame | None:
        held = self._octets
        if len(held) < 2:
            return None
        size, at = held[1] & 0x7F, 2
        if size >= 126:
            width = 2 if size == 126 else 8
            if len(held) < 2 + width:
                return None
            size, at = int.from_bytes(held[2 : 2 + width], "big"), 2 + width
        mask = bytes(held[at : at + 4]) if held[1] & 0x80 else b""
        at += len(mask) if held[1] & 0x80 else 0
        if len(held) < at + size or (held[1] & 0x80 and len(mask) < 4):
            return None
        payload = bytes(held[at : at + size])
        found = Frame(held[0] & 0x0F, _unmasked(payload, mask) if mask else payload)
        del held[: at + size]
        return found


def _unmasked(payload: bytes, mask: bytes) -> bytes:
    key = (mask * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(len(payload), "big")
