"""
What gateway and worker process say to each other: msgpack, each message after its length (4 octets, big-endian).

Requests go to the worker's standard input, replies come from its standard output.
"""

from typing import ClassVar, TypeAlias, get_args

import msgspec

from gateway.events import RecognizerEvent, RecognizerRequest

LENGTH_BYTES = 4
# Audio is sent in pieces of a second; no message comes near this.
LARGEST_BYTES = 4 << 20


class _Message(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """`session` is a number that the gateway chose and never uses again."""

    session: int


class Open(_Message, frozen=True, array_like=True, tag=True):
    """Begin a session; answered by `Opened` or `Failed`."""

    request: RecognizerRequest


class Audio(_Message, frozen=True, array_like=True, tag=True):
    """Audio in the session's format; answered by one or more `Said`."""

    audio: bytes


class Finalize(_Message, frozen=True, array_like=True, tag=True):
    """See `Engine.finalize`."""


class End(_Message, frozen=True, array_like=True, tag=True):
    """See `Engine.end`."""


class Close(_Message, frozen=True, array_like=True, tag=True):
    """Forget the session, whatever it still has to do. Not answered."""


Request: TypeAlias = Open | Audio | Finalize | End | Close


class Opened(_Message, frozen=True, array_like=True, tag=True):
    """The session can hear."""


class Said(_Message, frozen=True, array_like=True, tag=True):
    """`heard_bytes` more of the session's audio were dealt with, and this is what came of it."""

    heard_bytes: int
    packed: tuple[tuple[str, msgspec.Raw], ...] = ()

    _decoders: ClassVar[dict[str, msgspec.msgpack.Decoder[RecognizerEvent]]] = {
        event.__name__: msgspec.msgpack.Decoder(event) for event in get_args(RecognizerEvent)
    }

    @classmethod
    def of(cls, session: int, heard_bytes: int, events: list[RecognizerEvent]) -> "Said":
        """Pack these events, each under its class's name."""
        packed = tuple((type(event).__name__, msgspec.Raw(_encoder.encode(event))) for event in events)
        return cls(session, heard_bytes, packed)

    def events(self) -> list[RecognizerEvent]:
        """Unpack."""
        return [self._decoders[name].decode(raw) for name, raw in self.packed]


class Failed(_Message, frozen=True, array_like=True, tag=True):
    """The session is over: `refused` at its opening, or by an error of the engine, of which `error` is the class."""

    error: str
    refused: bool


Reply: TypeAlias = Opened | Said | Failed

_encoder = msgspec.msgpack.Encoder()
_request_decoder: "msgspec.msgpack.Decoder[Request]" = msgspec.msgpack.Decoder(Request)
_reply_decoder: "msgspec.msgpack.Decoder[Reply]" = msgspec.msgpack.Decoder(Reply)


def pack(message: Request | Reply) -> bytes:
    """A message with its length before it."""
    body = _encoder.encode(message)
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


class Unpacker:
    """Cuts a byte stream back into message bodies."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, chunk: bytes) -> list[bytes]:
        """
        Take the next bytes and return the bodies that they complete.

        Raises:
            ValueError: a length beyond `LARGEST_BYTES`: the streams are out of step.
        """
        self._buffer += chunk
        bodies = []
        while len(self._buffer) >= LENGTH_BYTES:
            length = int.from_bytes(self._buffer[:LENGTH_BYTES], "big")
            if length > LARGEST_BYTES:
                raise ValueError("message too long")
            end = LENGTH_BYTES + length
            if len(self._buffer) < end:
                break
            bodies.append(bytes(self._buffer[LENGTH_BYTES:end]))
            del self._buffer[:end]
        return bodies


def unpack_request(body: bytes) -> Request:
    """A message to the worker; `msgspec.DecodeError` if it is none."""
    return _request_decoder.decode(body)


def unpack_reply(body: bytes) -> Reply:
    """A message from the worker; `msgspec.DecodeError` if it is none."""
    return _reply_decoder.decode(body)
