"""
The front door: which connections may be open, how fast requests may come from one address, and how long peers may take.

Nothing here costs a call in progress anything: a connection is looked at when it opens, at its first request, and once
a second together with all others.

    connects ─▶ _Visitor (room? which address?) ─▶ aiohttp's protocol ─▶ first request: `middleware` ─▶ routes
                     └ no request head within `handshake_timeout_s`, or no room: closed

Slow bodies are the business of the routes that read them, silent calls that of `Call`.
"""

import asyncio
import math
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import islice
from typing import cast

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from gateway import telemetry
from gateway.address_limits import Address, Mentions, TokenBuckets, TrustedProxies, address_key
from gateway.config import LimitSettings
from gateway.errors import UnavailableError
from gateway.tls import ServerCertificate

log = structlog.get_logger()

SWEEP_S = 0.1
MOST_PER_SWEEP = 20
"""Connections that are turned out for silence at once: a thousand in one go would hold up calls for 50 ms."""
LOOK_S = 1.0
"""Between two looks at all connections, for those that do not read."""
CERTIFICATE_CHECK_S = 60.0
MENTION_S = 60.0
"""At most one log line per address and reason in so long."""
BACKLOG = 1024
MOST_FILES = 1 << 20
_UNKNOWN = "unknown"


@dataclass(slots=True)
class _Guest:
    """An open connection, since when, and since when it has not read what it was sent."""

    key: str
    since: float
    unread_since: float | None = None


class FrontDoor:
    """
    The limits of one listening address.

    Args:
        limits: of connections, addresses and time.
        clock: seconds, for tests.
    """

    def __init__(self, limits: LimitSettings, *, clock: Callable[[], float] | None = None) -> None:
        self._limits = limits
        self._clock = clock or asyncio.get_running_loop().time
        self._proxies = TrustedProxies(limits.trusted_proxies)
        self._buckets = TokenBuckets(limits.address_rate_per_s, limits.address_burst)
        self._mentions = Mentions(MENTION_S)
        self._guests: dict[asyncio.Transport, _Guest] = {}
        self._waiting: dict[asyncio.Transport, None] = {}  # no request yet; the longest first
        self._per_address: dict[str, int] = {}
        self._pruned_at = -math.inf
        self._looked_at = -math.inf

    def __len__(self) -> int:
        """Connections that are open."""
        return len(self._guests)

    @property
    def waiting(self) -> int:
        """Connections that have not sent a request yet."""
        return len(self._waiting)

    # ── Connections ─────────────────────────────────────────────────────────────────────────────────────────────

    def admit(self, transport: asyncio.Transport) -> bool:
        """Take a new connection in, or say that it has to go."""
        now = self._clock()
        address = peer_address(transport)
        key = _key(address)
        if not self._has_room(address, key, now):
            return False
        self._guests[transport] = _Guest(key, now)
        self._per_address[key] = self._per_address.get(key, 0) + 1
        self._waiting[transport] = None
        return True

    def _has_room(self, address: Address | None, key: str, now: float) -> bool:
        most = self._limits.max_connections_per_address
        is_proxy = address is not None and self._proxies.trusts(address)
        if most and not is_proxy and self._per_address.get(key, 0) >= most:
            self._prune(now)
            if self._per_address.get(key, 0) >= most:
                self._note("address_connections", key, now)
                return False
        if len(self._guests) >= self._limits.max_connections:
            self._prune(now)
            if len(self._guests) >= self._limits.max_connections and not self._make_room(now):
                self._note("max_connections", key, now)
                return False
        return True

    def _make_room(self, now: float) -> bool:
        """Who connects and says nothing must not keep callers out: whoever has waited longest goes first."""
        longest = next(iter(self._waiting), None)
        if longest is None:
            return False
        self._turn_out(longest, "max_connections", now)
        return True

    def note_request(self, transport: asyncio.BaseTransport | None) -> None:
        """This connection has sent a whole request head."""
        self._waiting.pop(cast("asyncio.Transport", transport), None)  # of one that never came through here: nothing

    def sweep(self) -> None:
        """Turn out who is too slow; called every `SWEEP_S`."""
        now = self._clock()
        for transport in list(islice(self._waiting, MOST_PER_SWEEP)):
            if now - self._guests[transport].since < self._limits.handshake_timeout_s:
                break  # the others came later
            self._turn_out(transport, "handshake_timeout", now)
        if now - self._looked_at >= LOOK_S:
            self._looked_at = now
            self._look_at_all(now)

    def _look_at_all(self, now: float) -> None:
        for transport, guest in list(self._guests.items()):
            if transport.get_write_buffer_size() == 0:
                guest.unread_since = None
                if transport.is_closing():
                    self._forget(transport)
            elif guest.unread_since is None:
                guest.unread_since = now
            elif now - guest.unread_since >= self._limits.unread_timeout_s:
                self._turn_out(transport, "unread_timeout", now)
        telemetry.CONNECTIONS.set(len(self._guests))

    def _prune(self, now: float) -> None:
        """Forget those that have closed; not for each of a flood of connections."""
        if now - self._pruned_at >= SWEEP_S:
            self._pruned_at = now
            for transport in [each for each in self._guests if each.is_closing()]:
                if transport.get_write_buffer_size() == 0:
                    self._forget(transport)

    def _turn_out(self, transport: asyncio.Transport, reason: str, now: float) -> None:
        self._note(reason, self._guests[transport].key, now)
        self._forget(transport)
        transport.abort()

    def _forget(self, transport: asyncio.Transport) -> None:
        key = self._guests.pop(transport).key
        self._waiting.pop(transport, None)
        left = self._per_address[key] - 1
        if left:
            self._per_address[key] = left
        else:
            del self._per_address[key]

    def _note(self, reason: str, key: str, now: float) -> None:
        telemetry.CONNECTIONS_REFUSED.labels(reason).inc()
        times = self._mentions.count(f"{reason} {key}", now)
        if times:
            log.warning("connection_refused", reason=reason, times=times, pii_address=key)

    # ── Requests ────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def middleware(self) -> Middleware:
        """For the application, before all others: counts upgrades and posts of each address."""

        @web.middleware
        async def at_the_door(request: web.Request, handler: Handler) -> web.StreamResponse:
            self.note_request(request.transport)
            if request.method == "POST" or "Upgrade" in request.headers:
                wait_s = self._take(request)
                if wait_s > 0:
                    raise web.HTTPServiceUnavailable(
                        text="too many requests from this address (rate_limited)",
                        headers={"Retry-After": str(math.ceil(wait_s))},
                    )
            return await handler(request)

        return at_the_door

    def client_key(self, request: web.Request) -> str:
        """What stands for whoever is asking: the address that counts behind proxies."""
        peer = peer_address(request.transport)
        if peer is not None:
            headers = request.headers
            peer = self._proxies.client(peer, headers.getall("X-Forwarded-For", ()), headers.getall("Forwarded", ()))
        return _key(peer)

    def _take(self, request: web.Request) -> float:
        key, now = self.client_key(request), self._clock()
        wait_s = self._buckets.take(key, now)
        if wait_s > 0:
            self._note("rate_limited", key, now)
        return wait_s


