"""
Everything behind the server that is measured, as one program: the speech service and the webhook receiver.

    python -m tests.bench.far_side --audio mulaw-8000 --results FILE [--finals-every 2] [--ignore-message 7] [--chunks]

Prints its ports as one line of JSON, serves until its standard input ends, and then writes what came to the file.
"""

import argparse
import asyncio
import gc
import json
import sys
from pathlib import Path

import msgspec
import uvloop

from telephony_codecs.formats import AudioFormat
from tests.bench.outcome import Behind, TrackHeard
from tests.bench.receiver import HookSocket, Received
from tests.bench.sink import Heard, Orders, SpeechSocket

BACKLOG = 4096


async def serve(orders: Orders) -> Behind:
    """Serve until standard input ends; returns what came."""
    heard, received = Heard(), Received()
    loop = asyncio.get_running_loop()
    speech = await loop.create_server(lambda: SpeechSocket(orders, heard), "127.0.0.1", 0, backlog=BACKLOG)
    hook = await loop.create_server(lambda: HookSocket(received), "127.0.0.1", 0, backlog=BACKLOG)
    ports = [server.sockets[0].getsockname()[1] for server in (speech, hook)]
    print(json.dumps({"event": "far_side_started", "speech_port": ports[0], "hook_port": ports[1]}), flush=True)
    gc.freeze()
    await loop.run_in_executor(None, sys.stdin.buffer.read)
    speech.close()
    hook.close()
    return _summary(heard, received)


def _summary(heard: Heard, received: Received) -> Behind:
    for ear in heard.ears.values():
        ear.detector.end()
    tracks = {
        name: TrackHeard(
            frames=ear.detector.heard_frames,
            sessions=ear.sessions,
            messages=ear.messages,
            pulses=[(each.frame, each.code, each.at, each.until_frame) for each in ear.detector.found],
            chunks=list(zip(ear.chunks[::2], ear.chunks[1::2], strict=True)),
        )
        for name, ear in heard.ears.items()
    }
    return Behind(
        tracks=tracks,
        finals=[(at, received.finals.get(text)) for text, at in heard.finals.items()],
        events=received.types,
        disordered=received.disordered,
        incomplete=received.incomplete,
        said=heard.finals,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="The speech service and the webhook receiver of the benchmark.")
    parser.add_argument("--audio", required=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--finals-every", type=float, default=0.0, help="seconds between finals of one track; 0: none")
    parser.add_argument("--ignore-message", type=int, default=0, help="one message of audio that is not heard")
    parser.add_argument("--chunks", action="store_true", help="note each message of audio")
    arguments = parser.parse_args()
    form = AudioFormat.parse(arguments.audio)
    what = Orders(form, arguments.finals_every, arguments.ignore_message, notes_chunks=arguments.chunks)
    arguments.results.write_bytes(msgspec.json.encode(uvloop.run(serve(what))))
