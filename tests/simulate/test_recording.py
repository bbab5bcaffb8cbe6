"""Any recording becomes telephone audio."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from gateway.errors import ConfigError
from gateway.events import Track
from gateway.simulate import recording
from telephony_codecs import mulaw


def written(path: Path, rate_hz: int, *frequencies_hz: float, seconds: float = 1.0) -> Path:
    """A recording with one tone per channel."""
    times = np.arange(int(rate_hz * seconds)) / rate_hz
    tones = [0.5 * np.sin(2 * np.pi * frequency * times) for frequency in frequencies_hz]
    soundfile.write(path, np.stack(tones, axis=1), rate_hz)
    return path


def loudest_hz(audio: bytes) -> float:
    samples = np.frombuffer(mulaw.decode(audio), dtype=np.int16)
    return float(np.argmax(np.abs(np.fft.rfft(samples))) * 8000 / len(samples))


@pytest.mark.parametrize("rate_hz", [8000, 11_025, 16_000, 44_100, 48_000])
def test_mono_is_the_caller_at_8_khz_whatever_its_rate(rate_hz: int, tmp_path: Path) -> None:
    audio = recording.load(written(tmp_path / "a.wav", rate_hz, 440))
    assert list(audio) == [Track.INBOUND]
    assert len(audio[Track.INBOUND]) == pytest.approx(8000, abs=1)
    assert loudest_hz(audio[Track.INBOUND]) == pytest.approx(440, abs=2)


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_of_two_channels_the_left_one_is_the_caller_and_the_right_one_the_agent(name: str, tmp_path: Path) -> None:
    audio = recording.load(written(tmp_path / name, 16_000, 300, 1000))
    assert {track: round(loudest_hz(each), -1) for track, each in audio.items()} == {
        Track.INBOUND: 300,
        Track.OUTBOUND: 1000,
    }


def test_telephone_audio_is_only_companded(tmp_path: Path) -> None:
    samples = mulaw.decode(bytes(range(256)) * 10)
    soundfile.write(tmp_path / "a.wav", np.frombuffer(samples, dtype=np.int16), 8000)
    assert mulaw.decode(recording.load(tmp_path / "a.wav")[Track.INBOUND]) == samples


def test_a_recording_without_a_sample_is_silence(tmp_path: Path) -> None:
    assert recording.load(written(tmp_path / "a.wav", 8000, 440, seconds=0)) == {Track.INBOUND: b""}


def test_more_than_two_channels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="3 channels"):
        recording.load(written(tmp_path / "a.wav", 8000, 1, 2, 3))


@pytest.mark.parametrize("content", [b"", b"this is text", b"RIFF\0\0\0\0WAVE"])
def test_what_is_no_recording_is_refused_by_name(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"a\.wav"):
        recording.load(path)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.wav"):
        recording.load(tmp_path / "none.wav")


def test_a_rate_that_no_telephone_audio_can_be_made_of_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"a\.wav"):
        recording.load(written(tmp_path / "a.wav", 7919, 440))


def test_the_demo_recording_holds_its_turns() -> None:
    audio = recording.load_demo()
    assert list(audio) == [Track.INBOUND, Track.OUTBOUND]
    for turn in recording.demo_turns():
        spoken = np.frombuffer(mulaw.decode(audio[turn.track]), dtype=np.int16)
        loudness = np.abs(spoken[int(turn.start_s * 8000) : int(turn.end_s * 8000)].astype(float)).mean()
        assert loudness > 3 * np.abs(spoken[:2000].astype(float)).mean(), turn
