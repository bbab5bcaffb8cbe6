"""
Finished and running calls in a real store, and the routes of the history over a real socket.

    async with history(tmp_path) as house:
        await house.publish(*whole_call("call_1"))
        status, body = await house.get_json("/api/calls")

The search is filled when a test says so: `await house.search.catch_up()`. With `redaction` viewers do not see all.
"""

import math
import sqlite3
import wave
from array import array
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway.config import RedactionSettings
from gateway.events import (
    CallDtmf,
    CallEnded,
    CallEvent,
    CallGap,
    CallInfo,
    CallStarted,
    CallTranscript,
    SpokenUtterance,
    SpokenWord,
    SttDegraded,
    SttRecovered,
    Track,
    TrackSummary,
    TranscriptFinal,
    Utterance,
    Word,
)
from gateway.live.access import Access
from gateway.live.history import History
from gateway.live.reading import StoreReader
from gateway.live.redacted import mask_key, show_masked
from gateway.live.search import Search
from gateway.outbox import Outbox, StoredEvent
from gateway.outbox.schema import FILE_NAME
from gateway.redaction import Redaction

TOKEN = "a-token-for-the-history"
RATE_HZ = 8000
SPEAKERS = {Track.INBOUND: "caller", Track.OUTBOUND: "agent"}


def info(call_id: str, **changes: Any) -> CallInfo:
    fields: dict[str, Any] = {
        "id": call_id,
        "platform": "twilio",
        "platform_call_id": f"CA-{call_id}",
        "stream_id": "MZ1",
        "account_id": "AC1",
        "from_number": "+15550101",
        "to_number": "+15550100",
        "metadata": {"tenant": "acme"},
    }
    return CallInfo(**fields | changes)


def started(call_id: str, sequence: int = 1, **changes: Any) -> CallStarted:
    tracks = (Track.INBOUND, Track.OUTBOUND)
    return CallStarted(call=info(call_id, **changes), sequence=sequence, tracks=tracks, audio="mulaw-8000")


def final(
    call_id: str,
    sequence: int,
    text: str,
    start_s: float = 1.0,
    *,
    track: Track = Track.INBOUND,
    speaker: str | None = None,
) -> TranscriptFinal:
    """A final with half a second per word."""
    words = text.split()
    return TranscriptFinal(
        call=info(call_id),
        sequence=sequence,
        track=track,
        speaker=speaker or SPEAKERS[track],
        text=text,
        start_s=start_s,
        end_s=start_s + len(words) / 2,
        language="en",
        confidence=None,
        words=tuple(
            Word(word=word, start_s=start_s + at / 2, end_s=start_s + (at + 1) / 2) for at, word in enumerate(words)
        ),
        provider="local",
    )


def ended(
    call_id: str, sequence: int, *, finals: int = 0, recording: str | None = None, outbound_s: float | None = 14.5
) -> CallEnded:
    return CallEnded(
        call=info(call_id),
        sequence=sequence,
        outcome="completed",
        reason="hangup",
        complete=True,
        duration_s=14.5,
        tracks=(
            TrackSummary(track=Track.INBOUND, audio_s=14.5, lost_s=0.0, untranscribed_s=0.0, finals=finals),
            TrackSummary(track=Track.OUTBOUND, audio_s=outbound_s, lost_s=0.0, untranscribed_s=0.0, finals=0),
        ),
        conversation=(Utterance(track=Track.INBOUND, speaker="caller", text="…", start_s=1.0, end_s=2.0),),
        recording=recording,
    )


def short_call(call_id: str, *texts: str) -> Iterator[CallEvent]:
    """A call that begins, says something, and ends."""
    yield started(call_id)
    for sequence, text in enumerate(texts, start=2):
        yield final(call_id, sequence, text, float(sequence))
    yield ended(call_id, len(texts) + 2, finals=len(texts))


