"""
Streaming conversion between sample rates, bit-identical however the stream is cut.

The filter is a Kaiser-windowed sinc, cut off at the lower of the two Nyquist frequencies: flat within ±0.001 dB
up to 0.9 of it, 98 dB down from 1.1 of it. Its delay is compensated: output sample n stands for the input at
n·source/target.

Matrix products do the work. A rational ratio repeats after a period, which is cut into blocks: some inputs and the
outputs that stand among them, each a fixed weighted sum over the inputs around it. The windows around
one block, one row per period, times its weights give its outputs in all these periods.

Why cutting does not matter: the weights are multiples of 2⁻³⁰ and the samples integers, so every product and every
partial sum is a multiple of 2⁻³⁰ below 2²³, which float64 holds exactly. Nothing is rounded before the end; so neither
the order of the additions (which BLAS chooses by size, alignment and processor) nor the cuts can change a bit.
"""

from dataclasses import dataclass
from functools import cache
from math import gcd, lcm
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from scipy.signal import firwin, kaiser_beta

RATES_HZ = (8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000)

_ATTENUATION_DB = 100.0
# Samples of the lower rate on either side of an output: what Kaiser's formula asks for a fall of 100 dB between
# 0.9 and 1.1 of Nyquist.
_REACH_SAMPLES = 32
_WEIGHT_STEP = 2.0**-30
# At most so many inputs and outputs per block: large enough for BLAS, small enough not to multiply mostly by zero.
_BLOCK_SAMPLES = 32
# Larger products OpenBLAS shares out among threads, which on a busy machine costs up to ten times what it gains.
_PRODUCT_MULTIPLICATIONS = 4 * 65536
_FLOAT_BYTES = 8

_IntOrArray = TypeVar("_IntOrArray", int, npt.NDArray[np.int_])


@dataclass(frozen=True, slots=True)
class _Filter:
    """One ratio's weights, shared by every stream that uses it."""

    reach: int  # an output depends on so many inputs after its own position, and on one less before it
    block_inputs: int
    period_inputs: int
    period_outputs: int
    weights: npt.NDArray[np.float64]  # axes: block of the period, input of its window, output
    outputs: npt.NDArray[np.intp] | slice  # those of a period; blocks with one less than others have a surplus column
    slice_inputs: int  # what is worked off at once


class Resampler:
    """
    Converts one mono stream from one sample rate to another.

    The output lags behind by 32 samples of the lower rate (4 ms at 8 kHz), which `flush` delivers in the end. Before
    the first sample and after the last one the signal counts as silence.

    Args:
        source_hz: rate of the input, one of `RATES_HZ`.
        target_hz: rate of the output, one of `RATES_HZ`; if equal, audio passes through.

    Raises:
        ValueError: a rate that is not supported.
    """

    def __init__(self, source_hz: int, target_hz: int) -> None:
        for rate_hz in (source_hz, target_hz):
            if rate_hz not in RATES_HZ:
                raise ValueError(f"sample rate {rate_hz} Hz is not supported (only {RATES_HZ})")
        self._filter = None if source_hz == target_hz else _design(source_hz, target_hz)
        self._begin()

    def process(self, pcm: bytes) -> bytes:
        """
        Take more input and return all output that it completes.

        Args:
            pcm: int16 little-endian mono, whole samples, any number of them.

        Returns:
            int16 little-endian mono, rounded to the nearest value (halves to even), saturated.

        Raises:
            ValueError: an odd number of bytes; nothing of it was taken.
        """
        if len(pcm) % 2:
            raise ValueError(f"int16 audio of {len(pcm)} bytes ends inside a sample")
        if self._filter is None:
            return pcm
        samples = np.frombuffer(pcm, "<i2")
        step = self._filter.slice_inputs
        slices = (samples[start : start + step] for start in range(0, len(samples), step))
        return b"".join([self._advance(self._filter, part) for part in slices])

    def flush(self) -> bytes:
        """
        End the stream.

        Returns:
            the rest of the output, so that n inputs made ceil(n·target/source) outputs altogether. The object is then
            ready for a new stream.
        """
        if self._filter is None:
            return b""
        rest = self._advance(self._filter, np.zeros(self._filter.reach, np.int16))
        self._begin()
        return rest

    def _begin(self) -> None:
        # All inputs on which the current period and later ones depend; outputs of that period that are out already.
        self._inputs = np.zeros(self._filter.reach - 1 if self._filter else 0)
        self._outputs_done = 0

    def _advance(self, filter_: _Filter, samples: npt.NDArray[np.int16]) -> bytes:
        held, known = len(self._inputs), len(self._inputs) + len(samples)
        # Output m of the current period stands at input m·inputs/outputs and needs `reach` inputs from there on.
        positions = known - 2 * filter_.reach + 1
        ready = max(0, _ceil_div(positions * filter_.period_outputs, filter_.period_inputs))
        periods = _ceil_div(ready, filter_.period_outputs)

        # Zeros complete the last period; they reach only outputs beyond `ready`.
        signal = np.zeros(max(known, periods * filter_.period_inputs + 2 * filter_.reach))
        signal[:held] = self._inputs
        signal[held:known] = samples
        outputs = _filter_periods(filter_, signal, periods)[self._outputs_done : ready]

        periods_done = ready // filter_.period_outputs
        self._inputs = signal[periods_done * filter_.period_inputs : known].copy()
        self._outputs_done = ready - periods_done * filter_.period_outputs
        return _to_int16(outputs)


