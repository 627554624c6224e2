from __future__ import annotations

import logging

import pytest

from django_callcache.cache.breaker import MAX_ERRORS, MAX_TIMEOUTS, PROBE_SECONDS, WINDOW_SECONDS, Breaker
from django_callcache.exceptions import RedisUnavailable


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def breaker(clock):
    return Breaker("redis.example:6379", clock)


def trip(breaker):
    for _ in range(MAX_TIMEOUTS):
        breaker.failed(timed_out=True)


class TestBreaker:
    def test_failed__third_timeout_opens(self, breaker):
        """Two timeouts are bad luck; the third within the window opens the breaker."""
        for _ in range(MAX_TIMEOUTS - 1):
            breaker.failed(timed_out=True)
            assert not breaker.is_open
            assert breaker.is_troubled
        breaker.failed(timed_out=True)
        assert breaker.is_open

    def test_failed__fifth_error_opens(self, breaker):
        """Errors that cost no time, such as refused connections, have a higher limit."""
        for _ in range(MAX_ERRORS - 1):
            breaker.failed(timed_out=False)
        assert not breaker.is_open
        breaker.failed(timed_out=False)
        assert breaker.is_open

    def test_failed__old_failures_are_forgotten(self, breaker, clock):
        """Only failures of the last seconds count."""
        for _ in range(10 * MAX_TIMEOUTS):
            breaker.failed(timed_out=True)
            clock.now += WINDOW_SECONDS / 2 + 0.1
        assert not breaker.is_open

    def test_succeeded__failures_are_forgotten(self, breaker):
        """A success between failures shows that the server is there."""
        for _ in range(10):
            breaker.failed(timed_out=True)
            breaker.failed(timed_out=True)
            breaker.succeeded()
            assert not breaker.is_troubled
        assert not breaker.is_open

    def test_check__open(self, breaker):
        """While it is open, calls are refused with the server's name."""
        trip(breaker)
        with pytest.raises(RedisUnavailable, match=r"redis\.example:6379") as refused:
            breaker.check()
        assert not refused.value.sent

    def test_check__one_probe(self, breaker, clock):
        """After the pause one call is let through, and no second before its outcome or another pause."""
        trip(breaker)
        clock.now += PROBE_SECONDS[1]
        breaker.check()
        for _ in range(3):
            with pytest.raises(RedisUnavailable):
                breaker.check()

    def test_check__probe_not_too_early(self, breaker, clock):
        """No probe is sent before the shortest pause is over."""
        trip(breaker)
        clock.now += PROBE_SECONDS[0] - 0.01
        with pytest.raises(RedisUnavailable):
            breaker.check()

    def test_failed__probe_that_fails_starts_another_pause(self, breaker, clock):
        """A failed probe keeps the breaker open for another pause."""
        trip(breaker)
        clock.now += PROBE_SECONDS[1]
        breaker.check()
        breaker.failed(timed_out=True)
        clock.now += PROBE_SECONDS[0] - 0.01
        with pytest.raises(RedisUnavailable):
            breaker.check()

    def test_succeeded__closes(self, breaker, clock):
        """A probe that succeeds closes the breaker, with no failure left over from before."""
        trip(breaker)
        clock.now += PROBE_SECONDS[1]
        breaker.check()
        breaker.succeeded()
        assert not breaker.is_open
        breaker.check()
        breaker.failed(timed_out=True)
        assert not breaker.is_open

    def test_when_opened__called_once_each_time(self, breaker):
        """Whoever waits for a connection is told when the breaker opens, not at every later failure."""
        calls = []
        breaker.when_opened(lambda: calls.append(1))
        trip(breaker)
        trip(breaker)
        assert len(calls) == 1
        breaker.succeeded()
        trip(breaker)
        assert len(calls) == 2

    def test_logging__once_per_change(self, breaker, caplog):
        """The log has one line when the breaker opens and one when it closes, however many calls fail."""
        with caplog.at_level(logging.INFO):
            trip(breaker)
            trip(breaker)
            breaker.succeeded()
            breaker.succeeded()
        assert [record.message.split()[1] for record in caplog.records] == ["state=open", "state=closed"]

    def test_forget__closed(self, breaker):
        """A child process starts without its parent's failures."""
        trip(breaker)
        breaker.forget()
        assert not breaker.is_open
        breaker.check()
