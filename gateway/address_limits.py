"""
Who is asking, and how often: the address that counts behind proxies, and a token bucket for each.

Pure: the caller passes the time, in seconds of any monotonic clock.
"""

import re
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

_HOME_PREFIX = 64
"""Bits of an IPv6 address that tell customers apart: each has at least one whole /64 (RFC 6177)."""
_FORWARDED_FOR = re.compile(r'(?:^|;)\s*for\s*=\s*(?:"([^"]*)"|([^;\s]*))', re.IGNORECASE)
_MOST_HOPS = 32


def address_key(address: Address) -> str:
    """What stands for everybody behind this address: itself, or the /64 that it lies in."""
    if isinstance(address, IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:  # how a socket for both families shows an IPv4 peer
        return str(address.ipv4_mapped)
    return str(ip_network((int(address), _HOME_PREFIX), strict=False))


class TrustedProxies:
    """
    Finds out who is behind a proxy.

    Args:
        networks: of the proxies that are believed, as text; `ValueError` if one is none.
    """

    def __init__(self, networks: Iterable[str] = ()) -> None:
        self._networks: tuple[Network, ...] = tuple(ip_network(each) for each in networks)

    def trusts(self, address: Address) -> bool:
        """Whether this is one of the proxies."""
        address = _unmapped(address)
        return any(address in network for network in self._networks)

    def client(self, peer: Address, forwarded_for: Sequence[str] = (), forwarded: Sequence[str] = ()) -> Address:
        """
        The address that counts: the last one on the way to us that is no proxy of ours.

        Whatever stands to the left of it was written by that client, and is not believed. A client can also send the
        header that the proxy does not write: when both are there and disagree, neither is believed.

        Args:
            peer: who opened the connection.
            forwarded_for: values of `X-Forwarded-For`, in order.
            forwarded: values of `Forwarded` (RFC 7239), in order.
        """
        if not self.trusts(peer):
            return peer
        found = {
            self._last_stranger(peer, hops)
            for hops in (_hops(forwarded_for), [_for_parameter(element) for element in _hops(forwarded)])
            if hops
        }
        return found.pop() if len(found) == 1 else peer

    def _last_stranger(self, peer: Address, hops: Sequence[str]) -> Address:
        nearest = peer
        for hop in list(reversed(hops))[:_MOST_HOPS]:
            address = _read_address(hop)
            if address is None:  # `unknown`, `_hidden`, or nonsense: what is known so far counts
                break
            nearest = address
            if not self.trusts(address):
                break
        return nearest


def _hops(values: Sequence[str]) -> list[str]:
    return [hop.strip() for value in values for hop in value.split(",") if hop.strip()]


def _for_parameter(element: str) -> str:
    found = _FORWARDED_FOR.search(element)
    return (found[1] or found[2] or "") if found else ""


def _read_address(text: str) -> Address | None:
    """`192.0.2.7`, `192.0.2.7:4711`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:4711`."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return _unmapped(ip_address(text))
    except ValueError:
        return None


def _unmapped(address: Address) -> Address:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class TokenBuckets:
    """
    One token bucket per key, of the keys seen last.

    A key that was forgotten begins again with a full bucket; so the capacity should be larger than the number of
    addresses that one attacker has.

    Args:
        rate_per_s: tokens that come back; 0: nothing is limited.
        burst: tokens of a full bucket.
        capacity: keys that are remembered.
    """

    def __init__(self, rate_per_s: float, burst: int, *, capacity: int = 10_000) -> None:
        self._rate_per_s = rate_per_s
        self._burst = float(burst)
        self._capacity = capacity
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, key: str, now: float) -> float:
        """Take a token: 0.0 if there was one, else seconds until there will be."""
        if self._rate_per_s <= 0:
            return 0.0
        bucket = self._buckets.pop(key, None) or _Bucket(self._burst, now)
        self._buckets[key] = bucket  # last in line
        if len(self._buckets) > self._capacity:
            self._buckets.popitem(last=False)
        bucket.tokens = min(self._burst, bucket.tokens + max(0.0, now - bucket.at) * self._rate_per_s)
        bucket.at = now
        if bucket.tokens < 1:
            return (1 - bucket.tokens) / self._rate_per_s
        bucket.tokens -= 1
        return 0.0

    def give_back(self, key: str) -> None:
        """Undo a `take` that shall not count."""
        bucket = self._buckets.get(key)
        if bucket is not None:
            bucket.tokens = min(self._burst, bucket.tokens + 1)


class Mentions:
    """
    One log line per key and interval, however often a thing happens.

    Args:
        interval_s: between two lines of one key.
        capacity: keys that are remembered; beyond it further keys share one.
    """

    def __init__(self, interval_s: float, *, capacity: int = 1000) -> None:
        self._interval_s = interval_s
        self._capacity = capacity
        self._seen: OrderedDict[str, tuple[float, int]] = OrderedDict()  # when last mentioned, and how often since

    def count(self, key: str, now: float) -> int:
        """How many times to mention now: 0, or those since the last mention, this one included."""
        self._forget(now)
        if key not in self._seen and len(self._seen) >= self._capacity:
            key = ""
        at, unsaid = self._seen.get(key, (float("-inf"), 0))
        if now - at < self._interval_s:
            self._seen[key] = (at, unsaid + 1)
            return 0
        self._seen.pop(key, None)
        self._seen[key] = (now, 0)
        return unsaid + 1

    def _forget(self, now: float) -> None:
        """Oldest first: those whose interval is over and that have nothing left to say."""
        while self._seen:
            key, (at, unsaid) = next(iter(self._seen.items()))
            if now - at < self._interval_s or (unsaid and len(self._seen) < self._capacity):
                return
            del self._seen[key]
