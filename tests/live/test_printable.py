"""A call as a page to be printed."""

from collections.abc import AsyncIterator
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.live import printable
from gateway.live.answers import Call
from tests.support.console import browser, gateway, open_page
from tests.support.history_house import House, history, short_call, whole_call
from tests.support.kept_calls import keep_call

EVIL = "</title><script>alert(1)</script><img src=x onerror='alert(2)'>\"&amp;"
ELEMENTS = {
    *("html", "head", "meta", "title", "link", "body", "header", "p", "a", "h1", "h2", "dl", "div", "dt", "dd"),
    *("main", "section", "ol", "li", "time", "b", "bdi", "small", "footer"),
}
ATTRIBUTES = {"lang", "charset", "name", "content", "rel", "href", "class"}


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with history(tmp_path) as served:
        yield served


class Read(HTMLParser):
    """The text of a document, and what it is made of."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.text = ""
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self.addresses: set[str | None] = set()
        self.feed(document)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.addresses |= {value for name, value in attrs if name == "href"}

    def handle_data(self, data: str) -> None:
        self.text += data


async def test_nobody_sees_it_without_a_token(house: House) -> None:
    await house.publish(*whole_call("call_1"))
    status, _, body = await house.get("/calls/call_1/print", token=None)
    assert status != 200 or b"refund" not in body  # a page without a session leads to the log-in


async def test_a_call_that_is_not_there_is_404(house: House) -> None:
    assert (await house.get("/calls/nobody/print"))[0] == 404


async def test_it_tells_the_facts_and_everything_that_happened_in_order(house: House) -> None:
    await house.publish(*whole_call("call_1"))
    status, headers, body = await house.get("/calls/call_1/print")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    policy = headers["Content-Security-Policy"]
    assert "script" not in policy
    assert policy.startswith("default-src 'none'")
    said = Read(body.decode()).text
    told = [
        *("Call +15550101 → +15550100", "2027-01-15 08:00:00 UTC", "0:14", "completed (hangup)", "acme"),
        *("0:01", "agent", "How may I help you?", "0:04", "caller", "I would like a refund."),
        *("0:07", "Key 5", "0:08", "Gap until 0:09", "lost", "Recogniser lost", "Recogniser back"),
        *("0:11", "Order <b>7</b> & a café.", "(heard later, not confirmed)"),
        *("Recording, heard by batch", "speaker 0", "How may I help you?"),
    ]
    at = 0
    for each in told:
        assert each in said[at:], (each, said[at:])
        at = said.index(each, at) + len(each)


async def test_a_call_that_goes_on_or_in_which_nothing_was_said_can_be_printed(house: House) -> None:
    events = list(short_call("call_1"))
    await house.publish(events[0])
    _, _, live = await house.get("/calls/call_1/print")
    await house.publish(events[1])
    _, _, over = await house.get("/calls/call_1/print")
    assert "not yet" in Read(live.decode()).text
    assert "Nothing was said." in Read(over.decode()).text


def is_harmless(document: str) -> bool:
    read = Read(document)
    return (
        read.elements <= ELEMENTS
        and read.attributes <= ATTRIBUTES
        and all(each is not None and each.startswith("/") for each in read.addresses)
    )


async def test_nothing_that_anybody_says_becomes_part_of_the_page(house: House) -> None:
    call = Call(
        id=EVIL,
        platform=EVIL,
        platform_call_id=EVIL,
        from_number=EVIL,
        to_number=EVIL,
        metadata={EVIL: EVIL},
        started_at="2027-01-15T08:00:00.000Z",
        ended_at=None,
        duration_s=1.0,
        outcome=EVIL,
        reason=EVIL,
        complete=True,
        tracks=(),
        finals=0,
        has_recording=False,
    )
    data = dict.fromkeys(("track", "speaker", "text", "cue", "note", "digit", "reason", "provider"), EVIL)
    types = ("transcript.final", "call.dtmf", "call.gap", "stt.degraded", "stt.recovered", "assist.cue")
    spoken = {"track": EVIL, "speaker": EVIL, "text": EVIL, "start_s": 1.0}
    bodies = [msgspec.json.encode({"type": each, "data": data}) for each in (*types, EVIL)]
    bodies.append(msgspec.json.encode({"type": "call.transcript", "data": {**data, "utterances": [spoken]}}))
    document = printable.page(call, bodies)
    assert is_harmless(document)
    assert Read(document).text.count(EVIL) > 20
    assert not is_harmless(unescape(document))  # the test would notice


@given(st.text(max_size=40))
def test_a_text_stays_the_text_that_it_is(text: str) -> None:
    body = msgspec.json.encode({"type": "transcript.final", "data": {"text": text}})
    assert msgspec.json.decode(body)["data"]["text"] in Read(printable.page(CALL, [body])).text


CALL = Call(
    id="call_1",
    platform="twilio",
    platform_call_id=None,
    from_number=None,
    to_number=None,
    metadata={},
    started_at="2027-01-15T08:00:00.000Z",
    ended_at=None,
    duration_s=None,
    outcome=None,
    reason=None,
    complete=None,
    tracks=(),
    finals=0,
    has_recording=False,
)


async def test_a_browser_makes_a_pdf_of_it(tmp_path: Path) -> None:
    async with gateway(tmp_path) as served, browser() as chromium:
        call_id = await keep_call(served, seconds=2)
        async with open_page(chromium, served, f"/calls/{call_id}/print") as page:
            assert await page.locator("li.said").count() > 0
            width = await page.locator("body").evaluate("body => getComputedStyle(body).maxWidth")
            assert width != "none"  # the style sheet was let in
            pdf = await page.pdf(format="A4")
    assert pdf.startswith(b"%PDF-")
    assert pdf.count(b"/Type /Page\n") >= 1
    assert b"/Font" in pdf
