"""
A fast engine for tests of worker and pool: it counts bytes, and obeys commands that audio begins with.

    raise       raise an error             exit     end the worker process
    print       write to standard output   block P  wait until somebody has written to the named pipe P
"""

import os
from pathlib import Path

from gateway.engines.base import Engine
from gateway.events import Final, Finished, Partial, RecognizerEvent, RecognizerRequest

REFUSED_RATE_HZ = 12_345


class CountingEngine:
    """Says how many bytes it has heard, and in the how-manieth turn of the whole process."""

    turns = 0

    def __init__(self) -> None:
        self.heard_bytes = 0

    def accept(self, audio: bytes) -> list[RecognizerEvent]:
        CountingEngine.turns += 1
        self.heard_bytes += len(audio)
        command, _, argument = audio.rstrip(b"\0").partition(b" ")
        if command == b"raise":
            raise RuntimeError("as told")
        if command == b"exit":
            os._exit(3)
        if command == b"print":
            os.write(1, b"this is not a reply\n")
            print("nor is this", flush=True)
        if command == b"block":
            Path(argument.decode()).read_bytes()
        return [Partial(text=f"turn {CountingEngine.turns}")]

    def finalize(self) -> list[RecognizerEvent]:
        return [Final(text=str(self.heard_bytes), from_finalize=True)]

    def end(self) -> list[RecognizerEvent]:
        return [Final(text=str(self.heard_bytes)), Finished()]


class CountingEngines:
    """Makes them; knows no audio of `REFUSED_RATE_HZ`."""

    def __init__(self, pause_ms: int) -> None:
        self.pause_ms = pause_ms

    def open(self, request: RecognizerRequest) -> CountingEngine:
        if request.format.rate_hz == REFUSED_RATE_HZ:
            raise ValueError("no such rate")
        return CountingEngine()

    def close(self, engine: Engine) -> None:
        """Nothing is kept."""
