"""A speech service that knows what is said in the demo's recording, and says it word by word."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

from gateway.events import Track
from gateway.simulate import recording
from gateway.simulate.recording import Turn
from tests.support.pulse_server import KEY, PulseServer, PulseSession, Word


@asynccontextmanager
async def demo_speech(calls: int) -> AsyncIterator[dict[str, Any]]:
    """`stt` settings of a gateway that so many calls of two tracks are placed to."""
    async with PulseServer(*[transcribe] * (2 * calls), strict=False) as server:
        profile = {"kind": "pulse-live", "url": f"{server.url}?track={{track}}", "api_key": KEY}
        yield {"default": "live", "profiles": {"live": profile}}


async def transcribe(session: PulseSession) -> None:
    """A partial with each word, a final with each turn."""
    track = Track(session.query["track"])
    for turn in (each for each in recording.demo_turns() if each.track is track):
        words = list(_words(turn))
        for count in range(1, len(words)):
            await session.receive_audio(words[count]["start"])
            await session.say(" ".join(word["word"] for word in words[:count]))
        await session.receive_audio(turn.end_s)
        await session.say(turn.text, words, is_final=True)
    await session.receive_until("close_stream")
    await session.say("", is_last=True)
    await session.close()


def _words(turn: Turn) -> Iterator[Word]:
    """Its words, each as long as its letters."""
    at_s, letters = turn.start_s, len(turn.text.replace(" ", ""))
    for text in turn.text.split():
        end_s = at_s + (turn.end_s - turn.start_s) * len(text) / letters
        yield {"word": text, "start": at_s, "end": end_s, "confidence": 0.9}
        at_s = end_s
