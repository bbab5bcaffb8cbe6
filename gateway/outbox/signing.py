"""Standard Webhooks signatures, made by the specification's own library."""

from collections.abc import Sequence
from datetime import datetime

from standardwebhooks import Webhook


class Signer:
    """
    Signs with every secret at once, so that receivers can change over from an old one to a new one.

    Args:
        secrets: `whsec_` and base64; the newest first.
    """

    def __init__(self, secrets: Sequence[str]) -> None:
        self._keys = [Webhook(secret) for secret in secrets]

    def headers(self, id_: str, at: datetime, body: bytes) -> dict[str, str]:
        """
        The three headers of one attempt.

        Args:
            id_: the event's id, the same at every attempt.
            at: time of this attempt, in UTC: the library relabels any other zone instead of converting it.
            body: exactly what is sent.
        """
        text = body.decode()
        return {
            "webhook-id": id_,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": " ".join(key.sign(id_, at, text) for key in self._keys),
        }
