"""The file of rules: what may stand in it, and that every fault is named at once."""

import re
from pathlib import Path

import pytest

from gateway.assist.rules import MAX_FILE_BYTES, MAX_RULES, Near, Phrases, RuleBook, parse
from gateway.errors import ConfigError
from gateway.events import Track
from gateway.patterns import Pattern

GUIDE = (Path(__file__).parents[2] / "docs" / "assist.md").read_text()
EXAMPLE = next(block for block in re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL) if "[[rule]]" in block)


def book(text: str) -> RuleBook:
    return parse(text.encode())


def faults(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        book(text)
    return caught.value.faults


def faults_of(fields: str) -> list[str]:
    """Those of a rule with these fields, without what names the rule."""
    prefix = "rule 1 (it): "
    found = faults(f'[[rule]]\nname = "it"\n{fields}')
    assert all(fault.startswith(prefix) for fault in found)
    return [fault.removeprefix(prefix) for fault in found]


def test_the_example_of_the_guide_is_valid() -> None:
    rules = {rule.name: rule for rule in book(EXAMPLE).rules}
    assert list(rules) == ["refund", "cancel-account", "amount", "recording-notice"]
    assert rules["refund"].wanted == Phrases((("i", "d", "like", "a", "refund"), ("money", "back")))
    assert rules["cancel-account"].wanted == Near(
        (("cancel",), ("account",)), (("today",), ("now",), ("right", "away")), 10
    )
    assert isinstance(rules["amount"].wanted, Pattern)


def test_what_a_rule_leaves_out_has_its_default() -> None:
    (rule,) = book('[[rule]]\nname = "it"\nphrase = "hello"').rules
    assert (rule.track, rule.cooldown_s, rule.note, rule.languages) == (None, 30.0, None, ())


def test_an_empty_file_has_no_rules() -> None:
    assert book("").rules == ()


def test_all_faults_are_told_at_once_each_with_its_rule() -> None:
    found = faults(
        """
        colour = "red"
        [[rule]]
        name = "one"
        phrase = "..."
        cooldown_s = -1
        [[rule]]
        phrase = "hello"
        [[rule]]
        name = "three"
        pattern = "(a"
        """
    )
    assert found == [
        "colour: not known; a file of rules has [[rule]] tables only",
        "rule 1 (one): phrase: '...' has no word",
        "rule 1 (one): cooldown_s: Input should be greater than or equal to 0",
        "rule 2: name: Field required",
        "rule 3 (three): pattern: is not a pattern: missing ): (a",
    ]


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ("", "give one of phrase, pattern and words"),
        ('phrase = "a"\npattern = "b"', "give one of phrase, pattern and words, not phrase and pattern"),
        ('phrase = "a"\nwithin = 3', "within and any_of belong to words"),
        ('phrase = "a"\nany_of = ["b"]', "within and any_of belong to words"),
        ("phrase = []", "phrase: List should have at least 1 item after validation, not 0"),
        (f'phrase = "{"a " * 51}"', "phrase: 'a a a a a a a a a a '… has more than 50 words"),
        ('words = "a b"\nwithin = 3', "words: Input should be a list"),
        ('words = ["a", "b"]', "words needs within: in how many words all of them are said"),
        ('words = ["a", "A!"]\nwithin = 3', "words names a word twice"),
        ('words = ["a b", "c"]\nany_of = ["d", "e f"]\nwithin = 3', "within is 3, but what is looked for has 4 words"),
        ('words = ["a", "b"]\nwithin = 51', "within: Input should be less than or equal to 50"),
        ('phrase = "a"\ntrack = "both"', "track: Input should be 'inbound', 'outbound' or 'any'"),
        (
            'phrase = "a"\nlanguages = ["English, please"]',
            "languages: 'English, please' is not a language code such as",
        ),
        ('phrase = "a"\ncooldown = 3', "cooldown: there is no such field; did you mean cooldown_s?"),
        (f'phrase = "a"\nnote = "{"n" * 501}"', "note: String should have at most 500 characters"),
        ("pattern = 3", "pattern: Input should be a valid string"),
        ("phrase = 3", "phrase: Input should be a list"),
        (r"pattern = '\bfoo'", r"pattern: \b is not needed: a pattern matches whole words"),
    ],
)
def test_a_fault_of_a_rule_is_named(fields: str, fault: str) -> None:
    (found,) = faults_of(fields)
    assert found.startswith(fault)


@pytest.mark.parametrize("name", ["", "two words", "-first", "n" * 65, "naïve"])
def test_a_name_has_letters_digits_and_few_signs(name: str) -> None:
    (found,) = faults(f'[[rule]]\nname = "{name}"\nphrase = "a"')
    assert "are a name" in found


def test_a_name_is_given_once() -> None:
    rule = '[[rule]]\nname = "it"\nphrase = "a"\n'
    assert faults(rule * 2) == ["2 rules have the name 'it'"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("rule = 3", "rule: each rule begins with [[rule]]"),
        ("rule = [3]", "rule: each rule begins with [[rule]]"),
        ("[[rule]]\n" * (MAX_RULES + 1), f"{MAX_RULES + 1} rules are too many; at most {MAX_RULES}"),
        ("[[rule", "not TOML: "),
        ("#" * (MAX_FILE_BYTES + 1), "larger than 1 MiB"),
    ],
)
def test_a_file_that_is_none_is_refused(text: str, fault: str) -> None:
    (found,) = faults(text)
    assert found.startswith(fault)


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(ConfigError, match="not TOML"):
        parse(b"\xff\xfe")


@pytest.mark.parametrize(
    ("languages", "spoken", "applies"),
    [
        ("", "de", True),
        ('languages = ["en"]', None, True),
        ('languages = ["en"]', "en", True),
        ('languages = ["EN"]', "en-US", True),
        ('languages = ["en"]', "eng", False),
        ('languages = ["de", "pt_BR"]', "pt-br", True),
        ('languages = ["en-GB"]', "en", False),
    ],
)
def test_a_rule_is_for_its_languages(languages: str, spoken: str | None, applies: bool) -> None:
    (rule,) = book(f'[[rule]]\nname = "it"\nphrase = "a"\n{languages}').rules
    assert rule.applies(Track.INBOUND, spoken) is applies


def test_a_rule_is_for_its_track() -> None:
    (rule,) = book('[[rule]]\nname = "it"\nphrase = "a"\ntrack = "outbound"').rules
    assert [rule.applies(track, None) for track in (Track.INBOUND, Track.OUTBOUND)] == [False, True]
