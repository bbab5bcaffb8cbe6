"""What fits the acoustic model to telephone speech: how it is made, that it is used, and where it is not."""

import importlib.util
import json
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import click
import jiwer
import numpy as np
import pocketsphinx
import pytest
import soundfile
from click.testing import CliRunner
from numpy.typing import NDArray

import gateway
from gateway.engines.decoder import DATA, Band, Decoder
from gateway.engines.sphinx import SphinxEngines
from gateway.events import Final, RecognizerRequest
from telephony_codecs.convert import Converter
from telephony_codecs.formats import AudioFormat

RECORDING = Path(gateway.__file__).parent / "simulate" / "recordings" / "demo.flac"
ROOT = Path(__file__).parents[2]
SENTENCES = ROOT.parent / "shared" / "audio" / "sentences"
LINE, WIDE = AudioFormat.parse("linear16-8000"), AudioFormat.parse("linear16-16000")


@pytest.fixture(scope="module")
def adapt() -> ModuleType:
    path = ROOT / "scripts" / "adapt"
    if not path.exists():
        pytest.skip("the scripts are not beside these tests")
    loader = SourceFileLoader("adapt", str(path))
    spec = importlib.util.spec_from_loader("adapt", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def numbers(path: Path) -> list[float]:
    """All that a file says before its note."""
    return [float(word) for word in path.read_text().partition("#")[0].replace(",", " ").split()]


def transcribe(engines: SphinxEngines, audio: bytes, form: AudioFormat) -> str:
    engine = engines.open(RecognizerRequest(format=form))
    chunk = form.rate_hz // 10 * form.bytes_per_sample
    events = [event for start in range(0, len(audio), chunk) for event in engine.accept(audio[start : start + chunk])]
    events += engine.end()
    engines.close(engine)
    return " ".join(event.text for event in events if isinstance(event, Final))


def demo_wer(engines: SphinxEngines, gain: float = 1.0) -> float:
    """Both tracks of the recording that the project brings, made louder or softer."""
    samples, _ = soundfile.read(RECORDING, dtype="int16")
    turns = json.loads(RECORDING.with_suffix(".json").read_text())
    tracks = [(samples[:, number] * gain).astype(np.int16).tobytes() for number in range(2)]
    said = [" ".join(turn["text"] for turn in turns if turn["track"] == track) for track in ("inbound", "outbound")]
    return float(jiwer.wer(said, [transcribe(engines, track, LINE) for track in tracks]))


def test_telephone_speech_is_understood_in_the_main(engines: SphinxEngines) -> None:
    assert demo_wer(engines) <= 0.5


@pytest.mark.parametrize("gain", [0.2, 0.5])
def test_soft_telephone_speech_is_understood_as_well(engines: SphinxEngines, gain: float) -> None:
    """From a level that the start-up mean does not suppose: the first utterance is recognised by its own."""
    assert demo_wer(engines, gain) <= 0.55


@pytest.mark.parametrize(
    ("form", "band"),
    [
        ("mulaw-8000", Band.TELEPHONE),
        ("alaw-8000", Band.TELEPHONE),
        ("linear16-8000", Band.TELEPHONE),
        ("linear16-11025", Band.WIDE),
        ("linear16-16000", Band.WIDE),
    ],
)
def test_the_band_follows_from_the_rate(engines: SphinxEngines, form: str, band: Band) -> None:
    engine = engines.open(RecognizerRequest(format=AudioFormat.parse(form)))
    assert engine.decoder.band is band
    engines.close(engine)


def test_wide_band_is_recognised_by_the_model_as_it_comes(caller: NDArray[np.int16]) -> None:
    """One utterance equals what the library makes of it without any option of ours."""
    converter = Converter(LINE, WIDE)
    pcm = converter.convert(caller[: 8000 * 7 // 2].tobytes()) + converter.flush()
    library = pocketsphinx.Decoder(loglevel="FATAL", fwdflat=False)
    library.start_utt()
    library.process_raw(pcm, full_utt=True)
    library.end_utt()
    ours = Decoder(Band.WIDE)
    ours.begin(0.0)
    ours.hear(pcm)
    said = " ".join(word.word for word in ours.finish())
    assert said == library.hyp().hypstr


def test_a_session_does_not_depend_on_one_of_the_other_band(engines: SphinxEngines, caller: NDArray[np.int16]) -> None:
    audio = caller[4000 : 8000 * 7 // 2].tobytes()
    before = transcribe(engines, audio, LINE)
    transcribe(engines, audio * 2, WIDE)
    assert transcribe(engines, audio, LINE) == before != ""


def test_the_shipped_transform_is_whole() -> None:
    values = numbers(DATA / "telephone.mllr")
    stream = 1 + 13 * 13 + 13 + 13
    assert values[:2] == [1, 3]
    assert len(values) == 2 + 3 * stream
    assert values[2::stream] == [13, 13, 13]
    assert len(numbers(DATA / "telephone.cmn")) == 13


def test_the_script_makes_what_is_shipped(adapt: ModuleType, tmp_path: Path) -> None:
    if not SENTENCES.is_dir():
        pytest.skip("the sentences are not beside this checkout (../shared/audio)")
    result = CliRunner().invoke(adapt.main, ["fit", str(SENTENCES), "--output", str(tmp_path)])
    assert result.exit_code == 0, result.output
    for name, tolerance in (("telephone.mllr", 0.01), ("telephone.cmn", 1.0)):
        assert numbers(tmp_path / name) == pytest.approx(numbers(DATA / name), abs=tolerance)


def test_the_fit_finds_the_matrix(adapt: ModuleType) -> None:
    random = np.random.default_rng(5)
    matrix = np.eye(13) * 0.7 + random.normal(size=(13, 13)) * 0.1
    wide = random.normal(size=(400, 13))
    pairs = adapt.pair(wide, wide @ matrix.T + random.normal(size=13))
    for pair in pairs:
        found, unexplained = adapt.fit([pair])
        assert found == pytest.approx(matrix)
        assert unexplained == pytest.approx(np.zeros(13), abs=1e-9)


def test_the_telephone_keeps_its_band_and_nothing_else(adapt: ModuleType) -> None:
    """Tones of equal strength: inside the band as they were, outside it at least 12 dB weaker."""
    levels = {}
    for tone_hz in (100, 150, 1000, 2500, 3900):
        tone = np.rint(8000 * np.sin(2 * np.pi * tone_hz * np.arange(16_000) / 16_000)).astype(np.int16)
        line = adapt.convert(adapt.carry(tone.tobytes(), WIDE, (300, 3400)), adapt.G711, LINE)
        middle = np.frombuffer(line, np.int16)[2000:6000].astype(float)
        levels[tone_hz] = 20 * np.log10(np.sqrt(2 * np.mean(middle**2)) / 8000)
    assert [levels[1000], levels[2500]] == pytest.approx([0, 0], abs=0.5)
    assert max(levels[100], levels[150], levels[3900]) < -12


def test_recordings_of_less_than_wide_band_are_refused(adapt: ModuleType, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(8000, np.int16), 8000)
    with pytest.raises(click.ClickException, match="not wide band"):
        CliRunner().invoke(
            adapt.main, ["fit", str(tmp_path), "--output", str(tmp_path)], standalone_mode=False, catch_exceptions=False
        )
