"""A track's session at vendors that are told everything in a first message: call audio in, segments out."""

import asyncio
from typing import Any

import pytest
from pydantic import SecretStr

from gateway.config import SttProfile, SttSettings
from gateway.events import RecognizerRequest, Segment, TrackEvent
from gateway.media.tape import Tape
from gateway.media.timeline import Stretch
from gateway.stt.profiles import ProfiledRecognizers
from gateway.stt.session import TrackSession
from telephony_codecs.formats import AudioFormat
from tests.support import soniox_server, speechmatics_server, vosk_server

MULAW = AudioFormat.parse("mulaw-8000")
START_S = 60
"""Call time at which the track's audio begins."""


@pytest.mark.parametrize(
    ("kind", "server_type", "key", "audio"),
    [
        ("speechmatics", speechmatics_server.SpeechmaticsServer, speechmatics_server.KEY, "mulaw-8000"),
        ("soniox", soniox_server.SonioxServer, soniox_server.KEY, "mulaw-8000"),
        ("vosk", vosk_server.VoskServer, None, "linear16-8000"),
    ],
)
async def test_a_calls_audio_becomes_segments_in_call_time(
    kind: Any, server_type: Any, key: str | None, audio: str
) -> None:
    heard: list[TrackEvent] = []

    async def emit(event: TrackEvent) -> None:
        heard.append(event)

    async with server_type() as server, asyncio.timeout(10):
        profile = SttProfile(kind=kind, url=server.url, api_key=SecretStr(key) if key else None, audio=audio)
        recognizers = ProfiledRecognizers({"mine": profile}, lambda _: pytest.fail("not the local one"))
        request = RecognizerRequest(format=MULAW, track="inbound")
        stt = SttSettings(drain_s=5, profiles={"mine": profile})
        session = TrackSession(recognizers, stt, "mine", request, Tape(MULAW, 30 * MULAW.rate_hz), emit)
        for tenth in range(15):
            session.feed(Stretch(START_S * 8000 + tenth * 800, MULAW.silence(800)))
        session.close()
        await session.run()
    segments = [event for event in heard if isinstance(event, Segment)]
    spans = [(segment.text.lower().rstrip("."), segment.start_s, segment.end_s) for segment in segments]
    assert spans == [("second 1", 60.0, 61.0), ("second 2", 61.0, 61.5)]
