"""A whole gateway: what viewers see, what recordings hold, and what the webhook gets all the same."""

import asyncio
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import numpy as np
import pytest
from msgspec import structs

from gateway.events import Track, Utterance
from gateway.live import redacted
from gateway.live.feed import Feed
from gateway.live.feed_viewer import Wish
from gateway.outbox import Outbox, StoredEvent
from gateway.server import Gateway, serving
from tests.redaction.finders import body_mask
from tests.support import call_events
from tests.support.pulse_server import PulseServer, Word, recognise
from tests.support.webhook_receiver import Receiver
from tests.support.whole_gateway import DEADLINE_S, FAST_ENGINE, heard_by, phone, posted_to, settings, until_ended

TOKEN = "a-token-for-viewers"
SAID = ("my card", "is 4111", "1111 11", "okay then")
"""In each second two words, half a second each."""


def say(_audio: bytes, start_s: float, _bytes_per_s: int) -> list[Word]:
    words = SAID[min(int(start_s), len(SAID) - 1)].split()
    return [
        {"word": word, "start": start_s + place / 2, "end": start_s + (place + 1) / 2, "confidence": 1.0}
        for place, word in enumerate(words)
    ]


@asynccontextmanager
async def called(folder: Path, **tree: Any) -> AsyncIterator[tuple[Gateway, list[Any]]]:
    """A gateway in which one call of four seconds was made, and the events of it that the webhook got."""
    async with PulseServer(recognise(hear=say)) as speech, Receiver() as receiver:
        tree = {"stt": heard_by(speech), "api_token": TOKEN, "webhook": posted_to(receiver), **tree}
        async with serving(settings(folder, **tree), engine=FAST_ENGINE) as gateway:
            async with phone(gateway.stream_url) as platform:
                await platform.start("inbound")
                await platform.media(200)
                await platform.stop()
                events = await until_ended(receiver)
            yield gateway, events


def finals(events: list[Any]) -> list[str]:
    return [event["data"]["text"] for event in events if event["type"] == "transcript.final"]


def session_of() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"})


async def fetch(gateway: Gateway, path: str) -> bytes:
    async with session_of() as session, session.get(f"{gateway.url}{path}") as answer:
        assert answer.status == 200, path
        return await answer.read()


async def streamed(gateway: Gateway, path: str) -> bytes:
    """A stream of events until the call's end."""
    got = b""
    async with asyncio.timeout(DEADLINE_S), session_of() as session, session.get(f"{gateway.url}{path}") as answer:
        while b"call.ended" not in got:
            got += await answer.content.readany()
    return got


async def test_viewers_see_it_masked_and_the_webhook_gets_all(tmp_path: Path) -> None:
    async with called(tmp_path, redaction={"feed": True}) as (gateway, events):
        call_id = events[0]["data"]["call"]["id"]
        assert "is 4111" in finals(events)
        seen = {
            path: await fetch(gateway, path)
            for path in (
                f"/api/calls/{call_id}",
                f"/api/calls/{call_id}/transcript.json",
                f"/api/calls/{call_id}/transcript.txt",
                f"/api/calls/{call_id}/transcript.vtt",
                f"/calls/{call_id}/print",
                "/api/search?q=okay",
            )
        }
        seen["feed"] = await streamed(gateway, f"/api/calls/{call_id}/events")
        story = msgspec.json.decode(seen[f"/api/calls/{call_id}"])
        assert finals(story["events"]) == ["my card", "is [digits]", "[digits]", "okay then"]
        assert not [path for path, answer in seen.items() if b"4111" in answer or b"1111" in answer]
        assert b"is [digits]" in seen["feed"]


async def test_what_happens_now_is_masked_too(tmp_path: Path) -> None:
    async with PulseServer(recognise(hear=say)) as speech:
        tree = {"stt": heard_by(speech), "api_token": TOKEN, "redaction": {"feed": True}}
        async with (
            serving(settings(tmp_path, **tree), engine=FAST_ENGINE) as gateway,
            session_of() as session,
            session.get(f"{gateway.url}/api/events") as answer,
            phone(gateway.stream_url) as platform,
        ):
            got = await answer.content.readany()
            await platform.start("inbound")
            await platform.media(200)
            await platform.stop()
            async with asyncio.timeout(DEADLINE_S):
                while b"call.ended" not in got:
                    got += await answer.content.readany()
    assert b"is [digits]" in got
    assert b"4111" not in got
    assert b"1111" not in got


