"""The remote store refuses while the site goes on writing."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import time
from contextlib import closing

import psycopg
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
@pytest.mark.parametrize("parts", [{"WORKER_BATCH": "500"}], indirect=True, ids=["batch 500"])
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
            write_for(SECONDS, crew, logs, lambda: see_backlog(crew, outbox))
            tries, acknowledged, count = read_logs(logs)
            backlog = see_backlog(crew, outbox)
            postgres.start()
            drained = drain(outbox)
        os.kill(loop.pid, signal.SIGTERM)
        assert loop.end()[0] == 0

        there = rows_of(postgres.url)
        here = crew.run("settle", keys=list(acknowledged))
        behind = [key for key, number in acknowledged.items() if not stands(there, key, number, tries[key])]
        rate = rate_of(tmp_path / "db.sqlite3")
        with capsys.disabled():
            sys.stdout.write(
                f"\n{count:,} writes of {backlog:,} keys, drained in {drained:.1f} s, {rate:,.0f} rows/s\n"
            )
        # A writer may have been killed in the middle of its last.
        assert count <= sum(map(len, tries.values())) <= count + WRITERS
        assert len(acknowledged) <= backlog <= len(tries)
        assert count > 1000
        assert behind == []
        assert here == {key: there[key] for key in acknowledged}

    def test_expired_meanwhile(self, parts):
        """An entry of two seconds arrives after an outage of ten, with the moment at which it expired."""
        server, postgres, crew = parts
        loop = crew.start("loop")
        with redis.Redis.from_url(server.url) as client:
            outbox = DirtyEntries(client, KEYS)
            postgres.stop()
            written_at = time.time()
            crew.run("write", values={"call:7": "short"}, timeout=2)
            time.sleep(10)
            assert not client.exists("crm:1:call:7")
            assert outbox.depth() == 1
            postgres.start()
            drain(outbox)
        os.kill(loop.pid, signal.SIGTERM)
        assert loop.end()[0] == 0
        with psycopg.connect(postgres.url) as connection:
            query = (
                "select value, extract(epoch from expires_at), deleted_at from public.callcache_entries "
                "where key = '1:call:7'"
            )
            value, expires_at, deleted_at = connection.execute(query).fetchone()
        assert (value, deleted_at) == ("short", None)
        assert written_at + 1.9 <= float(expires_at) <= written_at + PATIENCE
        assert float(expires_at) < time.time()


def see_backlog(crew, outbox):
    """See that the metrics tell what waits, give or take one; return it."""
    before, told, after = outbox.depth(), crew.run("waiting"), outbox.depth()
    assert before - 1 <= told <= after + 1
    return after


def write_for(seconds, crew, logs, look):
    """Let writers write for a while, each its own keys and log; whoever ends by itself has failed.

    Meanwhile something is looked at each second.
    """
    writers = [
        crew.start("keep writing", log=str(log), keys=[f"call:{number}:{at}" for at in range(KEYS_EACH)])
        for number, log in enumerate(logs)
    ]
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:
        time.sleep(1)
        look()
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


def rate_of(database):
    """Rows a second of the passes that pushed most of what waited."""
    query = (
        "select sum(pushed), sum(duration_seconds) from django_callcache_syncrun "
        "where pushed > 100 and outcome = 'ok'"
    )
    with closing(sqlite3.connect(database)) as connection:
        rows, seconds = connection.execute(query).fetchone()
    return rows / seconds if seconds else 0.0
