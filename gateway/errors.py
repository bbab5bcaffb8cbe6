"""
The whole error tree.

    GatewayError                code, retryable
    ├── ConfigError             our operator; only at start-up
    ├── PeerError               the other side broke its protocol
    │   ├── DialectError            the phone platform; also what its protocol forbids us to send
    │   ├── RecognizerProtocolError the speech recogniser
    │   └── RequestRefused          a client of the served speech APIs (speech_api.base)
    ├── UnavailableError        the other side did not answer, or declined
    │   └── RecognizerUnavailable
    ├── CapacityError           we decline: call limit, full channel, draining
    └── StorageError            the outbox cannot be written; readiness turns false

`code` is stable `snake_case`: the label in logs, metrics and answers. The text is for people and never holds speech,
numbers, keys or raw messages. Bugs of our own are plain `AssertionError` or `RuntimeError`, outside the tree.
"""

from typing import ClassVar


class GatewayError(Exception):
    """
    Base of every error that the gateway foresees.

    Args:
        message: for people; no speech, secrets or raw provider messages.
        code: stable snake_case name of the case; the class's own by default.
    """

    default_code: ClassVar[str] = "gateway_error"
    retryable: bool = False

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code or self.default_code


class ConfigError(GatewayError):
    """The configuration cannot work; `faults` lists every reason found, one line each."""

    default_code = "config_invalid"

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


class PeerError(GatewayError):
    """The other side broke its protocol."""

    default_code = "peer_error"


class DialectError(PeerError):
    """
    The phone platform sent what its protocol does not allow.

    Args:
        close_code: for a stream that cannot go on (RFC 6455, 7.4); None when only this message is lost.
    """

    default_code = "dialect_error"

    def __init__(self, message: str, *, code: str | None = None, close_code: int | None = None) -> None:
        super().__init__(message, code=code)
        self.close_code = close_code


class RecognizerProtocolError(PeerError):
    """The speech recogniser sent what its protocol does not allow."""

    default_code = "recognizer_protocol_error"


class UnavailableError(GatewayError):
    """
    The other side did not answer, or declined.

    Args:
        retryable: whether trying again later can help.
        retry_after_s: what the other side asked for, None if it did not.
    """

    default_code = "unavailable"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        retryable: bool = True,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, code=code)
        self.retryable = retryable
        self.retry_after_s = retry_after_s


class RecognizerUnavailable(UnavailableError):
    """No recogniser session: refused, not reached, or lost."""

    default_code = "recognizer_unavailable"


class CapacityError(GatewayError):
    """We decline: a limit is reached, or the process is draining."""

    default_code = "capacity"
    retryable = True


class StorageError(GatewayError):
    """The store on disk cannot be read or written."""

    default_code = "storage_error"
    retryable = True
