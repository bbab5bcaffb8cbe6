"""The converter: every pair of formats, cutting at any byte, pass-through."""

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telephony_codecs import alaw, mulaw
from telephony_codecs.convert import Converter
from telephony_codecs.formats import AudioFormat, Encoding
from telephony_codecs.resample import RATES_HZ, Resampler

FORMATS = [AudioFormat(encoding, rate_hz) for encoding, rate_hz in product(Encoding, RATES_HZ)]
G711 = {Encoding.MULAW, Encoding.ALAW}
AMPLITUDE = 0.4
TELEPHONY = [AudioFormat.parse(text) for text in ("mulaw-8000", "alaw-8000", "linear16-8000", "linear32-16000")]


def tone(source: AudioFormat, samples: int) -> bytes:
    """A sine of 440 Hz, made without the code under test save G.711 (proved elsewhere)."""
    wave = AMPLITUDE * np.sin(2 * np.pi * 440 * np.arange(samples) / source.rate_hz)
    pcm = np.rint(wave * 32768).astype("<i2").tobytes()
    match source.encoding:
        case Encoding.MULAW:
            return mulaw.encode(pcm)
        case Encoding.ALAW:
            return alaw.encode(pcm)
        case Encoding.LINEAR16:
            return pcm
        case Encoding.LINEAR32:
            return np.rint(wave * 2**31).astype("<i4").tobytes()


def convert(audio: bytes, source: AudioFormat, target: AudioFormat, cuts: list[int] | None = None) -> bytes:
    converter = Converter(source, target)
    ends = [0, *sorted(cuts or []), len(audio)]
    return b"".join([*(converter.convert(audio[a:b]) for a, b in pairwise(ends)), converter.flush()])


def normalised(audio: bytes, audio_format: AudioFormat) -> np.ndarray:
    match audio_format.encoding:
        case Encoding.MULAW:
            return np.frombuffer(mulaw.decode(audio), "<i2") / 2**15
        case Encoding.ALAW:
            return np.frombuffer(alaw.decode(audio), "<i2") / 2**15
        case Encoding.LINEAR16:
            return np.frombuffer(audio, "<i2") / 2**15
        case Encoding.LINEAR32:
            return np.frombuffer(audio, "<i4") / 2**31


@pytest.mark.parametrize("source", FORMATS, ids=str)
def test_a_tone_stays_the_same_tone_in_every_other_format(source):
    samples = source.rate_hz // 20
    audio = tone(source, samples)

    for target in FORMATS:
        output = normalised(convert(audio, source, target), target)

        assert len(output) == -(-samples * target.rate_hz // source.rate_hz), target
        expected = AMPLITUDE * np.sin(2 * np.pi * 440 * np.arange(len(output)) / target.rate_hz)
        # G.711 errs by up to 1/128 of full scale at this level, at either end; linear PCM by roundings only.
        error = 0.02 if {source.encoding, target.encoding} & G711 else 1e-4
        edge = target.rate_hz // 200
        np.testing.assert_allclose(output[edge:-edge], expected[edge:-edge], atol=error, err_msg=str(target))


@given(
    source=st.sampled_from(TELEPHONY),
    target=st.sampled_from(TELEPHONY),
    audio=st.binary(max_size=1500),
    data=st.data(),
)
def test_cuts_at_any_byte_change_nothing(source, target, audio, data):
    cuts = data.draw(st.lists(st.integers(0, len(audio)), max_size=8))
    assert convert(audio, source, target, cuts) == convert(audio, source, target)


@pytest.mark.parametrize("source", FORMATS, ids=str)
def test_cuts_at_every_byte_change_nothing(source):
    audio = tone(source, 60)
    target = AudioFormat(Encoding.LINEAR16, 16000)
    assert convert(audio, source, target, list(range(len(audio)))) == convert(audio, source, target)


def test_equal_formats_return_the_very_bytes():
    audio = b"\x01\x02\x03"
    converter = Converter(AudioFormat(Encoding.LINEAR16, 8000), AudioFormat(Encoding.LINEAR16, 8000))

    assert converter.convert(audio) is audio
    assert converter.flush() == b""


def test_equal_formats_may_have_any_rate():
    odd_rate = AudioFormat(Encoding.MULAW, 12345)
    assert Converter(odd_rate, odd_rate).convert(b"\xff") == b"\xff"


def test_unsupported_rate_is_refused():
    with pytest.raises(ValueError, match="12345 Hz is not supported"):
        Converter(AudioFormat(Encoding.MULAW, 12345), AudioFormat(Encoding.LINEAR16, 16000))


def test_flush_drops_a_dangling_half_sample_and_returns_the_tail():
    pcm = tone(AudioFormat(Encoding.LINEAR16, 8000), 160)
    converter = Converter(AudioFormat(Encoding.LINEAR16, 8000), AudioFormat(Encoding.LINEAR16, 16000))
    resampler = Resampler(8000, 16000)
    resampler.process(pcm)

    converter.convert(pcm + b"\x7f")

    assert converter.flush() == resampler.flush()


def test_after_flush_the_next_stream_starts_afresh():
    converter = Converter(AudioFormat(Encoding.LINEAR32, 8000), AudioFormat(Encoding.ALAW, 16000))
    audio = tone(AudioFormat(Encoding.LINEAR32, 8000), 500) + b"\x7f\x7f\x7f"

    first, second = (converter.convert(audio) + converter.flush() for _ in range(2))

    assert first == second


def test_linear32_keeps_16_bits_when_only_the_encoding_changes():
    pcm = tone(AudioFormat(Encoding.LINEAR16, 8000), 160)
    narrow, wide = AudioFormat(Encoding.LINEAR16, 8000), AudioFormat(Encoding.LINEAR32, 8000)
    assert convert(convert(pcm, narrow, wide), wide, narrow) == pcm
