"""Stream tokens: for one call, once, for a short while, and nobody else can make them."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.stream_tokens import StreamTokens, TokenRefused, derived_key

KEY = bytes(range(32))
NONCE = b"n" * 12
NOW = 1_800_000_000.5


def made(call_sid: str = "CA1", *, nonce: bytes = NONCE, key: bytes = KEY, ttl_s: float = 60.0) -> str:
    return StreamTokens(key, ttl_s).issue(call_sid, NOW, nonce)


def refusal(tokens: StreamTokens, token: str | None, now: float = NOW) -> str:
    with pytest.raises(TokenRefused) as refused:
        tokens.redeem(token, now)
    return refused.value.code


def test_a_token_opens_a_stream_of_its_own_call_only() -> None:
    admission = StreamTokens(KEY, 60).redeem(made("CA1"), NOW)
    assert admission.is_for("CA1")
    assert not admission.is_for("CA2")
    assert not admission.is_for(None)


def test_a_token_is_good_once() -> None:
    tokens = StreamTokens(KEY, 60)
    tokens.redeem(made(), NOW)
    assert refusal(tokens, made()) == "token_used"


def test_what_was_used_is_forgotten_only_when_it_has_expired() -> None:
    tokens = StreamTokens(KEY, 60)
    tokens.redeem(made(), NOW)
    tokens.redeem(made(nonce=b"m" * 12, ttl_s=600), NOW + 59)
    assert refusal(tokens, made(), NOW + 59) == "token_used"
    assert refusal(tokens, made(), NOW + 61) == "token_expired"
    tokens.redeem(made(nonce=b"o" * 12, ttl_s=600), NOW + 61)
    assert len(tokens._used) == 2


@pytest.mark.parametrize(("later_s", "is_good"), [(0, True), (59, True), (61, False)])
def test_a_token_is_good_until_it_expires(later_s: float, is_good: bool) -> None:
    tokens = StreamTokens(KEY, 60)
    if is_good:
        tokens.redeem(made(), NOW + later_s)
    else:
        assert refusal(tokens, made(), NOW + later_s) == "token_expired"


def test_a_token_of_another_key_is_forged() -> None:
    assert refusal(StreamTokens(b"x" * 32, 60), made()) == "token_forged"


@pytest.mark.parametrize("octet", range(49))
def test_no_octet_of_a_token_can_be_changed(octet: int) -> None:
    octets = bytearray(base64.urlsafe_b64decode(made() + "=="))
    octets[octet] ^= 1
    changed = base64.urlsafe_b64encode(octets).decode().rstrip("=")
    assert refusal(StreamTokens(KEY, 60), changed) == "token_forged"


@pytest.mark.parametrize("token", ["", "a", "a" * 65, "a" * 67, "é" * 66, "\udcff" * 66, "=" * 66])
def test_what_is_no_token_is_malformed(token: str) -> None:
    assert refusal(StreamTokens(KEY, 60), token) == "token_malformed"


def test_no_token_is_missing() -> None:
    assert refusal(StreamTokens(KEY, 60), None) == "token_missing"


@given(st.text(), st.text())
def test_a_token_fits_a_path_and_only_its_own_call_whatever_the_call_is_named(name: str, other: str) -> None:
    token = made(name)
    assert token.replace("-", "").replace("_", "").isalnum()
    assert token.isascii()
    assert StreamTokens(KEY, 60).redeem(token, NOW).is_for(other) == (name == other)


@given(st.text(max_size=80))
def test_nothing_that_was_made_up_is_redeemed(text: str) -> None:
    assert refusal(StreamTokens(KEY, 60), text).startswith("token_")


def test_processes_with_the_same_auth_token_take_each_others_stream_tokens() -> None:
    token = made(key=derived_key("auth"))
    assert StreamTokens(derived_key("auth"), 60).redeem(token, NOW).is_for("CA1")
    assert refusal(StreamTokens(derived_key("other"), 60), token) == "token_forged"


def test_neither_key_nor_token_shows_in_representations() -> None:
    tokens = StreamTokens(KEY, 60)
    token = made()
    shown = f"{tokens!r} {tokens.redeem(token, NOW)!r} {refusal(tokens, token)}"
    assert token not in shown
    assert repr(KEY) not in shown
    assert repr(NONCE) not in shown
