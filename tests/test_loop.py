from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from django_callcache.exceptions import RemoteUnavailable
from django_callcache.loop import LONGEST_BACKOFF_SECONDS, STOP_SIGNALS, Loop, StopNow


class Waits:
    """An event that nobody waits for: it notes for how long somebody wanted to."""

    def __init__(self, loop_turns):
        self.slices = []
        self.is_set = False
        self.loop_turns = loop_turns

    def set(self):
        self.is_set = True

    def clear(self):
        self.is_set = False

    def wait(self, timeout):
        self.slices.append(timeout)
        return self.is_set


def make(turn, *, interval=300.0, chance=lambda: 1.0, **options):
    waits = Waits(turn)
    return Loop(turn, interval_seconds=interval, event=waits, chance=chance, **options), waits


def failing(*errors):
    """A turn that raises these, one after the other; None is a good turn."""
    rest = list(errors)

    def turn():
        error = rest.pop(0) if rest else None
        if error:
            raise error

    return turn


class TestRun:
    def test_interval(self):
        """Between turns the loop waits for the interval, and not after the last."""
        loop, waits = make(lambda: None, beat_seconds=1000)
        assert loop.run(max_turns=3)
        assert waits.slices == [300.0, 300.0]

    def test_pause_of_the_turn(self):
        """A turn may say how long to wait."""
        loop, waits = make(lambda: 2.5)
        loop.run(max_turns=2)
        assert waits.slices == [2.5]

    def test_beats(self):
        """A long wait is cut into slices, with a sign of life after each; one that fails ends nothing."""
        beats = []

        def beat():
            beats.append(1)
            raise OSError("Redis is away")

        loop, waits = make(lambda: None, interval=25.0, beat=beat, beat_seconds=10.0)
        loop.run(max_turns=2)
        assert waits.slices == [10.0, 10.0, 5.0]
        assert len(beats) == 3

    def test_backoff(self):
        """Failures in a row lengthen the pause up to a bound; a good turn shortens it again."""
        down = RemoteUnavailable("down")
        loop, waits = make(failing(*[down] * 9, None, down), beat_seconds=1000)
        assert not loop.run(max_turns=11)
        assert waits.slices == [0.5, 1, 2, 4, 8, 16, 32, 60, 60, 300]

    def test_backoff__jitter(self):
        """The pause after a failure is any part of its bound."""
        loop, waits = make(failing(*[RemoteUnavailable("down")] * 3), chance=lambda: 0.25, beat_seconds=1000)
        loop.run(max_turns=3)
        assert waits.slices == [0.125, 0.25]

    def test_backoff__never_ends(self):
        """A thousand failures are as one hundred."""
        loop, waits = make(failing(*[RemoteUnavailable("down")] * 2000), beat_seconds=1000)
        loop.run(max_turns=2000)
        assert waits.slices[-1] == LONGEST_BACKOFF_SECONDS

    def test_backoff__retry_after(self):
        """A remote store's wish for a pause is the least; jitter comes on top, so that two do not meet."""
        loop, waits = make(failing(RemoteUnavailable("busy", retry_after=7)), beat_seconds=1000)
        loop.run(max_turns=2)
        assert waits.slices == [7.5]

    def test_any_error(self, caplog):
        """A turn that breaks in an unforeseen way is logged with its traceback, and the loop goes on."""
        loop, _ = make(failing(ZeroDivisionError("oops")))
        assert loop.run(max_turns=2)
        assert "Traceback" in caplog.text

    def test_remote_error__one_line(self, caplog):
        """An outage is told in one line."""
        loop, _ = make(failing(RemoteUnavailable("down for now")))
        loop.run(max_turns=2)
        assert "down for now" in caplog.text
        assert "Traceback" not in caplog.text

    def test_stop__in_a_turn(self):
        """Told to stop, the loop finishes its turn and waits no more."""
        loop, waits = make(lambda: loop.stop())
        assert loop.run()
        assert waits.slices == []
        assert loop.is_stopping

    def test_stop__from_another_thread(self):
        """Told to stop while it waits, the loop ends."""
        began = threading.Event()
        loop = Loop(lambda: began.set(), interval_seconds=1000)
        thread = threading.Thread(target=loop.run)
        thread.start()
        assert began.wait(10)
        loop.stop()
        thread.join(10)
        assert not thread.is_alive()

    def test_wake(self):
        """Woken, the loop turns at once."""
        turns = []
        second = threading.Event()

        def turn():
            turns.append(1)
            if len(turns) == 2:
                second.set()

        loop = Loop(turn, interval_seconds=1000)
        thread = threading.Thread(target=loop.run)
        thread.start()
        loop.wake()
        assert second.wait(10)
        loop.stop()
        thread.join(10)


class TestSignals:
    @pytest.mark.parametrize("number", STOP_SIGNALS)
    def test_first(self, number):
        """The first signal ends the loop after its turn, and the handlers are as before afterwards."""
        before = [signal.getsignal(one) for one in (*STOP_SIGNALS, signal.SIGALRM)]
        done = []

        def turn():
            os.kill(os.getpid(), number)
            done.append("turn")

        loop = Loop(turn, interval_seconds=1000)
        with loop.signals():
            assert loop.run()
        assert done == ["turn"]
        assert [signal.getsignal(one) for one in (*STOP_SIGNALS, signal.SIGALRM)] == before
        assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)

    def test_second(self):
        """The second signal ends the turn where it is."""

        def turn():
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)
            pytest.fail("the turn went on")

        loop = Loop(turn, interval_seconds=1000)
        with pytest.raises(StopNow) as caught, loop.signals():
            loop.run()
        assert caught.value.was_asked

    def test_grace(self):
        """A turn that does not end within the grace is ended."""

        def turn():
            os.kill(os.getpid(), signal.SIGTERM)
            threading.Event().wait(30)
            pytest.fail("the turn went on")

        loop = Loop(turn, interval_seconds=1000)
        with pytest.raises(StopNow) as caught, loop.signals(grace_seconds=0.05):
            loop.run()
        assert not caught.value.was_asked

    def test_other_thread(self):
        """In another thread the loop leaves signals alone."""
        before = signal.getsignal(signal.SIGTERM)
        seen = []

        def work():
            loop, _ = make(lambda: seen.append(signal.getsignal(signal.SIGTERM)))
            with loop.signals():
                loop.run(max_turns=1)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert seen == [before]


class TestImport:
    def test_light(self):
        """The loop needs neither a database nor a setting."""
        code = "import sys, django_callcache.loop; assert 'django_callcache.models' not in sys.modules"
        subprocess.run([sys.executable, "-c", code], check=True)
