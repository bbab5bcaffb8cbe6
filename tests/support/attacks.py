"""
Guilty clients of streams: spoiled conversations with every WebSocket route of a gateway, over real sockets.

Each attack is one connection's worth; it returns how many spoiled messages or requests it sent, and notes in `Answers`
how the gateway answered. None of them keeps to its protocol, and all of them leave in the end.
"""

import asyncio
import base64
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from tests.support import raw_websocket
from tests.support.conversations import conversations
from tests.support.mutation import Message, Mutator, octets_of
from tests.support.phone import media_message, start_message
from tests.support.raw_websocket import FrameReader, close, frame, upgrade
from tests.support.wav_file import wav

ANSWER_S = 20.0
_BATCH = 16
_MOST_BYTES = 70_000


@dataclass
class Answers:
    """What the gateway answered, by target; close codes of streams, statuses of requests."""

    counts: Counter[str] = field(default_factory=Counter)
    sent: Counter[str] = field(default_factory=Counter)
    spoiled: Counter[str] = field(default_factory=Counter)

    def note(self, target: str, answer: str) -> None:
        self.counts[f"{target}: {answer}"] += 1


# ── Valid conversations, to be spoiled ──────────────────────────────────────────────────────────────────────────────

_GOLDEN = [each.incoming for each in conversations("twilio")]
_AUDIO = bytes(range(256)) * 2
_CONTROLS = ('{"type":"keepalive"}', '{"type":"finalize"}')


def twilio_conversation(draw: random.Random) -> list[Message]:
    """A long call, or one of the recorded cases."""
    if draw.random() < 0.15:
        return list(draw.choice(_GOLDEN))
    tracks = draw.choice((("inbound",), ("outbound",), ("inbound", "outbound")))
    start = start_message(*tracks, call_sid=f"CA{draw.getrandbits(64):x}", gw_language="en", tenant="acme")
    messages: list[Message] = ['{"event":"connected","protocol":"Call","version":"1.0.0"}', json.dumps(start)]
    for number in range(1, draw.randrange(40, 160)):
        messages.append(json.dumps(media_message(number, draw.choice(tracks))))
        if draw.random() < 0.1:
            messages.append('{"event":"dtmf","streamSid":"MZ1","dtmf":{"track":"inbound_track","digit":"1"}}')
        if draw.random() < 0.05:
            messages.append('{"event":"mark","streamSid":"MZ1","mark":{"name":"m1"}}')
    return [*messages, '{"event":"stop","streamSid":"MZ1","stop":{"accountSid":"AC1","callSid":"CA1"}}']


def pulse_conversation(draw: random.Random) -> list[Message]:
    """Audio, perhaps with a header, and controls between."""
    messages: list[Message] = [wav(_AUDIO)] if draw.random() < 0.3 else []
    messages += [draw.choice((_AUDIO, _AUDIO, *_CONTROLS)) for _ in range(draw.randrange(40, 160))]
    return [*messages, draw.choice(('{"type":"close_stream"}', '{"type":"end"}'))]


def slng_conversation(draw: random.Random) -> list[Message]:
    """`init`, audio in both forms, controls."""
    config = {"language": "en", "sample_rate": 16000, "encoding": "linear16", "enable_partials": True}
    audio = json.dumps({"type": "audio", "data": base64.b64encode(_AUDIO).decode()})
    messages: list[Message] = [json.dumps({"type": "init", "config": config})]
    messages += [draw.choice((_AUDIO, audio, *_CONTROLS)) for _ in range(draw.randrange(40, 160))]
    return [*messages, '{"type":"close"}']


STREAMS: dict[str, tuple[str, Callable[[random.Random], list[Message]]]] = {
    "twilio": ("/twilio/stream", twilio_conversation),
    "get_text": ("/waves/v1/pulse/get_text?language=en&word_timestamps=true", pulse_conversation),
    "live": ("/waves/v1/stt/live?model=pulse&encoding=mulaw&sample_rate=8000", pulse_conversation),
    "lightning": ("/api/v1/lightning/get_text?sample_rate=8000", pulse_conversation),
    "slng": ("/v1/stt/slng/deepgram/nova:3-en", slng_conversation),
    "slng bridge": ("/v1/bridges/unmute/stt/any", slng_conversation),
}

