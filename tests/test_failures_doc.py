"""docs/failures.md names tests that exist, and every test of `tests/failures`."""

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "failures.md").read_text()
TEST = re.compile(r"`(tests/[a-z0-9_/]+\.py)::(test_\w+)`")


@cache
def functions_in(path: str) -> frozenset[str]:
    """Names of a file's test functions; none if there is no such file."""
    file = ROOT / path
    tree = ast.parse(file.read_text() if file.exists() else "")
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(node.name for node in functions if node.name.startswith("test_"))


def rows() -> list[list[str]]:
    """The cells of every row but the heads."""
    lines = [line for line in PAGE.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if row[0] not in ("what goes wrong", "---")]


def test_every_test_that_the_page_names_exists() -> None:
    assert [f"{path}::{name}" for path, name in TEST.findall(PAGE) if name not in functions_in(path)] == []


def test_every_row_says_what_goes_wrong_what_is_done_and_what_proves_it() -> None:
    assert [row for row in rows() if len(row) != 3 or not all(row) or not TEST.search(row[2])] == []


def test_a_row_names_nothing_in_its_last_column_but_tests_and_each_once() -> None:
    assert [row[2] for row in rows() if TEST.sub("", row[2]).strip()] == []
    assert [row[2] for row in rows() if max(Counter(TEST.findall(row[2])).values()) > 1] == []


def test_every_test_of_a_failure_is_in_the_page() -> None:
    ours = {
        (str(path.relative_to(ROOT)), name)
        for path in (ROOT / "tests" / "failures").glob("test_*.py")
        for name in functions_in(str(path.relative_to(ROOT)))
    }
    assert ours
    assert ours - set(TEST.findall(PAGE)) == set()
