"""The resampler as a stream: cutting, lengths, alignment, edges. How good it sounds is in test_resample_quality."""

from functools import cache
from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telephony_codecs import resample as module
from telephony_codecs.resample import IS_COMPILED, RATES_HZ, Resampler, _CompiledFilter, _MatrixFilter, _Ratio

NEEDS_COMPILED = pytest.mark.skipif(not IS_COMPILED, reason="nobody compiled it")
RATIOS = list(permutations(RATES_HZ, 2))
FILTERS = [pytest.param(_CompiledFilter, marks=NEEDS_COMPILED), _MatrixFilter]
EVERY_RATIO = pytest.mark.parametrize(("source_hz", "target_hz"), RATIOS)


@pytest.fixture(params=FILTERS, autouse=True, scope="module")
def filters(request):
    """All that is said here is said of both filters."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_filter_of", cache(lambda source, target: request.param(_Ratio(source, target))))
        yield request.param


def noise(samples: int, peak: int = 32767) -> np.ndarray:
    return np.random.default_rng(711).integers(-peak, peak, samples, endpoint=True).astype("<i2")


def resample(samples: np.ndarray, source_hz: int, target_hz: int) -> np.ndarray:
    resampler = Resampler(source_hz, target_hz)
    return np.frombuffer(resampler.process(samples.tobytes()) + resampler.flush(), "<i2")


def windowed_sinc_sum(samples: np.ndarray, source_hz: int, target_hz: int) -> np.ndarray:
    """The definition, evaluated output by output in plain float64: Kaiser's window over 32 sinc lobes either side."""
    stretch = max(1, source_hz / target_hz)
    beta = 0.1102 * (100 - 8.7)
    outputs = np.arange(-(-len(samples) * target_hz // source_hz))
    distance = (outputs * source_hz / target_hz)[:, None] - np.arange(len(samples))
    inside = np.clip(1 - (distance / (32 * stretch)) ** 2, 0, None)
    kernel = np.sinc(distance / stretch) / stretch * np.i0(beta * np.sqrt(inside)) / np.i0(beta)
    return np.where(inside > 0, kernel, 0) @ samples


@EVERY_RATIO
def test_output_is_the_windowed_sinc_sum_at_each_output_instant(source_hz, target_hz):
    samples = noise(300, peak=20000)

    output = resample(samples, source_hz, target_hz)

    expected = np.clip(windowed_sinc_sum(samples, source_hz, target_hz), -32768, 32767)
    # Half a step of rounding, and a little for the normalisation of the weights.
    np.testing.assert_allclose(output, expected, rtol=0, atol=0.6)


@EVERY_RATIO
def test_sums_are_exact_in_float64(source_hz, target_hz, filters):
    """What makes cutting irrelevant: integer multiples of one power of two that fit the 53 bits of a float64."""
    steps = filters(_Ratio(source_hz, target_hz)).weights * 2**30

    assert np.array_equal(steps, np.rint(steps))
    assert np.abs(steps).sum(axis=1).max() * 2**15 < 2**53


@EVERY_RATIO
def test_random_cuts_change_no_bit(source_hz, target_hz):
    samples = noise(1500)
    cuts = np.sort(np.random.default_rng(source_hz + target_hz).integers(0, len(samples), 15))
    resampler = Resampler(source_hz, target_hz)

    pieces = [resampler.process(samples[a:b].tobytes()) for a, b in pairwise([0, *cuts, len(samples)])]

    assert b"".join([*pieces, resampler.flush()]) == resample(samples, source_hz, target_hz).tobytes()


@given(
    ratio=st.sampled_from([(8000, 16000), (16000, 8000), (24000, 16000), (44100, 16000), (11025, 8000)]),
    lengths=st.lists(st.integers(0, 500), max_size=12),
)
def test_any_cuts_change_no_bit(ratio, lengths):
    samples = noise(sum(lengths))
    resampler = Resampler(*ratio)
    ends = np.cumsum([0, *lengths])

    pieces = [resampler.process(samples[a:b].tobytes()) for a, b in pairwise(ends)]

    assert b"".join([*pieces, resampler.flush()]) == resample(samples, *ratio).tobytes()


@pytest.mark.parametrize(("source_hz", "target_hz"), [(8000, 16000), (16000, 8000), (44100, 16000)])
def test_sample_by_sample_equals_the_whole(source_hz, target_hz):
    samples = noise(400)
    resampler = Resampler(source_hz, target_hz)

    pieces = [resampler.process(sample.tobytes()) for sample in samples]

    assert b"".join([*pieces, resampler.flush()]) == resample(samples, source_hz, target_hz).tobytes()


def test_input_longer_than_a_slice_equals_small_pieces():
    samples = noise(3 * module._filter_of(8000, 16000).slice_inputs)
    resampler = Resampler(8000, 16000)

    pieces = [resampler.process(samples[start : start + 160].tobytes()) for start in range(0, len(samples), 160)]

    assert b"".join([*pieces, resampler.flush()]) == resample(samples, 8000, 16000).tobytes()


@EVERY_RATIO
def test_output_spans_exactly_the_time_of_the_input(source_hz, target_hz):
    for samples in (0, 1, 2, 159, 441, 1000):
        assert len(resample(noise(samples), source_hz, target_hz)) == -(-samples * target_hz // source_hz)


@EVERY_RATIO
def test_output_lags_by_32_samples_of_the_lower_rate(source_hz, target_hz):
    """No output is held back longer than the filter demands."""
    resampler = Resampler(source_hz, target_hz)

    output_samples = len(resampler.process(bytes(2 * source_hz))) // 2

    lag_s = 1 - output_samples / target_hz
    assert lag_s == pytest.approx(32 / min(source_hz, target_hz), abs=1 / source_hz + 1 / target_hz)


def test_doubling_the_rate_keeps_every_input_sample():
    samples = noise(5000)
    assert np.array_equal(resample(samples, 8000, 16000)[::2], samples)


@EVERY_RATIO
def test_a_constant_stays_constant_away_from_the_edges(source_hz, target_hz):
    output = resample(np.full(1000, 32767, "<i2"), source_hz, target_hz)

    edge = 33 * target_hz // min(source_hz, target_hz)
    assert set(output[edge:-edge].tolist()) == {32767}


@pytest.mark.parametrize("peak", [32767, -32768])
def test_overshoot_saturates_instead_of_wrapping(peak):
    step = np.where(np.arange(1000) < 500, -1 - peak, peak).astype("<i2")

    output = resample(step, 8000, 16000)

    # Half a sample after the step the band-limited wave passes over full scale by a tenth.
    assert output[1001] == peak


def test_equal_rates_return_the_very_bytes():
    pcm = noise(160).tobytes()
    resampler = Resampler(8000, 8000)

    assert resampler.process(pcm) is pcm
    assert resampler.flush() == b""


def test_after_flush_the_next_stream_starts_afresh():
    resampler = Resampler(44100, 16000)
    samples = noise(1000).tobytes()

    first, second = (resampler.process(samples) + resampler.flush() for _ in range(2))

    assert first == second


@pytest.mark.parametrize("target_hz", [8000, 16000])
def test_half_a_sample_is_refused_and_nothing_taken(target_hz):
    resampler = Resampler(8000, target_hz)

    with pytest.raises(ValueError, match="ends inside a sample"):
        resampler.process(bytes(99_999))

    assert resampler.flush() == b""


@pytest.mark.parametrize(("source_hz", "target_hz"), [(0, 8000), (-8000, 8000), (8000, 7999), (48000, 96000)])
def test_unsupported_rates_are_refused(source_hz, target_hz):
    with pytest.raises(ValueError, match="not supported"):
        Resampler(source_hz, target_hz)
