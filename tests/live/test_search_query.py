"""What people type, as full-text search takes it."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.live.search_query import MOST_CHARS, MOST_WORDS, TooLong, expression


@pytest.fixture(scope="module")
def table() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:")) as db:
        db.execute("CREATE VIRTUAL TABLE finals USING fts5(text, tokenize = 'unicode61 remove_diacritics 2')")
        yield db


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
def test_nothing_that_can_be_typed_is_an_error_of_the_database(table: sqlite3.Connection, typed: str) -> None:
    try:
        made = expression(typed)
    except TooLong:
        return
    if made is not None:
        table.execute("SELECT rowid FROM finals WHERE finals MATCH ?", (made,)).fetchall()


@given(st.text(alphabet="abcé '\"-", min_size=1, max_size=30))
def test_a_text_is_found_by_itself(table: sqlite3.Connection, typed: str) -> None:
    made = expression(typed)
    table.execute("DELETE FROM finals")
    table.execute("INSERT INTO finals (text) VALUES (?)", (typed,))
    if made is not None:
        assert table.execute("SELECT count(*) FROM finals WHERE finals MATCH ?", (made,)).fetchone() == (1,)
