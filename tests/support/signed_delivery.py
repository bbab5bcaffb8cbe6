"""Deliveries to a webhook receiver, signed by the official library."""

import json
from datetime import UTC, datetime
from typing import Any

import aiohttp
from standardwebhooks import Webhook

from gateway.simulate.listener import new_secret

SECRET = new_secret()


def event(kind: str, sequence: int | None, call_id: str = "call_1") -> dict[str, Any]:
    """As much of an event as a receiver needs to keep account."""
    data = {"call": {"id": call_id}, "sequence": sequence}
    return {"type": kind, "id": f"evt_{call_id}_{sequence}_{kind}", "data": data}


async def post(url: str, body: dict[str, Any], secret: str = SECRET) -> int:
    """Deliver, and return the status."""
    raw = json.dumps(body)
    now = datetime.now(UTC)
    headers = {
        "webhook-id": body["id"],
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(body["id"], now, raw),
    }
    async with aiohttp.ClientSession() as session, session.post(url, data=raw, headers=headers) as answer:
        return answer.status
