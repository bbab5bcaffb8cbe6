"""
The phone platform of the harness: many calls of tones (`tests.chaos.tones`), and the truth of what was sent when.

As with a real platform, a stream that breaks is over: nobody dials again.
"""

import asyncio
import base64
import random
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import aiohttp
import msgspec

from tests.chaos import tones

FRAME_BYTES = 160
FRAMES_PER_S = 50
SECONDS_PER_CALL = 1 << 8
"""Numbers that each track of a call has to itself; with 16 bits 256 tracks differ, then the numbers begin again."""
CONNECT_S = 10.0
CLOSE_S = 60.0


@dataclass(frozen=True)
class Plan:
    """
    A call to place.

    Args:
        seconds: its length.
        first: by track, the number that its first second carries.
        speed: 1 is real time.
        parameters: of the stream.
        call_sid: the platform's name of it.
    """

    seconds: int
    first: Mapping[str, int]
    speed: float = 1.0
    parameters: Mapping[str, str] = field(default_factory=dict)
    call_sid: str = field(default_factory=lambda: f"CA{secrets.token_hex(16)}")

    def values(self, track: str) -> range:
        """What the seconds of a track carry."""
        return range(self.first[track], self.first[track] + self.seconds)


@dataclass
class Placed:
    """
    What became of it; filled in while it goes on.

    Attributes:
        sent_at: when each frame (of all tracks) was handed to the network; loop seconds.
        started_at: when `start` was.
        is_stopped: whether it came to its `stop`.
        closed_after_s: from `stop` to the end of the socket.
        close_code: how the gateway closed; None if it broke.
        refused: HTTP status, if there was no upgrade.
    """

    plan: Plan
    sent_at: list[float] = field(default_factory=list)
    started_at: float | None = None
    is_stopped: bool = False
    closed_after_s: float | None = None
    close_code: int | None = None
    refused: int | None = None

    def words_sent_by(self, when: float) -> int:
        """How many words of each track had been sent wholly by then."""
        last_frames = range(_LAST_FRAME, len(self.sent_at), FRAMES_PER_S)
        return sum(self.sent_at[frame] <= when for frame in last_frames)


_LAST_FRAME = -(-round(tones.WORD_END_S * tones.RATE_HZ) // FRAME_BYTES) - 1


class Phones:
    """
    Places calls at one gateway after the other; an async context manager.

    Args:
        rng: gives each call numbers of its own.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._blocks = 0
        self.placed: list[Placed] = []

    async def __aenter__(self) -> "Phones":
        timeout = aiohttp.ClientTimeout(total=None, connect=CONNECT_S)
        self._http = aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0))
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._http.close()

    def plan(self, seconds: int, *, tracks: int = 2, speed: float = 1.0, **parameters: str) -> Plan:
        """A call whose seconds no other call has (of the last 128)."""
        assert seconds <= SECONDS_PER_CALL
        first = {}
        for track in ("inbound", "outbound")[:tracks]:
            first[track] = self._blocks * SECONDS_PER_CALL % tones.VALUES
            self._blocks += 1
        sid = f"CA{self._rng.randbytes(16).hex()}"
        return Plan(seconds, first, speed, parameters, sid)

    async def place(self, url: str, plan: Plan) -> Placed:
        """Play a call to its end, whatever end that is. It is in `placed` from the beginning."""
        placed = Placed(plan)
        self.placed.append(placed)
        try:
            async with self._http.ws_connect(url, compress=0, max_msg_size=65536) as socket:
                await _play(placed, socket)
        except aiohttp.WSServerHandshakeError as error:
            placed.refused = error.status
        except (aiohttp.ClientError, OSError, TimeoutError):
            pass  # what was sent until then is what counts
        return placed


async def _play(placed: Placed, socket: aiohttp.ClientWebSocketResponse) -> None:
    clock = asyncio.get_running_loop().time
    async with asyncio.TaskGroup() as tasks:
        listener = tasks.create_task(_listen(placed, socket))
        try:
            await _send(placed, socket)
            stopped_at = clock()
            async with asyncio.timeout(CLOSE_S):
                await listener
            placed.closed_after_s = clock() - stopped_at
        except (ConnectionError, TimeoutError):
            listener.cancel()


async def _listen(placed: Placed, socket: aiohttp.ClientWebSocketResponse) -> None:
    async for _message in socket:
        pass
    placed.close_code = socket.close_code


async def _send(placed: Placed, socket: aiohttp.ClientWebSocketResponse) -> None:
    """Every message of the stream, each frame at its time."""
    plan = placed.plan
    stream_sid = "MZ" + plan.call_sid[2:]
    clock = asyncio.get_running_loop().time
    account_sid = "AC" + "0" * 32

    async def say(**fields: Any) -> None:
        await socket.send_str(msgspec.json.encode(fields).decode())

    await say(event="connected", protocol="Call", version="1.0.0")
    start = {
        "accountSid": account_sid,
        "streamSid": stream_sid,
        "callSid": plan.call_sid,
        "tracks": list(plan.first),
        "customParameters": dict(plan.parameters),
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
    }
    await say(event="start", sequenceNumber="1", streamSid=stream_sid, start=start)
    began = placed.started_at = clock()
    for number in range(plan.seconds * FRAMES_PER_S):
        ahead_s = began + number / FRAMES_PER_S / plan.speed - clock()
        if ahead_s > 0:
            await asyncio.sleep(ahead_s)
        second, frame = divmod(number, FRAMES_PER_S)
        for track, first in plan.first.items():
            await socket.send_str(
                f'{{"event":"media","sequenceNumber":"{number + 2}","streamSid":"{stream_sid}","media":{{'
                f'"track":"{track}","chunk":"{number + 1}","timestamp":"{number * 20}",'
                f'"payload":"{_payloads(first + second)[frame]}"}}}}'
            )
        placed.sent_at.append(clock())
    await say(
        event="stop",
        sequenceNumber="0",
        streamSid=stream_sid,
        stop={"accountSid": account_sid, "callSid": plan.call_sid},
    )
    placed.is_stopped = True


@lru_cache(maxsize=1024)
def _payloads(value: int) -> list[str]:
    """The frames of a second, as the platform writes them."""
    audio = tones.second(value)
    return [base64.b64encode(audio[at : at + FRAME_BYTES]).decode() for at in range(0, len(audio), FRAME_BYTES)]
