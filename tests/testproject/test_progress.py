"""Progress of long work."""

from __future__ import annotations

from io import StringIO

from testproject.progress import Lines, progress


class Terminal(StringIO):
    def isatty(self):
        return True


class TestProgress:
    def test_progress__terminal(self):
        """A terminal gets a bar."""
        stream = Terminal()
        with progress("Working", 2, stream) as shown:
            shown.update(2)
        assert "Working: 100%" in stream.getvalue()

    def test_progress__file(self):
        """A file gets plain lines."""
        stream = StringIO()
        with progress("Working", 2, stream) as shown:
            shown.update()
        assert stream.getvalue() == "Working: 1 of 2 (50%)\n"


class TestLines:
    def test_update__now_and_then(self):
        """A line every five seconds, however often there is news."""
        now = 0.0
        stream = StringIO()
        lines = Lines("Working", 100, stream, clock=lambda: now)
        for now in (1.0, 2.0, 6.0, 7.0, 12.0):  # noqa: B007 -- the clock reads it
            lines.update(10)
        assert stream.getvalue() == "Working: 30 of 100 (30%)\nWorking: 50 of 100 (50%)\n"
