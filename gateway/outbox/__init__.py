"""
The way out: every call event becomes a durable row and then a signed webhook, in order, at least once.

`call.py` hands events to `Outbox` and never waits for a receiver. Inside, `payload`, `schedule` and `signing` decide
(pure); `database` holds the SQL, `store` its thread and the group commit; `client` makes one request to an address
that `gateway.guard` lets pass, `sender` keeps at it, `partials` tries once what need not arrive.
"""

from gateway.outbox.box import Outbox
from gateway.outbox.database import StoredEvent, UnfinishedCall

__all__ = ["Outbox", "StoredEvent", "UnfinishedCall"]
