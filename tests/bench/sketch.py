"""
The baseline: a forwarder in aiohttp, websockets, uvloop and msgspec, as short as it can be while fast.

    python -m tests.bench.sketch --sink ws://127.0.0.1:PORT --audio mulaw-8000

No timeline, journal, outbox, metrics, limits, signatures or reconnecting: what is cheaper than this is cheap. It reads
the Twilio dialect at `/twilio/stream` and sends each track's audio, five frames at a time, to
`SINK/{customParameters.bench}-{track}`.
"""

import argparse
import asyncio
import json
from collections.abc import Callable

import msgspec
import numpy as np
import uvloop
from aiohttp import WSMsgType, web
from websockets.asyncio.client import ClientConnection, connect

from telephony_codecs import mulaw

FRAMES_PER_SEND = 5
_HALF_TAPS = 32


class _Audio(msgspec.Struct, gc=False):
    track: str
    payload: bytes


class Media(msgspec.Struct, tag_field="event", tag="media", gc=False):
    media: _Audio


class _Begin(msgspec.Struct, rename="camel"):
    tracks: list[str]
    custom_parameters: dict[str, str]


class Start(msgspec.Struct, tag_field="event", tag="start"):
    start: _Begin


class Stop(msgspec.Struct, tag_field="event", tag="stop"):
    pass


class Connected(msgspec.Struct, tag_field="event", tag="connected"):
    pass


_decode = msgspec.json.Decoder(Media | Start | Stop | Connected).decode


class Doubler:
    """8 to 16 kHz by one convolution per chunk: every second sample is there already, 4 ms late as the filter is."""

    _at = np.arange(2 * _HALF_TAPS) - _HALF_TAPS + 0.5
    _taps = (np.sinc(_at) * np.kaiser(2 * _HALF_TAPS, 8.0)).astype(np.float32)

    def __init__(self) -> None:
        self._past = np.zeros(2 * _HALF_TAPS - 1, np.int16)

    def __call__(self, audio: bytes) -> bytes:
        samples = np.concatenate((self._past, np.frombuffer(mulaw.decode(audio), np.int16)))
        size = len(samples) - len(self._past)
        self._past = samples[size:]
        doubled = np.empty(2 * size, np.int16)
        doubled[0::2] = samples[_HALF_TAPS - 1 : _HALF_TAPS - 1 + size]
        between = np.convolve(samples.astype(np.float32), self._taps, "valid")
        doubled[1::2] = np.clip(np.rint(between), -32768, 32767)
        return doubled.tobytes()


def converter(audio: str) -> Callable[[bytes], bytes]:
    """From mu-law to one of the gateway's forms of audio."""
    forms: dict[str, Callable[[], Callable[[bytes], bytes]]] = {
        "mulaw-8000": lambda: bytes,
        "linear16-8000": lambda: mulaw.decode,
        "linear16-16000": Doubler,
    }
    return forms[audio]()


class Track:
    """One track: the frames that wait for their chunk, and where that goes."""

    def __init__(self, socket: ClientConnection, convert: Callable[[bytes], bytes]) -> None:
        self.socket = socket
        self.convert = convert
        self.frames: list[bytes] = []

    async def send(self) -> None:
        """Send what waits."""
        audio = self.convert(b"".join(self.frames))
        self.frames.clear()
        await self.socket.send(audio)


async def handle(request: web.Request, sink: str, audio: str) -> web.WebSocketResponse:
    """One call."""
    socket = web.WebSocketResponse(compress=False, decode_text=False)
    await socket.prepare(request)
    tracks: dict[str, Track] = {}
    async with asyncio.TaskGroup() as listeners:
        while (received := await socket.receive()).type is WSMsgType.TEXT:
            message = _decode(received.data)
            if type(message) is Media:
                track = tracks[message.media.track]
                track.frames.append(message.media.payload)
                if len(track.frames) == FRAMES_PER_SEND:
                    await track.send()
            elif type(message) is Start:
                for name in message.start.tracks:
                    url = f"{sink}/{message.start.custom_parameters['bench']}-{name}"
                    stt = await connect(url, compression=None, ping_interval=None, proxy=None)
                    tracks[name] = Track(stt, converter(audio))
                    listeners.create_task(_listen(stt))
            elif type(message) is Stop:
                break
        for track in tracks.values():
            if track.frames:
                await track.send()
            await track.socket.close()
    return socket


async def _listen(stt: ClientConnection) -> None:
    async for _message in stt:
        pass


async def main(sink: str, audio: str) -> None:
    """Serve until killed."""
    app = web.Application()
    app.router.add_get("/twilio/stream", lambda request: handle(request, sink, audio))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=2048).start()
    host, port = runner.addresses[0][:2]
    print(json.dumps({"event": "sketch_started", "host": host, "port": port}), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="The baseline of the benchmark.")
    parser.add_argument("--sink", required=True)
    parser.add_argument("--audio", required=True)
    arguments = parser.parse_args()
    uvloop.run(main(arguments.sink, arguments.audio))
