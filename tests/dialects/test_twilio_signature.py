"""X-Twilio-Signature: published vectors, and agreement with the official helper library."""

import hashlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import MultiDict
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped] # publishes no types

from gateway.dialects.twilio_signature import compute, is_body_intact, matching_url, url_candidates

TOKEN = "12345"
Form = list[tuple[str, str]]

_PHP = "https://mycompany.com/myapp.php?foo=1&bar=2"
_CALL: Form = [
    ("CallSid", "CA1234567890ABCDE"),
    ("Caller", "+14158675309"),
    ("Digits", "1234"),
    ("From", "+14158675309"),
    ("To", "+18005551212"),
]
_REPEATED: Form = [
    ("Sid", "CA123"),
    ("SidAccount", "AC123"),
    ("Digits", "5678"),
    ("Digits", "1234"),
    ("Digits", "1234"),
]
_STATUS: Form = [
    ("AccountSid", "AC" + "0" * 32),
    ("CallSid", "CA" + "0" * 32),
    ("StreamSid", "MZ" + "0" * 32),
    ("StreamName", "tap"),
    ("StreamEvent", "stream-started"),
    ("Timestamp", "2026-01-02T03:04:05.678Z"),
]
_BODY = b'{"property": "value", "boolean": true}'
_BODY_URL = f"{_PHP}&bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620"
_STREAM = "wss://media.example.com/twilio"

# The first five are those of the official Python library's tests; the others follow from the documented algorithm.
VECTORS = [
    (_PHP, _CALL, "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
    (_PHP, _REPEATED, "IK+Dwps556ElfBT0I3Rgjkr1wJU="),
    ("https://mycompany.com:443/myapp.php?foo=1&bar=2", _CALL, "kvajT1Ptam85bY51eRf/AJRuM3w="),
    ("http://mycompany.com:1234/myapp.php?foo=1&bar=2", _CALL, "Zmvh+3yNM1Phv2jhDCwEM3q5ebU="),
    (_BODY_URL, [], "a9nBmqA0ju/hNViExpshrM61xv4="),
    (_STREAM, [], "0p9HGYJybIvZY5ER6AdY/msz2PI="),
    (f"{_STREAM}/", [], "BTdtATPimKswUJAv/NJAP32rXvk="),
    ("https://media.example.com/twilio", [], "of64nnYdBXG0kk8se2csoaupjgk="),
    ("https://media.example.com/twilio/status", _STATUS, "nTcRPjRd2Gegn9m7JXYicnIRnK8="),
]


@pytest.mark.parametrize(("url", "form", "signature"), VECTORS)
def test_signature_is_the_published_one(url: str, form: Form, signature: str) -> None:
    assert compute(TOKEN, url, form) == signature


@pytest.mark.parametrize(("url", "form", "signature"), VECTORS)
def test_signature_does_not_depend_on_the_order_of_fields(url: str, form: Form, signature: str) -> None:
    assert compute(TOKEN, url, reversed(form)) == signature


# ── Candidates: what the proxy made of the URL ───────────────────────────────────────────────────────────────────


def test_upgrade_is_checked_against_the_secure_websocket_scheme() -> None:
    candidates = url_candidates("https://media.example.com", "/twilio", websocket=True)
    assert matching_url(TOKEN, candidates, "0p9HGYJybIvZY5ER6AdY/msz2PI=") == _STREAM


def test_upgrade_signed_with_https_is_refused() -> None:
    candidates = url_candidates("https://media.example.com", "/twilio", websocket=True)
    assert matching_url(TOKEN, candidates, "of64nnYdBXG0kk8se2csoaupjgk=") is None


def test_request_signed_with_the_websocket_scheme_is_refused() -> None:
    candidates = url_candidates("https://media.example.com", "/twilio")
    assert matching_url(TOKEN, candidates, "0p9HGYJybIvZY5ER6AdY/msz2PI=") is None


@pytest.mark.parametrize("path", ["/twilio", "/twilio/"])
@pytest.mark.parametrize("signature", ["0p9HGYJybIvZY5ER6AdY/msz2PI=", "BTdtATPimKswUJAv/NJAP32rXvk="])
def test_slash_at_the_end_may_differ(path: str, signature: str) -> None:
    candidates = url_candidates("https://media.example.com", path, websocket=True)
    assert matching_url(TOKEN, candidates, signature) is not None


@pytest.mark.parametrize("public_port", ["", ":443", ":8443"])
@pytest.mark.parametrize("signed_port", ["", ":443"])
def test_default_port_may_be_written_or_not(public_port: str, signed_port: str) -> None:
    signed = f"wss://media.example.com{signed_port}/twilio"
    candidates = url_candidates(f"https://media.example.com{public_port}", "/twilio", websocket=True)
    assert matching_url(TOKEN, candidates, compute(TOKEN, signed)) == signed


def test_configured_port_is_a_candidate() -> None:
    signed = "https://media.example.com:8443/twilio/voice?a=1"
    candidates = url_candidates("https://media.example.com:8443", "/twilio/voice?a=1")
    assert matching_url(TOKEN, candidates, compute(TOKEN, signed)) == signed


def test_another_port_is_refused() -> None:
    candidates = url_candidates("https://media.example.com", "/twilio", websocket=True)
    assert matching_url(TOKEN, candidates, compute(TOKEN, "wss://media.example.com:8443/twilio")) is None


def test_prefix_that_the_proxy_takes_off_is_put_back() -> None:
    assert (
        url_candidates("https://example.com/media", "/twilio/voice?a=1")[0]
        == "https://example.com/media/twilio/voice?a=1"
    )


def test_query_is_signed_as_it_came() -> None:
    [first, *_] = url_candidates("https://example.com", "/twilio/voice?a=%2F&b=x+y?z")
    assert first == "https://example.com/twilio/voice?a=%2F&b=x+y?z"


def test_address_of_ip_version_6_keeps_its_brackets() -> None:
    assert url_candidates("https://[2001:db8::1]:8443", "/v")[:3] == [
        "https://[2001:db8::1]:8443/v",
        "https://[2001:db8::1]/v",
        "https://[2001:db8::1]:443/v",
    ]


def test_address_of_ip_version_6_without_a_port_is_whole() -> None:
    assert url_candidates("https://[2001:db8::1]", "/v")[:2] == [
        "https://[2001:db8::1]/v",
        "https://[2001:db8::1]:443/v",
    ]


def test_candidates_are_distinct() -> None:
    candidates = url_candidates("https://media.example.com", "/twilio")
    assert len(candidates) == len(set(candidates)) == 4


# ── Forgeries ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "signature", ["", "=", "RSOYDt4T1cUTdK1PDd93/VVr8B8", "rsoydt4t1cutdk1pdd93/vvr8b8=", "ü", "\udcff"]
)
def test_signature_that_differs_is_refused_whatever_it_holds(signature: str) -> None:
    assert matching_url(TOKEN, [_PHP], signature, _CALL) is None


