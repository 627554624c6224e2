from __future__ import annotations

from django_callcache.tables.pace import LONGEST_SECONDS, Pace


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class TestPace:
    def pauses(self, pace, clock, *outcomes):
        """How long it is until the next look after each outcome."""
        for outcome in outcomes:
            getattr(pace, outcome)()
            before = clock.now
            while not pace.is_due:
                clock.now += 1
            yield clock.now - before

    def test_pace(self):
        """Failures in a row make pauses longer, up to a bound; a look that went well restores them."""
        clock = Clock()
        pace = Pace(10, clock=clock)
        assert not pace.is_due
        outcomes = ["done", "failed", "failed", "failed", "failed", "done"]
        assert list(self.pauses(pace, clock, *outcomes)) == [10, 20, 40, LONGEST_SECONDS, LONGEST_SECONDS, 10]

    def test_pace__long(self):
        """A pause that is longer by itself stays as it is."""
        clock = Clock()
        assert list(self.pauses(Pace(100, clock=clock), clock, "failed", "failed")) == [100, 100]
