"""
Deliveries and receivers as JSON: `gateway deliveries --json` and `GET /api/outbox` show the same fields.

Of a receiver's URL only the origin is shown unless asked for more: paths and queries of webhooks often hold tokens.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from gateway.outbox.database import DeliveryState
from gateway.outbox.endpoint import Endpoint
from gateway.outbox.operating import DeliveryView, EndpointView

NOT_DELIVERED = (DeliveryState.PENDING, DeliveryState.DEAD, DeliveryState.DROPPED)


class Listing:
    """
    What is known of the receivers, and the fields that go with it.

    Args:
        configured: the receivers of the settings.
        stored: those that the store knows.
        show_urls: name receivers by their whole URL.
    """

    def __init__(
        self, configured: Sequence[Endpoint], stored: Sequence[EndpointView], *, show_urls: bool = False
    ) -> None:
        self._configured: Mapping[str, Endpoint] = {endpoint.key: endpoint for endpoint in configured}
        self._stored = {each.key: each for each in stored}
        self._show_urls = show_urls

    @property
    def keys(self) -> list[str]:
        """Of every receiver that is configured or that the store holds events for."""
        return sorted({*self._stored, *self._configured})

    def url(self, key: str) -> str | None:
        return self._configured[key].settings.url if key in self._configured else None

    def origin(self, key: str) -> str | None:
        if key in self._configured:
            return self._configured[key].origin
        return self._stored[key].origin if key in self._stored else None

    def receiver(self, key: str) -> str:
        """Its name for people."""
        return (self.url(key) if self._show_urls else None) or self.origin(key) or "unknown"

    def endpoint_fields(self, key: str) -> dict[str, Any]:
        view = self._stored.get(key) or _unused(key)
        state = "disabled" if view.disabled_at is not None else "enabled"
        return {
            "endpoint": key,
            "receiver": self.receiver(key),
            "state": state if key in self._configured else f"{state}, not configured",
            "enabled": view.disabled_at is None,
            "since": _time(view.disabled_at),
            "reason": view.reason,
            "pending": view.pending,
            "oldest": _time(view.oldest_pending_at),
            "dead": view.dead,
            "dropped": view.dropped,
        }

    def delivery_fields(self, view: DeliveryView) -> dict[str, Any]:
        return {
            "event": view.event_id,
            "type": view.type,
            "call": view.call_id,
            "sequence": view.sequence,
            "created_at": _time(view.created_at),
            "endpoint": view.endpoint,
            "receiver": self.receiver(view.endpoint),
            "state": view.state.value,
            "attempts": view.attempts,
            "last_outcome": view.last_outcome,
            "last_status": view.last_status,
            "last_attempt_at": _time(view.last_attempt_at),
            "due_at": _time(view.due_at),
            "waits_for": self.waits_for(view),
        }

    def waits_for(self, view: DeliveryView) -> str | None:
        """What a pending delivery waits for; None: for its time, or for nothing."""
        if view.state is not DeliveryState.PENDING:
            return None
        if view.is_disabled:
            return "enabled endpoint"
        if view.endpoint not in self._configured:
            return "configured endpoint"
        return "earlier event" if view.due_at is None else None


def _unused(key: str) -> EndpointView:
    return EndpointView(
        key=key, origin=None, disabled_at=None, reason=None, pending=0, dead=0, dropped=0, oldest_pending_at=None
    )


def _time(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