def test_signature_made_with_another_token_is_refused() -> None:
    assert matching_url("54321", [_PHP], compute(TOKEN, _PHP, _CALL), _CALL) is None


@pytest.mark.parametrize("form", [_CALL[:-1], [*_CALL, ("Extra", "1")], [*_CALL[:-1], ("To", "+18005550000")]])
def test_form_that_was_changed_is_refused(form: Form) -> None:
    assert matching_url(TOKEN, [_PHP], compute(TOKEN, _PHP, _CALL), form) is None


def test_body_is_intact_when_its_hash_is_in_the_url() -> None:
    assert is_body_intact(_BODY_URL, _BODY)


@pytest.mark.parametrize(("url", "body"), [(_BODY_URL, _BODY + b" "), (_BODY_URL, b""), (_PHP, _BODY), (_PHP, b"")])
def test_body_that_was_changed_or_not_signed_is_not_intact(url: str, body: bytes) -> None:
    assert not is_body_intact(url, body)


# ── Agreement with the official library ──────────────────────────────────────────────────────────────────────────

_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_forms = st.lists(st.tuples(_text, _text), max_size=6)
_hosts = st.from_regex(r"[a-z][a-z0-9-]{0,10}(\.[a-z]{2,5}){0,2}", fullmatch=True)
_ports = st.just("") | st.integers(1, 65535).map(lambda port: f":{port}")
_paths = st.from_regex(
    r"/[A-Za-z0-9%._~-]{0,8}(/[A-Za-z0-9%._~-]{1,8}){0,2}(\?[A-Za-z0-9=&%+-]{1,20})?", fullmatch=True
)
_tokens = st.text(min_size=1, max_size=40).filter(str.isascii)


@given(_tokens, st.text(st.characters(exclude_categories=["Cs"]), max_size=80), _forms)
def test_signature_agrees_with_the_official_library(token: str, url: str, form: Form) -> None:
    assert compute(token, url, form) == RequestValidator(token).compute_signature(url, MultiDict(form))


@settings(max_examples=300)
@given(st.sampled_from(["http", "https"]), _hosts, _ports, _paths, _forms, st.data())
def test_what_the_official_library_accepts_is_accepted(
    scheme: str, host: str, port: str, path: str, form: Form, data: Any
) -> None:
    url = f"{scheme}://{host}{port}{path}"
    default = {"http": ":80", "https": ":443"}[scheme]
    signed = f"{scheme}://{host}{data.draw(st.sampled_from(['', default, port, ':81']))}{path}"
    signature = RequestValidator(TOKEN).compute_signature(signed, MultiDict(form))
    if RequestValidator(TOKEN).validate(url, MultiDict(form), signature):
        assert matching_url(TOKEN, url_candidates(f"{scheme}://{host}{port}", path), signature, form) == signed


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=50), st.booleans())
def test_hash_of_a_body_agrees_with_the_official_library(body: str, changed: bool) -> None:
    url = f"https://example.com/v?bodySHA256={hashlib.sha256(body.encode()).hexdigest()}"
    received = body + "x" * changed
    official = RequestValidator(TOKEN).validate(url, received, compute(TOKEN, url))
    assert is_body_intact(url, received.encode()) == official == (not changed)