class _Visitor(asyncio.Protocol):
    """The first protocol of a connection: hands it to aiohttp at once, or turns it away."""

    def __init__(self, door: FrontDoor, make_protocol: Callable[[], asyncio.Protocol]) -> None:
        self._door = door
        self._make_protocol = make_protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        connection = cast("asyncio.Transport", transport)  # uvloop's are, in all but name
        if not self._door.admit(connection):
            connection.abort()
            return
        protocol = self._make_protocol()
        connection.set_protocol(protocol)
        protocol.connection_made(connection)


class DoorSite(web.BaseSite):
    """
    Where a runner's application listens, behind the front door.

    Args:
        certificate: with it TLS is spoken.
    """

    def __init__(
        self,
        runner: web.AppRunner,
        door: FrontDoor,
        limits: LimitSettings,
        host: str,
        port: int,
        certificate: ServerCertificate | None = None,
    ) -> None:
        super().__init__(runner, ssl_context=certificate.context if certificate else None, backlog=BACKLOG)
        self._door = door
        self._host = host
        self._port = port
        self._certificate = certificate
        self._handshake_s = limits.handshake_timeout_s
        self._sweeper: asyncio.TimerHandle | None = None
        self._checked_at = 0.0

    @property
    def name(self) -> str:
        return f"{'https' if self._certificate else 'http'}://{self._host}:{self._port}"

    async def start(self) -> None:
        """
        Listen.

        Raises:
            UnavailableError: the address is taken or not ours.
        """
        await super().start()
        make_protocol = self._runner.server
        assert make_protocol is not None
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                lambda: _Visitor(self._door, make_protocol),
                self._host,
                self._port,
                ssl=self._ssl_context,
                backlog=self._backlog,
                ssl_handshake_timeout=self._handshake_s if self._ssl_context else None,
            )
        except OSError as error:
            raise UnavailableError(
                f"cannot listen on {self._host}:{self._port}: {error.strerror}", code="cannot_listen"
            ) from None
        self._checked_at = loop.time()
        self._sweeper = loop.call_later(SWEEP_S, self._sweep)

    async def stop(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
        await super().stop()

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        self._sweeper = loop.call_later(SWEEP_S, self._sweep)
        self._door.sweep()
        if self._certificate is not None and loop.time() - self._checked_at >= CERTIFICATE_CHECK_S:
            self._checked_at = loop.time()
            self._certificate.refresh()


def allow_many_files() -> None:
    """Let this process open as many files as it is allowed at all; by default the system gives it about a thousand."""
    if sys.platform == "win32":
        return
    import resource

    least, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if most == resource.RLIM_INFINITY else min(most, MOST_FILES)
    if least == resource.RLIM_INFINITY or least >= wanted:
        return
    with suppress(OSError, ValueError):  # where the system has other ideas the limit stays
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def peer_address(transport: asyncio.BaseTransport | None) -> Address | None:
    """Who is at the other end of a TCP connection; None if that is not known any more."""
    name = transport.get_extra_info("peername") if transport is not None else None
    try:
        return ip_address(name[0]) if name else None
    except ValueError:
        return None


def _key(address: Address | None) -> str:
    return _UNKNOWN if address is None else address_key(address)