# ── Streams ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class StreamAttack:
    """
    Spoiled conversations over one WebSocket route.

    Args:
        port: of the gateway.
        token: of its speech APIs.
        target: one of `STREAMS`.
    """

    def __init__(self, port: int, token: str, target: str, answers: Answers) -> None:
        self._port = port
        self._token = token
        self._target = target
        self._answers = answers
        self._path, self._converse = STREAMS[target]

    async def __call__(self, draw: random.Random) -> int:
        mutator = Mutator(draw, _MOST_BYTES)
        messages, spoiled = mutator.conversation(self._converse(draw), draw.choice((0.3, 0.7, 0.9)))
        if draw.random() < 0.85:  # a start that cannot be is the end of most conversations: not of all
            messages = [*self._converse(draw)[:2], *messages[2:]]
        frames = [_framed(draw, self._legible(draw, each)) for each in messages]
        if draw.random() < 0.2:
            frames.insert(draw.randrange(len(frames) + 1), _bad_frame(draw))
            spoiled += 1
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(upgrade(self._path, Authorization=f"Bearer {self._token}"))
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 101"):
                self._answers.note(self._target, f"refused {head[9:12].decode()}")
                return 0
            return await self._converse_over(draw, reader, writer, frames, spoiled)
        finally:
            writer.transport.abort()

    def _legible(self, draw: random.Random, message: Message) -> Message:
        """
        Mostly as UTF-8 where it is text.

        RFC 6455 has the socket closed for anything else, and after that there is nobody to be attacked. On Twilio's
        route the dialect itself reads the octets.
        """
        if isinstance(message, bytes) or self._target == "twilio" or draw.random() < 0.02:
            return message
        return octets_of(message).decode("utf-8", "replace")

    async def _converse_over(
        self,
        draw: random.Random,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        frames: Sequence[bytes],
        spoiled: int,
    ) -> int:
        async with asyncio.TaskGroup() as tasks:
            listening = tasks.create_task(closing(reader))
            sent = 0
            try:
                while sent < len(frames) and not listening.done():
                    writer.write(b"".join(frames[sent : sent + _BATCH]))
                    await writer.drain()
                    sent = min(sent + _BATCH, len(frames))
                is_over = listening.done()
                leaving = draw.random()
                if leaving < 0.7:
                    writer.write(close(draw.choice((1000, 1000, 1001, 1005, 4000))))
                elif leaving < 0.85:
                    writer.write_eof()
                else:
                    writer.transport.abort()
            except (ConnectionError, OSError):
                is_over, leaving = True, 0.0
            answer = await listening
        if leaving < 0.7 or is_over:
            self._answers.note(self._target, answer)
        self._answers.sent[self._target] += sent
        share = spoiled * sent // max(1, len(frames))
        self._answers.spoiled[self._target] += share
        return share


def _framed(draw: random.Random, message: Message) -> bytes:
    """A message in one frame, or now and then in several, with a ping between: both are legal."""
    opcode = raw_websocket.BINARY if isinstance(message, bytes) else raw_websocket.TEXT
    octets = octets_of(message)
    roll = draw.random()
    if roll > 0.05:
        return frame(opcode, octets)
    at = draw.randrange(len(octets) + 1)
    ping = frame(raw_websocket.PING, octets[:at][:125]) if roll < 0.03 else b""
    rest = frame(raw_websocket.CONTINUATION, octets[at:])
    return frame(opcode, octets[:at], fin=False) + ping + rest


def _bad_frame(draw: random.Random) -> bytes:
    """What RFC 6455 forbids, or a length that never comes."""
    text = b'{"event":"media"}'
    return draw.choice(
        (
            frame(raw_websocket.TEXT, text, rsv=draw.randrange(1, 8)),
            frame(draw.choice((3, 4, 5, 6, 7, 11, 12, 13, 14, 15)), text),
            frame(raw_websocket.TEXT, text, masked=False),
            frame(raw_websocket.PING, bytes(126)),
            frame(raw_websocket.PING, b"", fin=False),
            frame(raw_websocket.CLOSE, b"\x03"),
            frame(raw_websocket.CLOSE, b"\x00\x00"),
            frame(raw_websocket.CLOSE, b"\x03\xe8\xff\xfe"),
            frame(raw_websocket.CONTINUATION, text),
            frame(raw_websocket.TEXT, b"\xc3\x28"),
            frame(raw_websocket.TEXT, text, fin=False) + frame(raw_websocket.TEXT, text),
            frame(raw_websocket.BINARY, bytes(draw.choice((65_537, 100_000, 1_100_000)))),
            b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff" + bytes(64),
            b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff" + bytes(64),
            draw.randbytes(200),
            b"GET / HTTP/1.1\r\n\r\n",
        )
    )


async def closing(reader: asyncio.StreamReader) -> str:
    """The code with which the gateway closed; `cut` if it went without one, `reset` if that cannot be told."""
    frames = FrameReader()
    code = "cut"
    try:
        async with asyncio.timeout(ANSWER_S):
            while octets := await reader.read(1 << 16):
                for each in frames.feed(octets):
                    if each.opcode == raw_websocket.CLOSE:
                        code = str(raw_websocket.close_code(each.payload))
    except ConnectionError:  # who goes on talking to a socket that is closed gets this, and what was said to it is lost
        return "reset" if code == "cut" else code
    except TimeoutError:
        return "never closed"
    return code


Attack = Callable[[random.Random], Awaitable[int]]