async def test_the_recording_is_silent_over_the_words_and_nowhere_else(tmp_path: Path) -> None:
    tree = {"redaction": {"recording": True, "margin_s": 0}, "recording": {"enabled": True}}
    async with called(tmp_path, **tree) as (_, events):
        name = events[-1]["data"]["recording"]
        spans = [
            (word["start_s"], word["end_s"])
            for event in events
            if event["type"] == "transcript.final"
            for word in event["data"]["words"]
            if word["word"].isdigit()
        ]
    with wave.open(str(tmp_path / "recordings" / name)) as file:
        sound = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    expected = np.zeros(len(sound), bool)
    for start_s, end_s in spans:
        expected[round(start_s * 8000) : round(end_s * 8000)] = True
    assert len(spans) == 3
    assert ((sound == 0) == expected).all()


RULES = """
[[rule]]
name = "card"
pattern = 'card is \\d+'
"""


def write(path: Path, text: str) -> None:
    path.write_text(text)


def holding(folder: Path, text: bytes) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file() and text in path.read_bytes()]


async def test_with_a_masked_store_no_file_of_the_gateway_holds_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither the store, the index of the search, the journal and the recording nor the log."""
    write(tmp_path / "rules.toml", RULES)
    tree = {"redaction": {"store": True}, "recording": {"enabled": True}, "log": {"level": "debug", "pii": True}}
    async with called(tmp_path / "data", assist={"rules_file": str(tmp_path / "rules.toml")}, **tree) as (
        gateway,
        events,
    ):
        assert finals(events) == ["my card", "is [digits]", "[digits]", "okay then"]
        async with asyncio.timeout(DEADLINE_S):
            while b"call_" not in await fetch(gateway, "/api/search?q=card"):
                pass  # the index follows the store
        assert holding(tmp_path / "data", b"4111") == []
    assert holding(tmp_path / "data", b"4111") == []
    assert holding(tmp_path / "data", b"[digits]") != []
    assert "4111" not in "".join(capfd.readouterr())
    assert [line["text"] for line in events[-1]["data"]["conversation"]] == finals(events)
    cues = [event["data"]["text"] for event in events if event["type"] == "assist.cue"]
    assert cues == ["card is [digits]"]


class NoPast:
    """For a viewer that sees only what happens now."""

    async def events_after(self, _position: int, **_bounds: Any) -> list[StoredEvent]:
        return []


async def test_what_takes_long_is_masked_beside_the_loop_and_keeps_its_place(tmp_path: Path) -> None:
    line = Utterance(track=Track.INBOUND, speaker="caller", text="4111 1111", start_s=0.0, end_s=1.0)
    long = structs.replace(call_events.ended("long", 1), conversation=(line,) * (redacted.LONG_BYTES // 50))
    shown: list[StoredEvent] = []
    async with Outbox(tmp_path) as outbox:
        stored = [
            await outbox.publish(event)
            for event in (call_events.final("a", text="4111 1111"), long, call_events.final("b", text="4111 1111"))
        ]
    feed = Feed(NoPast())  # type: ignore[arg-type]
    arrived = asyncio.Event()

    def note(events: list[StoredEvent]) -> None:
        shown.extend(events)
        if len(shown) == len(stored):
            arrived.set()

    feed.note = note  # type: ignore[method-assign,assignment]
    masked = redacted.MaskedEvents(feed, body_mask())
    with feed.subscribe(Wish()):
        async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as tasks:
            running = tasks.create_task(masked.run())
            masked.note(stored)
            assert [event.call_id for event in shown] == ["a"]
            await arrived.wait()
            running.cancel()
    assert [event.id for event in shown] == [event.id for event in stored]
    assert not any(b"4111" in event.body for event in shown)
