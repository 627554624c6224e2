from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.usefixtures("_cache")
class TestPage:
    def test_page__samples(self):
        """What the page shows is what happens."""
        text = re.sub(r"^```.*$", "", (DOCS / "cached.md").read_text(), flags=re.MULTILINE)
        samples = doctest.DocTestParser().get_doctest(
            text, {"__name__": "crm.reports"}, "cached.md", "cached.md", 0
        )
        done = doctest.DocTestRunner().run(samples)
        assert done.attempted >= 19
        assert done.failed == 0


@pytest.fixture
def _cache(make_cache):
    make_cache()
