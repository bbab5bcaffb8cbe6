"""
The outbox as operators see it from the console: what waits, what was given up, and trying again.

    GET  /api/outbox?state=pending,dead,dropped&limit=100
    POST /api/outbox/retry {"event": id, "endpoint": key|null}    also /api/outbox/drop
    POST /api/outbox/retry-dead {"endpoint": key|null}
    POST /api/outbox/enable {"endpoint": key}

The same functions as behind `gateway deliveries`, on a thread and a connection of its own, one request at a time.
"""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import structlog
from aiohttp import web

from gateway.errors import StorageError
from gateway.live.access import Access, refusal
from gateway.outbox import operating, schema
from gateway.outbox.database import DeliveryState
from gateway.outbox.endpoint import Endpoint
from gateway.outbox.listing import NOT_DELIVERED, Listing
from gateway.outbox.operating import Changed

log = structlog.get_logger()

MOST_LISTED = 1000
MOST_WAITING = 50
"""Requests that wait for the store; to more than that it is said that they shall come later."""
RETRY_AFTER_S = "5"
_Answer = TypeVar("_Answer")


class _Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to do something about."""

    event: str
    endpoint: str | None = None


class _OrderForAll(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    endpoint: str | None = None


class _Receiver(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    endpoint: str


class OutboxView:
    """
    The routes of the outbox.

    A request that cannot be read is answered 400, an event or receiver that is not known 404, a store that cannot be
    used 503: {"error": code, "message": text}.

    Args:
        folder: that holds the store.
        endpoints: the receivers of the settings.
        access: who may look, and who may do something.
        clock: Unix seconds.
    """

    def __init__(
        self,
        folder: Path,
        endpoints: Sequence[Endpoint],
        access: Access,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._endpoints = endpoints
        self._access = access
        self._clock = clock
        self._waiting = 0
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="outbox-view")

    def add_to(self, app: web.Application) -> None:
        app.router.add_get("/api/outbox", self.show)
        app.router.add_post("/api/outbox/retry", self.retry)
        app.router.add_post("/api/outbox/drop", self.drop)
        app.router.add_post("/api/outbox/retry-dead", self.retry_dead)
        app.router.add_post("/api/outbox/enable", self.enable)
        app.cleanup_ctx.append(self._until_cleanup)

    async def show(self, request: web.Request) -> web.Response:
        """The receivers with their counts, and deliveries, the oldest first."""
        self._access.require(request)
        states = _states(request.query.get("state", ""))
        limit = _limit(request.query.get("limit", "100"))

        def look(db: sqlite3.Connection) -> dict[str, Any]:
            listing = self._listing(db)
            views = operating.select_deliveries(db, states=states, limit=limit)
            return {
                "endpoints": [listing.endpoint_fields(key) for key in listing.keys],
                "deliveries": [listing.delivery_fields(view) for view in views],
            }

        return web.json_response(await self._with_store(look))

    async def retry(self, request: web.Request) -> web.Response:
        """Try an event again that was given up, or that waits for its next attempt."""
        return await self._change(request, operating.retry)

    async def drop(self, request: web.Request) -> web.Response:
        """Give an event up for good."""
        return await self._change(request, operating.drop)

    async def retry_dead(self, request: web.Request) -> web.Response:
        """Try everything again that was given up."""
        self._access.require(request, writes=True)
        order = await _body(request, _OrderForAll)
        now = self._clock()

        def revive(db: sqlite3.Connection) -> int:
            if order.endpoint is not None:
                self._require_known(db, order.endpoint)
            return operating.retry_all_dead(db, order.endpoint, now)

        count = await self._with_store(revive)
        log.info("outbox_changed", action="retry_dead", deliveries=count)
        return web.json_response({"changed": count})

    async def enable(self, request: web.Request) -> web.Response:
        """Send to a receiver again that answered 410; what waited for it goes out, each call's in order."""
        self._access.require(request, writes=True)
        order = await _body(request, _Receiver)

        def enable(db: sqlite3.Connection) -> bool:
            self._require_known(db, order.endpoint)
            return operating.enable(db, order.endpoint)

        was_disabled = await self._with_store(enable)
        if was_disabled:
            log.info("outbox_changed", action="enable", endpoint_key=order.endpoint)
        return web.json_response({"changed": was_disabled})

    def _listing(self, db: sqlite3.Connection) -> Listing:
        return Listing(self._endpoints, operating.select_endpoints(db))

    def _require_known(self, db: sqlite3.Connection, endpoint: str) -> None:
        if endpoint not in self._listing(db).keys:
            raise refusal(web.HTTPNotFound, "unknown_endpoint", "neither the settings nor the store know this receiver")

    async def _change(
        self,
        request: web.Request,
        change: Callable[[sqlite3.Connection, str, str | None, float], list[Changed]],
    ) -> web.Response:
        self._access.require(request, writes=True)
        order = await _body(request, _Order)
        now = self._clock()
        changed = await self._with_store(lambda db: change(db, order.event, order.endpoint, now))
        if not changed:
            raise refusal(web.HTTPNotFound, "unknown_delivery", "the store has no such delivery")
        log.info("outbox_changed", action=change.__name__, deliveries=sum(each.is_done for each in changed))
        rows = [
            {"event": each.event_id, "endpoint": each.endpoint, "was": each.found.value, "done": each.is_done}
            for each in changed
        ]
        return web.json_response({"changed": rows})

    async def _with_store(self, work: Callable[[sqlite3.Connection], _Answer]) -> _Answer:
        """
        Do something with the store.

        Raises:
            web.HTTPServiceUnavailable: it cannot be used.
        """

        def on_the_thread() -> _Answer:
            with closing(schema.open_beside(self._folder)) as db:
                return work(db)

        if self._waiting >= MOST_WAITING:
            raise _not_now("outbox_busy", "too many look at the outbox at once")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, on_the_thread)
        except (StorageError, sqlite3.Error) as error:
            log.warning("outbox_view_failed", error=type(error).__name__)
            raise _not_now("storage_error", "the store cannot be used at the moment") from None
        finally:
            self._waiting -= 1

    async def _until_cleanup(self, _app: web.Application) -> AsyncIterator[None]:
        yield
        # Not waited for on the loop: what it still does is over within the time that SQLite waits for a lock.
        self._thread.shutdown(wait=False, cancel_futures=True)


