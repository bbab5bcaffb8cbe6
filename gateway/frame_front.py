"""
What stands before aiohttp's WebSocket parser: whole text messages are offered on the spot, many at a time.

Nearly all that a media stream sends are text messages of a few hundred bytes, each in one frame. Those are cut out and
unmasked here (RFC 6455, 5.2 and 5.3) and given away together. Everything else goes to aiohttp's parser, frame by whole
frame and in order, and so do the messages that nobody took and all that follow them, until those have been received.
"""

import struct
from collections.abc import Callable

from aiohttp._websocket.reader import WebSocketDataQueue, WebSocketReader

try:
    from websockets.speedups import apply_mask
except ImportError:  # a platform for which there is no compiled one
    from websockets.utils import apply_mask

Take = Callable[[list[bytes]], bool]
"""Takes messages, all of them or none; returns whether it did."""

_WHOLE_TEXT = 0x81FE  # FIN, no reserved bits, opcode 1; masked, and the length is in the next two bytes
_KEY_BYTES = 4
_HEAD_BYTES = 8
_unpack = struct.Struct("!HH").unpack_from
_FIN, _RESERVED, _CONTROL = 0x80, 0x70, 0x08
_MOST_CONTROL_BYTES = 125
_FED = (False, b"")


class FrameFront:
    """
    One connection's; in the place of its parser.

    Args:
        parser: gets what is not taken.
        queue: its messages that wait.
        max_message_bytes: a longer one is the parser's to refuse.

    Attributes:
        take: whom messages are offered; None: nobody.
        failure: what it raised; nothing is offered any more.
        rest: what has come of a frame that is not whole.
    """

    def __init__(self, parser: WebSocketReader, queue: WebSocketDataQueue, max_message_bytes: int) -> None:
        self._parser = parser
        self._queue = queue
        self._max_bytes = max_message_bytes
        self.rest = b""
        self._is_in_fragments = False
        self._is_parsing = False
        self.take: Take | None = None
        self.failure: Exception | None = None

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Take what came; the answer is the parser's: whether the connection is over."""
        if self.rest:
            data = self.rest + data
        if self._is_parsing:
            self._is_parsing = self._is_in_fragments or bool(self._queue._buffer)
        at = 0 if self._is_parsing or self.take is None else self._offer(data, self.take)
        if at == len(data):
            self.rest = b""
            return _FED
        end = self._end_of_frames(data, at)
        self.rest = data[end:]
        if end == at:
            return _FED
        self._is_parsing = True
        return self._parser.feed_data(data[at:end])

    def feed_eof(self) -> None:
        """Nothing more comes."""
        self._parser.feed_eof()

    def _offer(self, data: bytes, take: Take) -> int:
        """Offer the whole messages at the beginning; returns where they end, or 0 if they are not taken."""
        messages: list[bytes] = []
        at, size = 0, len(data)
        while (begin := at + _HEAD_BYTES) <= size:
            kind, length = _unpack(data, at)
            end = begin + length
            if kind != _WHOLE_TEXT or end > size or length > self._max_bytes:
                break
            messages.append(apply_mask(data[begin:end], data[begin - _KEY_BYTES : begin]))
            at = end
        if not messages:
            return 0
        try:
            return at if take(messages) else 0
        except Exception as error:  # noqa: BLE001 - an edge: the transport, our caller, would cut the connection
            self.take, self.failure = None, error
            return 0

    def _end_of_frames(self, data: bytes, at: int) -> int:
        """Where the last whole frame ends; the end of everything, if the parser will refuse one by its head."""
        size = len(data)
        while at + 2 <= size:
            first, second = data[at], data[at + 1]
            length, head = second & 0x7F, 6 if second & 0x80 else 2
            if _is_broken(first, length):
                return size
            if length >= 126:
                extended = 2 if length == 126 else 8
                if at + 2 + extended > size:
                    break
                length = int.from_bytes(data[at + 2 : at + 2 + extended], "big")
                head += extended
            if length > self._max_bytes:
                return size
            if at + head + length > size:
                break
            if not first & _CONTROL:
                self._is_in_fragments = not first & _FIN
            at += head + length
        return at


def _is_broken(first: int, length: int) -> bool:
    """Whether none may begin so: a reserved bit or opcode; control that is long, or in parts (RFC 6455, 5.2, 5.5)."""
    if first & _RESERVED or first & 0x07 > 2:
        return True
    return bool(first & _CONTROL) and (length > _MOST_CONTROL_BYTES or not first & _FIN)
