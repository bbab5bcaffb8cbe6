from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from gateway.outbox.signing import Signer
from tests.support.webhook_receiver import SECRET

OLD = "whsec_" + "b2xkIG9sZCBvbGQgb2xkIG9sZCBvbGQgb2xkIQ=="
OTHER = "whsec_" + "b3RoZXIgb3RoZXIgb3RoZXIgb3RoZXIgb3RoZXI="
BODY = '{"text": "Grüße"}'.encode()


def test_the_signature_is_that_of_the_reference_vector() -> None:
    body = b'{"type":"call.transcript.final","timestamp":"2026-01-02T03:04:05Z","data":{"call_id":"CA1"}}'

    headers = Signer([SECRET]).headers("msg_0001", datetime(2026, 1, 2, 3, 4, 5, 900_000, UTC), body)

    assert headers == {
        "webhook-id": "msg_0001",
        "webhook-timestamp": "1767323045",
        "webhook-signature": "v1,XX4OyfKCXSxDtI87D4+rCO/Q7KxWzrMsmqz/zmim0ps=",
    }


@pytest.mark.parametrize("secret", [SECRET, OLD])
def test_while_secrets_rotate_either_one_verifies(secret: str) -> None:
    headers = Signer([SECRET, OLD]).headers("evt_1", datetime.now(UTC), BODY)

    assert Webhook(secret).verify(BODY, headers) == {"text": "Grüße"}


def test_a_secret_that_is_not_ours_does_not_verify() -> None:
    headers = Signer([SECRET, OLD]).headers("evt_1", datetime.now(UTC), BODY)

    with pytest.raises(WebhookVerificationError):
        Webhook(OTHER).verify(BODY, headers)


def test_a_changed_body_does_not_verify() -> None:
    headers = Signer([SECRET]).headers("evt_1", datetime.now(UTC), BODY)

    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(BODY + b" ", headers)
