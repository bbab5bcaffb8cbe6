"""
A speech service that fails on command: Pulse live on loopback, hearing tones (`tests.chaos.tones`).

    python -m tests.chaos.stt_server --seed 7

Commands (`POST` to its control address, JSON; each is answered with the counts of `state`):

| command | arguments | what happens |
|---|---|---|
| `recover` | `drop` | new sessions recognise again; those that misbehave stay as they are, or are dropped |
| `refuse` | `status`, `retry_after` | new sessions are refused with this status |
| `close_port` | | nobody listens any more, until `recover` |
| `become` | `act`, `now` | new sessions are `silent`, `stall`, `half_open` or `garble`; if `now` open ones, too |
| `cut` | `how`, `match` | open sessions whose address holds `match` end: `abort`, `close`, `garble`, `half_open` |
| `lie` | `share` | this share of finals comes late, twice, out of order, or with words beyond the audio |
| `slow` | `delay_s` | results come so much later |
| `state` | | sessions, open, attempts, audio_s, finals, violations |

Everything random comes from the seed and a session's number.
"""

import argparse
import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import numpy as np
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from telephony_codecs import mulaw
from tests.chaos import obedience
from tests.chaos.recognition import Liar, Recognition, Result
from tests.chaos.tones import Samples
from tests.support.pulse_server import LIVE_PATH, PulseServer, PulseSession, refuse
from tests.support.strict_server import Refusal

CLOSE_CODES = (1001, 1011, 1012, 1013, 4000)
GARBAGE = ('{"type": "transcription", "transcript": 7', "[]", "null", '{"type": 3}', "\x00", "{}{}", '"words"')
Arguments = dict[str, Any]


@dataclass
class Manners:
    """How the server behaves now."""

    act: str = "recognise"
    lie_share: float = 0.0
    delay_s: float = 0.0


@dataclass(eq=False)
class ToneSession(PulseSession):
    """One connection, whose behaviour can be changed while it goes on."""

    task: asyncio.Task[None] | None = None
    is_frozen: bool = False
    is_spoiled: bool = False
    heard_bytes: int = 0

    @property
    def path(self) -> str:
        """The address that it came to, with its query."""
        assert self.connection.request is not None
        return self.connection.request.path

    async def receive(self) -> bytes | str:
        """As the base does, but nothing is kept that would grow with the call."""
        message = await super().receive()
        self.messages.clear()
        if isinstance(message, bytes):
            self.heard_bytes += len(message)
        return message

    def take_samples(self) -> Samples:
        """The audio since it was last asked for."""
        audio = bytes(self.audio)
        self.audio.clear()
        return np.frombuffer(mulaw.decode(audio) if self.query["encoding"] == "mulaw" else audio, dtype="<i2")

    def freeze_now(self) -> None:
        """Read nothing from now on, not even pings, but stay connected."""
        self.is_frozen = True
        self.connection.transport.pause_reading()
        self.begin_anew()

    def begin_anew(self) -> None:
        """Do what the server's manners are now."""
        if self.task is not None:
            self.task.cancel()


@dataclass
class Counts:
    """Over all sessions."""

    finals: int = 0
    closed_audio_s: float = 0.0
    sessions: dict[int, ToneSession] = field(default_factory=dict)

    @property
    def open(self) -> list[ToneSession]:
        return list(self.sessions.values())

    @property
    def audio_s(self) -> float:
        return self.closed_audio_s + sum(each.heard_bytes / each.bytes_per_s for each in self.open)


