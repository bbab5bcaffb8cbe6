"""The compiled sums: there where there is a compiler, the same bits as numpy's, and nothing beyond what is given."""

import shutil
import sysconfig
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from telephony_codecs import resample as module
from telephony_codecs.resample import IS_COMPILED, RATES_HZ, _CompiledFilter, _MatrixFilter, _Ratio

needs_compiled = pytest.mark.skipif(not IS_COMPILED, reason="nobody compiled it")
WEIGHTS = np.zeros((2, 64))


def can_compile() -> bool:
    compiler = (sysconfig.get_config_var("CC") or "").split()
    return bool(compiler and shutil.which(compiler[0])) and Path(sysconfig.get_path("include"), "Python.h").exists()


@pytest.mark.skipif(not can_compile(), reason="there is no compiler, or no header")
def test_where_there_is_a_compiler_it_is_compiled() -> None:
    assert IS_COMPILED


@needs_compiled
@pytest.mark.parametrize(("source_hz", "target_hz"), list(permutations(RATES_HZ, 2)))
def test_both_filters_give_the_same_bits(source_hz: int, target_hz: int) -> None:
    ratio = _Ratio(source_hz, target_hz)
    compiled, matrix = _CompiledFilter(ratio), _MatrixFilter(ratio)
    draw = np.random.default_rng(source_hz + target_hz)
    signal = draw.integers(-32768, 32767, 2 * ratio.reach + 2000, endpoint=True).astype("<i2").tobytes()
    most = 2000 * ratio.up // ratio.down
    for first, last in [(0, most), (0, 1), (most - 1, most), *np.sort(draw.integers(0, most, (20, 2))).tolist()]:
        assert compiled.outputs(signal, first, last) == matrix.outputs(signal, first, last)


@needs_compiled
@pytest.mark.parametrize("value", [-32768, 32767])
def test_what_is_too_loud_is_saturated(value: int) -> None:
    weights = np.full((1, 64), 2.0)
    signal = np.full(100, value, "<i2").tobytes()
    assert module._compiled is not None
    assert np.frombuffer(module._compiled(signal, weights, 1, 2, 0, 10), "<i2").tolist() == [value] * 10


@needs_compiled
@pytest.mark.parametrize(
    ("sums", "rounded"), [(0.5, 0), (1.5, 2), (2.5, 2), (-0.5, 0), (-1.5, -2), (0.49999, 0), (0.50001, 1)]
)
@pytest.mark.parametrize(("up", "down", "which"), [(1, 2, 0), (2, 1, 1)])
def test_sums_are_rounded_to_the_nearest_and_halves_to_even(
    sums: float, rounded: int, up: int, down: int, which: int
) -> None:
    weights = np.zeros((up, 8))
    weights[which, 0] = sums
    signal = np.ones(9, "<i2").tobytes()
    assert module._compiled is not None
    assert np.frombuffer(module._compiled(signal, weights, up, down, which, which + 1), "<i2").tolist() == [rounded]


@needs_compiled
@pytest.mark.parametrize(
    ("samples", "weights", "up", "down", "first", "last"),
    [
        (100, WEIGHTS, 2, 1, 0, 201),  # the last window would begin behind the signal
        (0, WEIGHTS, 2, 1, 0, 1),
        (100, WEIGHTS, 2, 1, -1, 1),
        (100, WEIGHTS, 2, 1, 5, 4),
        (100, WEIGHTS, 0, 1, 0, 1),
        (100, WEIGHTS, 2, 0, 0, 1),
        (100, WEIGHTS, 2, -1, 0, 1),
        (100, WEIGHTS, 3, 1, 0, 1),  # rows of no whole width
        (100, WEIGHTS, 2**40, 1, 0, 1),
        (100, WEIGHTS, 2, 1, 0, 2**62),
        (100, np.zeros((2, 60)), 2, 1, 0, 1),
        (100, np.zeros((2, 0)), 2, 1, 0, 1),
    ],
)
def test_what_does_not_fit_is_refused(
    samples: int, weights: np.ndarray, up: int, down: int, first: int, last: int
) -> None:
    assert module._compiled is not None
    with pytest.raises(ValueError, match="no such outputs"):
        module._compiled(bytes(2 * samples), weights, up, down, first, last)
