from __future__ import annotations

import os

import pytest

from django_callcache.exceptions import RemoteRefused, RemoteUnavailable
from django_callcache.tables.readers import FAILURES, MOST_IDLE, PAUSE_SECONDS, Readers


class Store:
    def __init__(self):
        self.is_closed = False

    def close(self):
        self.is_closed = True


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def opened():
    return []


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def readers(opened, clock):
    def open_store():
        opened.append(Store())
        return opened[-1]

    return Readers(open_store, clock=clock)


def failing(error):
    def ask(store):
        raise error

    return ask


class TestReaders:
    def test_ask__one_after_the_other(self, readers, opened):
        """Calls that come one after the other share a store."""
        assert readers.ask(lambda store: store) is readers.ask(lambda store: store)
        readers.close()
        assert [store.is_closed for store in opened] == [True]
        assert readers.ask(lambda store: store) is not opened[0]

    def test_ask__at_once(self, readers, opened):
        """Calls under way at once have a store each; more than a few are not kept."""

        def ask(store, depth=0):
            if depth < MOST_IDLE + 2:
                readers.ask(lambda inner: ask(inner, depth + 1))

        readers.ask(ask)
        assert len(opened) == MOST_IDLE + 3
        assert sum(store.is_closed for store in opened) == 3

    def test_ask__keeps_failing(self, readers, opened, clock):
        """A store that keeps failing is left alone, but for one attempt now and then, until it answers."""
        asked = []

        def ask(store):
            asked.append(store)
            raise RemoteUnavailable("down")

        for _ in range(FAILURES + 5):
            with pytest.raises(RemoteUnavailable):
                readers.ask(ask)
        assert len(asked) == FAILURES
        clock.now += PAUSE_SECONDS
        for _ in range(5):
            with pytest.raises(RemoteUnavailable):
                readers.ask(ask)
        assert len(asked) == FAILURES + 1
        with pytest.raises(RemoteUnavailable, match="not asked for now"):
            readers.ask(lambda store: 1)
        clock.now += PAUSE_SECONDS
        assert readers.ask(lambda store: 1) == 1
        assert [readers.ask(lambda store: 2) for _ in range(3)] == [2, 2, 2]

    def test_ask__retry_after(self, readers, clock):
        """One that says when to come again is left alone until then."""
        with pytest.raises(RemoteUnavailable, match="busy"):
            readers.ask(failing(RemoteUnavailable("busy", retry_after=30)))
        clock.now += 29
        with pytest.raises(RemoteUnavailable, match="not asked"):
            readers.ask(lambda store: 1)
        clock.now += 2
        assert readers.ask(lambda store: 1) == 1

    def test_ask__refused(self, readers):
        """A refusal is an answer: others are asked all the same."""
        for _ in range(FAILURES + 1):
            with pytest.raises(RemoteRefused):
                readers.ask(failing(RemoteRefused("no such table")))
        assert readers.ask(lambda store: 1) == 1

    def test_ask__forked(self, readers, opened):
        """A child opens stores of its own, and closes none of its parent's."""
        readers.ask(lambda store: 1)
        child = os.fork()
        if not child:  # no test runs on in the child
            theirs = readers.ask(lambda store: store)
            readers.close()
            os._exit(0 if theirs is not opened[0] and not opened[0].is_closed and theirs.is_closed else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert readers.ask(lambda store: store) is opened[0]
