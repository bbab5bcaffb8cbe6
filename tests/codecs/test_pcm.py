"""Conversion between 16 and 32 bits."""

import numpy as np
import pytest

from telephony_codecs.pcm import linear16_to_linear32, linear32_to_linear16, root_mean_square

SAMPLES = np.arange(-32768, 32768).astype("<i2").tobytes()


def test_every_16_bit_sample_survives_the_way_to_32_bits_and_back():
    assert linear32_to_linear16(linear16_to_linear32(SAMPLES)) == SAMPLES


def test_widening_keeps_full_scale():
    assert linear16_to_linear32(b"\x00\x80\x01\x00") == b"\x00\x00\x00\x80\x00\x00\x01\x00"


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [
        (0x7FFF, 0),
        (0x8000, 1),
        (-0x8000, 0),
        (-0x8001, -1),
        (0x0001_7FFF, 1),
        (0x7FFF_7FFF, 32767),
        (0x7FFF_8000, 32767),
        (0x7FFF_FFFF, 32767),
        (-0x8000_0000, -32768),
    ],
)
def test_narrowing_rounds_to_nearest_and_saturates(wide, narrow):
    assert linear32_to_linear16(wide.to_bytes(4, "little", signed=True)) == narrow.to_bytes(2, "little", signed=True)


@pytest.mark.parametrize("convert", [linear16_to_linear32, linear32_to_linear16])
def test_half_a_sample_is_refused(convert):
    with pytest.raises(ValueError, match="multiple of element size"):
        convert(b"\x00\x00\x00")


@pytest.mark.parametrize("convert", [linear16_to_linear32, linear32_to_linear16])
def test_nothing_converts_to_nothing(convert):
    assert convert(b"") == b""


@pytest.mark.parametrize(
    ("samples", "effective"), [([], 0), ([0, 0], 0), ([-32768] * 4, 32768), ([300, -400], 354), ([1000], 1000)]
)
def test_the_effective_value_is_the_root_of_the_mean_square(samples, effective):
    assert root_mean_square(np.array(samples, "<i2").tobytes()) == pytest.approx(effective, abs=1)
