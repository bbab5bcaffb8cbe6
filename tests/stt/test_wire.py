"""What clients share whose vendors are told everything in a first message."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from pydantic import SecretStr

from gateway.config import SttProfile
from gateway.errors import RecognizerProtocolError
from gateway.events import RecognizerRequest
from gateway.stt import wire
from telephony_codecs.formats import AudioFormat


def profile(url: str = "wss://h/p", **settings: Any) -> SttProfile:
    return SttProfile(kind="soniox", url=url, **settings)


def request(**wanted: Any) -> RecognizerRequest:
    return RecognizerRequest(format=AudioFormat.parse("mulaw-8000"), **wanted)


class Answer(msgspec.Struct):
    text: str


ANSWER = msgspec.json.Decoder(Answer)

# ── Address ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_address_is_the_profiles_own_query_included() -> None:
    assert wire.session_url(profile("wss://h:9/v2/?jwt=a%2Bb"), request()) == "wss://h:9/v2/?jwt=a%2Bb"


def test_options_are_no_parameters_of_the_address() -> None:
    assert wire.session_url(profile("wss://h/p", options={"model": "m"}), request()) == "wss://h/p"


def test_placeholders_are_filled_and_cannot_break_out_of_their_place() -> None:
    address = "wss://h/{call_id}/{metadata.tenant}?track={track}&ref={platform_call_id}"
    asked = request(call_id="call/1", track="inbound", platform_call_id="CA&x=1", metadata={"tenant": "a b?c#d"})
    parts = urlsplit(wire.session_url(profile(address), asked))
    assert parts.path == "/call%2F1/a%20b%3Fc%23d"
    assert parse_qs(parts.query) == {"track": ["inbound"], "ref": ["CA&x=1"]}


def test_a_missing_value_is_empty() -> None:
    assert wire.session_url(profile("wss://h/p?a={metadata.none}&b={platform_call_id}"), request()).endswith("?a=&b=")


def test_a_value_that_looks_like_a_placeholder_is_not_filled_again() -> None:
    asked = request(call_id="c", metadata={"x": "{call_id}"})
    assert "=%7Bcall_id%7D" in wire.session_url(profile("wss://h/p?a={metadata.x}"), asked)


def test_a_call_cannot_choose_the_host() -> None:
    asked = request(metadata={"host": "evil.example"})
    assert "evil.example" not in wire.session_url(profile("wss://{metadata.host}/p"), asked)


# ── Key and options ──────────────────────────────────────────────────────────────────────────────────────────────


def test_the_key_is_a_bearer_token_without_the_newline_of_its_file() -> None:
    assert wire.bearer(profile(api_key=SecretStr("sk_1\n"))) == {"Authorization": "Bearer sk_1"}


def test_without_a_key_no_credential_is_sent() -> None:
    assert wire.bearer(profile()) == {}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.7", 0.7),
        ("true", True),
        ('["a", "b"]', ["a", "b"]),
        ('{"general": []}', {"general": []}),
        ("enhanced", "enhanced"),
        ('"12"', "12"),
        ("", ""),
        ("null", None),
        ("{call_id}", "call_7"),
        ("call {call_id} of {track}", "call call_7 of inbound"),
    ],
)
def test_an_option_is_the_value_it_looks_like_else_text(text: str, value: Any) -> None:
    found = wire.options(profile(options={"x": text}), request(call_id="call_7", track="inbound"))
    assert found == {"x": value}


def test_what_is_not_asked_for_is_not_in_the_opening_message() -> None:
    assert wire.opening_message({"a": 1, "b": None, "c": False}) == '{"a":1,"c":false}'


# ── Answers ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_message_of_the_shape_is_read_whatever_else_it_holds() -> None:
    assert wire.decode(ANSWER, '{"text": "x", "new": {}}') == Answer(text="x")


@pytest.mark.parametrize("message", ["", "no json", "[]", "{}", '{"text": 5}', '{"text": "\ud800"}', "[" * 100_000])
def test_a_message_of_another_shape_is_refused(message: str) -> None:
    with pytest.raises(RecognizerProtocolError) as raised:
        wire.decode(ANSWER, message)
    assert raised.value.code == "stt_message_malformed"


def test_a_binary_message_is_refused() -> None:
    with pytest.raises(RecognizerProtocolError) as raised:
        wire.decode(ANSWER, b'{"text": "x"}')
    assert raised.value.code == "stt_message_binary"


@pytest.mark.parametrize(
    ("value", "found"),
    [(1, 1.0), (0.5, 0.5), (True, None), ("1", None), (None, None), ([], None), (float("nan"), None)],
)
def test_only_finite_numbers_are_numbers(value: Any, found: float | None) -> None:
    assert wire.number(value) == found
