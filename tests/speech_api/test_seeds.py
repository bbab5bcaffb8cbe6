"""The vendor's own Python programs, unchanged but for host, key and file, against our server."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

import pytest

from gateway.events import Final, Finished, Partial, RecognizerEvent
from tests.support import seeds
from tests.support.environments import python_of
from tests.support.scripted_recognizer import ScriptedRecognizer, ScriptedRecognizers
from tests.support.speech_server import TOKEN, speech_server
from tests.support.wav_file import wav

AUDIO = bytes(range(256)) * 250


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Two seconds in a WAV file, header and all."""
    path = tmp_path / "audio.wav"
    path.write_bytes(wav(AUDIO))
    return path


def recognizers() -> ScriptedRecognizers:
    """Says a partial now and then, and a sentence when asked or at the end."""
    sentence = "Hello, how are you?"
    return ScriptedRecognizers(
        on_audio=lambda _session, _audio: [Partial(text="hello how")],
        on_finalize=lambda _session: [Final(text=sentence, language="en", from_finalize=True)],
        on_end=lambda _session: [Final(text=sentence, language="en"), Finished()],
    )


def assert_heard(session: ScriptedRecognizer) -> None:
    assert session.audio == AUDIO, "the header was heard or audio was lost"


async def test_the_realtime_example_prints_its_transcript_and_ends(tmp_path: Path, recording: Path) -> None:
    async with speech_server(api := recognizers()) as server:
        seed = await seeds.run(seeds.pulse_realtime(server.host, recording), tmp_path, key=TOKEN)
    assert (seed.code, seed.errors) == (0, "")
    assert "Partial: hello how" in seed.output
    assert "Final: Hello, how are you?\nFull transcript: Hello, how are you?" in seed.output
    assert "Transcription complete!" in seed.output
    assert_heard(api.sessions[0])


async def test_the_voice_agent_hears_each_turn_and_ends(tmp_path: Path, recording: Path) -> None:
    async with speech_server(api := recognizers()) as server:
        seed = await seeds.run(seeds.live_agent(server.host, TOKEN, recording), tmp_path, key=TOKEN)
    assert (seed.code, seed.errors) == (0, "")
    assert "Turn: Hello, how are you?\n" in seed.output
    assert_heard(api.sessions[0])
    assert api.sessions[0].request.eou_timeout_ms == 1000


async def test_the_single_shot_example_prints_its_transcript_and_ends(tmp_path: Path, recording: Path) -> None:
    async with speech_server(api := recognizers()) as server:
        seed = await seeds.run(seeds.live_single_shot(server.host, TOKEN, recording), tmp_path, key=TOKEN)
    assert (seed.code, seed.errors) == (0, "")
    assert "Hello, how are you?\n" in seed.output
    assert_heard(api.sessions[0])


async def test_the_lightning_example_prints_every_message_until_the_server_closes(
    tmp_path: Path, recording: Path
) -> None:
    async with speech_server(api := recognizers()) as server:
        seed = await seeds.run(seeds.lightning(server.host, TOKEN, recording), tmp_path, key=TOKEN)
    assert (seed.code, seed.errors) == (0, "")
    assert "Finished sending audio" in seed.output
    assert '"full_transcript": "Hello, how are you?",\n  "language": "en"' in seed.output
    assert '"is_last": true' in seed.output
    assert '"type"' not in seed.output
    assert "Connection closed" not in seed.output, "it was not closed with 1000"
    assert_heard(api.sessions[0])


@pytest.fixture
async def old_python() -> Path:
    """A Python whose websockets is of the time when the vendors wrote `extra_headers`."""
    return await asyncio.to_thread(python_of, "old-websockets")


@pytest.mark.timeout(300)
async def test_the_slng_example_prints_its_transcript_and_ends(
    tmp_path: Path, recording: Path, old_python: Path
) -> None:
    api = ScriptedRecognizers(on_end=lambda _session: [Final(text="Hello, how are you?"), Finished()])
    async with speech_server(api) as server, asyncio.TaskGroup() as tasks:
        program = seeds.slng(server.host)
        running = tasks.create_task(seeds.run(program, tmp_path, str(recording), key=TOKEN, python=old_python))
        (await api.session()).say(Partial(text="hello how"))  # what is said later may be merged with the final
    seed = running.result()
    assert (seed.code, seed.errors) == (0, "")
    first, *others = seed.output.splitlines()
    assert first.startswith("Session ready: ")
    assert others == ["Interim: hello how", "Final: Hello, how are you?"]
    assert_heard(api.sessions[0])


MICROPHONE = """
import os
import threading
from pathlib import Path


class RawInputStream:
    def __init__(self, samplerate, channels, dtype, blocksize, callback):
        assert (samplerate, channels, dtype) == (16000, 1, "int16")
        self._block_bytes, self._callback = blocksize * 2, callback

    def __enter__(self):
        threading.Thread(target=self._play, daemon=True).start()

    def __exit__(self, *_):
        pass

    def _play(self):
        audio = Path(os.environ["MICROPHONE"]).read_bytes()
        for at in range(0, len(audio), self._block_bytes):
            block = audio[at : at + self._block_bytes]
            self._callback(block, len(block) // 2, None, None)
"""


@pytest.mark.timeout(300)
async def test_the_microphone_example_shows_what_is_said(tmp_path: Path, old_python: Path) -> None:
    (tmp_path / "sounddevice.py").write_text(MICROPHONE)  # this machine has none
    (tmp_path / "audio.raw").write_bytes(AUDIO)
    async with speech_server(api := ScriptedRecognizers(on_audio=_hear_to_the_end)) as server:
        async with asyncio.TaskGroup() as tasks:
            program = seeds.run_until(
                "[FINAL] Hello, how are you?",
                seeds.microphone(server.host),
                tmp_path,
                key=TOKEN,
                python=old_python,
                MICROPHONE=str(tmp_path / "audio.raw"),
            )
            running = tasks.create_task(program)
            (await api.session()).say(Partial(text="hello how"))
        output = running.result()
        await api.sessions[0].closed.wait()
    assert "\rhello how" in output
    assert_heard(api.sessions[0])


def _hear_to_the_end(session: ScriptedRecognizer, _audio: bytes) -> Iterable[RecognizerEvent]:
    return [Final(text="Hello, how are you?", language="en")] if len(session.audio) == len(AUDIO) else []
