"""The demo's last word."""

from __future__ import annotations

from testproject.demo.summary import Promise, Summary, compare


class TestSummary:
    def test_lines__kept_and_broken(self):
        """Figures stand in a table; a promise that does not hold says what was found."""
        summary = Summary(
            figures={"errors": "2", "hit ratio": "0.9"},
            promises=(Promise("no request failed", False, "two did"), Promise("all else", True, "")),
        )
        assert list(summary.lines()) == [
            "  errors     2",
            "  hit ratio  0.9",
            "",
            "  BROKEN  no request failed",
            "          two did",
            "  kept    all else",
        ]
        assert not summary.all_kept


class TestCompare:
    def test_compare__equal(self):
        """What others wrote to the remote store is no difference."""
        assert compare({"call:1": {"id": 1}}, {"call:1": {"id": 1}, "call:2": {"id": 2}}) == []

    def test_compare__missing_or_different(self):
        """Each record that is missing or different is named."""
        written = {"call:1": {"id": 1}, "call:2": {"id": 2}}
        assert compare(written, {"call:1": {"id": 3}}) == [
            "call:1 is {'id': 3}, written was {'id': 1}",
            "call:2 is missing",
        ]
