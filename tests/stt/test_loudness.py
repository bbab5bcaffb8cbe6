"""Levels, and the silences of a backlog."""

import numpy as np
import pytest

from gateway.media.timeline import Stretch
from gateway.stt.loudness import Loudness, Shortener
from telephony_codecs import mulaw
from telephony_codecs.formats import AudioFormat

MULAW = AudioFormat.parse("mulaw-8000")
LOUD, QUIET = b"\x20" * 800, b"\xff" * 800


def sine(amplitude: float) -> bytes:
    samples = amplitude * 32767 * np.sin(2 * np.pi * 440 * np.arange(8000) / 8000)
    return samples.astype("<i2").tobytes()


@pytest.mark.parametrize(("amplitude", "dbfs"), [(1.0, -3.0), (0.1, -23.0), (0.01, -43.0)])
def test_the_level_of_a_sine_is_three_db_below_its_peak(amplitude: float, dbfs: float) -> None:
    assert Loudness(AudioFormat.parse("linear16-8000")).dbfs(sine(amplitude)) == pytest.approx(dbfs, abs=0.1)
    assert Loudness(MULAW).dbfs(mulaw.encode(sine(amplitude))) == pytest.approx(dbfs, abs=0.5)


def test_digital_silence_has_no_level() -> None:
    assert Loudness(MULAW).dbfs(QUIET) == float("-inf")
    assert Loudness(MULAW).dbfs(b"") == float("-inf")


def shortened(pattern: str) -> str:
    """Pieces of 100 ms, `x` loud and `.` quiet; what is left of them by position, `_` left out."""
    shortener = Shortener(MULAW)
    passed: list[Stretch] = []
    for number, mark in enumerate(pattern):
        passed += shortener.pass_on(Stretch(number * 800, LOUD if mark == "x" else QUIET))
    passed += shortener.rest()
    assert [each.position for each in passed] == sorted(each.position for each in passed)
    kept = {each.position // 800 for each in passed}
    return "".join(mark if number in kept else "_" for number, mark in enumerate(pattern))


def test_of_a_long_silence_half_a_second_is_kept_on_both_sides() -> None:
    assert shortened("xx" + "." * 20 + "xx") == "xx....." + "_" * 10 + ".....xx"


def test_a_short_silence_is_kept_as_it_is() -> None:
    assert shortened("x" + "." * 10 + "x") == "x" + "." * 10 + "x"


def test_a_silence_at_the_beginning_leaves_half_a_second_before_the_first_sound() -> None:
    assert shortened("." * 20 + "x") == "_" * 15 + ".....x"


def test_sound_is_never_left_out() -> None:
    assert shortened("x." * 30) == "x." * 30
