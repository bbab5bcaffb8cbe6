"""
Connections that send nothing, and connections that send their request a byte a second, while calls go on.

What is measured is the delay that the gateway adds: from the frame that completes a piece of audio to the arrival of
that piece at the speech service. First without the slow peers, then with them; they connect again when they are cut
off. The peers are a process of their own, so that they cost the measuring one nothing.
"""

import asyncio
import math
import random
import selectors
import socket
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from tests.chaos.outcome import Outcome
from tests.chaos.phones import FRAME_BYTES, Phones, Placed
from tests.support.pulse_server import PulseServer, PulseSession, count_seconds
from tests.support.whole_gateway import GatewayProcess, heard_by

IDLE, TRICKLING = 500, 500
NOTICEABLE_S = 0.02
"""One frame of audio: the least that the platform's own timing varies by. Twice as much as nothing is still nothing."""
HANDSHAKE_S = 3.0
ROUNDS = 3
"""Whatever else the machine has to do can only make a round look worse: one good round shows it."""
TICKS_PER_S = 20
READY_S = 30.0
_HEAD = b"GET /twilio/stream HTTP/1.1\r\nHost: gateway\r\nUser-Agent: " + b"slow" * 100


async def run(seed: int, *, short: bool = False) -> Outcome:
    """20 calls of 30 s; short: 8 of 6 s."""
    calls, seconds = (8, 6) if short else (20, 30)
    ear = _Ear()
    with tempfile.TemporaryDirectory() as folder:
        async with (
            PulseServer(ear.listen) as vendor,
            Phones(random.Random(seed)) as phones,
            GatewayProcess(
                Path(folder),
                GATEWAY_STT=heard_by(vendor, url=vendor.url + "?call={platform_call_id}"),
                GATEWAY_LIMITS={"handshake_timeout_s": HANDSHAKE_S},
            ) as gateway,
        ):
            url = await gateway.stream_url()
            alone, besieged = [math.inf], [math.inf]
            for _ in range(ROUNDS):
                alone = ear.delays(await _place(phones, url, calls, seconds))
                async with _peers(url):
                    besieged = ear.delays(await _place(phones, url, calls, seconds))
                if _is_unharmed(alone, besieged):
                    break
            refused = [placed.refused for placed in phones.placed if placed.refused]
            sessions = len(vendor.sessions)
            unfinished = sum(not placed.is_stopped for placed in phones.placed)
    before, after = _p99(alone), _p99(besieged)
    faults = [f"a call was refused: {refused}"] if refused else []
    faults += [f"{unfinished} calls broke"] if unfinished else []
    if sessions != len(phones.placed):  # what a second session is sent again has no delay of its own
        faults.append(f"{len(phones.placed)} calls took {sessions} sessions: nothing was measured")
    if not _is_unharmed(alone, besieged):
        faults.append(f"99 % within {before * 1000:.1f} ms alone, within {after * 1000:.1f} ms with slow peers")
    figures = {
        "calls": calls,
        "pieces": len(besieged),
        "p50_alone_ms": statistics.median(alone) * 1000,
        "p99_alone_ms": before * 1000,
        "p50_besieged_ms": statistics.median(besieged) * 1000,
        "p99_besieged_ms": after * 1000,
    }
    return Outcome(
        fault=f"{IDLE} idle and {TRICKLING} trickling connections beside {calls} calls",
        shown=f"99 % of the audio delayed by at most {before * 1000:.1f} ms without, {after * 1000:.1f} ms with them",
        ok=not faults,
        figures=figures,
        faults=tuple(faults),
    )


async def _place(phones: Phones, url: str, calls: int, seconds: int) -> list[Placed]:
    async with asyncio.TaskGroup() as tasks:
        placing = [tasks.create_task(phones.place(url, phones.plan(seconds, tracks=1))) for _ in range(calls)]
    return [each.result() for each in placing]


def _is_unharmed(alone: list[float], besieged: list[float]) -> bool:
    return _p99(besieged) <= max(2 * _p99(alone), NOTICEABLE_S)


def _p99(delays: list[float]) -> float:
    return statistics.quantiles(delays, n=100)[98]


class _Ear:
    """The speech service: notes when which audio arrived, and counts seconds, lest it be taken for dead."""

    def __init__(self) -> None:
        self._arrived: dict[str, list[tuple[float, int]]] = {}

    async def listen(self, session: PulseSession) -> None:
        clock = asyncio.get_running_loop().time
        arrived = self._arrived.setdefault(session.query["call"], [])
        while True:
            message = await session.receive()
            if isinstance(message, bytes):
                arrived.append((clock(), len(session.audio)))
                if len(session.audio) % session.bytes_per_s == 0:
                    second = bytes(session.bytes_per_s)
                    words = count_seconds(second, session.audio_s - 1, session.bytes_per_s)
                    await session.say(" ".join(word["word"] for word in words), words, is_final=True)
            elif session.controls[-1] == "close_stream":
                await session.say("", is_final=True, is_last=True)
                await session.close()
                return

    def delays(self, placed: list[Placed]) -> list[float]:
        """Of each piece of these calls: from its last frame's departure to its arrival."""
        return [
            at - call.sent_at[-(-size // FRAME_BYTES) - 1]
            for call in placed
            for at, size in self._arrived[call.plan.call_sid]
        ]


# ── the peers: a process of their own ────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def _peers(url: str) -> AsyncIterator[None]:
    host, port = url.partition("://")[2].partition("/")[0].split(":")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.chaos.slow_peers", host, port, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(READY_S):
            assert await process.stdout.readline() == b"ready\n"
        yield
        assert process.returncode is None, "the slow peers did not hold out"
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _besiege(host: str, port: int) -> None:
    """Until the process is killed. Bare sockets: on a small machine the peers must not take the gateway's processor."""
    peers = [_Peer(host, port, trickles=number < TRICKLING) for number in range(IDLE + TRICKLING)]
    with selectors.DefaultSelector() as cut_off:
        for peer in peers:
            peer.connect(cut_off)
        print("ready", flush=True)
        while True:
            for tick in range(TICKS_PER_S):
                for key, _ready in cut_off.select(1 / TICKS_PER_S):
                    key.data.connect(cut_off)
                for peer in peers[tick::TICKS_PER_S]:
                    peer.trickle()


class _Peer:
    """A slow peer; whatever the gateway sends, it closes and connects again."""

    def __init__(self, host: str, port: int, *, trickles: bool) -> None:
        self._address = (host, port)
        self._trickles = trickles
        self._socket: socket.socket | None = None
        self._sent = 0

    def connect(self, cut_off: selectors.BaseSelector) -> None:
        if self._socket is not None:
            cut_off.unregister(self._socket)
            self._socket.close()
        self._socket = socket.create_connection(self._address)
        self._sent = 0
        cut_off.register(self._socket, selectors.EVENT_READ, self)

    def trickle(self) -> None:
        if self._trickles and self._socket is not None:
            with suppress(OSError):
                self._socket.send(_HEAD[self._sent : self._sent + 1])
            self._sent += 1


if __name__ == "__main__":
    _besiege(sys.argv[1], int(sys.argv[2]))
