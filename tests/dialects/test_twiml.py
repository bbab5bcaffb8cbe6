"""The TwiML that opens a stream: what Twilio's own library would write, for any text."""

from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twilio.twiml.voice_response import Connect, Start, VoiceResponse  # type: ignore[import-untyped] # publishes no types

from gateway.dialects.twiml import PARAMETER_CHARACTERS, StreamResponse, stream_response

URL = "wss://media.example.com/twilio/stream"
PAUSE = '<Pause length="14400"/>'


def _response(mode: Any = "start", then: str = PAUSE, url: str = URL, **options: Any) -> StreamResponse:
    return stream_response(url, mode=mode, then=then, **options)


def _parsed(xml: str) -> ElementTree.Element:
    return ElementTree.fromstring(xml.encode())  # noqa: S314 - written by this test or by what it tests


def _parameters(response: StreamResponse) -> dict[str | None, str | None]:
    return {element.get("name"): element.get("value") for element in _parsed(response.xml).iter("Parameter")}


def _shape(element: ElementTree.Element) -> tuple[Any, ...]:
    return element.tag, element.attrib, [_shape(child) for child in element]


def test_start_answer_is_what_the_official_library_writes() -> None:
    official = VoiceResponse()
    start = Start()
    stream = start.stream(
        url=URL, name="gateway", track="both_tracks", status_callback="https://media.example.com/twilio/status"
    )
    stream.parameter(name="gw_from", value="+15550100001")
    stream.parameter(name="tenant", value='<a href="x">&amp;</a>')
    official.append(start)
    official.dial("+15550100002")

    ours = _response(
        then="<Dial>+15550100002</Dial>",
        status_callback="https://media.example.com/twilio/status",
        parameters={"gw_from": "+15550100001", "tenant": '<a href="x">&amp;</a>'},
        name="gateway",
    )

    assert _shape(_parsed(ours.xml)) == _shape(_parsed(str(official)))


def test_connect_answer_is_what_the_official_library_writes() -> None:
    official = VoiceResponse()
    connect = Connect()
    connect.stream(url=URL)
    official.append(connect)
    official.say("Goodbye")

    ours = _response("connect", "<Say>Goodbye</Say>")

    assert _shape(_parsed(ours.xml)) == _shape(_parsed(str(official)))


def test_connect_may_be_the_last_verb() -> None:
    assert [child.tag for child in _parsed(_response("connect", "").xml)] == ["Connect"]


@pytest.mark.parametrize("then", ["", "  ", "<!-- later -->"])
def test_start_as_the_last_verb_is_refused_because_the_call_would_end(then: str) -> None:
    with pytest.raises(ValueError, match="verb"):
        _response("start", then)


def test_verbs_that_follow_keep_their_text_and_attributes() -> None:
    then = '<Say voice="alice">Hello &amp; <emphasis>welcome</emphasis></Say><Dial timeout="20">+15550100002</Dial>'
    assert then in _response(then=then).xml


@pytest.mark.parametrize("then", ["<Dial>", "</Response><Hangup/>", "<Dial>&nbsp;</Dial>"])
def test_verbs_that_are_not_xml_are_refused(then: str) -> None:
    with pytest.raises(ValueError, match="not well-formed"):
        _response(then=then)


@pytest.mark.parametrize(
    "url",
    [
        "ws://media.example.com/twilio/stream",
        "https://media.example.com/twilio/stream",
        "wss:///twilio/stream",
        "wss://media.example.com/twilio stream",
        "",
    ],
)
def test_address_that_twilio_would_refuse_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="wss://"):
        _response(url=url)


@pytest.mark.parametrize("tail", ["?token=t0k3n", "?", "#x"])
def test_query_in_the_address_is_refused_because_twilio_strips_it(tail: str) -> None:
    with pytest.raises(ValueError, match="strips"):
        _response(url=URL + tail)


def test_a_simulator_on_this_machine_needs_no_tls() -> None:
    assert 'url="ws://127.0.0.1:8080/twilio/stream"' in _response(url="ws://127.0.0.1:8080/twilio/stream").xml


def _may_stand_in_xml(character: str) -> bool:
    """The Char production of XML 1.0, section 2.2, written independently of the module's pattern."""
    code = ord(character)
    return code in (0x9, 0xA, 0xD) or 0x20 <= code <= 0xD7FF or 0xE000 <= code <= 0xFFFD or code >= 0x10000


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_parameter_comes_back_but_for_what_xml_forbids(name: str, value: str) -> None:
    name, value = f"n{name}", f"{value}\x00\x1b\r\n\t\ud800\ufffe<&\"'>]]>"
    permitted = ["".join(filter(_may_stand_in_xml, text)) for text in (name, value)]
    assert _parameters(_response(parameters={name: value})) == dict([permitted])


@pytest.mark.parametrize(("characters", "fits"), [(PARAMETER_CHARACTERS, True), (PARAMETER_CHARACTERS + 1, False)])
def test_parameter_must_stay_under_500_characters(characters: int, fits: bool) -> None:
    response = _response(parameters={"note": "x" * (characters - len("note")), "tenant": "acme"})
    assert response.left_out == (() if fits else ("note",))
    assert ("note" in _parameters(response)) == fits
    assert _parameters(response)["tenant"] == "acme"


def test_parameter_without_a_name_is_left_out() -> None:
    assert _response(parameters={"": "x", "\x00": "y"}).left_out == ("", "\x00")
