"""
What resampling costs and how true it is: ours beside soxr's stream and scipy's `resample_poly`.

    python -m tests.bench resample [--rounds 31]

Cost is CPU time of one call on one chunk, int16 in and out, the programs by turns, medians. soxr holds back what it has
not finished, and dithers, so that two runs differ by a step or two; `resample_poly` knows no stream: each chunk stands
alone there, converted to float64 and back. What that does to the sound is in the second table, for which each program
hears two seconds in chunks of 100 ms.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import Protocol

import click
import numpy as np
import numpy.typing as npt
import soxr
from scipy.signal import resample_poly

from telephony_codecs.convert import Converter
from telephony_codecs.formats import AudioFormat
from telephony_codecs.resample import Resampler, _MatrixFilter, _Ratio
from tests.bench import machine

RATIOS = ((8000, 16000), (16000, 8000), (48000, 8000))
CHUNKS_MS = (20, 100, 1000)
AMPLITUDE = 16_000.0
_TONES_S = 2.0
_QUALITY_CHUNK_MS = 100
_PASS_BAND = (0.02, 0.1, 0.25, 0.43, 0.6, 0.71, 0.8, 0.85, 0.9)
"""Shares of the lower Nyquist frequency; at 8 kHz up to 3.6 kHz."""
_STOP_BAND = (1.1, 1.17, 1.33, 1.5, 1.7, 1.93)
_ROUND_S = 0.002
"""CPU time of one turn, about."""

Samples = npt.NDArray[np.int16]


class Stream(Protocol):
    """A resampler at work on one stream."""

    def process(self, samples: Samples) -> Samples:
        """Take a chunk, return what is ready."""

    def flush(self) -> Samples:
        """Return the rest."""


class Ours:
    """The product's."""

    def __init__(self, source_hz: int, target_hz: int) -> None:
        self._resampler = Resampler(source_hz, target_hz)

    def process(self, samples: Samples) -> Samples:
        return np.frombuffer(self._resampler.process(samples.tobytes()), "<i2")

    def flush(self) -> Samples:
        return np.frombuffer(self._resampler.flush(), "<i2")


class OursInNumpy(Ours):
    """As where nobody compiled it."""

    def __init__(self, source_hz: int, target_hz: int) -> None:
        super().__init__(source_hz, target_hz)
        self._resampler._filter = _MatrixFilter(_Ratio(source_hz, target_hz))


class Soxr:
    """soxr at one of its qualities."""

    def __init__(self, source_hz: int, target_hz: int, quality: str) -> None:
        self._stream = soxr.ResampleStream(source_hz, target_hz, 1, dtype="int16", quality=quality)

    def process(self, samples: Samples) -> Samples:
        output: Samples = self._stream.resample_chunk(samples)
        return output

    def flush(self) -> Samples:
        output: Samples = self._stream.resample_chunk(np.zeros(0, np.int16), last=True)
        return output


class Poly:
    """scipy's, chunk by chunk."""

    def __init__(self, source_hz: int, target_hz: int) -> None:
        self._up, self._down = target_hz, source_hz

    def process(self, samples: Samples) -> Samples:
        floats = resample_poly(samples.astype(np.float64), self._up, self._down)
        output: Samples = np.clip(np.rint(floats), -32768, 32767).astype(np.int16)
        return output

    def flush(self) -> Samples:
        return np.zeros(0, np.int16)


PROGRAMS: dict[str, Callable[[int, int], Stream]] = {
    "ours": Ours,
    "ours, in numpy": OursInNumpy,
    "soxr HQ": lambda source_hz, target_hz: Soxr(source_hz, target_hz, "HQ"),
    "soxr VHQ": lambda source_hz, target_hz: Soxr(source_hz, target_hz, "VHQ"),
    "resample_poly": Poly,
}


