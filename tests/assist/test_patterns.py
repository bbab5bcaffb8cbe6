"""Regular expressions of rules: whole words of any script, in linear time, or a reason why not."""

import pytest

from gateway.assist.patterns import MAX_PATTERN_CHARS, Pattern


def found(expression: str, text: str) -> str | None:
    span = Pattern(expression).search(text, 0)
    return None if span is None else text[slice(*span)]


@pytest.mark.parametrize(
    ("expression", "text", "match"),
    [
        ("refund", "a Refund, please", "Refund"),
        ("refund", "refunded", None),
        ("refund", "the prerefund", None),
        (r"refund\w*", "refunded today", "refunded"),
        ("über", "ich bin ÜBER", "ÜBER"),
        ("ber", "ich bin über", None),
        (r"\w+heit", "die Schönheit", "Schönheit"),
        (r"[\w-]+heit", "die Wohl-Schönheit", "Wohl-Schönheit"),
        (r"a\W+b", "a, b", "a, b"),
        (r"£\d+", "it costs £50.", "£50"),
        ("a|b", "c b", "b"),
        ("[]a]+x", "]ax", "]ax"),
        ("[^a]x", "a bx", "bx"),
        ("[[:digit:]]+ [[:alpha:]]+", "for 20 pounds", "20 pounds"),
        (r"(\w)(\w)", "no", "no"),
        ("退款", "我要退款了", "退款"),
        (r"\$5", "for $5", "$5"),
        ("[$^]5", "for $5", "$5"),
    ],
)
def test_a_pattern_matches_whole_words_of_any_script(expression: str, text: str, match: str | None) -> None:
    assert found(expression, text) == match


def test_the_next_match_may_begin_where_the_last_one_ended() -> None:
    pattern = Pattern("ha")
    text = "ha ha"
    first = pattern.search(text, 0)
    assert first == (0, 2)
    assert pattern.search(text, 2) == (3, 5)


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("(a", "missing )"),
        ("a)(b", "unexpected )"),
        ("a(?=b)", "invalid perl operator"),
        (r"(a)\1", "invalid escape"),
        ("^a", "cut at pauses"),
        ("a$", "cut at pauses"),
        (r"\Aa", "cut at pauses"),
        (r"a\b", "whole words"),
        (r"\Qa\E", "not supported"),
        (r"[\W]", "no place"),
        ("a*", "when nothing is said"),
        ("a" * (MAX_PATTERN_CHARS + 1), "longer than 500 characters"),
        (r"(?:(?:\w{100}){100})", "not a pattern"),
        ("\\", "trailing"),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_reason(expression: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason.replace(")", r"\)")):
        Pattern(expression)
