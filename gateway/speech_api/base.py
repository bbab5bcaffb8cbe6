"""
The seam between served protocols and their driver.

A protocol file turns one request's query into a `Session`. The driver opens the recogniser that the session asks for,
hands the session what the client and the recogniser say, and carries out the actions it answers, in order. Times
(`now`, deadlines) are monotonic seconds.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from gateway.config import SpeechApiSettings
from gateway.errors import PeerError
from gateway.events import RecognizerEvent, RecognizerRequest

NORMAL_CLOSURE = 1000
"""RFC 6455, 7.4.1: the purpose was fulfilled."""
GOING_AWAY = 1001
"""RFC 6455, 7.4.1: the server shuts down."""
CLIENT_LEFT = 1006
"""RFC 6455, 7.4.1: reserved for telling oneself that no closing took place; never sent."""
POLICY_VIOLATION = 1008
"""RFC 6455, 7.4.1: the client does what no client should."""
INTERNAL_ERROR = 1011
"""RFC 6455, 7.4.1: the server could not do what was asked."""


class RequestRefused(PeerError):
    """A request that is answered with an HTTP status before any upgrade; the text goes to the client."""

    default_code = "request_refused"

    def __init__(self, message: str, *, code: str, status: int = 400, retry_after_s: int | None = None) -> None:
        super().__init__(message, code=code)
        self.status = status
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Hear:
    """Send audio, in the client's format and not empty, to the recogniser."""

    audio: bytes


@dataclass(frozen=True, slots=True)
class Finalize:
    """Ask the recogniser for a final of what it heard so far."""


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """Tell the recogniser that the session is still wanted although no audio flows."""


@dataclass(frozen=True, slots=True)
class End:
    """Tell the recogniser that no more audio comes."""


@dataclass(frozen=True, slots=True)
class Say:
    """
    Send a text message to the client.

    `is_partial`: any later message makes it worthless, so that it may be left out when the client reads slowly.
    """

    text: str
    is_partial: bool = False


@dataclass(frozen=True, slots=True)
class Close:
    """End the session: close the socket once all that was said before is sent; nothing follows."""

    code: int


@dataclass(frozen=True, slots=True)
class Report:
    """Count and log that the client did something wrong; `code` is stable snake_case."""

    code: str


RecognizerAction: TypeAlias = Hear | Finalize | KeepAlive | End
Action: TypeAlias = RecognizerAction | Say | Close | Report


class Session(Protocol):
    """One client's session of a served protocol: no sockets, no clock."""

    @property
    def request(self) -> RecognizerRequest | None:
        """
        What the recogniser is wanted for; its format is the client's. Never changes once known.

        None: the client has yet to say so in a message. The recogniser is opened when it becomes known.
        """

    def opened(self) -> list[Action]:
        """The recogniser is open, and has said nothing yet."""

    def receive(self, message: str | bytes, now: float) -> list[Action]:
        """The client sent a text or binary message."""

    def recognized(self, event: RecognizerEvent, now: float) -> list[Action]:
        """The recogniser said something."""

    def failed(self, message: str) -> list[Action]:
        """The recogniser is lost; `message` is for the client."""

    def disconnected(self) -> list[Action]:
        """The client has gone, with or without saying goodbye; what it sent is still to be recognised."""

    def next_deadline(self) -> float | None:
        """When `handle_timeout` is due; None: not before something else happens."""

    def handle_timeout(self, now: float) -> list[Action]:
        """The deadline has passed."""


SessionFactory: TypeAlias = Callable[[Mapping[str, str], SpeechApiSettings, str, float], Session]
"""
Makes a session of (query, settings, session id, now).

Raises:
    RequestRefused: the query is not one that this protocol accepts.
"""
