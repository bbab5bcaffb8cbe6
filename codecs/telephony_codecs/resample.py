"""
Streaming conversion between sample rates, bit-identical however the stream is cut.

The filter is a Kaiser-windowed sinc, cut off at the lower of the two Nyquist frequencies: flat within ±0.001 dB
up to 0.9 of it, 98 dB down from 1.1 of it. Its delay is compensated: output sample n stands for the input at
n·source/target.

Matrix products do the work. A rational ratio repeats after a period. Some periods make a block, or a long period is
cut into blocks: some inputs and the outputs that stand among them, each a fixed weighted sum over the inputs around
it. The windows around one block, one row per repetition, times its weights give its outputs in all of them. Where
outputs are a multiple of the inputs, the inputs are among them, and only those between are computed.

Why cutting does not matter: the weights are multiples of 2⁻³⁰ and the samples integers, so every product and every
partial sum is a multiple of 2⁻³⁰ below 2²³, which float64 holds exactly. Nothing is rounded before the end; so neither
the order of the additions (which BLAS chooses by size, alignment and processor) nor the cuts can change a bit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import gcd, lcm
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from telephony_codecs.low_pass import kaiser_low_pass

RATES_HZ = (8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000)

_ATTENUATION_DB = 100.0
# Samples of the lower rate on either side of an output: what Kaiser's formula asks for a fall of 100 dB between
# 0.9 and 1.1 of Nyquist.
_REACH_SAMPLES = 32
_WEIGHT_STEP = 2.0**-30
# At most so many inputs and outputs per block: large enough for BLAS, small enough not to multiply mostly by zero.
# Measured from 16 to 192: half of it costs more for most ratios, twice as much costs more in long pieces.
_BLOCK_SAMPLES = 48
# Larger products OpenBLAS shares out among threads, which on a busy machine costs up to ten times what it gains.
_PRODUCT_MULTIPLICATIONS = 4 * 65536
# What many streams are given is worked off in parts of so much, which stay in the processor's cache.
_SHARED_BYTES = 32768
# Widths of a product are filled up to a multiple of this, which BLAS works off faster.
_WIDTH_STEP = 8
_INT16, _SAMPLE_BYTES = np.dtype("<i2"), 2
_LEAST, _MOST = np.float64(-32768), np.float64(32767)

_IntOrArray = TypeVar("_IntOrArray", int, npt.NDArray[np.int_])


@dataclass(frozen=True, slots=True, eq=False)
class _Filter:
    """One ratio's weights, shared by every stream that uses it: the very same object."""

    reach: int  # an output depends on so many inputs after its own position, and on one less before it
    period_inputs: int  # after so many inputs and outputs the weights repeat
    period_outputs: int
    block_inputs: int
    row_inputs: int  # what one row of a product works off: periods that make one block, or blocks that make one period
    row_outputs: int
    weights: npt.NDArray[np.float64]  # axes: block of the row, input of its window, output
    outputs: npt.NDArray[np.intp] | slice  # those of a row; blocks with one less than others have a surplus column
    keeps_inputs: bool  # the first output of a period is the input there, and has no weights
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
        slice_bytes = self._filter.slice_inputs * _SAMPLE_BYTES
        if len(pcm) <= slice_bytes:
            return _advance(self._filter, [self], [pcm])[0]
        starts = range(0, len(pcm), slice_bytes)
        return b"".join([_advance(self._filter, [self], [pcm[start : start + slice_bytes]])[0] for start in starts])

    def flush(self) -> bytes:
        """
        End the stream.

        Returns:
            the rest of the output, so that n inputs made ceil(n·target/source) outputs altogether. The object is then
            ready for a new stream.
        """
        if self._filter is None:
            return b""
        (rest,) = _advance(self._filter, [self], [bytes(self._filter.reach * _SAMPLE_BYTES)])
        self._begin()
        return rest

    @staticmethod
    def process_together(streams: Sequence["Resampler"], pcms: Sequence[bytes]) -> list[bytes]:
        """
        Take more input of many streams; each gets what `process` would have returned, to the bit.

        Where the same is done with pieces of the same length, the products are shared, and most of their cost.

        Args:
            streams: all different.
            pcms: the input of each.

        Raises:
            ValueError: as `process`; nothing was taken of anybody's.
        """
        alike: dict[tuple[_Filter | None, int, int, int], list[int]] = {}
        for index, (stream, pcm) in enumerate(zip(streams, pcms, strict=True)):
            key = stream._filter, len(pcm), len(stream._held), stream._outputs_done
            alike.setdefault(key, []).append(index)
        if any(size % 2 for _, size, _, _ in alike):
            raise ValueError("int16 audio that ends inside a sample")
        outputs = [b""] * len(streams)
        for (filter_, size, _, _), indices in alike.items():
            if filter_ is None or size > filter_.slice_inputs * _SAMPLE_BYTES:
                for index in indices:
                    outputs[index] = streams[index].process(pcms[index])
                continue
            most = max(1, _SHARED_BYTES // max(1, size))
            for start in range(0, len(indices), most):
                part = indices[start : start + most]
                done = _advance(filter_, [streams[each] for each in part], [pcms[each] for each in part])
                for index, output in zip(part, done, strict=True):
                    outputs[index] = output
        return outputs

    def _begin(self) -> None:
        # All inputs on which the current period and later ones depend; outputs of that period that are out already.
        self._held = bytes((self._filter.reach - 1) * _SAMPLE_BYTES if self._filter else 0)
        self._outputs_done = 0


def _advance(filter_: _Filter, streams: Sequence[Resampler], pcms: Sequence[bytes]) -> list[bytes]:
    """The output of streams that hold equally much, have equally much done, and are given equally much."""
    held_bytes, outputs_done = len(streams[0]._held), streams[0]._outputs_done
    size = held_bytes + len(pcms[0])
    # Output m of the current period stands at input m·inputs/outputs and needs `reach` inputs from there on.
    positions = size // _SAMPLE_BYTES - 2 * filter_.reach + 1
    ready = -(-positions * filter_.period_outputs // filter_.period_inputs)
    if ready <= outputs_done:
        for stream, pcm in zip(streams, pcms, strict=True):
            stream._held += pcm
        return [b""] * len(streams)
    rows = -(-ready // filter_.row_outputs)
    # Zeros complete the last row; they reach only outputs beyond `ready`.
    end = (rows * filter_.row_inputs + filter_.weights.shape[1]) * _SAMPLE_BYTES
    zeros = bytes(max(0, end - size))
    signals = b"".join([part for stream, pcm in zip(streams, pcms, strict=True) for part in (stream._held, pcm, zeros)])
    outputs = _filter_rows(filter_, signals, len(streams), rows)

    periods_done = ready // filter_.period_outputs
    done = periods_done * filter_.period_inputs * _SAMPLE_BYTES
    for start, stream in zip(range(0, len(signals), size + len(zeros)), streams, strict=True):
        stream._held = signals[start + done : start + size]
        stream._outputs_done = ready - periods_done * filter_.period_outputs
    return [output[outputs_done:ready].tobytes() for output in outputs]


def _filter_rows(filter_: _Filter, signals: bytes, streams: int, rows: int) -> npt.NDArray[np.int16]:
    """
    All outputs of so many rows of each stream.

    Args:
        signals: of all of them, equally long; each begins with the window of its first row.

    Returns:
        axes: stream, output.
    """
    blocks, width, columns = filter_.weights.shape
    block_bytes, row_bytes = filter_.block_inputs * _SAMPLE_BYTES, filter_.row_inputs * _SAMPLE_BYTES
    stream_bytes = len(signals) // streams
    # BLAS takes no overlapping rows; so they are copied where they are made float64, which costs least.
    if blocks == 1:
        windows = np.ndarray((streams, rows, width), _INT16, signals, 0, (stream_bytes, row_bytes, _SAMPLE_BYTES))
        sums = _product(windows.astype(np.float64, "C").reshape(-1, width), filter_.weights[0])
    else:
        strides = (stream_bytes, block_bytes, row_bytes, _SAMPLE_BYTES)
        windows = np.ndarray((streams, blocks, rows, width), _INT16, signals, 0, strides)
        products = windows.astype(np.float64, "C") @ filter_.weights
        sums = products.transpose(0, 2, 1, 3).reshape(-1, blocks * columns)[:, filter_.outputs]
    np.rint(sums, out=sums)
    sums.clip(_LEAST, _MOST, out=sums)
    if not filter_.keeps_inputs:
        return np.asarray(sums, _INT16).reshape(streams, -1)
    inputs, up = rows * filter_.row_inputs, filter_.period_outputs
    output: npt.NDArray[np.int16] = np.ndarray((streams, inputs, up), _INT16)
    offset = (filter_.reach - 1) * _SAMPLE_BYTES
    output[:, :, 0] = np.ndarray((streams, inputs), _INT16, signals, offset, (stream_bytes, _SAMPLE_BYTES))
    output[:, :, 1:] = sums.reshape(streams, inputs, up - 1)
    return output.reshape(streams, -1)


def _product(windows: npt.NDArray[np.float64], weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    rows = _PRODUCT_MULTIPLICATIONS // weights.size
    if len(windows) <= rows:
        return np.asarray(windows.dot(weights))
    sums = np.empty((len(windows), weights.shape[1]))
    for start in range(0, len(windows), rows):
        windows[start : start + rows].dot(weights, out=sums[start : start + rows])
    return sums


@cache
def _design(source_hz: int, target_hz: int) -> _Filter:
    common = gcd(source_hz, target_hz)
    up, down = target_hz // common, source_hz // common
    # In theory: insert up - 1 zeros after each input, filter at that high rate, keep every down-th sample. Output m is
    # then the sum over the inputs j, each weighted with prototype[centre + m·down - j·up].
    centre = _REACH_SAMPLES * max(up, down)
    prototype = up * kaiser_low_pass(2 * centre + 1, 1 / max(up, down), _ATTENUATION_DB)

    reach = _ceil_div(centre, up)
    block_inputs = _choose_block_inputs(up, down)
    row_inputs = lcm(block_inputs, down)
    starts = np.arange(0, row_inputs + 1, block_inputs)
    first_outputs = _ceil_div(starts * up, down)
    width = _ceil_div(block_inputs + 2 * reach - 1, _WIDTH_STEP) * _WIDTH_STEP
    inputs = starts[:-1, np.newaxis, np.newaxis] + np.arange(1 - reach, 1 - reach + width)[:, np.newaxis]
    outputs = first_outputs[:-1, np.newaxis, np.newaxis] + np.arange(np.diff(first_outputs).max())
    keeps_inputs = down == 1
    if keeps_inputs:  # at the inputs' own positions the sinc is 1 there and 0 at all others
        outputs = outputs[:, :, outputs[0, 0] % up != 0]
    taps = centre + outputs * down - inputs * up
    weights = np.where(np.abs(taps - centre) <= centre, prototype.take(taps, mode="clip"), 0.0)
    weights = np.rint(weights / _WEIGHT_STEP) * _WEIGHT_STEP

    is_output = outputs < first_outputs[1:, np.newaxis, np.newaxis]
    # Two rows less than fit: one completes what was held back, one is only begun.
    slice_rows = _PRODUCT_MULTIPLICATIONS // weights[0].size - 2
    return _Filter(
        reach=reach,
        period_inputs=down,
        period_outputs=up,
        block_inputs=block_inputs,
        row_inputs=row_inputs,
        row_outputs=row_inputs * up // down,
        weights=weights,
        outputs=slice(None) if is_output.all() else np.flatnonzero(is_output),
        keeps_inputs=keeps_inputs,
        slice_inputs=slice_rows * row_inputs,
    )


def _choose_block_inputs(up: int, down: int) -> int:
    """As many whole periods as fit into a block, else the largest equal part of a period."""
    limit = _BLOCK_SAMPLES * down // max(up, down)
    if limit >= down:
        return limit - limit % down
    return max(part for part in range(1, limit + 1) if down % part == 0)


def _ceil_div(dividend: _IntOrArray, divisor: int) -> _IntOrArray:
    return -(-dividend // divisor)
