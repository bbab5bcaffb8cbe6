"""
The way out: every call event becomes a durable row and then a signed webhook, in order, at least once.

`call.py` hands events to `Outbox` and never waits for a receiver. Inside, `payload`, `schedule` and `signing` decide
(pure), and `breaker` says when a receiver is down as a whole; `schema`, `database` and `writing` hold the SQL, `store`
its thread and the group commit, `transaction` what one of them does; `client` makes one request to an address that
`gateway.guard` lets pass, `sender`, with a `worker` per receiver, keeps at it, `partials` tries once what need not
arrive. `operating` is what `gateway deliveries` does, also beside a gateway.
"""

from gateway.outbox.box import Outbox
from gateway.outbox.database import StoredEvent, UnfinishedCall

__all__ = ["Outbox", "StoredEvent", "UnfinishedCall"]
