"""Events ready to be written to the store."""

from typing import Any

from gateway.outbox.database import NewEvent
from tests.support import call_events

ENDPOINT = "endpoint-a"
NOW = 1000.0


def event(call_id: str = "call_1", sequence: int = 1, **changes: Any) -> NewEvent:
    """A final for `ENDPOINT`, created at `NOW`, whose id tells call and sequence."""
    fields: dict[str, Any] = {
        "id": f"evt_{call_id}_{sequence}",
        "type": "transcript.final",
        "call": call_events.info(call_id),
        "sequence": sequence,
        "created_at": NOW,
        "body": b"{}",
        "endpoints": (ENDPOINT,),
    }
    return NewEvent(**fields | changes)
