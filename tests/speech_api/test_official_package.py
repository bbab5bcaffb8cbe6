"""
The vendor's official Python package against our server, in an environment of its own.

The programs are ours: they use the package as its documentation says and print what it hands them. Two differences:
messages are its models, because the dictionaries of its own examples fail inside it (5.14.0), and its telemetry, which
is on by default, is switched off.
"""

import asyncio
import textwrap
from pathlib import Path

import pytest

from gateway.events import Final, Finished, Partial, Word
from tests.support.environments import python_of
from tests.support.scripted_recognizer import ScriptedRecognizers
from tests.support.seeds import Finished as Done
from tests.support.seeds import run_command
from tests.support.speech_server import TOKEN, speech_server
from tests.support.upload_server import TRANSCRIPT, RecordingScript, upload_server
from tests.support.wav_file import wav

AUDIO = bytes(range(256)) * 250
FIRST, SECOND = "Hello.", "How are you?"

CLIENT = """
    import sys
    from pathlib import Path
    from smallestai import {client}
    from smallestai.environment import SmallestAIEnvironment
    from smallestai.waves.helpers import stream_speech_to_text
    from smallestai.waves.speech_to_text.types import CloseStream, FinalizeSignal

    http, ws, audio = sys.argv[1], sys.argv[2], Path(sys.argv[3]).read_bytes()
    client = {client}(environment=SmallestAIEnvironment(atoms=http, waves=http, waves_ws=ws, payment=http))
    options = dict(language="en", sample_rate=16000, word_timestamps=True, eou_timeout_ms=700)
"""
STREAM = """
    with stream_speech_to_text(client, **options) as socket:
        socket.send_audio_chunk_out(audio[:3200])
        partial = socket.recv()
        print(partial.is_final, partial.is_last, partial.transcript)
        for at in range(3200, len(audio), 3200):
            socket.send_audio_chunk_out(audio[at : at + 3200])
        socket.send_finalize_signal(FinalizeSignal(type="finalize"))
        socket.send_close_stream(CloseStream(type="close_stream"))
        for event in socket:
            words = [(word.word, word.start, word.end) for word in event.words or ()]
            print(event.is_final, event.is_last, event.transcript, words)
            if event.is_last:
                break
"""
ASYNC_STREAM = """
    import asyncio

    async def main():
        async with stream_speech_to_text(client, **options) as socket:
            await socket.send_audio_chunk_out(audio)
            await socket.send_close_stream(CloseStream(type="close_stream"))
            async for event in socket:
                print(event.is_final, event.is_last, event.transcript)
                if event.is_last:
                    break

    asyncio.run(main())
"""
FILE = """
    answer = client.waves.speech_to_text.transcribe(model="pulse", language="en", request=audio, word_timestamps=True)
    print(answer.transcription)
    print([(word.word, word.start, word.end) for word in answer.words])
"""

pytestmark = pytest.mark.timeout(300)  # the first one installs the package


def recognizers() -> ScriptedRecognizers:
    """A partial, a sentence with word times when asked, another at the end."""
    words = (Word(word="Hello.", start_s=0.25, end_s=0.75, confidence=0.9),)
    return ScriptedRecognizers(
        # Once: a partial that still waits to be sent gives way to what follows it.
        on_audio=lambda session, _audio: [] if session.calls else [Partial(text="hello")],
        on_finalize=lambda _session: [Final(text=FIRST, words=words, language="en", from_finalize=True)],
        on_end=lambda _session: [Final(text=SECOND, language="en"), Finished()],
    )


async def run(host: str, folder: Path, program: str, *, client: str = "SmallestAI", audio: bytes) -> Done:
    python = await asyncio.to_thread(python_of, "official")
    (folder / "audio").write_bytes(audio)
    path = folder / "program.py"
    path.write_text(textwrap.dedent(CLIENT.format(client=client) + program))
    return await run_command(
        *(str(python), "-I", str(path), f"http://{host}", f"ws://{host}", str(folder / "audio")),
        SMALLEST_API_KEY=TOKEN,
        SMALLESTAI_TELEMETRY="0",
    )


async def test_the_streaming_call_hears_partials_finals_and_the_last_message(tmp_path: Path) -> None:
    async with speech_server(api := recognizers()) as server:
        done = await run(server.host, tmp_path, STREAM, audio=AUDIO)
    assert done.code == 0, done.errors
    assert done.output.splitlines() == [
        "False False hello",
        f"True False {FIRST} [('Hello.', 0.25, 0.75)]",
        f"True False {SECOND} []",
        "True True  []",
    ]
    assert api.sessions[0].audio == AUDIO
    assert api.sessions[0].request.eou_timeout_ms == 700


async def test_the_asynchronous_streaming_call_hears_its_last_final(tmp_path: Path) -> None:
    async with speech_server(api := recognizers()) as server:
        done = await run(server.host, tmp_path, ASYNC_STREAM, client="AsyncSmallestAI", audio=AUDIO)
    assert done.code == 0, done.errors
    assert done.output.splitlines()[-2:] == [f"True False {SECOND}", "True True "]
    assert api.sessions[0].audio == AUDIO


async def test_the_call_for_files_returns_text_and_words(tmp_path: Path) -> None:
    audio = wav(AUDIO)
    async with upload_server(tmp_path, script := RecordingScript()) as base:
        done = await run(base.removeprefix("http://"), tmp_path, FILE, audio=audio)
    assert done.code == 0, done.errors
    assert done.output.splitlines() == [TRANSCRIPT.text, "[('Call', 0.1, 0.4)]"]
    assert script.heard[0][0] == audio
