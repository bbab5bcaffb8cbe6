"""The tones that the fault harness speaks in: heard exactly, or not at all."""

import random

import numpy as np
import pytest

from telephony_codecs import mulaw
from telephony_codecs.resample import Resampler
from tests.chaos import tones
from tests.chaos.tones import Ear, Samples

VALUES = [0, 1, 4711, 65535, 21845, 43690]


def pcm(audio: bytes) -> Samples:
    return np.frombuffer(mulaw.decode(audio), dtype="<i2")


def listen(samples: Samples, rate_hz: int = 8000) -> Ear:
    ear = Ear(rate_hz)
    ear.hear(samples)
    ear.flush()
    return ear


def test_every_second_says_its_number_at_its_time() -> None:
    words = listen(pcm(tones.speech(VALUES))).words
    assert [each.value for each in words] == VALUES
    for index, each in enumerate(words):
        assert each.start_s == pytest.approx(index + 0.15, abs=0.001)
        assert each.end_s == pytest.approx(index + 0.85, abs=0.001)


def test_resampled_audio_says_the_same() -> None:
    resampler = Resampler(8000, 16_000)
    audio = resampler.process(mulaw.decode(tones.speech(VALUES))) + resampler.flush()
    words = listen(np.frombuffer(audio, dtype="<i2"), 16_000).words
    assert [each.value for each in words] == VALUES
    assert [each.start_s for each in words] == pytest.approx([n + 0.15 for n in range(len(VALUES))], abs=0.01)


def test_pieces_of_any_size_say_what_the_whole_says() -> None:
    rng = random.Random(1)
    values = [rng.randrange(tones.VALUES) for _ in range(50)]
    samples = pcm(tones.speech(values))
    whole, pieces = listen(samples), Ear()
    at = 0
    while at < len(samples):
        size = rng.randrange(1, 3000)
        pieces.hear(samples[at : at + size])
        at += size
    pieces.flush()
    assert pieces.words == whole.words
    assert [each.value for each in whole.words] == values


@pytest.mark.parametrize(("cut_s", "is_heard"), [(0.0, True), (0.15, True), (0.4, True), (0.5, False), (0.84, False)])
def test_a_word_whose_beginning_is_cut_is_heard_if_enough_is_left(cut_s: float, is_heard: bool) -> None:
    words = listen(pcm(tones.speech([7, 8]))[int(cut_s * 8000) :]).words
    assert [each.value for each in words] == ([7, 8] if is_heard else [8])
    assert words[-1].start_s == pytest.approx(1.15 - cut_s, abs=0.001)


def test_two_calls_mixed_say_nothing() -> None:
    mixed = (pcm(tones.second(1000)).astype(np.int32) + pcm(tones.second(2000))).astype("<i2")
    assert listen(mixed).words == []


def test_audio_that_lost_its_pause_says_both_words() -> None:
    first, other = pcm(tones.second(5)), pcm(tones.second(9))
    words = listen(np.concatenate([first[:6800], other[1200:]])).words
    assert [each.value for each in words] == [5, 9]


def test_noise_says_nothing() -> None:
    noise = np.random.default_rng(3).normal(0, 3000, 16_000).clip(-32768, 32767).astype("<i2")
    assert listen(noise).words == []
