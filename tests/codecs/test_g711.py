"""
G.711 against the recommendation, over every code word and every sample.

The reference below is written from tables 1 and 2 of ITU-T G.711 (11/88): a code word is a sign, a segment (3 bits) and
a step in it (4 bits); each has a decision value, at which its interval begins, and an output value in its middle.
"""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telephony_codecs import alaw, mulaw

CODEC = pytest.mark.parametrize("codec", [mulaw, alaw], ids=["mulaw", "alaw"])
OCTETS = bytes(range(256))
SAMPLES = np.arange(-32768, 32768)
SEGMENT, STEP = np.divmod(np.arange(128), 16)

# Table 2, in its own unit (full scale 8159, 4 units of int16); line code: all bits inverted, sign bit 1 when positive.
MULAW_OUTPUTS = ((2 * STEP + 33) << SEGMENT) - 33
MULAW_DECISIONS = ((2 * STEP + 32) << SEGMENT) - 33
# Table 1, in its own unit (full scale 4096, 8 units of int16); line code: even bits inverted, sign bit 1 when positive.
ALAW_OUTPUTS = np.where(SEGMENT == 0, 2 * STEP + 1, (2 * STEP + 33) << SEGMENT >> 1)
ALAW_DECISIONS = np.where(SEGMENT == 0, 2 * STEP, (2 * STEP + 32) << SEGMENT >> 1)


def mulaw_reference() -> np.ndarray:
    code = np.arange(256) ^ 0xFF
    return np.where(code & 0x80, -1, 1) * MULAW_OUTPUTS[code & 0x7F] * 4


def alaw_reference() -> np.ndarray:
    code = np.arange(256) ^ 0x55
    return np.where(code & 0x80, 1, -1) * ALAW_OUTPUTS[code & 0x7F] * 8


def mulaw_encode_reference(samples: np.ndarray) -> np.ndarray:
    units = samples // 4
    index = np.searchsorted(MULAW_DECISIONS, np.abs(units), side="right") - 1
    return (index | np.where(units < 0, 0x80, 0)) ^ 0xFF


def alaw_encode_reference(samples: np.ndarray) -> np.ndarray:
    units = samples // 8
    # A-law has no zero: the interval below it, [-2, 0), mirrors [0, 2).
    index = np.searchsorted(ALAW_DECISIONS, np.where(units < 0, -units - 1, units), side="right") - 1
    return (index | np.where(units < 0, 0, 0x80)) ^ 0x55


def int16(values: np.ndarray | list[int]) -> bytes:
    return np.asarray(values).astype("<i2").tobytes()


@pytest.mark.parametrize(("codec", "expected"), [(mulaw, mulaw_reference()), (alaw, alaw_reference())])
def test_every_octet_decodes_to_the_output_value_of_the_recommendation(codec, expected):
    assert codec.decode(OCTETS) == int16(expected)


@pytest.mark.parametrize(
    ("codec", "expected"), [(mulaw, mulaw_encode_reference(SAMPLES)), (alaw, alaw_encode_reference(SAMPLES))]
)
def test_every_sample_encodes_to_the_interval_of_the_recommendation(codec, expected):
    assert codec.encode(int16(SAMPLES)) == expected.astype(np.uint8).tobytes()


@pytest.mark.parametrize(
    ("codec", "digest"),
    [
        (mulaw, "3dab54339e520bb2c924826e3b72a917a2b612e9fd12fc867500f1d983a75827"),
        (alaw, "e04788d110e58ff8c70c93b8480190d973e3b67876b6119abbaec766cc75c174"),
    ],
)
def test_decoding_table_has_the_published_digest(codec, digest):
    assert hashlib.sha256(codec.decode(OCTETS)).hexdigest() == digest


@pytest.mark.parametrize(
    ("codec", "code_words"), [(mulaw, "ff ff 7e f2 72 ce 00 80"), (alaw, "d5 d5 55 d3 53 fa 2a aa")]
)
def test_known_samples_encode_to_known_code_words(codec, code_words):
    assert codec.encode(int16([0, 1, -1, 100, -100, 1000, -32768, 32767])).hex(" ") == code_words


@CODEC
def test_decoded_octets_encode_to_themselves(codec):
    # Mu-law has two code words for zero; encoding picks the positive one.
    expected = OCTETS.replace(b"\x7f", b"\xff") if codec is mulaw else OCTETS
    assert codec.encode(codec.decode(OCTETS)) == expected


@CODEC
@given(pcm=st.binary(max_size=400).map(lambda raw: raw[: len(raw) & ~1]))
def test_coding_twice_loses_nothing_more(codec, pcm):
    once = codec.decode(codec.encode(pcm))
    assert codec.decode(codec.encode(once)) == once


@CODEC
@given(pcm=st.binary(max_size=400).filter(lambda raw: len(raw) % 2))
def test_encode_refuses_half_a_sample(codec, pcm):
    with pytest.raises(ValueError, match="ends inside a sample"):
        codec.encode(pcm)


@CODEC
def test_nothing_codes_to_nothing(codec):
    assert (codec.decode(b""), codec.encode(b"")) == (b"", b"")
