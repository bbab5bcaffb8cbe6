"""Waveforms of recordings."""

import wave
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import StorageError
from gateway.events import Track
from gateway.live import answers, waveform
from gateway.live.waveform import Waveforms, measure, tracks_of
from tests.support.history_house import House, history, started, whole_call, write_recording

BOTH = ((Track.INBOUND, 1.0), (Track.OUTBOUND, 1.0))


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with history(tmp_path) as served:
        yield served


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recordings")


def write(path: Path, samples: list[int]) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(np.array(samples, "<i2").tobytes())


async def test_each_track_has_its_own_peaks(house: House) -> None:
    write_recording(house.folder / "recordings" / "call_1.wav", 0.5, 0.25, seconds=2)
    await house.publish(*whole_call("call_1", recording="call_1.wav"))
    status, told = await house.get_json("/api/calls/call_1/waveform?points=200")
    assert (status, told["duration_s"], set(told["tracks"])) == (200, 2.0, {"inbound", "outbound"})
    for track, level in (("inbound", 0.5), ("outbound", 0.25)):
        assert told["tracks"][track] == pytest.approx([level] * 200, abs=0.001)


@pytest.mark.parametrize(("query", "points"), [("", 1000), ("?points=100", 100), ("?points=99999", 4000)])
async def test_the_number_of_points_is_as_asked_and_bounded(house: House, query: str, points: int) -> None:
    write_recording(house.folder / "recordings" / "call_1.wav", 0.5, 0.25)
    await house.publish(*whole_call("call_1", recording="call_1.wav"))
    _, told = await house.get_json(f"/api/calls/call_1/waveform{query}")
    assert [len(peaks) for peaks in told["tracks"].values()] == [points, points]


@pytest.mark.parametrize("points", ["99", "0", "-5", "many"])
async def test_too_few_points_are_refused(house: House, points: str) -> None:
    status, body = await house.get_json(f"/api/calls/call_1/waveform?points={points}")
    assert (status, body["error"]) == (400, "bad_points")


async def test_without_a_recording_there_is_no_waveform(house: House) -> None:
    await house.publish(started("call_1"), *whole_call("call_2", recording="call_2.wav"))
    for call_id in ("call_1", "call_2", "call_3"):
        status, body = await house.get_json(f"/api/calls/{call_id}/waveform")
        assert (status, body["error"]) == (404, "no_recording")


async def test_nobody_sees_it_without_a_token(house: House) -> None:
    assert (await house.get("/api/calls/call_1/waveform", token=None))[0] == 401


async def test_a_file_that_is_no_recording_is_told(house: House) -> None:
    path = house.folder / "recordings" / "call_1.wav"
    path.parent.mkdir()
    path.write_bytes(b"not a recording")
    await house.publish(*whole_call("call_1", recording="call_1.wav"))
    status, body = await house.get_json("/api/calls/call_1/waveform")
    assert (status, body["error"]) == (503, "recording_unreadable")


@given(
    samples=st.lists(st.integers(-32768, 32767), max_size=3000),
    points=st.integers(1, 400),
    block=st.integers(1, 700),
)
def test_peaks_are_those_of_equal_parts_however_the_file_is_read(
    folder: Path, samples: list[int], points: int, block: int
) -> None:
    write(folder / "some.wav", samples)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(waveform, "_BLOCK_FRAMES", block)
        told = measure(folder / "some.wav", BOTH[:1], points)
    parts = min(points, len(samples))
    expected = [0.0] * parts
    for number, sample in enumerate(samples):
        part = number * parts // len(samples)
        expected[part] = max(expected[part], abs(sample) / 32768)
    assert told.tracks["inbound"] == pytest.approx(expected, abs=0.0001)


@pytest.mark.parametrize(
    ("told", "channels", "tracks"),
    [
        (BOTH, 2, (Track.INBOUND, Track.OUTBOUND)),
        ((BOTH[1], BOTH[0]), 2, (Track.INBOUND, Track.OUTBOUND)),
        (((Track.INBOUND, 0.0), (Track.OUTBOUND, 3.0)), 1, (Track.OUTBOUND,)),
        (((Track.INBOUND, 3.0), (Track.OUTBOUND, 0.0)), 1, (Track.INBOUND,)),
        (((Track.OUTBOUND, None),), 1, (Track.OUTBOUND,)),
        ((), 2, (Track.INBOUND, Track.OUTBOUND)),
        ((), 1, (Track.INBOUND,)),
    ],
)
def test_channels_are_those_of_the_tracks_that_had_audio(
    told: waveform.Told, channels: int, tracks: tuple[Track, ...]
) -> None:
    assert tracks_of(told, channels) == tracks


async def test_a_recording_is_measured_once_and_again_when_it_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[Path] = []

    def counted(path: Path, told: waveform.Told, points: int) -> answers.Waveform:
        measured.append(path)
        return measure(path, told, points)

    monkeypatch.setattr(waveform, "measure", counted)
    path, made = tmp_path / "some.wav", Waveforms()
    write_recording(path, 0.5, 0.5)
    first = await made.of(path, BOTH, 100)
    assert await made.of(path, BOTH, 100) is first
    write_recording(path, 0.5, 0.5, seconds=2)
    assert (await made.of(path, BOTH, 100)).duration_s == 2.0
    assert len(measured) == 2


async def test_only_the_last_few_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waveform, "_KEPT", 2)
    made = Waveforms()
    write_recording(tmp_path / "some.wav", 0.5)
    first, *_, last = [await made.of(tmp_path / "some.wav", BOTH, points) for points in (100, 101, 102)]
    assert await made.of(tmp_path / "some.wav", BOTH, 102) is last
    assert await made.of(tmp_path / "some.wav", BOTH, 100) is not first


async def test_a_recording_that_goes_meanwhile_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as refused:
        await Waveforms().of(tmp_path / "gone.wav", BOTH, 100)
    assert refused.value.code == "recording_unreadable"
