"""The vendors' own Node programs, unchanged but for host, key and file, against our server."""

from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway.events import Final, Finished, Partial
from tests.support import javascript_seeds as seeds
from tests.support.scripted_recognizer import ScriptedRecognizers
from tests.support.speech_server import TOKEN, speech_server
from tests.support.upload_server import TRANSCRIPT, RecordingScript, upload_server
from tests.support.wav_file import wav

AUDIO = bytes(range(256)) * 250
SENTENCE = "Hello, how are you?"


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Two seconds in a WAV file, header and all."""
    path = tmp_path / "audio.wav"
    path.write_bytes(wav(AUDIO))
    return path


@pytest.fixture
def recognizers() -> ScriptedRecognizers:
    """Says a partial at once, and a sentence when asked or at the end."""
    return ScriptedRecognizers(
        # At once: a partial that still waits to be sent gives way to what follows it.
        on_audio=lambda session, _audio: [] if session.calls else [Partial(text="hello how")],
        on_finalize=lambda _session: [Final(text=SENTENCE, language="en", from_finalize=True)],
        on_end=lambda _session: [Final(text=SENTENCE, language="en"), Finished()],
    )


async def test_the_realtime_example_prints_its_transcript_and_ends(
    tmp_path: Path, recording: Path, recognizers: ScriptedRecognizers
) -> None:
    async with speech_server(recognizers) as server:
        program = seeds.pulse_realtime_node(server.host, recording)
        seed = await seeds.run_node(program, tmp_path, SMALLEST_API_KEY=TOKEN)
    assert (seed.code, seed.errors) == (0, "")
    assert "Partial: hello how" in seed.output
    assert f"Final: {SENTENCE}\nFull transcript: {SENTENCE}" in seed.output
    assert "Transcription complete!\nConnection closed: 1000" in seed.output
    assert recognizers.sessions[0].audio == AUDIO, "the header was heard or audio was lost"


async def test_the_integration_guides_realtime_example_prints_its_transcript_and_ends(
    tmp_path: Path, recording: Path, recognizers: ScriptedRecognizers
) -> None:
    async with speech_server(recognizers) as server:
        program = seeds.guide_realtime_node(server.host, recording)
        seed = await seeds.run_node(program, tmp_path, SMALLEST_API_KEY=TOKEN)
    assert (seed.code, seed.errors) == (0, "")
    assert f"[FINAL] {SENTENCE}\n[FULL SESSION] {SENTENCE}" in seed.output
    assert recognizers.sessions[0].audio == AUDIO


async def test_the_slng_quickstart_prints_its_transcript_and_ends(
    tmp_path: Path, recording: Path, recognizers: ScriptedRecognizers
) -> None:
    async with speech_server(recognizers) as server:
        program = seeds.slng_quickstart_node(server.host)
        seed = await seeds.run_node(program, tmp_path, str(recording), SLNG_API_KEY=TOKEN)
    assert (seed.code, seed.errors) == (0, "")
    assert seed.output.startswith("Session ready: ")
    assert "Interim: hello how" in seed.output
    assert seed.output.endswith(f"Final: {SENTENCE}\nConnection closed\n")
    assert recognizers.sessions[0].audio == AUDIO, "the header was heard or audio was lost"


async def test_the_integration_guides_batch_example_prints_the_transcription(tmp_path: Path, recording: Path) -> None:
    async with upload_server(tmp_path, script := RecordingScript()) as base:
        program = seeds.guide_batch_node(base.removeprefix("http://"), recording)
        seed = await seeds.run_node(program, tmp_path, SMALLEST_API_KEY=TOKEN)
    assert (seed.code, seed.output, seed.errors) == (0, f"{TRANSCRIPT.text}\n", "")
    assert script.heard[0][0] == wav(AUDIO)


async def test_the_integration_guides_example_with_a_url_prints_the_transcription(
    tmp_path: Path, recording: Path
) -> None:
    elsewhere = web.Application()
    elsewhere.router.add_static("/", recording.parent)
    async with (
        TestServer(elsewhere, host="127.0.0.1") as files,
        upload_server(tmp_path, script := RecordingScript(), batch={"fetch_private": True}) as base,
    ):
        program = seeds.guide_batch_url_node(base.removeprefix("http://"), str(files.make_url("/audio.wav")))
        seed = await seeds.run_node(program, tmp_path, SMALLEST_API_KEY=TOKEN)
    assert (seed.code, seed.output, seed.errors) == (0, f"{TRANSCRIPT.text}\n", "")
    assert script.heard[0][0] == wav(AUDIO)
