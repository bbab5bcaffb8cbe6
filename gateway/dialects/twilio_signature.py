"""
X-Twilio-Signature: proof that a request comes from somebody who holds the account's auth token.

Source: Twilio documentation, "Webhooks Security", and the behaviour of the official helper library.
The signature has neither a time nor a nonce: it proves who wrote the request, not that it is new.
"""

import hmac
from base64 import b64encode
from collections.abc import Iterable
from hashlib import sha256
from urllib.parse import parse_qs, urlsplit

BODY_PARAMETER = "bodySHA256"

_DEFAULT_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}
_WEBSOCKET_SCHEMES = {"http": "ws", "https": "wss"}


def compute(auth_token: str, url: str, form: Iterable[tuple[str, str]] = ()) -> str:
    """
    The signature of a request.

    Args:
        auth_token: of the account that owns the call.
        url: exactly as Twilio requested it: scheme, port if written, query.
        form: fields of a form body, in any order, repeated names too; nothing for other requests.

    Returns:
        base64 of an HMAC-SHA1 of the URL and the distinct fields in order of name and value.
    """
    signed = url + "".join(name + value for name, value in sorted(set(form)))
    return b64encode(hmac.digest(_octets(auth_token), _octets(signed), "sha1")).decode()


def matching_url(
    auth_token: str, candidates: Iterable[str], signature: str, form: Iterable[tuple[str, str]] = ()
) -> str | None:
    """The first of the candidate URLs for which the signature holds; None when it holds for none."""
    fields = tuple(form)
    for url in candidates:
        if hmac.compare_digest(_octets(compute(auth_token, url, fields)), _octets(signature)):
            return url
    return None


def url_candidates(public_url: str, path_qs: str, *, websocket: bool = False) -> list[str]:
    """
    The forms of a request's URL that Twilio may have signed, likeliest first.

    Twilio signs the URL that it was given, which no proxy preserves: so it is rebuilt from the configured address.
    Senders differ in whether they write the port, and in the slash at the end of the path.

    Args:
        public_url: `http` or `https` address under which Twilio reaches us, with or without port and path prefix.
        path_qs: path and query of the request as they came, still percent-encoded.
        websocket: the request is an upgrade, which is signed with the scheme `wss`.
    """
    scheme, netloc, prefix, _, _ = urlsplit(public_url)
    if websocket:
        scheme = _WEBSOCKET_SCHEMES.get(scheme, scheme)
    path, mark, query = path_qs.partition("?")
    path = prefix.rstrip("/") + path
    other = path[:-1] if path.endswith("/") else path + "/"
    host = _without_port(netloc)
    hosts = dict.fromkeys((netloc, host, f"{host}:{_DEFAULT_PORTS[scheme]}"))
    return [f"{scheme}://{name}{form}{mark}{query}" for form in (path, other) for name in hosts]


def is_body_intact(url: str, body: bytes) -> bool:
    """
    Whether a body that is not a form is the one that was signed.

    Twilio adds `bodySHA256`, the body's SHA-256 in hexadecimal, to the URL; the signature then covers the URL alone.
    A body without that parameter is not covered by anything, hence not intact.
    """
    signed = parse_qs(urlsplit(url).query).get(BODY_PARAMETER, [""])[0]
    return hmac.compare_digest(_octets(sha256(body).hexdigest()), _octets(signed))


def _without_port(netloc: str) -> str:
    host, colon, port = netloc.rpartition(":")
    return host if colon and port.isdigit() else netloc  # an IPv6 address ends in a bracket


def _octets(text: str) -> bytes:
    # Headers and fields may hold lone surrogates; those must end in a mismatch, not in an exception.
    return text.encode("utf-8", "surrogatepass")
