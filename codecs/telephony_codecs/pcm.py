"""Linear PCM of 32 bits, beside the 16 bits in which everything here is computed."""

import numpy as np
import numpy.typing as npt

from telephony_codecs._audioop import rms


def linear32_to_linear16(audio: bytes) -> bytes:
    """
    Round 32-bit samples to 16 bits.

    Args:
        audio: int32 little-endian, full scale ±2³¹, whole samples.

    Returns:
        int16 little-endian, half as long: to the nearest value, halves upwards, saturating at 32767.
        (Truncation would shift the signal by half a step.)

    Raises:
        ValueError: the length is no multiple of four bytes.
    """
    # The limit is the highest value that does not overflow when half a step is added.
    half_step_up = np.minimum(np.frombuffer(audio, "<i4"), 0x7FFF_7FFF) + 0x8000
    narrow: npt.NDArray[np.int32] = half_step_up >> 16
    return narrow.astype("<i2").tobytes()


def linear16_to_linear32(pcm: bytes) -> bytes:
    """
    Widen 16-bit samples to 32 bits, exactly (the way back restores them).

    Args:
        pcm: int16 little-endian, whole samples.

    Returns:
        int32 little-endian, twice as long, same full scale.

    Raises:
        ValueError: an odd number of bytes.
    """
    wide: npt.NDArray[np.int32] = np.frombuffer(pcm, "<i2").astype("<i4") << 16
    return wide.tobytes()


def root_mean_square(pcm: bytes) -> int:
    """
    Effective value of 16-bit samples.

    Args:
        pcm: int16 little-endian, whole samples, also none.

    Returns:
        0 for silence and for nothing, at most 32768.

    Raises:
        audioop.error: an odd number of bytes.
    """
    return rms(pcm, 2)
