"""
TwiML: the answer to Twilio's voice webhook, which makes it open a media stream to us.

Source: Twilio documentation, "TwiML Voice: <Stream>".
"""

import re
from collections.abc import Mapping
from typing import Literal, NamedTuple
from urllib.parse import urlsplit
from xml.etree import ElementTree

# Media Streams says nothing of the parties' numbers; these <Parameter>s carry them from the webhook to the stream.
FROM_PARAMETER = "gw_from"
TO_PARAMETER = "gw_to"

PARAMETER_CHARACTERS = 499  # "under 500 characters", name and value together

# Only a simulator comes here, and it has no need of TLS.
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")

# Everything but the Char production of XML 1.0, 2.2: no escape can carry it.
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class StreamResponse(NamedTuple):
    """
    A TwiML document.

    Attributes:
        xml: the document.
        left_out: names of the parameters that were too long, or had no name.
    """

    xml: str
    left_out: tuple[str, ...]


def stream_response(
    stream_url: str,
    *,
    mode: Literal["start", "connect"],
    then: str,
    status_callback: str | None = None,
    parameters: Mapping[str, str] | None = None,
    name: str | None = None,
) -> StreamResponse:
    """
    Make Twilio open a stream, and go on with the call.

    Args:
        stream_url: `wss://` address without query: Twilio strips it. Secrets go into the path or a parameter.
        mode: `start`: both tracks, one way, and the call goes on at once; `connect`: the caller's track, two ways, and
            the call goes on when we close the stream.
        then: TwiML verbs that follow.
        status_callback: absolute URL to which Twilio posts the stream's fate.
        parameters: come back in the start message. Characters that XML forbids are removed.
        name: of the stream, unique in a call; status callbacks repeat it, and a retried answer can be told by it.

    Raises:
        ValueError: an address that Twilio would refuse; verbs that are not XML; `start` without a verb, with which the
            call would end at once.
    """
    _check_address(stream_url)
    verbs = _verbs(then)
    if mode == "start" and not verbs:
        raise ValueError("a verb must follow <Start>, or the call ends at once")

    response = ElementTree.Element("Response")
    stream = ElementTree.SubElement(ElementTree.SubElement(response, mode.capitalize()), "Stream", url=stream_url)
    if name:
        stream.set("name", _permitted(name))
    if mode == "start":  # <Connect> knows the caller's track only
        stream.set("track", "both_tracks")
    if status_callback:
        stream.set("statusCallback", _permitted(status_callback))
    left_out = _add_parameters(stream, parameters or {})
    response.extend(verbs)
    xml = ElementTree.tostring(response, encoding="unicode")
    return StreamResponse(f'<?xml version="1.0" encoding="UTF-8"?>{xml}', left_out)


def _add_parameters(stream: ElementTree.Element, parameters: Mapping[str, str]) -> tuple[str, ...]:
    left_out = []
    for given, text in parameters.items():
        name, value = _permitted(given), _permitted(text)
        if name and len(name) + len(value) <= PARAMETER_CHARACTERS:
            ElementTree.SubElement(stream, "Parameter", name=name, value=value)
        else:
            left_out.append(given)
    return tuple(left_out)


def _verbs(twiml: str) -> list[ElementTree.Element]:
    try:
        return list(ElementTree.fromstring(f"<Response>{twiml}</Response>"))  # noqa: S314 - the operator's own setting
    except ElementTree.ParseError as error:
        raise ValueError(f"verbs are not well-formed: {error}") from None


def _permitted(text: str) -> str:
    return _FORBIDDEN.sub("", text)


def _check_address(url: str) -> None:
    parts = urlsplit(url)
    schemes = ("wss", "ws") if parts.hostname in _THIS_MACHINE else ("wss",)
    if parts.scheme not in schemes or not parts.hostname or re.search(r"\s", url):
        raise ValueError("a stream's address must be a wss:// URL (Twilio errors 31922 and 31923)")
    if "?" in url or "#" in url:
        raise ValueError("a stream's address can have neither query nor fragment: Twilio strips them")
