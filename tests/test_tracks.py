"""How much has to come until the tracks of a call are to be looked at again."""

import asyncio
from typing import Any

import pytest

from gateway.config import LimitSettings, SttSettings
from gateway.events import AudioReceived, CallInfo, StreamStarted, Track
from gateway.journal import CallHeader
from gateway.media.tape import Budget
from gateway.reporter import CallReporter
from gateway.rooms import Rooms
from gateway.tracks import CallTracks
from telephony_codecs.formats import AudioFormat
from tests.support.phone import Sink
from tests.support.scripted_recognizer import ScriptedRecognizers

MULAW = AudioFormat.parse("mulaw-8000")
BOTH = (Track.INBOUND, Track.OUTBOUND)


class Talk:
    """Two tracks whose frames come as a test says."""

    def __init__(self, tracks: CallTracks) -> None:
        self._tracks = tracks
        self._sent = dict.fromkeys(BOTH, 0)

    def hear(self, track: Track, frames: int) -> None:
        for _ in range(frames):
            number = self._sent[track]
            self._sent[track] += 1
            frame = AudioReceived(track=track, payload=bytes(160), chunk=number, offset_ms=number * 20)
            if not self._tracks.follow({track: [frame]}):
                self._tracks.receive(frame)

    def look(self, inbound: int, outbound: int) -> tuple[float, float]:
        """What is said after so many frames of each came."""
        self.hear(Track.INBOUND, inbound)
        self.hear(Track.OUTBOUND, outbound)
        came_s, missing_s = self._tracks.progress()
        return round(came_s, 6), round(missing_s, 6)


async def talking(check: Any) -> None:
    recognizers, sink = ScriptedRecognizers(), Sink()
    rooms = Rooms(recognizers=recognizers, sink=sink, stt=SttSettings(), limits=LimitSettings(), budget=Budget(2**20))
    tracks = CallTracks(rooms, CallReporter(sink))
    started = StreamStarted(
        stream_id="MZ1", platform_call_id="CA1", account_id=None, tracks=BOTH, format=MULAW, parameters={}
    )
    info = CallInfo(
        id="call_1",
        platform="twilio",
        platform_call_id="CA1",
        stream_id="MZ1",
        account_id=None,
        from_number=None,
        to_number=None,
        metadata={},
    )
    header = CallHeader(
        call=info, tracks=BOTH, format=str(MULAW), profile=rooms.stt.default, language=None, speakers={}, started_at=0.0
    )
    async with asyncio.TaskGroup() as tasks:
        tracks.start(started, header, tasks)
        check(Talk(tracks))
        await tracks.finish()
    tracks.release(None)


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        ([(5, 5)], [(0.1, 0.1)]),
        ([(4, 4), (1, 1)], [(0.08, 0.02), (0.02, 0.1)]),
        ([(5, 4), (0, 1)], [(0.09, 0.01), (0.02, 0.1)]),  # its frame is just behind: one of two frames
        ([(5, 0), (5, 0)], [(0.1, 0.1), (0.1, 0.1)]),  # nobody speaks on the other
        ([(5, 4), (5, 0)], [(0.09, 0.01), (0.1, 0.1)]),  # it fell silent in mid-chunk
        ([(7, 7)], [(0.14, 0.06)]),  # a burst: what is left of it is complete sooner
        ([(5, 3), (2, 2)], [(0.08, 0.02), (0.04, 0.06)]),  # begun apart: each at its own time
        ([(0, 0)], [(0.0, 0.1)]),
    ],
)
async def test_the_next_look_is_for_the_next_chunk_of_those_who_speak(
    looks: list[tuple[int, int]], expected: list[tuple[float, float]]
) -> None:
    def check(talk: Talk) -> None:
        assert [talk.look(*each) for each in looks] == expected

    await talking(check)