def _not_now(code: str, message: str) -> web.HTTPException:
    return refusal(web.HTTPServiceUnavailable, code, message, headers={"Retry-After": RETRY_AFTER_S})


def _states(text: str) -> tuple[DeliveryState, ...]:
    """The states of a list with commas; all that were not delivered if there is none."""
    names = [name for name in text.split(",") if name]
    known = {state.value: state for state in NOT_DELIVERED}
    if not known.keys() >= set(names):
        raise refusal(web.HTTPBadRequest, "bad_state", f"state is a list of {', '.join(known)}")
    return tuple(known[name] for name in names) or NOT_DELIVERED


def _limit(text: str) -> int:
    if not (
        text.isascii() and text.isdecimal() and len(text) <= len(str(MOST_LISTED)) and 1 <= int(text) <= MOST_LISTED
    ):
        raise refusal(web.HTTPBadRequest, "bad_limit", f"limit is a number from 1 to {MOST_LISTED}")
    return int(text)


_Body = TypeVar("_Body", _Order, _OrderForAll, _Receiver)


async def _body(request: web.Request, kind: type[_Body]) -> _Body:
    """
    The JSON of a request.

    Raises:
        web.HTTPBadRequest: it is not what it should be.
    """
    if request.content_type != "application/json":  # which no form of another site can send
        raise refusal(web.HTTPUnsupportedMediaType, "not_json", "the body has to be application/json")
    try:
        return msgspec.json.decode(await request.read(), type=kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        fields = ", ".join(kind.__struct_fields__)
        raise refusal(web.HTTPBadRequest, "bad_body", f"the body is not an object of: {fields}") from None
