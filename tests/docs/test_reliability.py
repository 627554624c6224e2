"""The page that goes through faults and abuse names every row, and tests that exist and run when it says."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from tests.docs.pages import ROOT
from tests.docs.test_specification import is_long

PAGE = (ROOT / "docs/reliability.md").read_text()
TEST = re.compile(r"`([\w/]+\.py)::(\w+)::(\w+)`")
IDS = [
    *(f"F-R{number}" for number in (1, 2, 3, 5, 7, 8, 9, 11, 12, 13, 14, 16, 18, 20)), "F-K13",
    *(f"F-S{number}" for number in (1, 2, 3, 5, 7, 8, 9, 10, 19, 22, 23)),
    *(f"F-L{number}" for number in (1, 3, 4, 6)),
]  # fmt: skip


def named(is_at_the_bound):
    """The tests of one of the last two columns."""
    return sorted({test for line in PAGE.splitlines() for test in _named_in(line, is_at_the_bound)})


def _named_in(line, is_at_the_bound):
    columns = line.split("|")
    return TEST.findall(columns[4 if is_at_the_bound else 3]) if len(columns) == 6 else []


class TestReliability:
    def test_rows__all_there(self):
        """Each row has its place, once."""
        found = re.findall(r"^\| (F-\w+) \|", PAGE, re.MULTILINE)
        assert sorted(found) == sorted(IDS)

    def test_rows__proved(self):
        """Each row of a table names a test."""
        rows = [line for line in PAGE.splitlines() if re.match(r"\| (F-|\| )", line)]
        assert len(rows) > len(IDS)
        assert [row for row in rows if not TEST.search(row)] == []

    @pytest.mark.parametrize("is_at_the_bound", [False, True])
    def test_tests__exist(self, is_at_the_bound):
        """Each test that is named exists, and runs by default or on demand, as its column says."""
        assert len(named(is_at_the_bound)) > 15
        for path, kind, method in named(is_at_the_bound):
            found = methods_of(path).get((kind, method))
            assert found is is_at_the_bound, f"{path}::{kind}::{method}"


@cache
def methods_of(path):
    """The tests of a file, and whether each runs on demand alone."""
    tree = ast.parse((ROOT / "tests" / path).read_text())
    all_long = any(
        isinstance(node, ast.Assign) and ast.unparse(node) == "pytestmark = pytest.mark.long"
        for node in tree.body
    )
    return {
        (kind.name, each.name): all_long or is_long(kind) or is_long(each)
        for kind in tree.body
        if isinstance(kind, ast.ClassDef)
        for each in kind.body
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
    }
