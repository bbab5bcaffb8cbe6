"""
The vendors' own browser programs, unchanged but for the host, in a real browser against our server.

They send no key, so the server is told to accept anybody. What a program leaves to its page is defined around it.
"""

from pathlib import Path

import numpy as np
import pytest

from gateway.events import Final, Finished, Partial, RecognizerEvent
from tests.support import javascript_seeds as seeds
from tests.support.browser import open_page
from tests.support.scripted_recognizer import ScriptedRecognizer, ScriptedRecognizers
from tests.support.speech_server import speech_server
from tests.support.wav_file import wav

AUDIO = bytes(range(256)) * 250
SENTENCE = "Hello, how are you?"
RATE_HZ = 16000
TONE_HZ = 440

FILE_PAGE = """
<input type="file" id="audioFile"><p id="transcript"></p><p id="partial"></p>
<script>
const show = (id) => (text) => { document.getElementById(id).textContent = text; };
const updateTranscript = show("transcript"), updatePartialTranscript = show("partial");
</script>
"""
# The program stops by itself after half a minute; this page's minutes are shorter.
MICROPHONE_PAGE = """
<script>
const realSetTimeout = window.setTimeout;
window.setTimeout = (callback, delay) => realSetTimeout(callback, delay / 10);
</script>
"""
LIGHTNING_PAGE = """<input type="file" id="audioFile">"""
# The program is a function that its page calls with a file.
LIGHTNING_HARNESS = """
document.getElementById("audioFile").addEventListener("change", (event) => transcribeAudio(event.target.files[0]));
"""


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Two seconds in a WAV file, header and all."""
    path = tmp_path / "audio.wav"
    path.write_bytes(wav(AUDIO))
    return path


async def test_the_file_example_shows_its_transcript_and_ends(tmp_path: Path, recording: Path) -> None:
    recognizers = ScriptedRecognizers(
        on_audio=lambda _session, _audio: [Partial(text="hello how")],
        on_finalize=lambda _session: [Final(text=SENTENCE, language="en", from_finalize=True)],
    )
    async with speech_server(recognizers, anonymous=True) as server:
        html = f"{FILE_PAGE}<script>{seeds.pulse_file_browser(server.host)}</script>"
        async with open_page(html, tmp_path) as page:
            await page.choose_file("#audioFile", recording)
            await page.until(lambda: "Connection closed: 1000" in page.console)
            assert await page.evaluate("document.getElementById('transcript').textContent") == SENTENCE
            assert await page.evaluate("document.getElementById('partial').textContent") == "hello how"
    assert "Transcription complete!" in page.console
    assert page.errors == []
    assert recognizers.sessions[0].audio == AUDIO, "the header was heard or audio was lost"


async def test_the_lightning_example_prints_its_transcript_and_ends(tmp_path: Path, recording: Path) -> None:
    recognizers = ScriptedRecognizers(on_end=lambda _session: [Final(text=SENTENCE, language="en"), Finished()])
    async with speech_server(recognizers, anonymous=True) as server:
        html = f"{LIGHTNING_PAGE}<script>{seeds.lightning_browser(server.host)}{LIGHTNING_HARNESS}</script>"
        async with open_page(html, tmp_path) as page:
            await page.choose_file("#audioFile", recording)
            await page.until(lambda: "Connection closed: 1000" in page.console)
    assert any(line.startswith("Received:") and SENTENCE in line for line in page.console)
    assert page.errors == []
    assert recognizers.sessions[0].audio == AUDIO, "the header was heard or audio was lost"


async def test_the_microphone_example_prints_what_was_said_into_it(tmp_path: Path) -> None:
    tone = 8000 * np.sin(2 * np.pi * TONE_HZ / RATE_HZ * np.arange(4 * RATE_HZ))
    microphone = tmp_path / "microphone.wav"
    microphone.write_bytes(wav(tone.astype("<i2").tobytes()))
    async with speech_server(recognizers := after_a_second(), anonymous=True) as server:
        html = f"{MICROPHONE_PAGE}<script>{seeds.pulse_microphone_browser(server.host)}</script>"
        async with open_page(html, tmp_path, microphone=microphone) as page:
            await page.until(lambda: f"Transcript: {SENTENCE}" in page.console)
            session = recognizers.sessions[0]
            await session.until(lambda: "end" in session.calls)
    assert page.errors == []
    assert loudest_hz(session.audio) == pytest.approx(TONE_HZ, abs=5)


def after_a_second() -> ScriptedRecognizers:
    """Says its sentence once it has heard a second of audio."""

    def on_audio(session: ScriptedRecognizer, audio: bytes) -> list[RecognizerEvent]:
        before = len(session.audio) - len(audio)
        return [Final(text=SENTENCE, language="en")] if before < 2 * RATE_HZ <= len(session.audio) else []

    return ScriptedRecognizers(on_audio=on_audio)


def loudest_hz(audio: bytes | bytearray) -> float:
    samples = np.frombuffer(bytes(audio), "<i2")
    return float(np.argmax(np.abs(np.fft.rfft(samples * np.hanning(len(samples))))) * RATE_HZ / len(samples))
