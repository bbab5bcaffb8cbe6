"""
Keeps requests to addresses that others supply (webhooks, recordings to fetch) on the public internet.

A name is resolved once per connection, every address of the answer is checked, and the connection goes to one of those
checked addresses, so a second answer (DNS rebinding) is never asked for. Address blocks: IANA special-purpose address
registries for IPv4 and IPv6 (RFC 6890 and its updates), read 2026-11-21.
"""

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from gateway.errors import UnavailableError

_BLOCKED_IPV4 = tuple(
    IPv4Network(block)
    for block in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # the host of an Azure machine, although the number is a public one
        "169.254.0.0/16",  # link-local, cloud metadata
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # IETF protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
# Everything outside is loopback, link-local, private, multicast, IPv4-mapped, NAT64 or not yet assigned.
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_BLOCKED_IPV6 = tuple(
    IPv6Network(block)
    for block in (
        "2001::/23",  # IETF protocol assignments, among them Teredo, which carries an IPv4 address
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which carries an IPv4 address
        "3fff::/20",  # documentation
    )
)
_LOOKUP_THREADS = 2


def is_public(address: str | IPv4Address | IPv6Address) -> bool:
    """
    Whether an address may be called: global unicast, and not an IPv4 address in IPv6 clothing.

    Raises:
        ValueError: not an address in canonical form.
    """
    parsed = ip_address(address)
    if isinstance(parsed, IPv4Address):
        return not any(parsed in block for block in _BLOCKED_IPV4)
    return parsed in _GLOBAL_UNICAST and not any(parsed in block for block in _BLOCKED_IPV6)


def check_url(url: URL) -> None:
    """
    Refuse a URL whose host is written as a number: aiohttp connects there without asking a resolver.

    Raises:
        UnavailableError: `blocked_address`, for addresses that are not public and for numbers that are no address
            but that the system would take for one (`http://2130706433/`).
    """
    host = url.raw_host or ""
    if ":" in host or host.replace(".", "").isdigit():
        _check([host])


class GuardedResolver(AbstractResolver):
    """
    Resolves names for aiohttp and refuses those that lead to a private address.

    It has threads of its own, so that a name server that hangs keeps nobody else waiting.

    Args:
        allow_private: let every address pass.
    """

    def __init__(self, *, allow_private: bool = False) -> None:
        self._allow_private = allow_private
        self._threads = ThreadPoolExecutor(_LOOKUP_THREADS, thread_name_prefix="guarded-dns")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """
        Resolve a name to addresses that may be called.

        Raises:
            UnavailableError: `blocked_address`: at least one of its addresses is not public.
            OSError: it could not be resolved.
        """
        found = await asyncio.get_running_loop().run_in_executor(self._threads, _look_up, host, port, family)
        if not self._allow_private:
            _check([result["host"] for result in found])
        return found

    async def close(self) -> None:
        """Let go of the threads; a look-up under way ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _look_up(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
    try:
        infos = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    except UnicodeError as error:
        raise OSError("not a host name") from error
    return [
        ResolveResult(
            hostname=host,
            # The scope of a link-local address is kept, because it decides where the packets go.
            host=socket.getnameinfo(address, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)[0],
            port=port,
            family=found,
            proto=protocol,
            flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
        )
        for found, _, protocol, _, address in infos
    ]


def _check(addresses: list[str]) -> None:
    for address in addresses:
        try:
            allowed = is_public(address)
        except ValueError:
            allowed = False
        if not allowed:
            raise UnavailableError("the address is not a public one", code="blocked_address")
