"""A call's audio on disk: at its place, in batches, bounded, and gone afterwards."""

import asyncio
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gateway.events import Track
from gateway.media.timeline import Stretch
from gateway.recording import keeper
from gateway.recording.keeper import CallRecording
from telephony_codecs import mulaw
from telephony_codecs.formats import AudioFormat

MULAW = AudioFormat.parse("mulaw-8000")
LOUD = b"\x00" * 800  # -32124 in mu-law
SECOND = LOUD * 10


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "recordings" / "call_1"


async def recorded(folder: Path, feed: Callable[[CallRecording], None], max_s: float = 3600) -> CallRecording:
    recording = CallRecording(folder, MULAW, max_s=max_s)
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        tasks.create_task(recording.run())
        feed(recording)
        recording.close()
    return recording


def is_there(folder: Path) -> bool:
    return folder.exists()


def channels(path: Path | None) -> list[list[int]]:
    assert path is not None
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getsampwidth()) == (8000, 2)
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        return [list(channel) for channel in samples.reshape(-1, file.getnchannels()).T]


async def test_both_tracks_lie_side_by_side_sample_for_sample(folder: Path) -> None:
    def feed(recording: CallRecording) -> None:
        inbound, outbound = recording.tap(Track.INBOUND), recording.tap(Track.OUTBOUND)
        outbound(Stretch(400, LOUD))
        inbound(Stretch(0, LOUD))
        inbound(Stretch(1000, LOUD))

    left, right = channels(await (await recorded(folder, feed)).wav())
    assert len(left) == len(right) == 1800
    assert [at for at, sample in enumerate(left) if sample] == [*range(800), *range(1000, 1800)]
    assert [at for at, sample in enumerate(right) if sample] == [*range(400, 1200)]


async def test_one_track_alone_is_mono_and_decoded_exactly(folder: Path) -> None:
    audio = bytes(range(256)) * 4
    recording = await recorded(folder, lambda each: each.tap(Track.OUTBOUND)(Stretch(0, audio)))
    assert channels(await recording.wav()) == [list(np.frombuffer(mulaw.decode(audio), "<i2"))]


async def test_a_hole_too_long_to_fill_is_silence(folder: Path) -> None:
    far = 8000 * 120
    (samples,) = channels(
        await (await recorded(folder, lambda each: each.tap(Track.INBOUND)(Stretch(far, LOUD)))).wav()
    )
    assert (len(samples), any(samples[:far])) == (far + 800, False)


async def test_audio_is_on_disk_while_the_call_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "WRITE_EVERY_S", 0.01)
    written, loop = asyncio.Event(), asyncio.get_running_loop()

    class Watched(CallRecording):
        def _write(self, batch: list[tuple[Track, Stretch]]) -> None:
            super()._write(batch)
            loop.call_soon_threadsafe(written.set)

    recording = Watched(folder, MULAW, max_s=60)
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        tasks.create_task(recording.run())
        recording.tap(Track.INBOUND)(Stretch(0, LOUD))
        await written.wait()
        content = await asyncio.to_thread((folder / "inbound.mulaw").read_bytes)
        recording.close()
    assert content == LOUD


async def test_a_call_without_audio_leaves_nothing(folder: Path) -> None:
    recording = await recorded(folder, lambda _recording: None)
    assert (await recording.wav(), recording.failure, is_there(folder)) == (None, None, False)


async def test_a_recording_that_grows_too_long_is_given_up(folder: Path) -> None:
    recording = await recorded(folder, lambda each: each.tap(Track.INBOUND)(Stretch(0, SECOND)), max_s=0.9)
    assert (recording.failure, await recording.wav()) == ("too_long", None)


async def test_a_disk_that_is_too_slow_costs_the_recording_and_holds_no_more(folder: Path) -> None:
    recording = CallRecording(folder, MULAW, max_s=3600)  # nobody writes
    tap = recording.tap(Track.INBOUND)
    for second in range(30):
        tap(Stretch(second * 8000, SECOND))
    assert (recording.failure, recording._pending) == ("disk_too_slow", [])


async def test_a_disk_that_cannot_be_written_costs_the_recording_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    recording = await recorded(tmp_path / "file" / "call", lambda each: each.tap(Track.INBOUND)(Stretch(0, LOUD)))
    assert (recording.failure, await recording.wav()) == ("disk_failed", None)


async def test_discarding_leaves_nothing(folder: Path) -> None:
    recording = await recorded(folder, lambda each: each.tap(Track.INBOUND)(Stretch(0, LOUD)))
    await recording.wav()
    recording.discard()
    assert not is_there(folder)
