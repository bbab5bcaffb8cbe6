"""The scripted recogniser: true unless it is told to lie, and the same for the same seed."""

import random
from itertools import pairwise

import numpy as np
import pytest

from telephony_codecs import mulaw
from tests.chaos import tones
from tests.chaos.recognition import Liar, Recognition, Result

VALUES = range(500, 530)


def results(seed: int = 1, chunk: int = 800) -> list[Result]:
    """What is said about 30 s in chunks, and at the end."""
    recognition = Recognition(8000, random.Random(seed))
    samples = np.frombuffer(mulaw.decode(tones.speech(VALUES)), dtype="<i2")
    said = [each for at in range(0, len(samples), chunk) for each in recognition.hear(samples[at : at + chunk])]
    return said + recognition.end()


def words(said: list[Result]) -> list[int]:
    return [each.value for result in said if result.is_final for each in result.words]


@pytest.mark.parametrize("chunk", [160, 800, 1600, 8000, 240_000])
def test_finals_say_every_second_once_however_the_audio_comes(chunk: int) -> None:
    assert words(results(chunk=chunk)) == list(VALUES)


def test_only_the_last_result_is_the_last() -> None:
    assert [each.is_last for each in results()] == [False] * (len(results()) - 1) + [True]


def test_partials_tell_what_becomes_final() -> None:
    said = results()
    assert any(not each.is_final and each.words for each in said)
    for before, after in pairwise(said):
        if not before.is_final:
            assert after.words[: len(before.words) - 1] == before.words[:-1]


def test_the_same_seed_says_the_same_and_another_cuts_it_up_otherwise() -> None:
    assert results(1) == results(1)
    assert [len(each.words) for each in results(1)] != [len(each.words) for each in results(2)]


def test_finalize_says_what_is_pending_although_the_word_still_sounds() -> None:
    recognition = Recognition(8000, random.Random(0))
    audio = tones.speech([7])[: int(0.7 * 8000)]
    recognition.hear(np.frombuffer(mulaw.decode(audio), dtype="<i2"))
    (answer,) = recognition.finalize()
    assert (answer.text, answer.is_final, answer.from_finalize) == ("n7", True, True)


def test_a_liar_who_never_lies_tells_the_truth() -> None:
    said = results()
    assert Liar(random.Random(1)).tell(said, 0.0) == said


def test_a_liar_tells_late_twice_out_of_order_and_beyond_but_nothing_new() -> None:
    said = results()
    told = Liar(random.Random(1)).tell(said, 0.5)
    assert told[-1] == said[-1]
    assert set(words(told)) == set(words(said))
    assert len(words(told)) > len(words(said))
    assert words(told) != sorted(words(told))
    assert any(each.end_s > len(VALUES) for result in told for each in result.words)
