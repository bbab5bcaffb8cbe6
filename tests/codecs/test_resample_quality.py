"""
How true the resampler is, measured from outside with tones, and beside soxr.

Amplitudes and phases come from least-squares fits of sines to the int16 output. Over one second such a fit sees 130 dB
deep, far below the rounding of a single sample.
"""

import numpy as np
import pytest
import soxr

from telephony_codecs.resample import Resampler

AMPLITUDE = 16000.0
RATIOS = [(8000, 16000), (16000, 8000), (8000, 24000), (24000, 16000), (44100, 16000), (11025, 16000), (16000, 48000)]
EACH_RATIO = pytest.mark.parametrize(("source_hz", "target_hz"), RATIOS)


def resample(samples: np.ndarray, source_hz: int, target_hz: int) -> np.ndarray:
    resampler = Resampler(source_hz, target_hz)
    pcm = np.rint(samples).astype("<i2").tobytes()
    return np.frombuffer(resampler.process(pcm) + resampler.flush(), "<i2").astype(float)


def tone(frequency_hz: float, rate_hz: int, seconds: float = 1.0) -> np.ndarray:
    return AMPLITUDE * np.sin(2 * np.pi * frequency_hz * np.arange(int(rate_hz * seconds)) / rate_hz)


def phasors(output: np.ndarray, rate_hz: int, *frequencies_hz: float) -> list[complex]:
    """Complex amplitude of each frequency (1 = `tone` as it went in), fitted together, without the edges."""
    edge = rate_hz // 100
    time_s = np.arange(len(output))[edge:-edge] / rate_hz
    angles = 2 * np.pi * np.outer(time_s, frequencies_hz)
    fit = np.linalg.lstsq(np.hstack([np.sin(angles), np.cos(angles)]), output[edge:-edge])[0] / AMPLITUDE
    return [complex(a, b) for a, b in zip(*np.split(fit, 2), strict=True)]


def decibel(ratio: float) -> float:
    return 20 * np.log10(ratio)


def multitone(seed: int, top_hz: float, rate_hz: int, samples: int) -> np.ndarray:
    """Sixty sines up to `top_hz`, the same whatever rate they are sampled at."""
    draw = np.random.default_rng(seed)
    angles = 2 * np.pi * np.outer(np.arange(samples) / rate_hz, draw.uniform(50, top_hz, 60))
    return 500 * np.sin(angles + draw.uniform(0, 2 * np.pi, 60)).sum(axis=1)


def error_db(output: np.ndarray, ideal: np.ndarray, rate_hz: int) -> float:
    edge = rate_hz // 50
    core = slice(edge, min(len(output), len(ideal)) - edge)
    return decibel(np.std(output[core] - ideal[core]) / np.std(ideal[core]))


@EACH_RATIO
@pytest.mark.parametrize("share_of_nyquist", [0.02, 0.1, 0.43, 0.71, 0.85, 0.9])
def test_pass_band_is_flat_and_in_time(source_hz, target_hz, share_of_nyquist):
    """Up to 0.9 of the lower Nyquist (3.6 kHz for 8 kHz): within 0.002 dB, and within a thousandth of a sample."""
    frequency_hz = share_of_nyquist * min(source_hz, target_hz) / 2

    (gain,) = phasors(resample(tone(frequency_hz, source_hz), source_hz, target_hz), target_hz, frequency_hz)

    delay_samples = -np.angle(gain) / (2 * np.pi * frequency_hz) * target_hz
    assert (decibel(abs(gain)), delay_samples) == (pytest.approx(0, abs=0.002), pytest.approx(0, abs=0.001))


@pytest.mark.parametrize("frequency_hz", [97.0, 440.0, 1013.0, 2203.0, 3001.0, 3400.0, 3600.0])
@pytest.mark.parametrize(("source_hz", "target_hz"), [(8000, 16000), (8000, 24000), (8000, 48000)])
def test_images_are_98_db_down(source_hz, target_hz, frequency_hz):
    """A tone up to 3.6 kHz mirrors at 8 kHz minus itself, from 4.4 kHz on."""
    output = resample(tone(frequency_hz, source_hz), source_hz, target_hz)

    _, image = phasors(output, target_hz, frequency_hz, source_hz - frequency_hz)

    assert decibel(abs(image)) < -98


@pytest.mark.parametrize(("source_hz", "target_hz"), [(16000, 8000), (24000, 16000), (44100, 16000), (48000, 8000)])
@pytest.mark.parametrize("share_of_nyquist", [1.1, 1.17, 1.33, 1.7, 1.93])
def test_what_does_not_fit_the_lower_rate_is_98_db_down(source_hz, target_hz, share_of_nyquist):
    """From 1.1 of the target's Nyquist on, tones do not fold back audibly."""
    frequency_hz = min(share_of_nyquist * target_hz, 0.99 * source_hz) / 2
    alias_hz = abs(frequency_hz - round(frequency_hz / target_hz) * target_hz)
    # A second tone keeps the alias from vanishing in the rounding.
    both = tone(frequency_hz, source_hz) + tone(1013.7, source_hz)

    _, alias = phasors(resample(both, source_hz, target_hz), target_hz, 1013.7, alias_hz)

    assert decibel(abs(alias)) < -98


@EACH_RATIO
def test_distortion_of_a_tone_is_rounding_only(source_hz, target_hz):
    """All that comes beside the tone (THD+N) is the rounding of input and output, each -91.9 dB at this level."""
    frequency_hz = 1013.7
    output = resample(tone(frequency_hz, source_hz), source_hz, target_hz)

    (gain,) = phasors(output, target_hz, frequency_hz)

    phase = 2 * np.pi * frequency_hz * np.arange(len(output)) / target_hz + np.angle(gain)
    assert error_db(output, AMPLITUDE * abs(gain) * np.sin(phase), target_hz) < -88.7


@EACH_RATIO
@pytest.mark.parametrize("quality", ["HQ", "VHQ"])
def test_band_limited_signal_is_as_true_as_with_soxr(source_hz, target_hz, quality):
    """Error against the same signal sampled at the target rate directly: no more than 0.3 dB above soxr's."""
    top_hz = 0.88 * min(source_hz, target_hz) / 2
    samples = np.rint(multitone(5, top_hz, source_hz, source_hz))
    ideal = multitone(5, top_hz, target_hz, target_hz)

    ours = error_db(resample(samples, source_hz, target_hz), ideal, target_hz)
    theirs = error_db(np.rint(soxr.resample(samples, source_hz, target_hz, quality)), ideal, target_hz)

    assert ours < theirs + 0.3
