"""What is masked in a text, and what is not."""

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import RedactionSettings
from gateway.redaction.cards import is_card
from gateway.redaction.finder import EAGER, ENDLESS, Circumstances
from gateway.redaction.languages import LANGUAGES
from gateway.redaction.masking import mask_passage, mask_text
from tests.redaction.finders import ALL, finder

FINDER = finder()
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SPOKEN = {str(digit): word for digit, word in enumerate(_DIGITS)}


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("my card is 4111 1111 1111 1111, thanks", "my card is [card], thanks"),
        ("4111-1111-1111-1111", "[card]"),
        ("it's 378282246310005.", "it's [card]."),
        ("six zero one one zero zero zero nine nine zero one three nine four two four", "[card]"),
        ("forty one eleven, eleven eleven, eleven eleven, eleven eleven", "[card]"),
        ("four triple one four times", "[digits] times"),
        ("it is double five triple two okay", "it is [digits] okay"),
        ("oh seven seven double oh nine hundred", "[digits]"),
        ("four one one one, uh, one one one one", "[digits]"),
        ("call me on (415) 555-2671 please", "call me on [phone] please"),
        ("it is +44 20 7946 0958.", "it is [phone]."),
        ("one eight hundred five five five one two one two", "[phone]"),
        ("my order number is 12345678", "my order number is [digits]"),
        ("the account ends in 4321, right", "the account ends in [digits], right"),
        ("my pin is 1984", "my pin is [digits]"),
        ("the security code is one two three", "the security code is [digits]"),
        ("it is 4 one 1 one okay", "it is [digits] okay"),
        ("4111\u20111111\u00b71111\u200b1111", "[card]"),
        ("\u0664\u0661\u0661\u0661" + "\u0661" * 12, "[card]"),  # Arabic digits
        ("my pin is \uff11\uff19\uff18\uff14", "my pin is [digits]"),  # in full width
        ("john.smith+x@mail.example.co.uk", "[email]"),
        ("that's john dot smith at example dot com, thanks", "that's [email], thanks"),
        ("john underscore smith at my dash mail dot co dot uk please", "[email] please"),
        ("j o h n at g m a i l dot com", "[email]"),
        ("it is john at gmail.com", "it is [email]"),
    ],
)
def test_what_names_somebody_is_masked(text: str, masked: str) -> None:
    assert mask_text(FINDER, text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "one moment please",
        "Oh one moment",
        "it's for you",
        "I want two of them, or three",
        "see you at five thirty",
        "on 12/03/2024 at 10:30 or 14:05",
        "on May 5, 2024 we met",
        "from 2019 to 2024",
        "it was nineteen eighty four then",
        "since twenty twenty four we have",
        "that is $1,500 or 1500 dollars",
        "about 12,500.00 in all",
        "it costs two hundred and fifty thousand dollars",
        "one thousand two hundred and thirty four people",
        "twenty five percent, maybe 30",
        "call 911 now",
        "my flight is 305",
        "look at example.com or at amazon dot com",
        "meet me at the shop at ten",
        "A380 and 747",
        "the dot com bubble",
    ],
)
def test_what_people_say_of_quantities_times_and_places_is_not(text: str) -> None:
    assert mask_text(FINDER, text) == text


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("meine nummer ist null eins sieben neun fünf", "meine nummer ist [digits]"),
        ("einundvierzig elf elf elf", "[digits]"),
        ("max punkt muster ät beispiel punkt de", "[email]"),
        ("zwei hundert euro", "zwei hundert euro"),
    ],
)
def test_german_is_read_aloud_in_its_own_words(text: str, masked: str) -> None:
    assert mask_text(finder(ALL, ("en", "de")), text) == masked


def test_the_settings_know_every_language_that_is_there() -> None:
    assert RedactionSettings(languages=tuple(LANGUAGES)).languages == tuple(LANGUAGES)


@pytest.mark.parametrize(
    ("kind", "masked"),
    [
        ("card", "pay [card] or call 415 555 2671 about 98765 at a@b.com"),
        ("phone", "pay 4111 1111 1111 1111 or call [phone] about 98765 at a@b.com"),
        ("email", "pay 4111 1111 1111 1111 or call 415 555 2671 about 98765 at [email]"),
        ("digits", "pay [digits] or call [digits] about [digits] at a@b.com"),
    ],
)
def test_each_kind_is_masked_alone(kind: str, masked: str) -> None:
    text = "pay 4111 1111 1111 1111 or call 415 555 2671 about 98765 at a@b.com"
    assert mask_text(finder([kind]), text) == masked


