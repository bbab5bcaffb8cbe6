"""Our low-pass filters beside those of scipy."""

from math import gcd

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import signal

from telephony_codecs.low_pass import kaiser_low_pass
from telephony_codecs.resample import RATES_HZ

STRETCHES = sorted({max(a, b) // gcd(a, b) for a in RATES_HZ for b in RATES_HZ if a != b})


def designed_by_scipy(taps: int, cutoff: float, attenuation_db: float) -> np.ndarray:
    window = ("kaiser", signal.kaiser_beta(attenuation_db))
    design: np.ndarray = signal.firwin(taps, cutoff, window=window)
    return design


@pytest.mark.parametrize("stretch", STRETCHES)
def test_prototypes_of_the_resampler_round_to_the_weights_that_scipy_gives(stretch):
    """Its weights are multiples of 2⁻³⁰, made of these taps times at most `stretch`."""
    taps = 64 * stretch + 1

    ours = stretch * kaiser_low_pass(taps, 1 / stretch, 100.0)

    theirs = stretch * designed_by_scipy(taps, 1 / stretch, 100.0)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-14)
    assert np.array_equal(np.rint(ours * 2**30), np.rint(theirs * 2**30))


@given(taps=st.integers(2, 2000), cutoff=st.floats(0.001, 0.999), attenuation_db=st.floats(51, 200))
def test_any_design_is_that_of_scipy(taps, cutoff, attenuation_db):
    ours = kaiser_low_pass(taps, cutoff, attenuation_db)

    np.testing.assert_allclose(ours, designed_by_scipy(taps, cutoff, attenuation_db), rtol=0, atol=1e-12)
