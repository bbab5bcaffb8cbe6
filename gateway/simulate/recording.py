"""Recordings as phone audio."""

from importlib.resources import as_file, files
from pathlib import Path

import msgspec
import numpy as np
import soundfile

from gateway.errors import ConfigError
from gateway.events import Track
from telephony_codecs import mulaw
from telephony_codecs.resample import RATES_HZ, Resampler

PHONE_HZ = 8000
MAX_HOURS = 4


class Turn(msgspec.Struct, frozen=True):
    """One uninterrupted stretch of one speaker."""

    track: Track
    start_s: float
    end_s: float
    text: str


def load(path: Path) -> dict[Track, bytes]:
    """
    Read a recording as 8 kHz mu-law.

    Mono is the caller (inbound); of two channels the left one is inbound, the right one outbound.

    Raises:
        ConfigError: no such file, not a recording, an unknown rate, more than two channels, or too long.
    """
    try:
        with soundfile.SoundFile(path) as sound:
            if sound.channels > 2:
                raise ConfigError([f"{path}: has {sound.channels} channels; mono or stereo is wanted"])
            if sound.frames > MAX_HOURS * 3600 * sound.samplerate:
                raise ConfigError([f"{path}: is longer than {MAX_HOURS} hours"])
            rate_hz = int(sound.samplerate)
            if rate_hz not in RATES_HZ:
                known = ", ".join(map(str, RATES_HZ))
                raise ConfigError([f"{path}: has a sample rate of {rate_hz} Hz; known are {known}"])
            samples = sound.read(dtype="int16", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise ConfigError([f"{path}: {error.error_string}"]) from None
    return {
        track: _as_phone(np.ascontiguousarray(samples[:, channel]).tobytes(), rate_hz)
        for channel, track in enumerate((Track.INBOUND, Track.OUTBOUND)[: samples.shape[1]])
    }


def load_demo() -> dict[Track, bytes]:
    """The recording that comes with the package: two speakers reading from a novel, 14 s."""
    with as_file(files("gateway.simulate") / "recordings" / "demo.flac") as path:
        return load(path)


def demo_turns() -> list[Turn]:
    """Who says what in the demo recording, and when."""
    text = (files("gateway.simulate") / "recordings" / "demo.json").read_bytes()
    return msgspec.json.decode(text, type=list[Turn])


def _as_phone(pcm: bytes, rate_hz: int) -> bytes:
    resampler = Resampler(rate_hz, PHONE_HZ)
    return mulaw.encode(resampler.process(pcm) + resampler.flush())
