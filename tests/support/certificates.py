"""Certificates made for a test: an authority, and what it signs."""

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, PEM files."""

    certificate: Path
    key: Path


class Authority:
    """
    Signs certificates for `localhost`, good for two days.

    Args:
        folder: where the files are made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(exist_ok=True)
        self._own = Pair(folder / "ca.pem", folder / "ca.key")
        usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
        _openssl("req -x509 -days 2 -nodes", "-subj", "/CN=test authority", *usage, *_new_key(self._own))

    @property
    def certificate(self) -> Path:
        return self._own.certificate

    def sign(self, name: str, *, days: int = 2) -> Pair:
        """A new pair, named so in its subject."""
        made = Pair(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        request = self._folder / f"{name}.csr"
        extensions = self._folder / "extensions"
        extensions.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\nauthorityKeyIdentifier=keyid\n")
        _openssl("req -nodes", "-subj", f"/CN={name}", *_new_key(Pair(request, made.key)))
        _openssl(
            f"x509 -req -days {days}",
            *("-in", str(request), "-CA", str(self._own.certificate), "-CAkey", str(self._own.key)),
            *("-CAcreateserial", "-extfile", str(extensions), "-out", str(made.certificate)),
        )
        return made

    def trusting(self, client: Pair | None = None) -> ssl.SSLContext:
        """A client's context that trusts this authority, and shows this certificate."""
        context = ssl.create_default_context(cafile=self._own.certificate)
        if client is not None:
            context.load_cert_chain(client.certificate, client.key)
        return context


def _new_key(pair: Pair) -> list[str]:
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    return [*kind, "-keyout", str(pair.key), "-out", str(pair.certificate)]


def _openssl(command: str, *arguments: str) -> None:
    try:
        subprocess.run(["openssl", *command.split(), *arguments], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