def test_a_phone_number_is_found_right_after_a_card() -> None:
    text = "4111 1111 1111 1111 415 555 2671"
    assert mask_text(finder(["card", "phone"]), text) == "[card] [phone]"
    assert mask_text(finder(["phone"]), text) == "4111 1111 1111 1111 [phone]"


def test_a_double_before_a_card_may_be_no_part_of_it() -> None:
    text = "the room is a double 4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1"
    assert mask_text(finder(["card"]), text) == "the room is a [card]"
    assert mask_text(finder(["card", "phone"]), text) == "the room is a [card]"


def test_a_number_that_fails_luhn_is_no_card() -> None:
    assert mask_text(finder(["card"]), "it is 4111 1111 1111 1112") == "it is 4111 1111 1111 1112"


def test_an_expression_comes_before_the_rest_and_takes_its_name() -> None:
    assert mask_text(finder(order=r"ORD-\d+"), "that is ord-12345678 and 12345678") == "that is [order] and [digits]"


def test_an_expression_that_matches_anything_masks_once() -> None:
    everything = finder(all=r".+")
    assert mask_text(everything, "pay 4111 1111 1111 1111 now") == "[all]"
    assert mask_text(everything, "[all] [card]") == "[all] [card]"


@pytest.mark.parametrize(
    ("text", "after", "masked"),
    [
        ("1111 1111", ENDLESS, "[digits]"),
        ("11 thank you", ENDLESS, "[digits] thank you"),
        ("one, thank you", ENDLESS, "[digits], thank you"),
        ("one moment please", ENDLESS, "one moment please"),
        ("one one okay", 2, "[digits] okay"),
        ("two weeks ago", 2, "two weeks ago"),
        ("two weeks ago", 4, "two weeks ago"),
        ("one uh", ENDLESS, "[digits] uh"),
        ("one", 2, "[digits]"),
        ("1", 3, "[digits]"),
        ("one", 1, "one"),
        ("okay 11", ENDLESS, "okay 11"),
        ("two hundred dollars", ENDLESS, "two hundred dollars"),
    ],
)
def test_a_number_goes_on_at_the_beginning_of_the_next_final(text: str, after: int, masked: str) -> None:
    assert mask_text(FINDER, text, Circumstances(after_digits=after)) == masked


@pytest.mark.parametrize(
    ("text", "digits"),
    [
        ("my card is 4111 1111", ENDLESS),
        ("my card is [card]", ENDLESS),
        ("it is four one", 2),
        ("it is four one uh", 2),
        ("4111 1111 is it", 0),
        ("it was 1984", 4),
        ("two hundred", 0),
        ("one [email]", 0),
    ],
)
def test_how_a_final_ends_tells_whether_a_number_may_go_on(text: str, digits: int) -> None:
    assert FINDER.tail(text) == digits


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("my card is 41", "my card is [digits]"),
        ("4", "[digits]"),
        ("it was in 1984", "it was in [digits]"),
        ("11 okay", "[digits] okay"),
        ("1 and", "[digits] and"),
        ("1, one", "[digits]"),
        ("john dot smith", "[email]"),
        ("john dot smith at exam", "[email]"),
        ("I said john@exam", "I said [email]"),
        ("I'd like to", "I'd like to"),
        ("one moment", "one moment"),
    ],
)
def test_of_what_is_cut_off_more_is_masked(text: str, masked: str) -> None:
    assert mask_text(FINDER, text, EAGER) == masked


def luhn_valid(digits: str) -> bool:
    """By the book: double every second digit from the right, add the digits of the products."""
    total = sum(sum(divmod(int(d) * (1 + place % 2), 10)) for place, d in enumerate(reversed(digits)))
    return total % 10 == 0


@given(st.from_regex(r"[0-9]{13,19}", fullmatch=True))
def test_the_check_digit_is_that_of_the_book(digits: str) -> None:
    assert is_card(digits) == luhn_valid(digits)


def card(length: int, seed: int) -> str:
    draw = random.Random(seed)
    digits = "4" + "".join(str(draw.randrange(10)) for _ in range(length - 2))
    return next(digits + str(last) for last in range(10) if luhn_valid(digits + str(last)))


CARDS = st.builds(card, st.integers(13, 19), st.integers(0, 2**32))
_TALK = "my card is the number and for you oh to at dot com de one 20 $5 1984 % , . ? forty hundred double john dash uh"
PLAIN_WORDS = st.sampled_from(re.split(" ", _TALK))


