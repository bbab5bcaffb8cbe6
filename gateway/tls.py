"""
The gateway's own certificate: read at the start, and again when its files change, without touching open connections.
"""

import ssl
from pathlib import Path
from typing import TypeAlias

import structlog

from gateway.config import TlsSettings
from gateway.errors import ConfigError

log = structlog.get_logger()

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_Mark: TypeAlias = tuple[int, int, int] | None


class ServerCertificate:
    """
    A certificate that follows its files.

    Args:
        settings: with a certificate.

    Attributes:
        context: for the server's sockets; new handshakes use what was read last.

    Raises:
        ConfigError: a file cannot be read, is no certificate or key, or they do not belong together.
    """

    def __init__(self, settings: TlsSettings) -> None:
        assert settings.certificate is not None
        self._certificate = settings.certificate
        self._key = settings.key or settings.certificate
        self._seen = self._marks()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = _VERSIONS[settings.min_version]
        self._load_into(self.context)
        if settings.client_ca is not None:
            self.context.verify_mode = ssl.CERT_REQUIRED
            try:
                self.context.load_verify_locations(settings.client_ca)
            except (OSError, ValueError) as error:
                raise ConfigError([f"tls.client_ca: {settings.client_ca}: {_reason(error)}"]) from None

    def refresh(self) -> None:
        """Read the files again if they have changed; what cannot be used is reported, and the old one stays."""
        marks = self._marks()
        if marks == self._seen:
            return
        self._seen = marks
        try:
            # Elsewhere first: half a pair would leave the context in use with a certificate and no key.
            self._load_into(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
            self._load_into(self.context)
        except ConfigError as error:
            log.error("tls_certificate_unusable", faults=error.faults)  # noqa: TRY400 - the faults say it all
            return
        log.info("tls_certificate_renewed")

    def _load_into(self, context: ssl.SSLContext) -> None:
        try:
            context.load_cert_chain(self._certificate, self._key, password=_no_password)
        except (OSError, ValueError) as error:
            paths = dict.fromkeys((self._certificate, self._key))
            guilty = [path for path in paths if not path.exists()] or paths
            raise ConfigError([f"tls: {' and '.join(map(str, guilty))}: {_reason(error)}"]) from None

    def _marks(self) -> tuple[_Mark, ...]:
        return tuple(_mark(path) for path in (self._certificate, self._key))


def _mark(path: Path) -> _Mark:
    """What changes when a file does: inode, size, time of the change; None: it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _no_password() -> str:
    """OpenSSL would ask on the terminal."""
    raise ValueError("the key has a password")


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        if error.reason == "KEY_VALUES_MISMATCH":
            return "the key does not belong to the certificate"
        return f"not what it should be ({error.reason or 'no PEM block found'})"
    return (error.strerror if isinstance(error, OSError) else str(error)) or type(error).__name__
