"""A receiver of webhooks, as the rest of this room needs it."""

from dataclasses import dataclass
from hashlib import sha256

from yarl import URL

from gateway.config import WebhookSettings
from gateway.errors import ConfigError
from gateway.outbox.signing import Signer
from gateway.redaction.bodies import BodyMask
from gateway.redaction.policy import Redaction


@dataclass(frozen=True, slots=True)
class Endpoint:
    """
    One configured receiver.

    `key` names it in the store: it depends on the URL alone, so that new secrets or filters keep what is still to be
    sent. `origin` is all of the URL that is logged, because paths and queries of webhooks often hold tokens. `mask`
    hides what this receiver is not to get; None: it gets what is stored.
    """

    key: str
    url: URL
    origin: str
    signer: Signer
    settings: WebhookSettings
    mask: BodyMask | None = None

    @classmethod
    def of(cls, settings: WebhookSettings, redaction: Redaction | None = None) -> "Endpoint":
        """The endpoint of settings that have a URL and a secret."""
        assert settings.url is not None
        assert settings.secret is not None
        url = URL(settings.url)
        secrets = [secret.get_secret_value() for secret in (settings.secret, *settings.previous_secrets)]
        return cls(
            key=sha256(settings.url.encode()).hexdigest()[:16],
            url=url,
            origin=str(url.origin()),
            signer=Signer(secrets),
            settings=settings,
            mask=redaction.of_endpoint(settings) if redaction is not None else None,
        )


def endpoints_of(settings: tuple[WebhookSettings, ...], redaction: Redaction | None = None) -> tuple[Endpoint, ...]:
    """
    The endpoints of all settings.

    Raises:
        ConfigError: two of them have the same URL, and could not be told apart.
    """
    endpoints = tuple(Endpoint.of(one, redaction) for one in settings)
    if len({endpoint.key for endpoint in endpoints}) < len(endpoints):
        raise ConfigError(["webhooks: two receivers have the same url"])
    return endpoints
