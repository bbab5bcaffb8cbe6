"""
Level meters: how loud each track of the calls in progress is, and whether somebody transcribes it.

Nothing is measured while nobody watches, and nothing of it on the way of the audio: twice a second the newest chunk of
each track is looked at.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from gateway.events import CallReading, Track, TrackReading
from gateway.stt.loudness import Loudness
from telephony_codecs.formats import AudioFormat

INTERVAL_S = 0.5
FLOOR_DBFS = -96.0
"""What digital silence counts as, and a track of which nothing came since the last look; JSON knows no infinity."""
CALLS_AT_ONCE = 16
"""After so many calls others have their turn: with hundreds of calls a look takes milliseconds."""
TYPE = "call.levels"


class Screen(Protocol):
    """Where readings are shown; `gateway.live.feed.Feed` is one."""

    @property
    def has_viewers(self) -> bool:
        """Whether anybody watches."""

    def show(self, type_: str, body: bytes, *, key: str) -> None:
        """Show what is not durable, in place of an earlier one of the same key."""


class Meters:
    """
    Shows the levels of all calls.

    Args:
        screen: where.
        readings: how the calls in progress are now.
    """

    def __init__(self, screen: Screen, readings: Callable[[], Sequence[CallReading]]) -> None:
        self._screen = screen
        self._readings = readings
        self._loudness: dict[AudioFormat, Loudness] = {}
        self._positions: dict[tuple[str, Track], int] = {}

    async def run(self) -> None:
        """Show them every `INTERVAL_S` while somebody watches, for good."""
        while True:
            await asyncio.sleep(INTERVAL_S)
            if self._screen.has_viewers:
                await self._look()

    async def _look(self) -> None:
        readings = self._readings()
        if not readings:
            return
        calls: dict[str, object] = {}
        positions: dict[tuple[str, Track], int] = {}
        for number, call in enumerate(readings):
            if number % CALLS_AT_ONCE == CALLS_AT_ONCE - 1:
                await asyncio.sleep(0)
            levels: dict[str, float] = {}
            for name, track in call.tracks.items():
                positions[call.call_id, name] = track.position
                has_moved = track.position != self._positions.get((call.call_id, name), 0)
                levels[name] = self._dbfs(track) if has_moved else FLOOR_DBFS
            stt = {name: track.stt for name, track in call.tracks.items()}
            calls[call.call_id] = {"at_s": round(call.at_s, 2), "tracks": levels, "stt": stt}
        self._positions = positions
        self._screen.show(TYPE, msgspec.json.encode({"calls": calls}), key=TYPE)

    def _dbfs(self, track: TrackReading) -> float:
        meter = self._loudness.get(track.format)
        if meter is None:
            meter = self._loudness[track.format] = Loudness(track.format)
        return max(FLOOR_DBFS, round(meter.dbfs(track.newest), 1))
