"""
Low-pass filters by Kaiser's window, the same that `scipy.signal.firwin` designs.

That library is not asked itself: to import it takes longer, and more memory, than all else that a gateway imports.
"""

import numpy as np
import numpy.typing as npt


def kaiser_low_pass(taps: int, cutoff: float, attenuation_db: float) -> npt.NDArray[np.float64]:
    """
    Design a filter of linear phase.

    Args:
        taps: its length, 2 or more; odd, if its delay is to be a whole number of samples.
        cutoff: where it has fallen by 6 dB, as a part of the Nyquist frequency, above 0 and below 1.
        attenuation_db: of the stop band, above 50: the range of Kaiser's formula for the shape of the window.

    Returns:
        shape (taps,); symmetric; the sum is 1, so that a constant signal stays what it is.
    """
    beta = 0.1102 * (attenuation_db - 8.7)
    positions = np.arange(taps) - (taps - 1) / 2
    weights: npt.NDArray[np.float64] = np.sinc(cutoff * positions) * np.kaiser(taps, beta)
    weights /= weights.sum()
    return weights