def whole_call(call_id: str, *, recording: str | None = None) -> Sequence[CallEvent]:
    """A call in which everything happens; the agent's first words were told late."""
    about, inbound = info(call_id), Track.INBOUND
    return (
        started(call_id),
        final(call_id, 2, "I would like a refund.", 4.0),
        final(call_id, 3, "How may I help you?", 1.0, track=Track.OUTBOUND),
        CallDtmf(call=about, sequence=4, track=inbound, digit="5", at_s=7.25),
        CallGap(call=about, sequence=5, track=inbound, start_s=8.0, end_s=9.5, reason="lost"),
        SttDegraded(call=about, sequence=6, track=inbound, provider="local", reason="stt_closed", at_s=9.6),
        SttRecovered(call=about, sequence=7, track=inbound, provider="local", at_s=10.2),
        msgspec.structs.replace(final(call_id, 8, "Order <b>7</b> & a café.", 11.0), recovered=True, forced=True),
        CallTranscript(
            call=about,
            sequence=9,
            provider="batch",
            text="How may I help you? I would like a refund.",
            language="en",
            duration_s=14.5,
            utterances=(SpokenUtterance(text="How may I help you?", start_s=1.0, end_s=3.5, speaker=0),),
            words=(SpokenWord(word="How", start_s=1.0, end_s=1.2, speaker=0),),
        ),
        ended(call_id, 10, finals=3, recording=recording),
    )


def write_recording(path: Path, *loudness: float, seconds: float = 1.0) -> None:
    """A WAV file with a tone of such a loudness (0 to 1) on each channel."""
    frames = array("h")
    for at in range(int(seconds * RATE_HZ)):
        frames.extend(round(32767 * level * math.sin(at * math.tau / 16)) for level in loudness)
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(len(loudness))
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(frames.tobytes())


def forget(folder: Path, position: int) -> None:
    """Delete an event from the store, as pruning does."""
    with closing(sqlite3.connect(folder / FILE_NAME)) as db:
        db.execute("DELETE FROM events WHERE position = ?", (position,))
        db.commit()


class Clock:
    """Unix seconds that go on when told."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class House:
    """A store, and the history served from it at `url`."""

    def __init__(
        self, folder: Path, outbox: Outbox, search: Search, clock: Clock, client: aiohttp.ClientSession, url: str
    ) -> None:
        self.folder = folder
        self.outbox = outbox
        self.search = search
        self.clock = clock
        self.url = url
        self._client = client

    async def publish(self, *events: CallEvent) -> list[StoredEvent]:
        """Each a second after the one before."""
        stored = []
        for event in events:
            stored.append(await self.outbox.publish(event))
            self.clock.now += 1
        return stored

    async def get(
        self, path: str, *, token: str | None = TOKEN, **headers: str
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body of an answer."""
        shown = {"Authorization": f"Bearer {token}"} if token else {}
        async with self._client.get(self.url + path, headers={**shown, **headers}) as response:
            return response.status, response.headers, await response.read()

    async def get_json(self, path: str) -> tuple[int, Any]:
        """Status and decoded body of an answer."""
        status, _, body = await self.get(path)
        return status, msgspec.json.decode(body)


@asynccontextmanager
async def history(folder: Path, redaction: RedactionSettings | None = None) -> AsyncIterator[House]:
    """The history of the store in a folder, on loopback."""
    clock = Clock()
    redaction = redaction or RedactionSettings()
    mask = Redaction(redaction).viewers
    show = partial(show_masked, mask=mask) if mask is not None else None
    async with (
        Outbox(folder, clock=clock) as outbox,
        StoreReader(folder, prepare=show) as reader,
        Search(folder, reader, mask_key(redaction)) as search,
    ):
        outbox.add_listener(search.note)
        app = web.Application()
        History(Access(TOKEN), reader, search, folder).add_to(app)
        async with TestServer(app) as server, aiohttp.ClientSession() as client:
            yield House(folder, outbox, search, clock, client, str(server.make_url("/")).rstrip("/"))
