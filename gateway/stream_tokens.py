"""
One-time tokens for stream addresses.

Twilio's signature over a stream's address has no time in it: whoever saw one could open streams with it for ever. So
the address that our TwiML names ends in a token, which holds for one call, once, and for a short while. The signature
covers it. Pure: the caller passes Unix seconds and random bytes.

    token = base64url(expiry 5 octets · nonce 12 · call tag 16 · seal 16)

The call tag is a MAC of the CallSid, which the upgrade does not tell yet: it is compared when the start message does.
"""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import OrderedDict
from dataclasses import dataclass

from gateway.errors import GatewayError

NONCE_BYTES = 12
KEY_BYTES = 32
_EXPIRY_BYTES = 5
_TAG_BYTES = 16
_SEAL_AT = _EXPIRY_BYTES + NONCE_BYTES + _TAG_BYTES
_LENGTH = _SEAL_AT + _TAG_BYTES
_MOST_USED = 100_000


class TokenRefused(GatewayError):
    """
    A stream token that opens nothing: `token_missing`, `token_malformed`, `token_forged`, `token_expired`,
    `token_used`. The text goes to the client.
    """

    default_code = "token_refused"


@dataclass(frozen=True, slots=True, repr=False)
class Admission:
    """What a redeemed token was good for."""

    _key: bytes
    _nonce: bytes
    _tag: bytes

    def is_for(self, call_sid: str | None) -> bool:
        """Whether this is the call that the token was made for; compared in constant time."""
        return hmac.compare_digest(self._tag, _tag(self._key, self._nonce, call_sid or ""))


class StreamTokens:
    """
    Makes tokens and redeems each at most once.

    Which ones were used is known to this object alone: of several processes behind one address each would take a token
    once, and so would a process that was started again while it had not expired.

    Args:
        key: `derived_key` where several processes share an auth token, else random.
        ttl_s: how long a token holds.
    """

    def __init__(self, key: bytes, ttl_s: float) -> None:
        self._key = key
        self._ttl_s = ttl_s
        self._used: OrderedDict[bytes, int] = OrderedDict()

    def issue(self, call_sid: str, now: float, nonce: bytes) -> str:
        """
        A token for a call.

        Args:
            now: Unix seconds.
            nonce: `NONCE_BYTES` that nobody can guess and that never come again.
        """
        assert len(nonce) == NONCE_BYTES
        expiry = int(now + self._ttl_s).to_bytes(_EXPIRY_BYTES, "big")
        head = expiry + nonce + _tag(self._key, nonce, call_sid)
        return urlsafe_b64encode(head + _seal(self._key, head)).rstrip(b"=").decode()

    def redeem(self, token: str | None, now: float) -> Admission:
        """
        Use a token up.

        Raises:
            TokenRefused: there is none, it is none of ours, too old, or was used before.
        """
        if token is None:
            raise TokenRefused("a stream token is required", code="token_missing")
        octets = _decoded(token)
        head, seal = octets[:_SEAL_AT], octets[_SEAL_AT:]
        if not hmac.compare_digest(seal, _seal(self._key, head)):
            raise TokenRefused("the stream token is not ours", code="token_forged")
        expiry = int.from_bytes(head[:_EXPIRY_BYTES], "big")
        if expiry < now:
            raise TokenRefused("the stream token has expired", code="token_expired")
        nonce = head[_EXPIRY_BYTES : _EXPIRY_BYTES + NONCE_BYTES]
        self._use_up(nonce, expiry, now)
        return Admission(self._key, nonce, head[_EXPIRY_BYTES + NONCE_BYTES :])

    def _use_up(self, nonce: bytes, expiry: int, now: float) -> None:
        while self._used and next(iter(self._used.values())) < now:
            self._used.popitem(last=False)
        if nonce in self._used:
            raise TokenRefused("the stream token was used before", code="token_used")
        if len(self._used) >= _MOST_USED:  # rather no call than one that could be somebody else's
            raise TokenRefused("too many stream tokens are in use", code="token_used")
        self._used[nonce] = expiry


def derived_key(auth_token: str) -> bytes:
    """The key that every process with this Twilio auth token has."""
    return hmac.digest(auth_token.encode(), b"media-stream-gateway stream token 1", "sha256")


def _tag(key: bytes, nonce: bytes, call_sid: str) -> bytes:
    return hmac.digest(key, b"call" + nonce + call_sid.encode("utf-8", "surrogatepass"), "sha256")[:_TAG_BYTES]


def _seal(key: bytes, head: bytes) -> bytes:
    return hmac.digest(key, b"seal" + head, "sha256")[:_TAG_BYTES]


def _decoded(token: str) -> bytes:
    try:
        octets = urlsafe_b64decode(token.encode("ascii") + b"=" * (-len(token) % 4))
    except ValueError:  # not ASCII, or not base64
        octets = b""
    if len(octets) != _LENGTH:
        raise TokenRefused("not a stream token", code="token_malformed")
    return octets
