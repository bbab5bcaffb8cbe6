"""
What the feed shows, in the two forms in which it goes over the wire: each is made once, and only if somebody wants it.

Server-sent events: whatwg.org, "HTML", 9.2.6 "Interpreting an event stream". An `id` without data says only from where
a reconnecting client is to go on.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

from gateway.outbox import StoredEvent

BEGUN = "feed.begun"
RESET = "feed.reset"
ALIVE = "feed.alive"
FINAL = "transcript.final"
PARTIAL = "transcript.partial"
ENDED = "call.ended"
_AROUND_BYTES = 64


class Form(StrEnum):
    """How a viewer is spoken to."""

    SSE = "sse"
    WEBSOCKET = "websocket"


@dataclass(slots=True, kw_only=True, eq=False)
class Item:
    """
    One event of the feed.

    Args:
        type: as in the body.
        call_id: None: it is about no one call.
        make_body: gives the JSON.
        position: in the store; None: it is not kept there.
        made_at: Unix seconds; None: not now.
    """

    type: str
    call_id: str | None
    make_body: Callable[[], bytes]
    position: int | None = None
    made_at: float | None = None
    _body: bytes | None = None
    _forms: dict[Form, bytes] = field(default_factory=dict)

    @property
    def body(self) -> bytes:
        """The JSON, as a webhook gets it."""
        if self._body is None:
            self._body = self.make_body()
        return self._body

    @property
    def size_bytes(self) -> int:
        """About how much it is on the wire."""
        return len(self.body) + _AROUND_BYTES

    def wire(self, form: Form) -> bytes:
        """The event as it goes over the wire: a block of server-sent events, or one JSON message."""
        made = self._forms.get(form)
        if made is None:
            made = self._forms[form] = (_block if form is Form.SSE else _message)(self)
        return made


def kept(event: StoredEvent, *, is_new: bool) -> Item:
    """A durable event; `is_new`: it has just been committed."""
    return Item(
        type=event.type,
        call_id=event.call_id,
        make_body=lambda: event.body,
        position=event.position,
        made_at=event.created_at if is_new else None,
    )


def reset(reason: str, position: int | None) -> Item:
    """What came after the position that the client named is not to be had; it goes on as if it had named none."""
    return _of_the_feed(RESET, {"reason": reason}, position)


def begun(position: int) -> Item:
    """As a message: whoever comes back before the first event goes on from here."""
    return _of_the_feed(BEGUN, {}, position)


def alive() -> Item:
    """As a message: the line still holds, where pings are out of sight, as for the script of a page."""
    return _of_the_feed(ALIVE, {}, None)


def mark(position: int) -> bytes:
    """The same, server-sent."""
    return b"id: %d\n\n" % position


def _of_the_feed(type_: str, data: Mapping[str, str], position: int | None) -> Item:
    body = msgspec.json.encode({"type": type_, "data": data})
    return Item(type=type_, call_id=None, make_body=lambda: body, position=position)


def _block(item: Item) -> bytes:
    id_ = b"" if item.position is None else b"id: %d\n" % item.position
    data = item.body.replace(b"\n", b"\ndata: ")
    return b"%sevent: %s\ndata: %s\n\n" % (id_, item.type.encode(), data)


def _message(item: Item) -> bytes:
    id_ = b"null" if item.position is None else b"%d" % item.position
    return b'{"id":%s,"type":%s,"event":%s}' % (id_, msgspec.json.encode(item.type), item.body)
