"""
Audio no faster than a vendor takes it: held audio goes out at the pace at which it was spoken.

Some vendors end a session that sends faster than real time, which is what every client does after a slow connect, a
stall of the network, or a replay. Others take a multiple of it (`stt.kinds`).
"""

import asyncio
from collections.abc import AsyncIterator

from gateway.events import RecognizerEvent
from gateway.shared import shared
from gateway.stt.base import Recognizer
from telephony_codecs.formats import AudioFormat

BURST_S = 1.0
"""What may be sent at once after a pause: what the strictest vendor takes in one message."""

CATCH_UP_BURST_S = 5.0
"""The same for vendors that take audio faster than it was spoken."""


class Pace:
    """
    When audio is due.

    Args:
        speed: multiple of real time.
        burst_s: audio that may be ahead of that.
        now: seconds of a monotonic clock.
    """

    def __init__(self, speed: float, burst_s: float, now: float) -> None:
        self._speed = speed
        self._burst_s = shared(burst_s / speed)
        self._spoken_at = now
        """When the audio sent so far would have been spoken, had it come at that speed."""

    def allows(self, audio_s: float, now: float) -> bool:
        """Whether so much more audio may be sent without waiting, which then counts as sent."""
        spoken_at = max(self._spoken_at, now) + audio_s / self._speed
        if spoken_at - now > self._burst_s:
            return False
        self._spoken_at = spoken_at
        return True

    def wait_s(self, audio_s: float, now: float) -> float:
        """How long to wait before so much more audio is sent."""
        self._spoken_at = max(self._spoken_at, now) + audio_s / self._speed
        return max(0.0, self._spoken_at - now - self._burst_s)


class PacedRecognizer:
    """
    A `Recognizer` whose `send` waits until its audio is due.

    Args:
        recognizer: gets everything.
        audio_format: of the audio that is sent.
        burst_s: audio that may be ahead of the clock.
    """

    def __init__(self, recognizer: Recognizer, audio_format: AudioFormat, burst_s: float = BURST_S) -> None:
        self._recognizer = recognizer
        self._format = audio_format
        self._loop = asyncio.get_running_loop()
        self._pace = Pace(1.0, burst_s, self._loop.time())

    async def send(self, audio: bytes) -> None:
        """Send audio; waits until the pace allows it."""
        wait_s = self._pace.wait_s(self._format.samples(audio) / self._format.rate_hz, self._loop.time())
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        await self._recognizer.send(audio)

    async def finalize(self) -> None:
        """Ask for a final of what was heard so far."""
        await self._recognizer.finalize()

    async def keepalive(self) -> None:
        """Say that the session is still wanted."""
        await self._recognizer.keepalive()

    async def end(self) -> None:
        """Say that no more audio comes."""
        await self._recognizer.end()

    def events(self) -> AsyncIterator[RecognizerEvent]:
        """What the engine says."""
        return self._recognizer.events()
