"""
Who is logged in: random ids, of which only hashes are kept, and only in memory.

A session that is signed instead of remembered would outlive a restart, and so would one that somebody logged out of:
the list of those would be gone. So they are remembered, and whoever restarts the gateway logs everybody out.

Pure: the caller passes the time, in seconds of any monotonic clock, and what is random.
"""

from collections import Counter, OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from hashlib import sha256
from typing import Generic, TypeVar

Holder = TypeVar("Holder", bound=Hashable)

IDLE_S = 12 * 3600.0
"""A session that is not used for so long ends: a shift, and no night."""
LONGEST_S = 7 * 24 * 3600.0
MOST = 1000
"""Sessions at once; one more ends the one that was not used for longest, of the kind of holder that has most."""


@dataclass(slots=True)
class _Session(Generic[Holder]):
    holder: Holder
    since: float
    used: float


class Sessions(Generic[Holder]):
    """
    Sessions by their ids.

    Args:
        capacity: sessions at once.
    """

    def __init__(self, *, capacity: int = MOST) -> None:
        self._capacity = capacity
        self._sessions: OrderedDict[bytes, _Session[Holder]] = OrderedDict()  # the one used last is the last

    def __len__(self) -> int:
        return len(self._sessions)

    def begin(self, session_id: str, holder: Holder, now: float) -> None:
        """Remember a new session; its id has at least 128 random bits."""
        if len(self._sessions) >= self._capacity:
            self._end_oldest()
        self._sessions[_hash(session_id)] = _Session(holder, now, now)

    def find(self, session_id: str, now: float, *, is_use: bool = True) -> Holder | None:
        """Whose session this is; None: there is none, or it has ended. `is_use`: somebody uses it with this."""
        key = _hash(session_id)
        session = self._sessions.get(key)
        if session is None:
            return None
        if _has_ended(session, now):
            del self._sessions[key]
            return None
        if is_use:
            session.used = now
            self._sessions.move_to_end(key)
        return session.holder

    def end(self, session_id: str) -> None:
        """End a session, if there is one."""
        self._sessions.pop(_hash(session_id), None)

    def _end_oldest(self) -> None:
        """Of those who have most: whoever has a token for reading only cannot end others' sessions with its own."""
        ((most, _),) = Counter(session.holder for session in self._sessions.values()).most_common(1)
        del self._sessions[next(key for key, session in self._sessions.items() if session.holder == most)]


def _has_ended(session: _Session[Holder], now: float) -> bool:
    return now - session.used >= IDLE_S or now - session.since >= LONGEST_S


def _hash(session_id: str) -> bytes:
    return sha256(session_id.encode(errors="surrogatepass")).digest()