@st.composite
def written_cards(draw: st.DrawFn) -> str:
    digits = draw(CARDS)
    separator = draw(st.sampled_from(["", " ", "-"]))
    size = draw(st.integers(1, 5))
    return separator.join(digits[at : at + size] for at in range(0, len(digits), size))


TALK = st.lists(st.one_of(PLAIN_WORDS, written_cards(), st.text(max_size=8)), max_size=8).map(" ".join)
_CARD = re.compile(r"(?<![0-9])[0-9](?:[ -]?[0-9]){12,18}(?![0-9])")


def cards_in(text: str) -> list[str]:
    """Everything that looks like one, wherever it begins."""
    found = (_CARD.match(text, at) for at in range(len(text)))
    candidates = [re.sub(r"[ -]", "", match.group()) for match in found if match]
    return [digits for digits in candidates if luhn_valid(digits)]


@given(TALK, st.sampled_from([("card",), ("card", "phone"), ALL]))
def test_no_card_number_is_left(text: str, kinds: tuple[str, ...]) -> None:
    assert cards_in(mask_text(finder(kinds), text)) == []


@given(CARDS, st.lists(st.integers(1, 6), min_size=1, max_size=5))
def test_no_digit_of_a_card_read_aloud_is_left(digits: str, pauses: list[int]) -> None:
    spoken = [SPOKEN[digit] for digit in digits]
    for number, pause in enumerate(pauses):
        spoken.insert(min(len(spoken) - 1, pause * (number + 1)), "uh")
    assert mask_text(FINDER, f"it is {' '.join(spoken)} okay") == "it is [card] okay"


LOCAL = st.from_regex(r"[a-z][a-z0-9.+_-]{0,20}[a-z0-9]", fullmatch=True)
DOMAIN = st.from_regex(r"[a-z][a-z0-9-]{0,10}[a-z0-9](\.[a-z]{2,6}){1,2}", fullmatch=True)


@given(st.text(max_size=20), LOCAL, DOMAIN, st.text(max_size=20))
def test_no_address_is_left(before: str, local: str, domain: str, after: str) -> None:
    masked = mask_text(finder(["email"]), f"{before} {local}@{domain} {after}")
    assert f"{local}@{domain}" not in masked
    assert re.search(r"[\w.+-]+@[\w-]+\.[\w.]+", masked) is None


@given(
    st.one_of(TALK, st.text(max_size=60)),
    st.sampled_from([ALL, ("card",), ("phone",), ("email", "digits"), ("card", "phone")]),
    st.sampled_from([{}, {"order": r"\bord\S+|a.b|^is"}]),
)
def test_masking_twice_is_masking_once(text: str, kinds: tuple[str, ...], patterns: dict[str, str]) -> None:
    own = finder(kinds, **patterns)
    once = mask_text(own, text)
    assert mask_text(own, once) == once


@given(st.lists(st.one_of(PLAIN_WORDS, st.from_regex(r"[0-9]{1,16}", fullmatch=True)), min_size=1, max_size=12))
def test_words_are_masked_where_their_text_is(words: list[str]) -> None:
    masked = mask_passage(FINDER, " ".join(words), words)
    assert len(masked.words) == len(words)
    left = [word for word, before in zip(masked.words, words, strict=True) if word == before]
    in_text = [word for word in re.sub(r"\[\w+\]", " ", masked.text).split() if any(map(str.isalnum, word))]
    assert [word for word in left if any(map(str.isalnum, word))] == in_text


def test_words_are_masked_also_where_only_the_text_tells() -> None:
    words = ("my", "card", "forty-one-eleven", "is", "old")
    masked = mask_passage(FINDER, "My card 4111 is old.", words)
    assert masked.text == "My card [digits] is old."
    assert masked.words == ("my", "card", "[digits]", "is", "old")


def test_words_that_stand_for_several_of_the_text_are_masked_as_a_whole() -> None:
    words = ("my", "card", "quatre", "mille", "onze", "is", "old")
    masked = mask_passage(FINDER, "My card 4111 is old.", words)
    assert masked.words == ("my", "card", "[digits]", "[digits]", "[digits]", "is", "old")


def test_what_looks_like_our_own_marks_is_no_way_around() -> None:
    assert "1111" not in mask_text(FINDER, "\ue000\ue001 4111\ue0001111 1111\ue0011111 \ue001")