class ChaosServer(PulseServer):
    """
    Pulse live that obeys commands; the methods of the same names say what they do in the module's table.

    Args:
        seed: of everything random.
    """

    session_type = ToneSession

    def __init__(self, seed: int) -> None:
        super().__init__(path=LIVE_PATH, strict=False)
        self._seed = seed
        self._port = 0
        self._refusal: Refusal | None = None
        self.manners = Manners()
        self.counts = Counts()

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close_port({})

    def commands(self) -> dict[str, obedience.Command]:
        """What it can be told, by name."""
        orders = (self.recover, self.refuse, self.close_port, self.become, self.cut, self.lie, self.slow, self.state)
        return {each.__name__: each for each in orders}

    async def recover(self, arguments: Arguments) -> dict[str, Any]:
        self._refusal = None
        self.manners = Manners()
        for session in self.counts.open:
            if arguments.get("drop") and (session.is_frozen or session.is_spoiled):
                session.cut()
        if self._server is None:
            await self._listen()
        return self._state()

    async def refuse(self, arguments: Arguments) -> dict[str, Any]:
        headers = {"Retry-After": str(arguments["retry_after"])} if "retry_after" in arguments else None
        self._refusal = refuse(int(arguments["status"]), headers)
        return self._state()

    async def close_port(self, _arguments: Arguments) -> dict[str, Any]:
        server, self._server = self._server, None
        if server is not None:
            server.close(close_connections=False)
            for session in self.counts.open:
                session.cut()
            await server.wait_closed()
        return self._state()

    async def become(self, arguments: Arguments) -> dict[str, Any]:
        self.manners.act = arguments["act"]
        for session in self.counts.open if arguments.get("now") else ():
            if self.manners.act == "half_open":
                session.freeze_now()
            else:
                session.begin_anew()
        return self._state()

    async def cut(self, arguments: Arguments) -> dict[str, Any]:
        chosen = [each for each in self.counts.open if arguments.get("match", "") in each.path]
        for number, session in enumerate(chosen):
            with suppress(ConnectionClosed):
                match arguments["how"]:
                    case "half_open":
                        session.freeze_now()
                    case "close":
                        await session.close(CLOSE_CODES[number % len(CLOSE_CODES)])
                    case "garble":
                        for message in 2 * GARBAGE:
                            await session.send_raw(message)
                        session.cut()
                    case _:
                        session.cut()
        return {"cut": len(chosen), **self._state()}

    async def lie(self, arguments: Arguments) -> dict[str, Any]:
        self.manners.lie_share = float(arguments["share"])
        return self._state()

    async def slow(self, arguments: Arguments) -> dict[str, Any]:
        self.manners.delay_s = float(arguments["delay_s"])
        return self._state()

    async def state(self, _arguments: Arguments) -> dict[str, Any]:
        return self._state()

    def _state(self) -> dict[str, Any]:
        return {
            "sessions": len(self.sessions),
            "open": len(self.counts.open),
            "attempts": self.attempts,
            "audio_s": self.counts.audio_s,
            "finals": self.counts.finals,
            "violations": self.violations,
        }

    async def _listen(self) -> None:
        self._server = await serve(
            self._play, "127.0.0.1", self._port, process_request=self._admit, compression=None,
            ping_interval=None, close_timeout=0.5, max_queue=4,
        )  # fmt: skip
        self._port = next(iter(self._server.sockets)).getsockname()[1]

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        self._acts = (self._refusal or self._act,)
        return super()._admit(connection, request)

    # ── A session ────────────────────────────────────────────────────────────────────────────────────────────────

    async def _act(self, session: PulseSession) -> None:
        """Do what the manners say; a session that is told to begins anew, with what it has heard."""
        assert isinstance(session, ToneSession)
        rng = random.Random(f"{self._seed}/{len(self.sessions)}")
        recognition = Recognition(int(session.query["sample_rate"]), rng)
        self.counts.sessions[id(session)] = session
        try:
            while not session.is_frozen:
                async with asyncio.TaskGroup() as tasks:
                    session.task = tasks.create_task(self._behave(session, recognition, rng))
                if not session.task.cancelled():
                    return
            await session.connection.wait_closed()
        except* ConnectionClosed:
            pass
        finally:
            self.counts.closed_audio_s += session.heard_bytes / session.bytes_per_s
            del self.counts.sessions[id(session)]

    async def _behave(self, session: ToneSession, recognition: Recognition, rng: random.Random) -> None:
        session.is_spoiled = self.manners.act != "recognise"
        match self.manners.act:
            case "silent":
                while True:
                    await session.receive()
                    session.audio.clear()
            case "stall":
                await asyncio.Event().wait()
            case "half_open":
                session.freeze_now()
                await asyncio.Event().wait()
            case "garble":
                while True:
                    await session.receive()
                    await session.send_raw(rng.choice(GARBAGE))
            case _:
                await self._recognise(session, recognition, Liar(rng))

    async def _recognise(self, session: ToneSession, recognition: Recognition, liar: Liar) -> None:
        results: asyncio.Queue[tuple[float, Result]] = asyncio.Queue()
        clock = asyncio.get_running_loop().time

        async def listen() -> None:
            while True:
                message = await session.receive()
                match session.controls[-1] if isinstance(message, str) else "audio":
                    case "audio":
                        heard = recognition.hear(session.take_samples())
                    case "keepalive":
                        heard = []
                        await session.send(type="pong")
                    case "finalize":
                        heard = recognition.finalize()
                    case _:
                        heard = recognition.end()
                for result in liar.tell(heard, self.manners.lie_share):
                    results.put_nowait((clock() + self.manners.delay_s, result))

        async with asyncio.TaskGroup() as tasks:
            listener = tasks.create_task(listen())
            is_over = False
            while not is_over:
                due, result = await results.get()
                await asyncio.sleep(max(0.0, due - clock()))
                await self._say(session, result)
                is_over = result.is_last
            listener.cancel()
        await session.close()

    async def _say(self, session: ToneSession, result: Result) -> None:
        self.counts.finals += result.is_final and bool(result.words)
        await session.say(
            result.text,
            result.wire_words,
            is_final=result.is_final,
            is_last=result.is_last,
            from_finalize=result.from_finalize,
        )


async def main(seed: int) -> None:
    """Serve until standard input ends."""
    async with ChaosServer(seed) as server:
        await obedience.serve({"url": server.url}, server.commands())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A speech service that fails on command.")
    parser.add_argument("--seed", type=int, default=0)
    asyncio.run(main(parser.parse_args().seed))