def costs_us(works: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """CPU microseconds of one call of each: medians over rounds in which each has its turn."""
    times = {name: max(1, round(_ROUND_S / _cpu_s(work, 3))) for name, work in works.items()}
    found: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            found[name].append(_cpu_s(work, times[name]) * 1e6)
    return {name: statistics.median(values) for name, values in found.items()}


def _cpu_s(work: Callable[[], object], times: int) -> float:
    began = time.process_time_ns()
    for _ in range(times):
        work()
    return max(1, time.process_time_ns() - began) / times / 1e9


@dataclass(frozen=True)
class Quality:
    """
    How true a program is.

    Attributes:
        ripple_db: greatest departure from 0 dB in the pass band.
        snr_db: by tone, how far below it everything else is.
        rejection_db: least distance to an image (upwards) or alias (downwards).
        lag_ms: greatest, from audio that is in to its output, at the end of a chunk.
        seam: greatest difference, in steps of 16 bits, to the same audio in one piece.
    """

    ripple_db: float
    snr_db: dict[float, float]
    rejection_db: float
    lag_ms: float
    seam: int


def quality(make: Callable[[int, int], Stream], source_hz: int, target_hz: int) -> Quality:
    """Measure with tones, in chunks."""
    nyquist_hz = min(source_hz, target_hz) / 2

    def gain_db(frequency_hz: float) -> float:
        output = play(make(source_hz, target_hz), tone(frequency_hz, source_hz), source_hz)
        return _decibel(fit(output, target_hz, frequency_hz)[0][0])

    noisy = np.random.default_rng(5).integers(-12_000, 12_000, round(_TONES_S * source_hz)).astype(np.int16)
    chunked = play(make(source_hz, target_hz), noisy, source_hz).astype(int)
    whole = play(make(source_hz, target_hz), noisy, source_hz, chunk_ms=round(_TONES_S * 1000)).astype(int)
    length = min(len(chunked), len(whole))
    return Quality(
        ripple_db=max(abs(gain_db(share * nyquist_hz)) for share in _PASS_BAND),
        snr_db={frequency: _snr_db(make, source_hz, target_hz, frequency) for frequency in (1000.0, 3300.0)},
        rejection_db=min(_rejections_db(make, source_hz, target_hz)),
        lag_ms=max(lags_ms(make(source_hz, target_hz), source_hz, target_hz)),
        seam=int(np.abs(chunked[:length] - whole[:length]).max()),
    )


def tone(frequency_hz: float, rate_hz: int) -> Samples:
    """A sine."""
    angles = 2 * np.pi * frequency_hz * np.arange(round(_TONES_S * rate_hz)) / rate_hz
    return np.rint(AMPLITUDE * np.sin(angles)).astype(np.int16)


def play(stream: Stream, samples: Samples, source_hz: int, chunk_ms: int = _QUALITY_CHUNK_MS) -> Samples:
    """All output."""
    step = source_hz * chunk_ms // 1000
    pieces = [stream.process(samples[start : start + step]) for start in range(0, len(samples), step)]
    return np.concatenate([*pieces, stream.flush()])


def fit(output: Samples, rate_hz: int, *frequencies_hz: float) -> tuple[list[float], float]:
    """Amplitude of each frequency, as shares of `AMPLITUDE`, and the effective value of what is left, without edges."""
    edge = rate_hz // 10
    core = output[edge:-edge].astype(float)
    angles = 2 * np.pi * np.outer(np.arange(len(core)) / rate_hz, frequencies_hz)
    waves = np.hstack([np.sin(angles), np.cos(angles)])
    weights = np.linalg.lstsq(waves, core)[0]
    sines, cosines = np.split(weights, 2)
    return list(np.hypot(sines, cosines) / AMPLITUDE), float(np.std(core - waves @ weights))


def lags_ms(stream: Stream, source_hz: int, target_hz: int) -> Iterator[float]:
    """After each chunk, how much of what is in is not out."""
    step = source_hz * _QUALITY_CHUNK_MS // 1000
    silence, out = np.zeros(step, np.int16), 0
    for number in range(1, round(_TONES_S * 1000) // _QUALITY_CHUNK_MS + 1):
        out += len(stream.process(silence))
        yield (number * step / source_hz - out / target_hz) * 1000


def _snr_db(make: Callable[[int, int], Stream], source_hz: int, target_hz: int, frequency_hz: float) -> float:
    output = play(make(source_hz, target_hz), tone(frequency_hz, source_hz), source_hz)
    (amplitude,), rest = fit(output, target_hz, frequency_hz)
    return _decibel(amplitude * AMPLITUDE / np.sqrt(2) / rest)


def _rejections_db(make: Callable[[int, int], Stream], source_hz: int, target_hz: int) -> Iterator[float]:
    """For tones in the pass band their first image; for those that do not fit the lower rate their alias."""
    if target_hz > source_hz:
        pairs = [(share * source_hz / 2, source_hz * (1 - share / 2)) for share in _PASS_BAND]
    else:
        tops = takewhile(lambda hz: hz < source_hz / 2, (share * target_hz / 2 for share in _STOP_BAND))
        pairs = [(hz, abs(hz - round(hz / target_hz) * target_hz)) for hz in tops]
    for frequency_hz, image_hz in pairs:
        # A second tone, far softer, keeps the image from vanishing in the rounding.
        both = tone(frequency_hz, source_hz) + tone(1013.7, source_hz) // 16
        output = play(make(source_hz, target_hz), both.astype(np.int16), source_hz)
        yield -_decibel(fit(output, target_hz, 1013.7, image_hz)[0][1])


def _decibel(ratio: float) -> float:
    return float(20 * np.log10(max(ratio, 1e-9)))


def cost_rows(rounds: int) -> Iterator[str]:
    """One line of the first table for each ratio and chunk; the last is all that a chunk of a call goes through."""
    for source_hz, target_hz in RATIOS:
        for chunk_ms in CHUNKS_MS:
            chunk = _speechlike(source_hz * chunk_ms // 1000)
            streams = {name: make(source_hz, target_hz) for name, make in PROGRAMS.items()}
            found = costs_us({name: _work(stream, chunk) for name, stream in streams.items()}, rounds)
            yield _row(f"{source_hz} → {target_hz}", f"{chunk_ms} ms", *(f"{found[name]:.1f}" for name in PROGRAMS))
    for chunk_ms in CHUNKS_MS:
        converter = Converter(AudioFormat.parse("mulaw-8000"), AudioFormat.parse("linear16-16000"))
        audio = np.random.default_rng(1).integers(0, 256, 8 * chunk_ms).astype(np.uint8).tobytes()
        cost = costs_us({"ours": _conversion(converter, audio)}, rounds)["ours"]
        yield _row("mulaw-8000 → linear16-16000", f"{chunk_ms} ms", f"{cost:.1f}", *"-" * (len(PROGRAMS) - 1))


def quality_rows() -> Iterator[str]:
    """One line of the second table for each ratio and program."""
    for source_hz, target_hz in RATIOS:
        for name, make in PROGRAMS.items():
            found = quality(make, source_hz, target_hz)
            tones = (f"{value:.1f} dB" for value in found.snr_db.values())
            yield _row(
                f"{source_hz} → {target_hz}",
                name,
                f"{found.ripple_db:.4f} dB",
                *tones,
                f"{found.rejection_db:.0f} dB",
                f"{found.lag_ms:.1f} ms",
                str(found.seam),
            )


def _work(stream: Stream, chunk: Samples) -> Callable[[], object]:
    return lambda: stream.process(chunk)


def _conversion(converter: Converter, audio: bytes) -> Callable[[], object]:
    return lambda: converter.convert(audio)


def _speechlike(samples: int) -> Samples:
    """Not silence, which some arithmetic does faster, and not louder than int16 holds."""
    return np.random.default_rng(1).integers(-20_000, 20_000, samples).astype(np.int16)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _head(*cells: str) -> str:
    return f"{_row(*cells)}\n{'|---' * len(cells)}|"


@click.command(name="resample", help="Cost and quality of resampling, beside soxr and scipy.")
@click.option("--rounds", default=31, show_default=True, help="turns of each program")
def command(rounds: int) -> None:
    """Print both tables."""
    click.echo(f"{machine.description()}; CPU µs per chunk, medians of {rounds} turns\n")
    click.echo(_head("conversion", "chunk", *PROGRAMS))
    for row in cost_rows(rounds):
        click.echo(row)
    click.echo(f"\nTones of {_TONES_S:g} s in chunks of {_QUALITY_CHUNK_MS} ms\n")
    heads = ("pass band", "SNR 1 kHz", "SNR 3.3 kHz", "images, aliases", "lag", "seam, steps")
    click.echo(_head("conversion", "program", *heads))
    for row in quality_rows():
        click.echo(row)
