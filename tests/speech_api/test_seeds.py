"""The vendor's own Python programs, unchanged but for host, key and file, against our server."""

from pathlib import Path

import pytest

from gateway.events import Final, Finished, Partial
from tests.support import seeds
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
