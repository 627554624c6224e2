from __future__ import annotations

import doctest
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.usefixtures("_cache")
class TestPage:
    def test_page__samples(self):
        """What the page shows is what happens."""
        page = str(DOCS / "cached.md")
        done = doctest.testfile(page, module_relative=False, globs={"__name__": "crm.reports"})
        assert done.attempted >= 19
        assert done.failed == 0


@pytest.fixture
def _cache(make_cache):
    make_cache()
