import socket
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from gateway import guard
from gateway.errors import UnavailableError

PUBLIC = [
    *("1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0"),
    *("198.17.255.255", "198.20.0.0", "223.255.255.255"),
    *("2606:4700::1111", "2a00:1450::1", "2001:4860:4860::8888"),
]
PRIVATE = [
    *("0.0.0.0", "0.255.255.255", "10.0.0.0", "10.255.255.255", "127.0.0.1", "127.255.255.255"),
    *("100.64.0.0", "100.127.255.255", "169.254.0.0", "169.254.169.254", "172.16.0.0", "172.31.255.255"),
    *("192.0.0.1", "192.0.0.10", "192.0.2.1", "192.88.99.1", "192.168.0.1", "192.168.255.255", "198.18.0.0"),
    *("198.19.255.255", "198.51.100.7", "203.0.113.9", "224.0.0.1", "239.255.255.255", "240.0.0.1"),
    *("255.255.255.255", "168.63.129.16", "100.100.100.200"),
    *("::", "::1", "::7f00:1", "::ffff:8.8.8.8", "::ffff:127.0.0.1", "64:ff9b::808:808", "64:ff9b:1::1"),
    *("100::1", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:10::1", "2001:20::1", "2001:db8::1"),
    *("2002:808:808::1", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1"),
    *("ff02::1", "4000::1"),
    # The same few places in IPv6 clothing: mapped, compatible, NAT64, 6to4, Teredo.
    *("::ffff:169.254.169.254", "::169.254.169.254", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a9fe:a9fe"),
    *("2002:a9fe:a9fe::1", "2002:7f00:1::", "2002:a00:1::1", "2001:0:a9fe:a9fe::", "2001:0:0:0:0:0:80ff:fffe"),
]  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_may_be_called(address: str) -> None:
    assert guard.is_public(address)


@pytest.mark.parametrize("address", PRIVATE)
def test_other_addresses_may_not(address: str) -> None:
    assert not guard.is_public(address)


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_whatever_the_standard_library_knows_as_special_is_refused(address: IPv4Address | IPv6Address) -> None:
    if guard.is_public(address):
        assert address.is_global
        assert not address.is_multicast


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/", "http://[::1]/", "http://[::ffff:8.8.8.8]/", "http://10.0.0.1:8080/", "http://2130706433/",
     "http://127.1/", "http://127.0.0.1./", "http://0/", "http://\uff11\uff12\uff17.0.0.1/"],
)  # fmt: skip
def test_numeric_hosts_that_are_not_public_are_refused(url: str) -> None:
    with pytest.raises(UnavailableError) as caught:
        guard.check_url(URL(url))

    assert caught.value.code == "blocked_address"


@pytest.mark.parametrize("url", ["http://1.1.1.1/", "http://[2606:4700::1111]/", "http://example.com/"])
def test_public_numbers_and_names_pass_the_url_check(url: str) -> None:
    guard.check_url(URL(url))


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Answers of the name server: addresses by name."""
    known: dict[str, list[str]] = {}

    def getaddrinfo(host: str, port: int, *_arguments: object, **_options: object) -> list[tuple[object, ...]]:
        return [
            (socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in known[host]
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return known


async def test_a_name_with_public_addresses_resolves_to_them(names: dict[str, list[str]]) -> None:
    names["example.com"] = ["1.1.1.1", "2606:4700::1111"]
    resolver = guard.GuardedResolver()

    found = await resolver.resolve("example.com", 443)
    await resolver.close()

    assert [(result["host"], result["port"]) for result in found] == [("1.1.1.1", 443), ("2606:4700::1111", 443)]


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["1.1.1.1", "10.0.0.1"], ["1.1.1.1", "::1"]])
async def test_one_private_address_among_the_answers_refuses_the_name(
    names: dict[str, list[str]], addresses: list[str]
) -> None:
    names["example.com"] = addresses
    resolver = guard.GuardedResolver()

    with pytest.raises(UnavailableError):
        await resolver.resolve("example.com", 443)

    await resolver.close()


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "0x7f.1", "0x7f000001", "0177.0.0.1", "127.1"])
async def test_every_name_of_this_machine_is_refused_by_the_real_resolver(host: str) -> None:
    resolver = guard.GuardedResolver()

    with pytest.raises(UnavailableError):
        await resolver.resolve(host, 80)

    await resolver.close()


async def test_localhost_resolves_when_private_addresses_are_allowed() -> None:
    resolver = guard.GuardedResolver(allow_private=True)

    found = await resolver.resolve("localhost", 80)
    await resolver.close()

    assert found[0]["host"] in ("127.0.0.1", "::1")


async def test_an_impossible_name_is_an_ordinary_failure() -> None:
    resolver = guard.GuardedResolver()

    with pytest.raises(OSError, match="not a host name"):
        await resolver.resolve("a" * 64 + ".example", 80)

    await resolver.close()