def _filter_periods(filter_: _Filter, signal: npt.NDArray[np.float64], periods: int) -> npt.NDArray[np.float64]:
    """All outputs of so many periods, from a signal that begins with the first one's window."""
    blocks, width, columns = filter_.weights.shape
    strides = (filter_.block_inputs * _FLOAT_BYTES, filter_.period_inputs * _FLOAT_BYTES, _FLOAT_BYTES)
    windows = np.ndarray((blocks, periods, width), np.float64, signal, 0, strides)
    # BLAS does not take overlapping rows; left to numpy, they are copied or multiplied without BLAS.
    products = np.ascontiguousarray(windows) @ filter_.weights
    return products.transpose(1, 0, 2).reshape(periods, blocks * columns)[:, filter_.outputs].reshape(-1)


@cache
def _design(source_hz: int, target_hz: int) -> _Filter:
    common = gcd(source_hz, target_hz)
    up, down = target_hz // common, source_hz // common
    # In theory: insert up - 1 zeros after each input, filter at that high rate, keep every down-th sample. Output m is
    # then the sum over the inputs j, each weighted with prototype[centre + m·down - j·up].
    centre = _REACH_SAMPLES * max(up, down)
    window = ("kaiser", kaiser_beta(_ATTENUATION_DB))
    prototype = up * firwin(2 * centre + 1, 1 / max(up, down), window=window)

    reach = _ceil_div(centre, up)
    block_inputs = _choose_block_inputs(up, down)
    period_inputs = lcm(block_inputs, down)
    starts = np.arange(0, period_inputs + 1, block_inputs)
    first_outputs = _ceil_div(starts * up, down)
    inputs = starts[:-1, np.newaxis, np.newaxis] + np.arange(1 - reach, block_inputs + reach)[:, np.newaxis]
    outputs = first_outputs[:-1, np.newaxis, np.newaxis] + np.arange(np.diff(first_outputs).max())
    taps = centre + outputs * down - inputs * up
    weights = np.where(np.abs(taps - centre) <= centre, prototype.take(taps, mode="clip"), 0.0)
    weights = np.rint(weights / _WEIGHT_STEP) * _WEIGHT_STEP

    is_output = outputs < first_outputs[1:, np.newaxis, np.newaxis]
    # Two periods less than fit: one completes what was held back, one is only begun.
    slice_periods = _PRODUCT_MULTIPLICATIONS // weights[0].size - 2
    return _Filter(
        reach=reach,
        block_inputs=block_inputs,
        period_inputs=period_inputs,
        period_outputs=period_inputs * up // down,
        weights=weights,
        outputs=slice(None) if is_output.all() else np.flatnonzero(is_output),
        slice_inputs=slice_periods * period_inputs,
    )


def _choose_block_inputs(up: int, down: int) -> int:
    """As many whole periods as fit into a block, else the largest equal part of a period."""
    limit = _BLOCK_SAMPLES * down // max(up, down)
    if limit >= down:
        return limit - limit % down
    return max(part for part in range(1, limit + 1) if down % part == 0)


def _to_int16(values: npt.NDArray[np.float64]) -> bytes:
    np.rint(values, out=values)
    np.minimum(values, 32767, out=values)
    np.maximum(values, -32768, out=values)
    return values.astype("<i2").tobytes()


def _ceil_div(dividend: _IntOrArray, divisor: int) -> _IntOrArray:
    return -(-dividend // divisor)
