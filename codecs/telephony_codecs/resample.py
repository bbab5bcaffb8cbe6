"""
Streaming conversion between sample rates, bit-identical however the stream is cut.

The filter is a Kaiser-windowed sinc, cut off at the lower of the two Nyquist frequencies: flat within ±0.001 dB
up to 0.9 of it, 98 dB down from 1.1 of it. Its delay is compensated: output sample n stands for the input at
n·source/target. Each output is a weighted sum over the inputs around it, and the weights repeat after a period.

Why cutting does not matter: the weights are multiples of 2⁻³⁰ and the samples integers, so every product and every
partial sum is a multiple of 2⁻³⁰ below 2²³, which float64 holds exactly. Nothing is rounded before the end; so neither
the order of the additions nor the cuts can change a bit. For the same reason it does not matter who adds: compiled code
(`_filter.c`), or numpy where nobody compiled it (`_MatrixFilter`), which takes up to five times as long.
"""

import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from math import gcd, lcm
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from telephony_codecs.low_pass import kaiser_low_pass

_compiled: Callable[[bytes, npt.NDArray[np.float64], int, int, int, int], bytes] | None = None
if sys.byteorder == "little":
    with suppress(ImportError):
        from telephony_codecs import _filter

        _compiled = _filter.resample

IS_COMPILED = _compiled is not None
RATES_HZ = (8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000)

_ATTENUATION_DB = 100.0
# Samples of the lower rate on either side of an output: what Kaiser's formula asks for a fall of 100 dB between
# 0.9 and 1.1 of Nyquist.
_REACH_SAMPLES = 32
_WEIGHT_STEP = 2.0**-30
# Widths of windows are filled up to a multiple of this, which is worked off faster.
_WIDTH_STEP = 8
_INT16, _SAMPLE_BYTES = np.dtype("<i2"), 2

_IntOrArray = TypeVar("_IntOrArray", int, npt.NDArray[np.int_])


