"""What people type, as full-text search takes it."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.live.search_file import Fed, SearchFile
from gateway.live.search_query import MOST_CHARS, MOST_WORDS, TooLong, expression


@pytest.fixture(scope="module")
def file() -> Iterator[SearchFile]:
    with closing(SearchFile(Path(":memory:"))) as opened:
        yield opened


@pytest.mark.parametrize(
    ("typed", "made"),
    [
        ("refund", '"refund"*'),
        ("refund ", '"refund"'),
        ("my  refund", '"my" AND "refund"*'),
        ('"my refund"', '"my refund"'),
        ('the "my refund" order', '"the" AND "my refund" AND "order"*'),
        ('"my ref', '"my ref"*'),
        ("“my refund” ", '"my refund"'),
        ("I'd", '"I\'d"*'),
        ("a OR b NOT c*", '"a" AND "OR" AND "b" AND "NOT" AND "c*"'),
        ("text:x ^y -z", '"text:x" AND "^y" AND "-z"*'),
        ("a\0b", '"a" AND "b"*'),
        ("\ud800refund", '"refund"*'),
        ("取消订单", '"取 消 订 单"*'),
        ("取消 order\u3000订单 ", '"取 消" AND "order" AND "订 单"'),
        ('"订单 abc订"', '"订 单 abc 订"'),
        ("- ? …", None),
        ('"" " "', None),
        ("", None),
    ],
)
def test_words_are_quoted_and_the_last_may_go_on(typed: str, made: str | None) -> None:
    assert expression(typed) == made


@pytest.mark.parametrize("typed", ["x" * (MOST_CHARS + 1), "x " * (MOST_WORDS + 1)])
def test_what_is_too_long_is_refused(typed: str) -> None:
    with pytest.raises(TooLong):
        expression(typed)


OPERATORS = st.sampled_from(['"', "'", "*", "^", "-", "+", "(", ")", "{", "}", ":", "NEAR(", " AND ", " OR ", " NOT "])


@given(st.lists(st.one_of(OPERATORS, st.text(max_size=8), st.sampled_from(["refund", "café", " "]))).map("".join))
def test_nothing_that_can_be_typed_is_an_error_of_the_database(file: SearchFile, typed: str) -> None:
    try:
        made = expression(typed)
    except TooLong:
        return
    if made is not None:
        file.find(made, 1, 1)


@given(st.text(alphabet="abcé '\"-订单のｶﾞกินนमस्ते취", min_size=1, max_size=30))
def test_a_text_is_found_by_itself(file: SearchFile, typed: str) -> None:
    made = expression(typed)
    file.add([(1, typed)], Fed(1, ""))
    if made is not None:
        assert file.find(made, 2, 1) == [1]
