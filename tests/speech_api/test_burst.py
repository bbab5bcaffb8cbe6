"""Many clients at once that send everything before they read anything, as the vendors' own samples do."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from gateway.events import Final, Partial, RecognizerEvent, Word
from tests.support.scripted_recognizer import ScriptedRecognizer, ScriptedRecognizers
from tests.support.speech_server import HEADERS, speech_server

CLIENTS = 64
SECONDS = 60  # of audio, sent as fast as the socket takes it: far beyond 50 times real time
SECOND_BYTES = 8000


def says_each_second(session: ScriptedRecognizer, _audio: bytes) -> Iterator[RecognizerEvent]:
    """A partial and a final for each second of audio, named by the second's own bytes."""
    said = session.calls.count("send") - 1
    for number in range(said, len(session.audio) // SECOND_BYTES):
        text = f"second {session.audio[number * SECOND_BYTES]}"
        yield Partial(text=text)
        word = Word(word=text, start_s=float(number), end_s=number + 0.9)
        yield Final(text=text, start_s=float(number), end_s=number + 0.9, words=(word,))


async def transcript_of_a_burst(url: str) -> list[str]:
    async with connect(url, additional_headers=HEADERS, compression=None) as socket:
        for number in range(SECONDS):
            await socket.send(bytes([number]) * SECOND_BYTES)
        await socket.send(json.dumps({"type": "close_stream"}))
        finals = [message async for message in _messages(socket) if message["is_final"] and message["transcript"]]
        assert socket.close_code == 1000
    return [message["transcript"] for message in finals]


async def _messages(socket: ClientConnection) -> AsyncIterator[dict[str, Any]]:
    async for text in socket:
        yield json.loads(text)


async def test_sixty_four_clients_that_burst_before_they_read_neither_deadlock_nor_lose_a_word() -> None:
    recognizers = ScriptedRecognizers(on_audio=says_each_second)
    async with speech_server(recognizers, socket_buffer_bytes=8192) as server:
        url = server.live("encoding=mulaw&sample_rate=8000&language=en")
        async with asyncio.timeout(50), asyncio.TaskGroup() as tasks:
            clients = [tasks.create_task(transcript_of_a_burst(url)) for _ in range(CLIENTS)]
    assert [client.result() for client in clients] == [[f"second {number}" for number in range(SECONDS)]] * CLIENTS
