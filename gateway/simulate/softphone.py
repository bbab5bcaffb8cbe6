"""The phone platform, simulated: plays a recording as a Twilio media stream over a real WebSocket."""

import asyncio
import base64
import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import aiohttp

from gateway.dialects import twilio_signature
from gateway.errors import DialectError, UnavailableError
from gateway.events import Track
from gateway.stream_tokens import NONCE_BYTES, StreamTokens, derived_key

FRAME_MS = 20
FRAME_BYTES = 160
CONNECT_S = 10.0
TOKEN_S = 60.0
CLOSE_S = 60.0
"""How long the gateway may take to close the stream after `stop`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TwilioCall:
    """
    One call to place.

    Args:
        url: `ws://` or `wss://` address of the stream.
        audio: mu-law of each track; the shorter one is followed by silence.
        speed: 1 plays in real time, 10 ten times as fast, 0 as fast as it goes.
        auth_token: signs the upgrade as Twilio does.
        with_token: put a one-time token into the address, as the gateway's own TwiML does; needs `auth_token`.
        parameters: `<Parameter>`s of the stream.
    """

    url: str
    audio: Mapping[Track, bytes]
    speed: float = 1.0
    auth_token: str | None = None
    with_token: bool = False
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Played:
    """How a call went: ids, audio sent per track, and the code with which the gateway closed the stream."""

    call_sid: str
    stream_sid: str
    audio_s: float
    close_code: int | None


async def place(call: TwilioCall, *, on_progress: Callable[[float], None] | None = None) -> Played:
    """
    Play the call to its end.

    Raises:
        UnavailableError: not reached, or the upgrade was refused (`code` is `refused_401` and the like).
        DialectError: the gateway closed the stream before its end.
    """
    call_sid = f"CA{secrets.token_hex(16)}"
    url, headers = call.url, {}
    if call.auth_token is not None:
        if call.with_token:
            url += "/" + _stream_token(call.auth_token, call_sid)
        headers["X-Twilio-Signature"] = twilio_signature.compute(call.auth_token, url)
    timeout = aiohttp.ClientTimeout(total=None, connect=CONNECT_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        try:
            socket = await session.ws_connect(url, headers=headers, compress=0, autoping=True)
        except aiohttp.WSServerHandshakeError as error:
            raise UnavailableError(
                f"the gateway refused the stream: HTTP {error.status}", code=f"refused_{error.status}"
            ) from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnavailableError(f"the gateway was not reached: {type(error).__name__}") from None
        async with socket:
            return await _play(call, socket, call_sid, on_progress)


def _stream_token(auth_token: str, call_sid: str) -> str:
    tokens = StreamTokens(derived_key(auth_token), TOKEN_S)
    return tokens.issue(call_sid, time.time(), secrets.token_bytes(NONCE_BYTES))


async def _play(
    call: TwilioCall,
    socket: aiohttp.ClientWebSocketResponse,
    call_sid: str,
    on_progress: Callable[[float], None] | None,
) -> Played:
    stream_sid = f"MZ{secrets.token_hex(16)}"
    played: Played | None = None
    async with asyncio.TaskGroup() as tasks:
        closed = tasks.create_task(_wait_for_close(socket))
        try:
            sent_s = await _send(call, socket, call_sid, stream_sid, on_progress)
            async with asyncio.timeout(CLOSE_S):
                played = Played(call_sid, stream_sid, sent_s, await closed)
        except (ConnectionError, TimeoutError):
            closed.cancel()
    if played is None:  # not raised inside, where the task group would wrap it
        raise DialectError("the gateway closed the stream before its end", code="stream_cut")
    return played


async def _wait_for_close(socket: aiohttp.ClientWebSocketResponse) -> int | None:
    """Read whatever the gateway sends, which also answers its pings."""
    async for _ in socket:
        pass
    return socket.close_code


async def _send(
    call: TwilioCall,
    socket: aiohttp.ClientWebSocketResponse,
    call_sid: str,
    stream_sid: str,
    on_progress: Callable[[float], None] | None,
) -> float:
    """Every message of the stream, each frame at its time. Returns the seconds played."""
    account = "AC" + "0" * 32
    sequence = 0

    async def send(event: str, **fields: object) -> None:
        nonlocal sequence
        sequence += 1
        message = {"event": event, "sequenceNumber": str(sequence), "streamSid": stream_sid, **fields}
        await socket.send_str(json.dumps(message))

    await socket.send_str(json.dumps({"event": "connected", "protocol": "Call", "version": "1.0.0"}))
    await send(
        "start",
        start={
            "accountSid": account,
            "streamSid": stream_sid,
            "callSid": call_sid,
            "tracks": list(call.audio),
            "customParameters": dict(call.parameters),
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        },
    )
    clock = asyncio.get_running_loop().time
    began = clock()
    frames = -(-max((len(each) for each in call.audio.values()), default=0) // FRAME_BYTES)
    for number in range(frames):
        if call.speed > 0:
            ahead = began + number * FRAME_MS / 1000 / call.speed - clock()
            if ahead > 0:
                await asyncio.sleep(ahead)
        for track, audio in call.audio.items():
            payload = audio[number * FRAME_BYTES : (number + 1) * FRAME_BYTES].ljust(FRAME_BYTES, b"\xff")
            await send(
                "media",
                media={
                    "track": track,
                    "chunk": str(number + 1),
                    "timestamp": str(number * FRAME_MS),
                    "payload": base64.b64encode(payload).decode(),
                },
            )
        if on_progress is not None:
            on_progress((number + 1) * FRAME_MS / 1000)
    await send("stop", stop={"accountSid": account, "callSid": call_sid})
    return frames * FRAME_MS / 1000
