"""A track's session at a vendor on loopback that cuts, refuses and stalls: the real client on real sockets."""

import asyncio

import pytest
from pydantic import SecretStr

from gateway.config import SttProfile
from gateway.events import RecognizerLost, Segment, Untranscribed
from tests.support.pulse_server import KEY, Act, PulseServer, PulseSession, cut_after, read_content, recognise, refuse
from tests.support.vendor_track import VendorTrack

HEARS = recognise(every_s=0.5, hear=read_content)
WORDS = [(f"b{value}", round(value * 0.1, 3)) for value in range(40)]


def at(server: PulseServer) -> SttProfile:
    return SttProfile(kind="pulse-live", url=server.url, api_key=SecretStr(KEY), connect_timeout_s=2.0)


def says_then_cuts(seconds: float) -> Act:
    """Recognise so much audio, then drop the connection."""

    async def act(session: PulseSession) -> None:
        await session.receive_audio(seconds)
        words = read_content(bytes(session.audio), 0.0, session.bytes_per_s)
        await session.say(" ".join(each["word"] for each in words), words, is_final=True)
        session.cut()

    return act


async def garbage(session: PulseSession) -> None:
    while True:
        await session.receive()
        await session.send_raw("no JSON")


@pytest.mark.parametrize(
    "acts",
    [
        (cut_after(1.0), HEARS),
        (says_then_cuts(1.0), says_then_cuts(1.5), HEARS),
        (refuse(503), HEARS),
        (refuse(429, {"Retry-After": "0"}), HEARS),
        (garbage, HEARS),
    ],
    ids=["cut", "cut twice", "503", "429", "garbage"],
)
async def test_every_word_is_heard_once_and_at_its_time_whatever_the_vendor_does(acts: tuple[Act, ...]) -> None:
    async with PulseServer(*acts) as server, asyncio.timeout(20):
        track = VendorTrack(at(server))
        track.feed(b"".join(bytes([value]) * 800 for value in range(40)))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(track.run())
            await server.until(lambda: len(server.sessions) >= len([act for act in acts if callable(act)]))
            track.close()
    words = [word for event in track.events if isinstance(event, Segment) for word in event.words]
    assert [(word.word, round(word.start_s, 3)) for word in words] == WORDS
    assert len([event for event in track.events if isinstance(event, RecognizerLost)]) >= 1
    assert not [event for event in track.events if isinstance(event, Untranscribed)]
