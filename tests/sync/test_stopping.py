"""``runcachesync`` is told to stop in the middle of a batch."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.sync.test_crash_points import KEYS, Stage, crew_of, stage

__all__ = ["crew_of", "stage"]

MOMENTS = ("cp4", "cp5", "cp7", "cp8", "cp9")
"""Claimed; about to push; pushed; about to acknowledge; acknowledged."""


class TestSignal:
    def test_in_the_middle(self, stage: Stage):
        """A loop ends with 0, keeps neither its lease nor an entry, and nothing is lost."""
        stage.chance.seed("stopped")
        self.stop(stage, "cp7")

    @pytest.mark.long
    def test_in_the_middle__twenty_times(self, stage: Stage):
        """So it does again and again, within ten seconds; what it held is free within two."""
        for number in range(20):
            stage.chance.seed(number)
            ended, freed = self.stop(stage, stage.chance.choice(MOMENTS))
            assert ended <= 10
            assert freed <= 2

    def stop(self, stage, moment):
        """Stop a loop; return how long it took to end, and then until what it held was free."""
        stage.write(100)
        member = stage.crew.start("loop", failpoint=f"{moment}:stop")
        member.stopped()
        os.kill(member.pid, signal.SIGTERM)
        began = time.monotonic()
        member.go_on()
        status, output = member.end()
        ended = time.monotonic()
        assert status == 0, output
        assert not stage.client.exists(KEYS.loop_lease())
        seconds, microseconds = stage.client.time()
        due = stage.client.zrange(KEYS.outbox(b"").due, 0, -1, withscores=True)
        # The leases of the crew last ten minutes: these were given back.
        assert all(at <= seconds * 1000 + microseconds / 1000 for _, at in due)
        freed = time.monotonic()
        stage.settle()
        return ended - began, freed - ended
