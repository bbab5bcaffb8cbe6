"""Numbers that all calls have in common."""

from gateway.shared import shared


def test_equal_numbers_are_one_object() -> None:
    assert shared(int("800")) is shared(int("800"))
    assert shared(float("0.1")) is shared(float("0.1"))


def test_a_number_keeps_its_type() -> None:
    assert [type(shared(number)) for number in (1, 1.0)] == [int, float]
