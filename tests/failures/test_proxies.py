"""
What stands between the platform and the gateway may rewrite, strip and forge; the gateway believes its own address.

Signature checks fail behind proxies that end TLS, or pass anything because forwarded headers are believed; a tunnel
that eats headers leaves no trace in the log.
"""

from pathlib import Path
from typing import Any

import aiohttp
import pytest
from multidict import MultiDict
from structlog.testing import capture_logs
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped] # publishes no types

from gateway.server import Gateway, serving
from tests.support.whole_gateway import FAST_ENGINE, settings

TOKEN = "0123456789abcdef0123456789abcdef"
PUBLIC_URL = "https://media.example.com"
FORM = {"CallSid": "CA1", "From": "+15550100"}
FORGED = {
    "X-Forwarded-Host": "elsewhere.example.com",
    "X-Forwarded-Proto": "http",
    "X-Forwarded-For": "192.0.2.7",
    "Forwarded": "for=192.0.2.7;host=elsewhere.example.com;proto=http",
    "Host": "127.0.0.1:9",
}


def signed_for(url: str, form: dict[str, str] | None = None) -> str:
    return str(RequestValidator(TOKEN).compute_signature(url, MultiDict(form or {})))


def signing(data_dir: Path) -> Any:
    tree = {"public_url": PUBLIC_URL, "twilio": {"auth_token": TOKEN}}
    return serving(settings(data_dir, **tree), engine=FAST_ENGINE)


async def voice(served: Gateway, signature: str, **headers: str) -> int:
    headers = {"X-Twilio-Signature": signature} | headers
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{served.url}/twilio/voice", data=FORM, headers=headers) as answer,
    ):
        return answer.status


async def test_a_proxy_that_ends_tls_and_rewrites_the_host_changes_no_signature(tmp_path: Path) -> None:
    async with signing(tmp_path) as served:
        assert await voice(served, signed_for(f"{PUBLIC_URL}/twilio/voice", FORM), **FORGED) == 200


async def test_forwarded_headers_do_not_choose_what_has_to_be_signed(tmp_path: Path) -> None:
    """Who can send a header must not be able to move the check to an address of his own."""
    async with signing(tmp_path) as served:
        for scheme in ("http", "https"):
            forged = signed_for(f"{scheme}://elsewhere.example.com/twilio/voice", FORM)
            assert await voice(served, forged, **FORGED) == 403


async def test_a_second_address_of_the_gateway_is_refused_and_the_log_names_the_one_it_knows(tmp_path: Path) -> None:
    with capture_logs() as logs:
        async with signing(tmp_path) as served:
            assert await voice(served, signed_for("https://second.example.com/twilio/voice", FORM)) == 403
    (line,) = [entry for entry in logs if entry["event"] == "twilio_signature_refused"]
    assert line["outcome"] == "invalid"
    assert f"{PUBLIC_URL}/twilio/voice" in line["computed_for"]
    assert "second.example.com" not in str(line["computed_for"])


@pytest.mark.parametrize("stripped", ["Upgrade", "Connection", "Sec-WebSocket-Key"])
async def test_a_tunnel_that_strips_the_upgrade_is_answered_at_once_and_takes_no_place(
    stripped: str, tmp_path: Path
) -> None:
    headers = {
        "X-Twilio-Signature": signed_for("wss://media.example.com/twilio/stream"),
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    del headers[stripped]
    async with (
        signing(tmp_path) as served,
        aiohttp.ClientSession() as session,
        session.get(f"{served.url}/twilio/stream", headers=headers) as answer,
    ):
        assert answer.status == 400
        assert len(served.calls) == 0
