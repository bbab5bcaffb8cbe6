"""
The stream says which codec it brings, and the recogniser gets what its profile says, whatever the one and the other.

Elsewhere A-law is decoded as mu-law, which is static to every European caller, or an unknown codec is taken for the
usual one.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway.server import serving
from telephony_codecs import alaw, mulaw
from tests.support import raw_phone
from tests.support.pulse_server import PulseServer
from tests.support.raw_phone import CONNECTED, STOP, speech, start
from tests.support.webhook_receiver import Receiver
from tests.support.whole_gateway import FAST_ENGINE, heard_by, posted_to, settings, until_ended

EVERY_OCTET = list(range(256))


def start_in(encoding: str, rate_hz: int = 8000) -> list[dict[str, Any]]:
    _, message = start()
    media_format = {"encoding": encoding, "sampleRate": rate_hz, "channels": 1}
    return [CONNECTED, {**message, "start": {**message["start"], "mediaFormat": media_format}}]


async def sent_to_the_recogniser(data_dir: Path, encoding: str, audio: str) -> bytes:
    """What a profile of this audio form is sent of a stream in that encoding, which brings every octet there is."""
    async with (
        PulseServer() as vendor,
        Receiver() as receiver,
        serving(
            settings(data_dir, webhook=posted_to(receiver), stt=heard_by(vendor, audio=audio)), engine=FAST_ENGINE
        ) as served,
        raw_phone.raw_phone(served.stream_url) as phone,
    ):
        await phone.say(*start_in(encoding), *speech(EVERY_OCTET), STOP)
        await until_ended(receiver)
    return bytes(vendor.sessions[0].audio)


@pytest.mark.parametrize("encoding", ["audio/x-mulaw", "audio/x-alaw"])
async def test_the_codec_that_the_stream_names_is_the_one_that_is_decoded(encoding: str, tmp_path: Path) -> None:
    heard = await sent_to_the_recogniser(tmp_path, encoding, "linear16-8000")
    decode = alaw.decode if encoding == "audio/x-alaw" else mulaw.decode
    assert heard == decode(b"".join(bytes([octet]) * 160 for octet in EVERY_OCTET))


async def test_a_recogniser_of_mulaw_gets_mulaw_also_from_a_stream_of_a_law(tmp_path: Path) -> None:
    heard = mulaw.decode(await sent_to_the_recogniser(tmp_path, "audio/x-alaw", "mulaw-8000"))
    meant = alaw.decode(b"".join(bytes([octet]) * 160 for octet in EVERY_OCTET))
    difference = np.frombuffer(heard, "<i2").astype(int) - np.frombuffer(meant, "<i2").astype(int)
    assert np.abs(difference).max() <= 516  # half of mu-law's widest step is 512; A-law's own 4 beside it


@pytest.mark.parametrize(("encoding", "rate_hz"), [("audio/opus", 48_000), ("audio/x-mulaw", 16_000), ("g729", 8000)])
async def test_a_codec_that_is_not_known_is_refused_and_nothing_is_heard(
    encoding: str, rate_hz: int, tmp_path: Path
) -> None:
    async with (
        PulseServer() as vendor,
        serving(settings(tmp_path, stt=heard_by(vendor)), engine=FAST_ENGINE) as served,
        raw_phone.raw_phone(served.stream_url) as phone,
    ):
        await phone.say(*start_in(encoding, rate_hz))
        assert await phone.close_code() == 1003  # unsupported data
        assert vendor.attempts == 0
