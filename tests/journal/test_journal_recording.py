"""A call becomes one WAV file: each sample at its place, silence where there is none."""

import stat
import wave
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from gateway.config import JournalSettings
from gateway.errors import StorageError
from gateway.events import Track
from gateway.journal import Journal, KeptCall, recording
from gateway.media.tape import Tape
from gateway.media.timeline import Stretch
from telephony_codecs import alaw, mulaw
from telephony_codecs.formats import AudioFormat
from tests.support.journalled_calls import header, stream_end

LOUD = b"\x00" * 800  # -32124 in mu-law
CALL_IN, CALL_OUT = Track.INBOUND, Track.OUTBOUND


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    async with Journal(tmp_path / "journal", JournalSettings(), tick_s=3600) as opened:
        yield opened


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "call.wav"


async def call(journal: Journal, said: dict[Track, list[Stretch]], audio: str = "mulaw-8000") -> KeptCall:
    tapes = {track: Tape(AudioFormat.parse(audio), 1 << 20, is_archived=True) for track in Track}
    live = journal.begin(header(audio=audio), tapes)
    for track, chunks in said.items():
        for chunk in chunks:
            tapes[track].append(chunk)
    return await live.end(stream_end())


def channels(path: Path, rate_hz: int = 8000) -> list[list[int]]:
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getsampwidth()) == (rate_hz, 2)
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        return [list(channel) for channel in samples.reshape(-1, file.getnchannels()).T]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_both_tracks_lie_side_by_side_sample_for_sample(journal: Journal, target: Path) -> None:
    said = {CALL_OUT: [Stretch(400, LOUD)], CALL_IN: [Stretch(0, LOUD), Stretch(1000, LOUD)]}
    info = await (await call(journal, said)).recording(target)
    assert info is not None
    assert (info.path, info.duration_s, info.channels, info.missing_s) == (target, 1800 / 8000, 2, 200 / 8000)
    left, right = channels(target)
    assert len(left) == len(right) == 1800
    assert [at for at, sample in enumerate(left) if sample] == [*range(800), *range(1000, 1800)]
    assert [at for at, sample in enumerate(right) if sample] == [*range(400, 1200)]


@pytest.mark.parametrize(
    ("audio", "payload", "expected"),
    [
        ("mulaw-8000", bytes(range(256)) * 100, mulaw.decode(bytes(range(256)) * 100)),
        ("alaw-8000", bytes(range(256)) * 100, alaw.decode(bytes(range(256)) * 100)),
        ("linear16-8000", bytes(range(256)) * 100, bytes(range(256)) * 100),
    ],
)
async def test_one_track_alone_is_mono_and_decoded_exactly(
    journal: Journal, target: Path, audio: str, payload: bytes, expected: bytes
) -> None:
    info = await (await call(journal, {CALL_OUT: [Stretch(0, payload)]}, audio)).recording(target)
    assert info is not None
    assert (info.channels, channels(target)) == (1, [list(np.frombuffer(expected, "<i2"))])


async def test_a_long_hole_is_silence(journal: Journal, target: Path) -> None:
    far = 8000 * 120 + 77
    info = await (await call(journal, {CALL_IN: [Stretch(0, LOUD), Stretch(far, LOUD)]})).recording(target)
    (samples,) = channels(target)
    assert [at for at, sample in enumerate(samples) if sample] == [*range(800), *range(far, far + 800)]
    assert info is not None
    assert info.missing_s == pytest.approx((far - 800) / 8000)


async def test_a_call_without_audio_has_no_recording(journal: Journal, target: Path) -> None:
    assert await (await call(journal, {})).recording(target) is None
    assert names(target.parent) == ["journal"]


async def test_a_recording_belongs_to_its_owner_alone_and_replaces_an_old_one(journal: Journal, target: Path) -> None:
    await (await call(journal, {CALL_IN: [Stretch(0, LOUD * 2)]})).recording(target)
    await (await call(journal, {CALL_IN: [Stretch(0, LOUD)]})).recording(target)
    assert (len(channels(target)[0]), mode(target), names(target.parent)) == (800, 0o600, ["call.wav", "journal"])


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_a_disk_that_cannot_be_written_is_said_so_and_leaves_nothing(journal: Journal, tmp_path: Path) -> None:
    kept = await call(journal, {CALL_IN: [Stretch(0, LOUD)]})
    with pytest.raises(StorageError) as caught:
        await kept.recording(tmp_path / "nowhere" / "call.wav")
    assert caught.value.code == "recording_failed"


async def test_a_journal_that_cannot_be_read_leaves_no_half_recording(journal: Journal, target: Path) -> None:
    kept = await call(journal, {CALL_IN: [Stretch(0, LOUD)]})
    (target.parent / "journal" / "call_1.journal").unlink()
    with pytest.raises(StorageError):
        await kept.recording(target)
    assert names(target.parent) == ["journal"]


async def test_a_call_too_long_for_a_wav_file_is_refused(journal: Journal, target: Path) -> None:
    day = 24 * 3600 * 8000
    kept = await call(journal, {track: [Stretch(2 * day, LOUD)] for track in Track})
    with pytest.raises(StorageError) as caught:
        await kept.recording(target)
    assert (caught.value.code, names(target.parent)) == ("recording_too_long", ["journal"])


async def test_what_a_dead_process_had_begun_is_deleted(tmp_path: Path) -> None:
    (tmp_path / "call.wav.part").write_bytes(b"")
    (tmp_path / "call.wav").write_bytes(b"")
    recording.remove_unfinished(tmp_path)
    assert names(tmp_path) == ["call.wav"]
