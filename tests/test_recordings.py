"""Recordings on disk: every container, hostile headers, bounds."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from gateway.recordings import RecordingReader, RecordingRefused, write_wav
from telephony_codecs import mulaw
from telephony_codecs.formats import AudioFormat
from tests.support.wav_file import wav

PCM = (np.sin(np.arange(40_000) / 20) * 12_000).astype("<i2")


def write(path: Path, samples: npt.NDArray[Any], rate_hz: int, **how: str) -> Path:
    soundfile.write(path, samples, rate_hz, **how)
    return path


def read_all(
    path: Path, channel: int | None = None, headerless: AudioFormat | None = None, max_s: float = 3600
) -> bytes:
    with RecordingReader(path, headerless=headerless, max_s=max_s) as reader:
        return b"".join(iter(lambda: reader.read(channel), b""))


def refusal(path: Path, max_s: float = 3600) -> str:
    with pytest.raises(RecordingRefused) as caught:
        read_all(path, max_s=max_s)
    return caught.value.code


@pytest.mark.parametrize(("form", "subtype"), [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("WAV", "FLOAT")])
def test_lossless_containers_give_every_sample_back(tmp_path: Path, form: str, subtype: str) -> None:
    path = write(tmp_path / "no-suffix", PCM / 32768, 16000, format=form, subtype=subtype)
    assert np.abs(np.frombuffer(read_all(path), "<i2").astype(int) - PCM).max() <= 1


@pytest.mark.parametrize(("form", "subtype"), [("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")])
def test_lossy_containers_are_heard_at_their_level(tmp_path: Path, form: str, subtype: str) -> None:
    path = write(tmp_path / "x", PCM, 16000, format=form, subtype=subtype)
    heard = np.frombuffer(read_all(path), "<i2").astype(float)
    assert np.sqrt((heard**2).mean()) == pytest.approx(np.sqrt((PCM.astype(float) ** 2).mean()), rel=0.02)


def test_audio_without_a_container_is_read_as_told(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(mulaw.encode(PCM.tobytes()))
    assert read_all(path, headerless=AudioFormat.parse("mulaw-8000")) == mulaw.decode(path.read_bytes())


def test_channels_are_read_alone_or_mixed(tmp_path: Path) -> None:
    stereo = np.stack([np.full(100, 1000), np.full(100, -400)], axis=1).astype("<i2")
    path = write(tmp_path / "x", stereo, 8000, format="WAV")
    assert [np.frombuffer(read_all(path, channel), "<i2")[0] for channel in (0, 1, None)] == [1000, -400, 300]


@pytest.mark.parametrize("content", [b"not audio" * 1000, b"\0" * 5000, b"RIFF", b"{}", b"<html></html>"])
def test_what_is_not_audio_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(content)
    assert refusal(path) == "not_audio"


def test_an_empty_file_is_no_audio(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"")
    assert refusal(tmp_path / "x") == "no_audio"


def test_an_odd_rate_is_refused(tmp_path: Path) -> None:
    assert refusal(write(tmp_path / "x", PCM, 12345, format="WAV")) == "bad_rate"


def test_many_channels_are_refused(tmp_path: Path) -> None:
    assert refusal(write(tmp_path / "x", np.zeros((10, 9), "<i2"), 8000, format="WAV")) == "too_many_channels"


def test_a_long_recording_is_refused_by_its_header(tmp_path: Path) -> None:
    with pytest.raises(RecordingRefused) as caught:
        RecordingReader(write(tmp_path / "x", PCM, 8000, format="FLAC"), max_s=4)
    assert caught.value.code == "too_long"


def test_a_header_that_lies_about_the_length_is_found_out(tmp_path: Path) -> None:
    path = tmp_path / "x"
    short = bytearray(write(tmp_path / "y", PCM, 8000, format="FLAC").read_bytes())
    # STREAMINFO (RFC 9639, 8.2): the total samples are the low 36 bits that end at byte 26; 0 is unknown.
    high, low = struct.unpack_from(">BI", short, 21)
    struct.pack_into(">BI", short, 21, high & 0xF0, 0)
    path.write_bytes(short)
    assert (low, refusal(path, max_s=4)) == (40_000, "too_long")


def test_a_file_that_breaks_off_is_read_up_to_there(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(wav(PCM.tobytes())[:-20_001])
    assert 50_000 < len(read_all(path)) < 2 * len(PCM)


def test_a_closed_reader_is_at_its_end(tmp_path: Path) -> None:
    with RecordingReader(write(tmp_path / "x", PCM, 8000, format="WAV"), max_s=60) as reader:
        pass
    assert reader.read() == b""


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    write_wav(tmp_path / "x", 1, 8000, [PCM[:7].tobytes(), PCM[7:].tobytes()])
    assert read_all(tmp_path / "x") == PCM.tobytes()
