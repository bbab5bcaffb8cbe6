"""The development receiver verifies, tallies and fails on request."""

import json
from typing import Any

import aiohttp
import pytest

from gateway.config import WebhookSettings
from gateway.errors import ConfigError, UnavailableError
from gateway.simulate.listener import Listener, new_secret
from gateway.simulate.show import EventPrinter
from tests.support.signed_delivery import SECRET, event, post


async def test_a_verified_delivery_is_kept_and_shown_once() -> None:
    shown: list[Any] = []
    listener = Listener(SECRET, on_event=shown.append)
    async with listener.serve() as url:
        assert [await post(url, event("call.started", 1)) for _ in range(2)] == [204, 204]
    assert shown == listener.tally.events == [event("call.started", 1)]
    assert listener.tally.duplicates == 1


async def test_a_forged_delivery_is_refused_and_a_fault() -> None:
    listener = Listener(SECRET)
    async with listener.serve() as url:
        assert await post(url, event("call.started", 1), secret=new_secret()) == 401
    assert listener.tally.events == []
    assert listener.tally.faults() == ["1 deliveries had no valid signature"]


async def test_a_delivery_without_signature_is_refused() -> None:
    async with (
        Listener(SECRET).serve() as url,
        aiohttp.ClientSession() as session,
        session.post(url, data="{}") as answer,
    ):
        assert answer.status == 401


async def test_it_fails_as_often_as_it_is_told_and_keeps_nothing_of_it() -> None:
    listener = Listener(SECRET, fail_rate=0.5, seed=1)
    async with listener.serve() as url:
        answers = [await post(url, event("transcript.final", number)) for number in range(1, 41)]
    assert answers.count(500) == listener.tally.failed
    assert 10 < listener.tally.failed < 30
    assert len(listener.tally.events) == answers.count(204)


async def test_it_waits_as_long_as_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        if seconds:
            waited.append(seconds)

    monkeypatch.setattr("gateway.simulate.listener.asyncio.sleep", sleep)
    async with Listener(SECRET, delay_s=2.5).serve() as url:
        assert await post(url, event("call.started", 1)) == 204
    assert waited == [2.5]


@pytest.mark.parametrize(
    ("sequences", "fault"),
    [([1, 3], "missing or out of order"), ([2, 1], "missing or out of order"), ([1], "has not ended")],
)
async def test_holes_disorder_and_a_missing_end_are_faults(sequences: list[int], fault: str) -> None:
    listener = Listener(SECRET)
    async with listener.serve() as url:
        for sequence in sequences:
            await post(url, event("transcript.final", sequence))
    assert any(fault in each for each in listener.tally.faults())


async def test_a_whole_call_with_partials_has_no_fault() -> None:
    listener = Listener(SECRET)
    async with listener.serve() as url:
        await post(url, event("call.started", 1))
        await post(url, event("transcript.partial", None))
        await post(url, event("call.ended", 2))
        await listener.wait_for_ends(1)
    assert listener.tally.faults() == []


async def test_a_port_that_is_taken_is_unavailable() -> None:
    async with Listener(SECRET).serve() as url:
        port = int(url.split(":")[2].split("/")[0])
        with pytest.raises(UnavailableError, match=str(port)):
            async with Listener(SECRET).serve(port=port):
                pass


def test_a_new_secret_is_one_that_the_gateway_takes() -> None:
    assert WebhookSettings.model_validate({"url": "https://example.com/", "secret": new_secret()}).secret is not None


CALL = {"id": "call_1", "platform": "twilio"}
SHOWN: list[tuple[str, dict[str, Any], str]] = [
    ("call.started", {"call": CALL, "tracks": ["inbound"], "audio": "mulaw-8000"}, "twilio"),
    ("transcript.partial", {"start_s": None, "speaker": "caller", "text": "he[red]llo"}, "he[red]llo"),
    ("transcript.final", {"start_s": 1.5, "speaker": "caller", "text": "hello", "forced": True}, "(forced)"),
    ("call.dtmf", {"at_s": 1.0, "digit": "5"}, "5"),
    ("call.gap", {"track": "inbound", "start_s": 1.0, "end_s": 1.5, "reason": "lost"}, "0.50 s: lost"),
    ("stt.degraded", {"at_s": 1.0, "track": "inbound", "provider": "live", "reason": "stt_cut"}, "stt_cut"),
    ("stt.recovered", {"at_s": 1.0, "track": "inbound", "provider": "live"}, "live"),
    (
        "call.ended",
        {"duration_s": 2.0, "tracks": [{"finals": 2}], "outcome": "completed", "reason": "stop", "complete": True},
        "2.00 s, 2 finals",
    ),
    (
        "call.ended",
        {
            "duration_s": None,
            "tracks": [],
            "outcome": "indeterminate",
            "reason": "gateway_restarted",
            "complete": False,
        },
        "gateway_restarted",
    ),
    ("call.newly_invented", {"value": 1}, '"value": 1'),
]


@pytest.mark.parametrize(("kind", "data", "wanted"), SHOWN)
def test_every_event_can_be_shown(
    kind: str, data: dict[str, Any], wanted: str, capsys: pytest.CaptureFixture[str]
) -> None:
    EventPrinter().show({"type": kind, "data": {"sequence": 1, **data}})
    assert wanted in capsys.readouterr().out


def test_for_programs_an_event_is_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    EventPrinter(as_json=True).show(event("call.started", 1))
    assert json.loads(capsys.readouterr().out) == event("call.started", 1)


@pytest.mark.parametrize("secret", ["whsec_", "whsec_\xff", ""])
def test_what_is_no_secret_is_refused_without_repeating_it(secret: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Listener(secret)
    assert "\xff" not in str(refused.value)
