"""
Recordings on disk: read block by block, whatever the container, and written as WAV.

Read are WAV, FLAC, OGG (Vorbis, Opus), MP3 and whatever else libsndfile knows by its first bytes; names do not matter.
Nothing is ever decoded as a whole: a few megabytes of FLAC can hold days of silence. All of this blocks; it belongs in
a thread.
"""

import threading
import wave
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import soundfile

from gateway.errors import PeerError
from telephony_codecs.formats import AudioFormat, Encoding
from telephony_codecs.resample import RATES_HZ

MAX_CHANNELS = 8
BLOCK_S = 1
_SUBTYPES = {
    Encoding.MULAW: "ULAW",
    Encoding.ALAW: "ALAW",
    Encoding.LINEAR16: "PCM_16",
    Encoding.LINEAR32: "PCM_32",
}


class RecordingRefused(PeerError):
    """Not a recording that can be heard: `not_audio`, `no_audio`, `bad_rate`, `too_many_channels`, `too_long`."""

    default_code = "not_audio"


class RecordingReader:
    """
    One recording, read from its beginning to its end. A context manager.

    Args:
        path: of the file.
        headerless: what its bytes are, if it has no container; mono.
        max_s: a longer one is refused, at the latest when it is read that far: headers can lie.

    Raises:
        RecordingRefused: see there.
    """

    def __init__(self, path: Path, *, headerless: AudioFormat | None = None, max_s: float) -> None:
        if not path.stat().st_size:
            raise RecordingRefused("the recording is empty", code="no_audio")
        try:
            self._sound: Any = soundfile.SoundFile(path, **_raw(headerless))
        except (soundfile.LibsndfileError, TypeError):
            raise RecordingRefused("the recording is not in a format that is known here", code="not_audio") from None
        # The library seeks to where it is after each block, which makes an MP3 decoder begin anew and lose a tenth of
        # the sound; and it would believe a header that says there is nothing.
        self._sound.seekable = lambda: False
        self.rate_hz = int(self._sound.samplerate)
        self.channels = int(self._sound.channels)
        self._left = int(max_s * self.rate_hz)
        self._read = 0
        self._lock = threading.Lock()  # whoever is cancelled closes while a thread still reads
        try:
            self._check()
        except RecordingRefused:
            self._sound.close()
            raise

    @property
    def position_s(self) -> float:
        """How much was read."""
        return self._read / self.rate_hz

    @property
    def announced_s(self) -> float:
        """How long it says it is; lies are possible."""
        return int(self._sound.frames) / self.rate_hz

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._sound.close()

    def read(self, channel: int | None = None) -> bytes:
        """
        The next `BLOCK_S` seconds; empty at the end. A broken end of a file is its end.

        Args:
            channel: which one; None: all of them mixed.

        Returns:
            int16 little-endian mono, at `rate_hz`.

        Raises:
            RecordingRefused: `too_long`.
        """
        with self._lock:
            if self._sound.closed:
                return b""
            try:
                block: npt.NDArray[np.float32] = self._sound.read(
                    BLOCK_S * self.rate_hz, dtype="float32", always_2d=True
                )
            except soundfile.LibsndfileError:
                return b""
        self._read += len(block)
        self._left -= len(block)
        if self._left < 0:
            raise _too_long()
        mono = block.mean(axis=1) if channel is None else block[:, channel]
        # Read as floats, because libsndfile does not scale float files to integers; 16-bit samples survive exactly.
        scaled = np.nan_to_num(mono.astype(np.float64)) * 32768
        return np.clip(np.rint(scaled), -32768, 32767).astype("<i2").tobytes()

    def _check(self) -> None:
        if self.rate_hz not in RATES_HZ:
            rates = ", ".join(map(str, RATES_HZ))
            raise RecordingRefused(f"the sample rate must be one of {rates} Hz", code="bad_rate")
        if self.channels > MAX_CHANNELS:
            raise RecordingRefused(f"more than {MAX_CHANNELS} channels", code="too_many_channels")
        if 0 <= self._left < int(self._sound.frames) < 1 << 62:  # libsndfile's word for an unknown length is larger
            raise _too_long()


def write_wav(path: Path, channels: int, rate_hz: int, blocks: Iterable[bytes]) -> None:
    """
    Write a 16-bit WAV file.

    Args:
        path: made or overwritten.
        channels, rate_hz: of the audio.
        blocks: int16 little-endian, channels interleaved.
    """
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        for block in blocks:
            file.writeframes(block)


def _raw(headerless: AudioFormat | None) -> dict[str, Any]:
    if headerless is None:
        return {}
    subtype = _SUBTYPES[headerless.encoding]
    return {
        "samplerate": headerless.rate_hz,
        "channels": 1,
        "format": "RAW",
        "subtype": subtype,
        "endian": "LITTLE",
    }


def _too_long() -> RecordingRefused:
    return RecordingRefused("the recording is too long", code="too_long")
