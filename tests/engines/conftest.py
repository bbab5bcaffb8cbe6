"""One loaded model for every test of this room, and the speech that the project brings."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

import gateway
from gateway.engines.sphinx import SphinxEngines

RECORDING = Path(gateway.__file__).parent / "simulate" / "recordings" / "demo.flac"


@pytest.fixture(scope="session")
def engines() -> SphinxEngines:
    return SphinxEngines(pause_ms=600)


@pytest.fixture(scope="session")
def caller() -> NDArray[np.int16]:
    """
    The recording's left channel, 8 kHz: two sentences with a long pause.

    Their sound begins at 0.74 and 8.40 s and ends at 3.3 and 13.3 s; faint room noise surrounds each.
    """
    samples, rate_hz = soundfile.read(RECORDING, dtype="int16")
    assert rate_hz == 8000
    return np.ascontiguousarray(samples[:, 0])
