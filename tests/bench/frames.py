"""
WebSocket frames of the phone platform's messages, made once for all calls.

What a media message says differs from call to call in the stream's name only, which stands last. So the frame of a
message is a head that all calls share and a tail that belongs to the call, both masked beforehand with the one key that
this client uses: RFC 6455, 5.3. The mask goes on in the tail where the head left it, so each tail is kept four times.
"""

import base64
import json
from typing import Any, TypeAlias

from tests.bench.pulses import PEAKS, SILENT_FRAME, pulse_frame

KEY = bytes((0x5A, 0xA5, 0x3C, 0xC3))
"""Not random: there is no proxy between two programs of one machine that it could protect."""
TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA
TRACKS = ("inbound", "outbound")
_STREAM_SID_CHARACTERS = 34
_TAIL_BYTES = _STREAM_SID_CHARACTERS + len('"}')

Head: TypeAlias = tuple[bytes, int]
"""The begin of a frame, and which of a call's four tails follows it."""


def masked(payload: bytes, offset: int = 0) -> bytes:
    """`payload` under the key, as a part of a message that begins at this offset of it."""
    size = len(payload)
    pad = (KEY * (size // 4 + 2))[offset % 4 : offset % 4 + size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(pad, "big")).to_bytes(size, "big")


def frame(opcode: int, payload: bytes) -> bytes:
    """A whole frame from the client; of less than 64 KiB."""
    return _header(opcode, len(payload)) + masked(payload)


def text(message: dict[str, Any]) -> bytes:
    """A message as the platform would send it."""
    return frame(TEXT, json.dumps(message, separators=(",", ":")).encode())


def tails(stream_sid: str) -> tuple[bytes, ...]:
    """The ends of a call's media frames, by `Head`."""
    assert len(stream_sid) == _STREAM_SID_CHARACTERS
    end = f'{stream_sid}"}}'.encode()
    return tuple(masked(end, rotation) for rotation in range(4))


def heads(count: int, tracks: int) -> list[list[tuple[Head, ...]]]:
    """
    The begins of all media frames of a call.

    Returns:
        by track and number of the frame: one for each code of a pulse, and last the silent one.
    """
    payloads = [base64.b64encode(audio).decode() for audio in (*map(pulse_frame, range(len(PEAKS))), SILENT_FRAME)]
    return [
        [tuple(_head(number, track, tracks, payload) for payload in payloads) for number in range(count)]
        for track in range(tracks)
    ]


def _head(number: int, track: int, tracks: int, payload: str) -> Head:
    begin = (
        f'{{"event":"media","sequenceNumber":"{number * tracks + track + 2}","media":{{"track":"{TRACKS[track]}",'
        f'"chunk":"{number + 1}","timestamp":"{number * 20}","payload":"{payload}"}},"streamSid":"'
    ).encode()
    return _header(TEXT, len(begin) + _TAIL_BYTES) + masked(begin), len(begin) % 4


def _header(opcode: int, size: int) -> bytes:
    assert size < 2**16
    length = bytes((0x80 | size,)) if size < 126 else bytes((0x80 | 126,)) + size.to_bytes(2, "big")
    return bytes((0x80 | opcode,)) + length + KEY


def server_frames(data: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """
    Take whole frames of a server from what came.

    Returns:
        opcodes and payloads, and what is left: the begin of another frame.
    """
    found: list[tuple[int, bytes]] = []
    while len(data) >= 2:
        size, begin = data[1] & 0x7F, 2
        if size >= 126:
            begin = 4 if size == 126 else 10
            if len(data) < begin:
                break
            size = int.from_bytes(data[2:begin], "big")
        if len(data) < begin + size:
            break
        found.append((data[0] & 0x0F, data[begin : begin + size]))
        data = data[begin + size :]
    return found, data


def server_header(opcode: int, size: int) -> bytes:
    """The header of a server's frame, which has no mask; of less than 64 KiB."""
    assert size < 2**16
    return bytes((0x80 | opcode, size)) if size < 126 else bytes((0x80 | opcode, 126)) + size.to_bytes(2, "big")
