"""The remote store refuses for a minute while the site goes on writing."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest
import redis

from django_callcache.outbox.dirty import DirtyEntries
from tests.sync.test_chaos import KEYS, PATIENCE, parts, read_logs, rows_of, stands

__all__ = ["parts"]

SECONDS = 60
WRITERS = 3
KEYS_EACH = 1000


@pytest.mark.long
@pytest.mark.timeout(SECONDS + PATIENCE + 300)
class TestOutage:
    def test_nothing_is_lost(self, parts, tmp_path, capsys):
        """No write fails while the remote store refuses, each waits, and all arrive when it is back."""
        server, postgres, crew = parts
        loop = crew.start("loop")
        crew.run("write", values={"call:before": "1"})
        with redis.Redis.from_url(server.url) as client:
            outbox = DirtyEntries(client, KEYS)
            drain(outbox)
            postgres.stop()
            logs = [tmp_path / f"writer-{number}" for number in range(WRITERS)]
            write_for(SECONDS, crew, logs)
            tries, acknowledged, count = read_logs(logs)
            backlog = outbox.depth()
            postgres.start()
            drained = drain(outbox)
        os.kill(loop.pid, signal.SIGTERM)
        assert loop.end()[0] == 0

        there = rows_of(postgres.url)
        here = crew.run("settle", keys=list(acknowledged))
        behind = [key for key, number in acknowledged.items() if not stands(there, key, number, tries[key])]
        with capsys.disabled():
            sys.stdout.write(f"\n{count:,} writes of {backlog:,} keys, drained in {drained:.1f} s\n")
        # A writer may have been killed in the middle of its last.
        assert count <= sum(map(len, tries.values())) <= count + WRITERS
        assert len(acknowledged) <= backlog <= len(tries)
        assert count > 1000
        assert behind == []
        assert here == {key: there[key] for key in acknowledged}


def write_for(seconds, crew, logs):
    """Let writers write for a while, each its own keys and log; whoever ends by itself has failed."""
    writers = [
        crew.start("keep writing", log=str(log), keys=[f"call:{number}:{at}" for at in range(KEYS_EACH)])
        for number, log in enumerate(logs)
    ]
    time.sleep(seconds)
    for writer in writers:
        writer.kill()
        status, output = writer.end()
        assert status == -signal.SIGKILL, output


def drain(outbox):
    """Wait until nothing waits; return how many seconds that took."""
    began = time.monotonic()
    while outbox.depth():
        assert time.monotonic() < began + PATIENCE, "it never drains"
        time.sleep(0.05)
    return time.monotonic() - began
