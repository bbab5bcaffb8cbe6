"""
The seam inside the vendor client: one protocol of one session, pure; and what refusals and closures mean.

A vendor is one file with one class of this shape (`pulse` is the first). `client` moves its messages over a WebSocket
and knows nothing else about it.
"""

from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Protocol, TypeAlias, runtime_checkable

from gateway.config import SttProfile
from gateway.errors import RecognizerUnavailable
from gateway.events import RecognizerEvent, RecognizerRequest

Message: TypeAlias = str | bytes
Messages: TypeAlias = tuple[Message, ...]


class ClientProtocol(Protocol):
    """
    What is said to one vendor in one session, and what its answers mean: no sockets, no clock, no asyncio.

    Methods that return `Messages` say what to send, in order; nothing where the vendor has no such message. Text is
    sent as text, bytes as binary. The vendor's own order holds: `opening`, then audio once `is_ready`, then `end`.
    """

    @property
    def url(self) -> str:
        """Where to connect, query included. May hold secrets: for the socket only, never for a log line."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Of the upgrade request; hold the key."""

    @property
    def is_ready(self) -> bool:
        """Whether audio may be sent; where false at first, something `receive` got makes it true."""

    def opening(self) -> Messages:
        """Right after the upgrade, before anything else."""

    def audio(self, chunk: bytes) -> Messages:
        """A chunk of audio, never empty, in the format of the request."""

    def finalize(self) -> Messages:
        """Ask for a final of what was heard so far, and go on."""

    def keepalive(self) -> Messages:
        """Say that the session is still wanted."""

    def end(self) -> Messages:
        """Say that no more audio comes."""

    def receive(self, message: Message) -> list[RecognizerEvent]:
        """
        What one message means; nothing if it is of a kind that does not matter here, or unknown.

        Raises:
            RecognizerProtocolError: the message makes no sense; the session may go on.
            RecognizerUnavailable: the vendor says that it cannot go on.
        """

    def closed(self, code: int) -> list[RecognizerEvent]:
        """
        What it means that the socket was closed before anything was `Finished`: the last events, of which the last is
        `Finished`, where that is how this vendor ends.

        Args:
            code: of its close frame; 1005 if that held none, 1006 if there was no close frame (RFC 6455, 7.4.1).

        Raises:
            RecognizerUnavailable: the session is lost.
        """


@runtime_checkable
class Presuming(Protocol):
    """
    What a `ClientProtocol` has, besides, whose vendor does not always say that it is ready.

    `ready_within_s`: so long after `opening` it counts as ready whatever it said, unless it has closed the session.
    """

    ready_within_s: float


ProtocolFactory: TypeAlias = Callable[[SttProfile, RecognizerRequest], ClientProtocol]


def refusal(status: int, headers: Mapping[str, str]) -> RecognizerUnavailable:
    """
    What an HTTP answer to the upgrade means, if it is not 101.

    408, 425, 429 and 5xx may pass (RFC 9110, RFC 6585); all others, redirects included, need the operator: the request
    would be the same, and only the configured address may be called.

    Args:
        status: of the answer.
        headers: of the answer; names in lower case.
    """
    return RecognizerUnavailable(
        f"the recogniser refused the session with HTTP status {status}",
        code=f"stt_refused_{status}",
        retryable=status in (408, 425, 429) or status >= 500,
        retry_after_s=_retry_after_s(headers),
    )


def closure(code: int) -> RecognizerUnavailable:
    """
    What a close code means, in the middle of a session.

    A normal close is early, too: words are missing. All are worth another try. That includes 1008, with which Pulse
    says that the organisation has too many sockets (its keys are checked before the upgrade); a vendor that refuses
    keys with 1008 says so in its own `closed`.
    """
    if code in (1000, 1005):
        return RecognizerUnavailable("the recogniser closed the session before its end", code="stt_closed_early")
    if code == 1006:
        return RecognizerUnavailable("the connection to the recogniser broke", code="stt_connection_lost")
    return RecognizerUnavailable(f"the recogniser closed the session with code {code}", code=f"stt_closed_{code}")


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds or a date (RFC 9110, 10.2.3); a date counts from the answer's own, whose clock it was made with."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    try:
        wait = parsedate_to_datetime(text) - parsedate_to_datetime(headers.get("date", ""))
    except (ValueError, TypeError):
        return None  # not a date, or one with a time zone and one without
    return max(0.0, wait.total_seconds())
