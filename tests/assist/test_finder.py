"""What is found in what a call says: once, whole, at its time, however the recogniser cut and wrote it."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.assist.finder import LONGEST_PAUSE_S, MOST_CUES, Cue, CueFinder
from gateway.assist.rules import RuleBook, parse
from gateway.events import Segment, Track, Word

WORD_S = 0.5


def book(*rules: str) -> RuleBook:
    """Rules named `r0`, `r1` … with these fields."""
    return parse("".join(f'[[rule]]\nname = "r{number}"\n{fields}\n' for number, fields in enumerate(rules)).encode())


def finder(*rules: str) -> CueFinder:
    rule_book = book(*rules)
    return CueFinder(lambda: rule_book)


def said(text: str, at_s: float = 0.0, end_s: float | None = None, language: str | None = None) -> Segment:
    """A final without word times."""
    return Segment(
        provider="p", text=text, start_s=at_s, end_s=at_s + 1.0 if end_s is None else end_s, language=language
    )


def spoken(words: Sequence[str], first: int = 0) -> Segment:
    """A final with word times; `first` counts the words before it."""
    timed = tuple(
        Word(word=word, start_s=(first + nth) * WORD_S, end_s=(first + nth + 1) * WORD_S)
        for nth, word in enumerate(words)
    )
    return Segment(provider="p", text=" ".join(words), start_s=timed[0].start_s, end_s=timed[-1].end_s, words=timed)


def heard(found: CueFinder, finals: Iterable[Segment], track: Track = Track.INBOUND) -> list[Cue]:
    return [cue for final in finals for cue in found.hear(track, final)]


def names(cues: Iterable[Cue]) -> list[str]:
    return [cue.name for cue in cues]


# ── each kind ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_phrase_is_found_with_its_note_text_and_times() -> None:
    cues = heard(finder('phrase = "a refund"\nnote = "Careful."'), [spoken(["I'd", "like", "a", "Refund,", "please."])])
    assert cues == [Cue(name="r0", text="a Refund", note="Careful.", start_s=1.0, end_s=2.0)]


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ("please cancel my account", True),
        ("my account, I mean, cancel", True),
        ("cancel a b c d account", True),
        ("cancel a b c d e account", False),
        ("cancel cancel", False),
    ],
)
def test_words_are_found_near_each_other_in_any_order(text: str, is_found: bool) -> None:
    cues = heard(finder('words = ["cancel", "account"]\nwithin = 6'), [said(text)])
    assert bool(cues) is is_found


@pytest.mark.parametrize(
    ("text", "is_found"),
    [("cancel it right away", True), ("now cancel", True), ("cancel it", False), ("right now", False)],
)
def test_one_of_several_has_to_be_said_too(text: str, is_found: bool) -> None:
    cues = heard(finder('words = ["cancel"]\nany_of = ["now", "right away"]\nwithin = 5'), [said(text)])
    assert bool(cues) is is_found


def test_the_text_of_a_pattern_is_what_it_matched() -> None:
    cues = heard(finder(r"pattern = '[£$]\d+'"), [said("It is £50.")])
    assert [cue.text for cue in cues] == ["£50"]


def test_a_pattern_that_touches_no_word_finds_nothing() -> None:
    assert heard(finder("pattern = '[?]+'\ncooldown_s = 0"), [said("a ? b")]) == []


def test_all_rules_that_match_are_told_in_the_order_in_which_they_end() -> None:
    rules = ('phrase = "my account now"', 'words = ["account"]\nwithin = 1', "pattern = 'cancel my'")
    assert names(heard(finder(*rules), [said("cancel my account now")])) == ["r2", "r1", "r0"]


# ── across finals ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "rule",
    ['phrase = "cancel my account"', 'words = ["cancel", "account"]\nwithin = 3', "pattern = 'cancel my account'"],
)
def test_what_spans_finals_is_told_with_the_last_of_them(rule: str) -> None:
    found = finder(rule)
    assert found.hear(Track.INBOUND, spoken(["please", "cancel"])) == []
    assert found.hear(Track.INBOUND, spoken(["my"], 2)) == []
    assert found.hear(Track.INBOUND, spoken(["account,", "now"], 3)) == [
        Cue(name="r0", text="cancel my account", note=None, start_s=0.5, end_s=2.0)
    ]
    assert found.hear(Track.INBOUND, spoken(["please"], 5)) == []


def test_the_tracks_do_not_finish_each_others_sentences() -> None:
    found = finder('phrase = "cancel my account"')
    assert found.hear(Track.INBOUND, said("cancel my")) == []
    assert found.hear(Track.OUTBOUND, said("account")) == []


def test_nothing_is_found_across_a_long_pause() -> None:
    found = finder('phrase = "my account"')
    assert found.hear(Track.INBOUND, said("my", 0, 1)) == []
    assert found.hear(Track.INBOUND, said("account", 1.1 + LONGEST_PAUSE_S)) == []


def test_a_pattern_takes_no_word_twice() -> None:
    found = finder("pattern = 'refund(?: now)?'\ncooldown_s = 0")
    assert names(found.hear(Track.INBOUND, said("a refund"))) == ["r0"]
    assert names(found.hear(Track.INBOUND, said("now", 1))) == []


def test_a_pattern_matches_again_right_after_its_last_match() -> None:
    cues = heard(finder("pattern = '[$]?[0-9]+'\ncooldown_s = 0"), [said("41"), said("11", 1), said("$5", 2)])
    assert [cue.text for cue in cues] == ["41", "11", "$5"]


def test_a_sign_before_the_first_word_of_a_final_belongs_to_it() -> None:
    cues = heard(finder(r"pattern = 'pay \$\d+'"), [said("I pay"), said("$50", 1)])
    assert [cue.text for cue in cues] == ["pay $50"]


VOCABULARY = ["cancel", "my", "account", "now", "a", "o'clock", "Straße", "退款"]
RULES = (
    'phrase = ["cancel my account", "my account", "a a"]\ncooldown_s = 0',
    'words = ["cancel", "account"]\nwithin = 5\ncooldown_s = 0',
    'words = ["my"]\nany_of = ["now", "o\'clock", "退款"]\nwithin = 4\ncooldown_s = 2',
    'phrase = "strasse"\ncooldown_s = 1.5',
)
talk = st.lists(st.sampled_from(VOCABULARY), min_size=1, max_size=30)


@given(words=talk, cuts=st.sets(st.integers(1, 29)))
def test_it_does_not_matter_how_finals_are_cut(words: list[str], cuts: set[int]) -> None:
    edges = [0, *sorted(cut for cut in cuts if cut < len(words)), len(words)]
    pieces = [spoken(words[begin:end], begin) for begin, end in pairwise(edges)]
    assert heard(finder(*RULES), pieces) == heard(finder(*RULES), [spoken(words)])


@given(
    words=talk,
    ways=st.lists(st.sampled_from([str.upper, str.lower, str.title]), min_size=30, max_size=30),
    signs=st.lists(st.sampled_from(["", ",", ".", "?!", " - ", "…", '"']), min_size=31, max_size=31),
)
def test_case_and_punctuation_do_not_matter(words: list[str], ways: list[object], signs: list[str]) -> None:
    written = [
        f"{before}{way(word)}{after}"  # type: ignore[operator]
        for word, way, before, after in zip(words, ways, signs, signs[1:], strict=False)
    ]
    plain, decorated = heard(finder(*RULES), [spoken(words)]), heard(finder(*RULES), [spoken(written)])
    assert [(cue.name, cue.start_s, cue.end_s) for cue in decorated] == [
        (cue.name, cue.start_s, cue.end_s) for cue in plain
    ]


# ── cool-down ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_rule_is_silent_for_its_cool_down_on_both_tracks() -> None:
    found = finder('phrase = "refund"\ncooldown_s = 10')
    assert names(found.hear(Track.INBOUND, said("refund", 20))) == ["r0"]
    assert names(found.hear(Track.OUTBOUND, said("refund", 29))) == []
    assert names(found.hear(Track.OUTBOUND, said("refund", 30))) == ["r0"]


def test_what_is_heard_late_counts_at_the_time_at_which_it_was_said() -> None:
    found = finder('phrase = "refund"\ncooldown_s = 10')
    at_s = (100.0, 50.0, 95.0, 41.0, 40.0)
    assert [len(found.hear(Track.INBOUND, said("refund", each))) for each in at_s] == [1, 1, 0, 0, 1]


def test_rules_cool_down_apart() -> None:
    assert names(heard(finder('phrase = "a"', 'phrase = "b"'), [said("a b a b")])) == ["r0", "r1"]


def test_one_final_makes_so_many_cues_at_most() -> None:
    assert len(heard(finder('phrase = "a"\ncooldown_s = 0'), [said("a " * 1000)])) == MOST_CUES


# ── times ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_without_word_times_a_cue_has_those_of_the_finals() -> None:
    cues = heard(finder('phrase = "my account"'), [said("it is my", 3, 4), said("account here", 4.5, 6)])
    assert [(cue.start_s, cue.end_s) for cue in cues] == [(3, 6)]


def test_words_beside_a_number_that_is_written_in_two_ways_keep_their_times() -> None:
    heard_words = spoken(["I", "want", "twenty", "five", "pounds", "back"])
    final = Segment(provider="p", text="I want 25 pounds back.", start_s=0, end_s=3.0, words=heard_words.words)
    cues = heard(finder('phrase = "pounds back"', 'phrase = "want 25"'), [final])
    assert [(cue.start_s, cue.end_s) for cue in cues] == [(0.5, 2.0), (2.0, 3.0)]


# ── rules that change ───────────────────────────────────────────────────────────────────────────────────────────


def test_new_rules_count_from_the_next_final_on() -> None:
    books = [book('phrase = "old"')]
    found = CueFinder(lambda: books[-1])
    assert names(found.hear(Track.INBOUND, said("new old"))) == ["r0"]
    books.append(book('phrase = "other"', 'phrase = "new"'))
    assert names(found.hear(Track.INBOUND, said("new old", 1))) == ["r1"]


def test_without_rules_nothing_is_found_or_kept() -> None:
    books = [book()]
    found = CueFinder(lambda: books[-1])
    assert found.hear(Track.INBOUND, said("my")) == []
    books.append(book('phrase = "my account"'))
    assert found.hear(Track.INBOUND, said("account", 1)) == []


def test_a_rule_of_another_language_is_not_looked_for() -> None:
    found = finder('phrase = "tag"\nlanguages = ["de"]')
    assert found.hear(Track.INBOUND, said("tag", language="en-US")) == []
    assert names(found.hear(Track.INBOUND, said("tag", 1, language="de"))) == ["r0"]


@pytest.mark.parametrize("text", ["", "…", "?!"])
def test_a_final_without_a_word_has_no_cue(text: str) -> None:
    assert heard(finder('phrase = "a"', "pattern = 'a'"), [said(text)]) == []
