"""
`gateway deliveries`: what the outbox still holds or gave up on, and what an operator can do about it.

It opens the store beside a gateway that may be running on the same folder; `outbox.operating` says how they get along.
"""

import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gateway.config import Settings
from gateway.errors import ConfigError, StorageError
from gateway.outbox import operating, schema
from gateway.outbox.database import DeliveryState
from gateway.outbox.endpoint import Endpoint, endpoints_of
from gateway.outbox.listing import NOT_DELIVERED, Listing
from gateway.outbox.operating import Changed, DeliveryView

NOT_GOOD = 1
_PLAIN_WIDTH = 200
_SHORTEST_KEY = 4


@dataclass(frozen=True, slots=True)
class Query:
    """Which deliveries to list, and how; no `states`: all that were not delivered."""

    states: tuple[DeliveryState, ...]
    endpoint: str | None
    call_id: str | None
    limit: int
    as_json: bool


class Desk:
    """
    The store as operators see it. `opened` makes one.

    Args:
        db: the store.
        configured: the receivers of the settings.
        show_urls: name receivers by their whole URL.
        clock: Unix seconds.
    """

    def __init__(
        self,
        db: sqlite3.Connection,
        configured: Sequence[Endpoint],
        *,
        show_urls: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._db = db
        self._listing = Listing(configured, operating.select_endpoints(db), show_urls=show_urls)
        self._clock = clock
        self._console = Console(highlight=False, soft_wrap=True)
        if not self._console.is_terminal:
            self._console.width = _PLAIN_WIDTH

    # ── Showing ──────────────────────────────────────────────────────────────────────────────────────────────

    def list_endpoints(self, *, as_json: bool) -> int:
        """Every receiver that is configured or that the store holds events for."""
        rows = [self._listing.endpoint_fields(key) for key in self._listing.keys]
        if as_json:
            return self._print_json(rows)
        columns = ("endpoint", "receiver", "state", "since", "pending", "oldest", "dead", "dropped")
        return self._print_table(columns, [[_text(row[column]) for column in columns] for row in rows])

    def list_deliveries(self, query: Query) -> int:
        """Deliveries, the oldest first."""
        views = operating.select_deliveries(
            self._db,
            states=query.states or NOT_DELIVERED,
            endpoint=self._key(query.endpoint),
            call_id=query.call_id,
            limit=query.limit,
        )
        if query.as_json:
            return self._print_json([self._listing.delivery_fields(view) for view in views])
        columns = ("event", "call", "no.", "type", "state", "attempts", "last", "due", "receiver")
        self._print_table(columns, [self._delivery_row(view) for view in views])
        if len(views) == query.limit:
            click.echo(f"gateway: only the first {query.limit}; --limit shows more", err=True)
        return 0

    def show_event(self, event_id: str, *, with_body: bool, as_json: bool) -> int:
        """One event, its deliveries, and its body only if asked for: it holds what was said."""
        body = operating.select_body(self._db, event_id)
        if body is None:
            return _not_found(event_id)
        views = operating.select_deliveries(self._db, states=tuple(DeliveryState), event_id=event_id)
        deliveries = [self._listing.delivery_fields(view) for view in views]
        if as_json:
            event: dict[str, Any] = {"event": event_id, "deliveries": deliveries}
            return self._print_json([event | ({"body": json.loads(body)} if with_body else {})])
        for delivery in deliveries:
            for name, value in delivery.items():
                self._console.print(f"{name:<16} {_text(value)}", markup=False)
            self._console.print()
        if not deliveries:
            self._console.print(f"{event_id} has no deliveries: no receiver wanted it", markup=False)
        if with_body:
            click.echo(body)
        return 0

    # ── Doing ────────────────────────────────────────────────────────────────────────────────────────────────

    def retry(self, event_ids: Sequence[str], endpoint: str | None) -> int:
        """Try events again that were given up or that wait for their next attempt."""
        key = self._key(endpoint)
        return self._report("retried", [(id_, operating.retry(self._db, id_, key, self._clock())) for id_ in event_ids])

    def retry_all_dead(self, endpoint: str | None) -> int:
        """Try everything again that was given up."""
        count = operating.retry_all_dead(self._db, self._key(endpoint), self._clock())
        click.echo(f"{count} deliveries are pending again")
        return 0

    def drop(self, event_ids: Sequence[str], endpoint: str | None) -> int:
        """Give events up for good."""
        key = self._key(endpoint)
        return self._report("dropped", [(id_, operating.drop(self._db, id_, key, self._clock())) for id_ in event_ids])

    def enable(self, endpoint: str) -> int:
        """Send to a receiver again that answered 410."""
        key = self._key(endpoint)
        assert key is not None
        was_disabled = operating.enable(self._db, key)
        click.echo(f"{key} {self._listing.receiver(key)} {'is enabled' if was_disabled else 'was not disabled'}")
        return 0

    def _report(self, verb: str, changes: Sequence[tuple[str, Sequence[Changed]]]) -> int:
        faults = 0
        for event_id, changed in changes:
            if not changed:
                faults += _not_found(event_id)
            for each in changed:
                if each.is_done:
                    click.echo(f"{event_id} {each.endpoint} {verb} (was {each.found})")
                else:
                    click.echo(f"gateway: {event_id} {each.endpoint} was delivered", err=True)
            faults += bool(changed) and not any(each.is_done for each in changed)
        return NOT_GOOD if faults else 0

    # ── Names and looks ──────────────────────────────────────────────────────────────────────────────────────

    def _key(self, text: str | None) -> str | None:
        """The endpoint that the operator means: its key, the beginning of it, its URL or its origin."""
        if text is None:
            return None
        known = self._listing.keys
        found = {key for key in known if text in (key, self._listing.url(key), self._listing.origin(key))}
        if not found and len(text) >= _SHORTEST_KEY:
            found = {key for key in known if key.startswith(text)}
        if len(found) != 1:
            names = ", ".join(f"{key} ({self._listing.receiver(key)})" for key in sorted(found or known)) or "none"
            what = "several endpoints are meant" if found else "no such endpoint; known are"
            raise ConfigError([f"{what}: {names}"])
        return found.pop()

    def _short_name(self, key: str) -> str:
        """The receiver, and its key where that alone tells two of them apart."""
        name = self._listing.receiver(key)
        namesakes = sum(self._listing.receiver(each) == name for each in self._listing.keys)
        return name if namesakes == 1 else f"{name} {key}"

    def _delivery_row(self, view: DeliveryView) -> list[str]:
        last = " ".join(str(each) for each in (view.last_outcome, view.last_status) if each is not None)
        return [
            view.event_id,
            view.call_id,
            str(view.sequence),
            view.type,
            view.state.value,
            str(view.attempts),
            last,
            self._due(view),
            self._short_name(view.endpoint),
        ]

    def _due(self, view: DeliveryView) -> str:
        if view.state is not DeliveryState.PENDING:
            return ""
        if (reason := self._listing.waits_for(view)) is not None:
            return f"({reason})"
        now = self._clock()
        if view.lease_until is not None and view.lease_until > now:
            return "under way"
        assert view.due_at is not None, "it waits for nothing but its time"
        return "now" if view.due_at <= now else f"in {_length(view.due_at - now)}"

    def _print_table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
        shown = Table(*columns, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
        for column in shown.columns:
            column.overflow = "fold"
        shown.columns[0].no_wrap = True  # it is there to be copied
        for row in rows:
            shown.add_row(*(escape(text) for text in row))
        self._console.print(shown)
        return 0

    def _print_json(self, rows: Sequence[Mapping[str, Any]]) -> int:
        for row in rows:
            click.echo(json.dumps(row, ensure_ascii=False))
        return 0


@contextmanager
def opened(settings: Settings, *, show_urls: bool = False) -> Iterator[Desk]:
    """
    The store of these settings.

    Raises:
        StorageError: there is none, or it cannot be used.
    """
    configured = endpoints_of(settings.endpoints)
    with closing(schema.open_beside(settings.data_dir)) as db:
        try:
            yield Desk(db, configured, show_urls=show_urls)
        except sqlite3.Error as error:
            raise StorageError(f"the store cannot be used: {error}") from error


def _not_found(event_id: str) -> int:
    click.echo(f"gateway: no event {event_id} in the store", err=True)
    return NOT_GOOD


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _length(seconds: float) -> str:
    for unit, name in ((3600.0, "h"), (60.0, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.0f} s"