class _Filter(Protocol):
    """
    One ratio's sums, shared by every stream that uses it.

    Attributes:
        ratio: of the rates.
        slice_inputs: what is worked off at once.
    """

    @property
    def ratio(self) -> "_Ratio": ...
    @property
    def slice_inputs(self) -> int: ...

    def outputs(self, signal: bytes, first: int, last: int) -> bytes:
        """
        Some outputs of a signal that begins with the window of output 0.

        Args:
            signal: int16 little-endian; holds the window of the last output.
            first, last: of them; the last is excluded.
        """


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
        self._filter = None if source_hz == target_hz else _filter_of(source_hz, target_hz)
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
        slice_bytes = self._filter.slice_inputs * _SAMPLE_BYTES
        if len(pcm) <= slice_bytes:
            return self._advance(self._filter, pcm)
        starts = range(0, len(pcm), slice_bytes)
        return b"".join([self._advance(self._filter, pcm[start : start + slice_bytes]) for start in starts])

    def flush(self) -> bytes:
        """
        End the stream.

        Returns:
            the rest of the output, so that n inputs made ceil(n·target/source) outputs altogether. The object is then
            ready for a new stream.
        """
        if self._filter is None:
            return b""
        rest = self._advance(self._filter, bytes(self._filter.ratio.reach * _SAMPLE_BYTES))
        self._begin()
        return rest

    def _begin(self) -> None:
        # All inputs on which the current period and later ones depend; outputs of that period that are out already.
        self._held = bytes((self._filter.ratio.reach - 1) * _SAMPLE_BYTES if self._filter else 0)
        self._outputs_done = 0

    def _advance(self, filter_: _Filter, pcm: bytes) -> bytes:
        ratio, signal, done = filter_.ratio, self._held + pcm, self._outputs_done
        # Output m of the current period stands at input m·down/up and needs `reach` inputs from there on.
        positions = len(signal) // _SAMPLE_BYTES - 2 * ratio.reach + 1
        ready = -(-positions * ratio.up // ratio.down)
        if ready <= done:
            self._held = signal
            return b""
        periods = ready // ratio.up
        self._held = signal[periods * ratio.down * _SAMPLE_BYTES :]
        self._outputs_done = ready - periods * ratio.up
        return filter_.outputs(signal, done, ready)


class _Ratio:
    """
    Two rates: in a period there are `down` inputs and `up` outputs.

    In theory up - 1 zeros are inserted after each input, the result is filtered at that high rate, and every down-th
    sample is kept. Output m is then the sum over the inputs j, each weighted with prototype[centre + m·down - j·up].

    Attributes:
        reach: an output depends on so many inputs after its own position, and on one less before it.
    """

    def __init__(self, source_hz: int, target_hz: int) -> None:
        common = gcd(source_hz, target_hz)
        self.up, self.down = target_hz // common, source_hz // common
        self._centre = _REACH_SAMPLES * max(self.up, self.down)
        self._prototype = self.up * kaiser_low_pass(2 * self._centre + 1, 1 / max(self.up, self.down), _ATTENUATION_DB)
        self.reach = _ceil_div(self._centre, self.up)

    def weights(self, distances: npt.NDArray[np.int_]) -> npt.NDArray[np.float64]:
        """Of inputs that stand m·down - j·up steps of the high rate before an output."""
        taps = self._prototype.take(distances + self._centre, mode="clip")
        weights = np.where(np.abs(distances) <= self._centre, taps, 0.0)
        return np.asarray(np.rint(weights / _WEIGHT_STEP) * _WEIGHT_STEP)


class _CompiledFilter:
    slice_inputs = 16384  # so that all of it stays in the processor's cache

    def __init__(self, ratio: _Ratio) -> None:
        self.ratio = ratio
        # Each output of a period has weights of its own, the phase; their window begins reach - 1 inputs before it.
        width = _ceil_div(2 * ratio.reach, _WIDTH_STEP) * _WIDTH_STEP
        phases, inputs = np.arange(ratio.up)[:, np.newaxis], np.arange(1 - ratio.reach, 1 - ratio.reach + width)
        self.weights = ratio.weights(phases - inputs * ratio.up)

    def outputs(self, signal: bytes, first: int, last: int) -> bytes:
        assert _compiled is not None
        return _compiled(signal, self.weights, self.ratio.up, self.ratio.down, first, last)


# At most so many inputs and outputs per block: large enough for BLAS, small enough not to multiply mostly by zero.
# Measured from 16 to 192: half of it costs more for most ratios, twice as much costs more in long pieces.
_BLOCK_SAMPLES = 48
# Larger products OpenBLAS shares out among threads, which on a busy machine costs up to ten times what it gains.
_PRODUCT_MULTIPLICATIONS = 4 * 65536
_LEAST, _MOST = np.float64(-32768), np.float64(32767)


class _MatrixFilter:
    """
    Some periods make a block, or a long period is cut into blocks: some inputs and the outputs that stand among them.

    The windows around one block, one row per repetition, times its weights give its outputs in all of them. Where
    outputs are a multiple of the inputs, the inputs are among them, and only those between are computed.
    """

    def __init__(self, ratio: _Ratio) -> None:
        self.ratio = ratio
        self._block_inputs = _choose_block_inputs(ratio.up, ratio.down)
        # What one row of a product works off: periods that make one block, or blocks that make one period.
        self._row_inputs = lcm(self._block_inputs, ratio.down)
        self._row_outputs = self._row_inputs * ratio.up // ratio.down
        starts = np.arange(0, self._row_inputs + 1, self._block_inputs)
        first_outputs = _ceil_div(starts * ratio.up, ratio.down)
        width = _ceil_div(self._block_inputs + 2 * ratio.reach - 1, _WIDTH_STEP) * _WIDTH_STEP
        inputs = (
            starts[:-1, np.newaxis, np.newaxis] + np.arange(1 - ratio.reach, 1 - ratio.reach + width)[:, np.newaxis]
        )
        outputs = first_outputs[:-1, np.newaxis, np.newaxis] + np.arange(np.diff(first_outputs).max())
        self._keeps_inputs = ratio.down == 1
        if self._keeps_inputs:  # at the inputs' own positions the sinc is 1 there and 0 at all others
            outputs = outputs[:, :, outputs[0, 0] % ratio.up != 0]
        # Axes: block of the row, input of its window, output.
        self.weights = ratio.weights(outputs * ratio.down - inputs * ratio.up)
        is_output = outputs < first_outputs[1:, np.newaxis, np.newaxis]
        # Those of a row; blocks with one less than others have a surplus column.
        self._outputs = slice(None) if is_output.all() else np.flatnonzero(is_output)
        # Two rows less than fit: one completes what was held back, one is only begun.
        self.slice_inputs = (_PRODUCT_MULTIPLICATIONS // self.weights[0].size - 2) * self._row_inputs

    def outputs(self, signal: bytes, first: int, last: int) -> bytes:
        rows = -(-last // self._row_outputs)
        # Zeros complete the last row; they reach only outputs beyond the last.
        end = (rows * self._row_inputs + self.weights.shape[1]) * _SAMPLE_BYTES
        sums = self._sums(signal + bytes(max(0, end - len(signal))), rows)
        return sums[first:last].tobytes()

    def _sums(self, signal: bytes, rows: int) -> npt.NDArray[np.int16]:
        blocks, width, columns = self.weights.shape
        block_bytes, row_bytes = self._block_inputs * _SAMPLE_BYTES, self._row_inputs * _SAMPLE_BYTES
        # BLAS takes no overlapping rows; so they are copied where they are made float64, which costs least.
        if blocks == 1:
            windows = np.ndarray((rows, width), _INT16, signal, 0, (row_bytes, _SAMPLE_BYTES))
            sums = windows.astype(np.float64, "C") @ self.weights[0]
        else:
            strides = (block_bytes, row_bytes, _SAMPLE_BYTES)
            parts = np.ndarray((blocks, rows, width), _INT16, signal, 0, strides)
            products = parts.astype(np.float64, "C") @ self.weights
            sums = products.transpose(1, 0, 2).reshape(rows, blocks * columns)[:, self._outputs]
        np.rint(sums, out=sums)
        sums.clip(_LEAST, _MOST, out=sums)
        if not self._keeps_inputs:
            return np.asarray(sums, _INT16).reshape(-1)
        inputs, up = rows * self._row_inputs, self.ratio.up
        output: npt.NDArray[np.int16] = np.ndarray((inputs, up), _INT16)
        output[:, 0] = np.ndarray(inputs, _INT16, signal, (self.ratio.reach - 1) * _SAMPLE_BYTES)
        output[:, 1:] = sums.reshape(inputs, up - 1)
        return output.reshape(-1)


@cache
def _filter_of(source_hz: int, target_hz: int) -> _Filter:
    ratio = _Ratio(source_hz, target_hz)
    return _CompiledFilter(ratio) if IS_COMPILED else _MatrixFilter(ratio)


def _choose_block_inputs(up: int, down: int) -> int:
    """As many whole periods as fit into a block, else the largest equal part of a period."""
    limit = _BLOCK_SAMPLES * down // max(up, down)
    if limit >= down:
        return limit - limit % down
    return max(part for part in range(1, limit + 1) if down % part == 0)


def _ceil_div(dividend: _IntOrArray, divisor: int) -> _IntOrArray:
    return -(-dividend // divisor)
