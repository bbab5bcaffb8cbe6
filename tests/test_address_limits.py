"""Which address counts behind proxies, and how often each may come."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.address_limits import Mentions, TokenBuckets, TrustedProxies, address_key

PROXY = ip_address("10.0.0.1")
CLIENT = "198.51.100.7"


def behind(*forwarded_for: str, forwarded: tuple[str, ...] = (), peer: str = "10.0.0.1") -> str:
    proxies = TrustedProxies(["10.0.0.0/8", "2001:db8:1::/48"])
    return str(proxies.client(ip_address(peer), forwarded_for, forwarded))


# ── who it is ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_stranger_cannot_say_who_it_is() -> None:
    assert behind("1.2.3.4", forwarded=("for=1.2.3.4",), peer=CLIENT) == CLIENT


@pytest.mark.parametrize(
    "values",
    [(CLIENT,), ("1.2.3.4, " + CLIENT,), ("1.2.3.4", CLIENT), (CLIENT + ", 10.9.9.9",), (CLIENT + ":4711",)],
    ids=["alone", "what it made up", "two headers", "two proxies", "with a port"],
)
def test_the_last_address_that_is_no_proxy_counts(values: tuple[str, ...]) -> None:
    assert behind(*values) == CLIENT


@pytest.mark.parametrize(
    "value",
    [
        "for=198.51.100.7",
        "for=1.2.3.4, for=198.51.100.7;proto=https",
        'proto=https;FOR="198.51.100.7:4711";by=10.0.0.1',
    ],
)
def test_the_standard_header_is_understood(value: str) -> None:
    assert behind(forwarded=(value,)) == CLIENT


@pytest.mark.parametrize("value", ["2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:4711"])
def test_every_form_of_an_ipv6_address_is_read(value: str) -> None:
    assert behind(value) == behind(forwarded=(f'for="{value}"',)) == "2001:db8::1"


@pytest.mark.parametrize("value", ["unknown", "", "999.1.1.1", "_hidden", "::::", "[", "for"])
def test_nonsense_leaves_the_proxy_itself(value: str) -> None:
    assert behind(value) == behind(forwarded=(f"for={value}",)) == str(PROXY)


def test_two_headers_that_disagree_are_both_not_believed() -> None:
    assert behind(CLIENT, forwarded=("for=1.2.3.4",)) == str(PROXY)


def test_a_proxy_is_known_by_its_ipv4_address_on_a_socket_for_both_families() -> None:
    assert behind(CLIENT, peer="::ffff:10.0.0.1") == CLIENT


@given(st.lists(st.text()), st.lists(st.text()))
def test_whatever_the_headers_hold_there_is_an_address(forwarded_for: list[str], forwarded: list[str]) -> None:
    assert ip_address(behind(*forwarded_for, forwarded=tuple(forwarded))).version in (4, 6)


def test_an_ipv6_customer_is_one_whatever_address_of_its_64_it_takes() -> None:
    keys = {address_key(ip_address(each)) for each in ("2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1")}
    assert keys == {"2001:db8::/64", "2001:db8:0:1::/64"}


def test_an_ipv4_address_is_the_same_in_ipv6_clothing() -> None:
    assert address_key(ip_address("::ffff:192.0.2.1")) == address_key(ip_address("192.0.2.1")) == "192.0.2.1"


# ── how often ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_burst_passes_and_then_as_many_as_the_rate() -> None:
    buckets = TokenBuckets(2.0, 3)
    assert [buckets.take("a", 10.0) for _ in range(4)] == [0, 0, 0, 0.5]
    assert [buckets.take("a", 10.5), buckets.take("a", 10.5)] == [0, 0.5]


def test_addresses_do_not_take_each_others_tokens() -> None:
    buckets = TokenBuckets(1.0, 1)
    assert [buckets.take(key, 0.0) for key in ("a", "b", "a")] == [0, 0, 1]


def test_what_is_given_back_can_be_taken_again_and_no_more() -> None:
    buckets = TokenBuckets(1.0, 1)
    buckets.take("a", 0.0)
    for key in ("a", "a", "never seen"):
        buckets.give_back(key)
    assert [buckets.take(key, 0.0) for key in ("a", "a")] == [0, 1]


def test_a_bucket_never_holds_more_than_the_burst() -> None:
    buckets = TokenBuckets(1.0, 2)
    buckets.take("a", 0.0)
    assert [buckets.take("a", 1e6) for _ in range(3)] == [0, 0, 1]


def test_a_rate_of_zero_limits_nothing() -> None:
    buckets = TokenBuckets(0.0, 1)
    assert {buckets.take("a", 0.0) for _ in range(100)} == {0}


def test_no_more_addresses_are_remembered_than_allowed_and_the_busy_ones_stay() -> None:
    buckets = TokenBuckets(1.0, 1, capacity=10)
    for number in range(1000):
        buckets.take("busy", 0.0)
        buckets.take(str(number), 0.0)
    assert len(buckets) == 10
    assert buckets.take("busy", 0.0) > 0


@given(st.lists(st.floats(0, 1), max_size=200))
def test_never_more_than_burst_and_rate_allow_whatever_the_pauses(pauses: list[float]) -> None:
    buckets, now, passed = TokenBuckets(5.0, 4), 0.0, 0
    for pause in pauses:
        now += pause
        passed += buckets.take("a", now) == 0
    assert passed <= 4 + 5 * now + 1e-6


def test_one_mention_per_address_and_interval_tells_how_often_it_was() -> None:
    mentions = Mentions(60.0)
    assert [mentions.count("a", float(second)) for second in (0, 1, 2, 61)] == [1, 0, 0, 3]
    assert mentions.count("b", 61.0) == 1


def test_beyond_its_capacity_addresses_share_a_mention() -> None:
    mentions = Mentions(60.0, capacity=5)
    assert sum(mentions.count(str(number), 0.0) > 0 for number in range(1000)) == 6
