"""Whoever dies, raises or sleeps at whatever point: afterwards both sides have every last write.

The numbers are those of the crash points in docs/sync.md. Where a process has to die, one is forked that
dies; where a server has to, it is killed, or put back to what it was.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from functools import partial
from urllib.parse import urlsplit

import pytest
import redis

from django_callcache.outbox.dirty import DirtyEntries
from django_callcache.redis_keys import RedisKeys
from testproject.parts.redis_server import RedisServer
from tests.sync.crew import PATIENCE, Crew, write
from tests.sync.cutting_proxy import CuttingProxy

NAMESPACE = "crash-points"
KEYS = RedisKeys("crm")
ENDS = ("kill", "raise")


@pytest.fixture(scope="session")
def crew_of(tmp_path_factory, redis_url, remote_url, request):
    """Make the crew that works on one kind of remote store."""
    crews = {}
    file = tmp_path_factory.mktemp("crew") / "db.sqlite3"

    def make(kind):
        if kind not in crews:
            environment = {
                "DJANGO_SETTINGS_MODULE": "tests.sync.worker_settings",
                "SAMPLE_DATABASE": str(file),
                "WORKER_REMOTE": kind,
                "WORKER_NAMESPACE": NAMESPACE,
                "WORKER_DATABASE_URL": remote_url,
                # Nobody waits for a lease to end, and a busy machine ends none.
                "WORKER_LEASE": "600",
                "REDIS_URL": redis_url,
            }
            if kind == "supabase":
                supalite = request.getfixturevalue("supalite")
                environment["WORKER_SUPABASE_URL"] = supalite.url
                environment["WORKER_SUPABASE_KEY"] = supalite.secret_key
            if not crews:
                command = [sys.executable, "manage.py", "migrate", "--verbosity=0"]
                subprocess.run(command, env={**os.environ, **environment}, check=True)
            crews[kind] = Crew(environment)
        # Tests empty the Redis that they share, which is no loss to notice.
        with closing(sqlite3.connect(file)) as database, database:
            database.execute("delete from django_callcache_syncedredis")
        return crews[kind]

    yield make
    for crew in crews.values():
        crew.close()


class Stage:
    """What a crash happens on: one cache, one namespace, and what both ought to have."""

    def __init__(self, crew, remote_sql, redis_client, remote_port, redis_url=""):
        self.crew = crew
        self.sql = remote_sql
        self.client = redis_client
        self.remote_port = remote_port
        self.redis_url = redis_url
        self.outbox = DirtyEntries(redis_client, KEYS)
        self.expected = {}
        self.chance = random.Random()

    def write(self, count=40):
        """Set and delete keys at random."""
        values = {}
        for _ in range(count):
            key = f"call:{self.chance.randrange(60)}"
            text = "x" * self.chance.randrange(200)
            values[key] = (
                None if self.chance.random() < 0.15 else {"number": self.chance.random(), "text": text}
            )
        self.put(values)

    def put(self, values):
        """Set keys; those without a value are deleted."""
        if self.redis_url:
            self.crew.run("write", values=values, redis_url=self.redis_url)
        else:
            write(values, how="many")
        self.expected |= values

    def overwrite(self):
        """Write every key again."""
        self.put({key: {"number": self.chance.random()} for key in self.expected})

    def crash(self, place, end, meanwhile=None, job="turn", **arguments):
        """Let a process come to its end at a place, after something has happened while it stood there."""
        arguments.setdefault("redis_url", self.redis_url)
        actions = [*(["stop"] if meanwhile else []), *([end] if end else [])]
        member = self.crew.start(job, failpoint=":".join([place, *actions]), **arguments)
        if meanwhile:
            member.stopped()
            meanwhile()
            member.go_on()
        self.see_end(member, end)
        self.end_leases()

    def end_leases(self):
        """Bring about what time does to the leases of who died or sleeps."""
        self.client.delete(KEYS.loop_lease())
        due = KEYS.outbox(b"").due
        for key in self.client.zrange(due, 0, -1):
            self.client.zadd(due, {key: 1}, xx=True)

    def see_end(self, member, end):
        """See that a process ended as it was told to."""
        status, output = member.end()
        if end == "kill":
            assert status == -signal.SIGKILL, output
        elif end == "raise":
            assert status == 1, output
            assert "FailpointReached" in output
        else:
            assert status == 0, output

    def turn(self, **arguments):
        """Let a process run once; return what moved."""
        return self.crew.run("turn", redis_url=self.redis_url, **arguments)

    def drain(self, left=0):
        """Run until no more than so much waits."""
        deadline = time.monotonic() + PATIENCE
        while self.outbox.depth() > left:
            assert time.monotonic() < deadline, "it never comes to an end"
            self.turn()

    def settle(self):
        """Run until nothing waits, and compare."""
        here = self.crew.run("settle", keys=list(self.expected), redis_url=self.redis_url)
        assert here == self.expected
        query = "select key, value, deleted_at from public.callcache_entries where namespace = %s"
        rows = self.sql.execute(query, (NAMESPACE,))
        there = {key.removeprefix("1:"): None if deleted else value for key, value, deleted in rows}
        assert there == self.expected
        assert (self.outbox.depth(), self.outbox.payload_bytes()) == (0, 0)

    def write_elsewhere(self, values):
        """Let another site write rows."""
        now = int(time.time() * 1e6)
        rows = [
            {"k": f"1:{key}", "h": f"{now + at:016x}", "v": value}
            for at, (key, value) in enumerate(values.items())
        ]
        query = "select public.callcache_push(%s, 'elsewhere', %s, 'lww')"
        reply = self.sql.execute(query, (NAMESPACE, json.dumps(rows))).fetchone()[0]
        assert len(reply["applied"]) == len(values)


@pytest.fixture(params=["postgres", pytest.param("supabase", marks=pytest.mark.long)])
def stage(request, crew_of, remote_sql, redis_client, remote_url):
    kind = request.param
    port = request.getfixturevalue("supalite").port if kind == "supabase" else urlsplit(remote_url).port
    return Stage(crew_of(kind), remote_sql, redis_client, port)


@pytest.fixture(params=[False])
def own_stage(stage, request):
    """A stage whose Redis is killed and put back."""
    with RedisServer(append_only=request.param) as server, redis.Redis.from_url(server.url) as client:
        own = Stage(stage.crew, stage.sql, client, stage.remote_port, server.url)
        own.server = server
        yield own


def fall(stage, place, end):
    """Nothing else happens."""
    stage.write()
    stage.crash(place, end)
    stage.write(10)


def write_meanwhile(stage, place, end):
    """While the loop stands there, every key is written again."""
    stage.write()
    stage.crash(place, end, meanwhile=stage.overwrite)


def sleep_beyond_the_lease(stage, place, end):
    """The loop stands there for so long that another one brings what was written since."""

    def meanwhile():
        stage.overwrite()
        stage.end_leases()
        stage.drain()

    stage.write()
    stage.crash(place, end, meanwhile=meanwhile)
    assert stage.outbox.depth() == 0


def pull_what_is_written(stage, place, end):
    """A changed row is on its way down when its key is written here."""
    stage.write()
    stage.turn()
    stage.write_elsewhere(dict.fromkeys(stage.expected, "theirs"))
    stage.crash(place, end, meanwhile=stage.overwrite)


def bring_own_change_back(stage, place, end):
    """What was pushed comes back to who did not live to see it: it is no change."""
    stage.write()
    stage.crash(place, end)
    stage.drain()
    facts = stage.turn()
    assert (facts["pushed"], facts["pulled"], facts["conflicts"]) == (0, 0, 0)


def keep_what_is_unknown(stage, place, end):
    """An entry of a later release stays where it is, and keeps no other from its way."""
    stage.write()
    bucket = KEYS.outbox(b"")
    stage.client.hset(bucket.payload, b"crm:1:call:later", b"9|of another release")
    stage.client.zadd(bucket.due, {b"crm:1:call:later": 1})
    stage.crash(place, end)
    stage.drain(1)
    assert stage.client.hget(bucket.payload, b"crm:1:call:later") == b"9|of another release"
    stage.client.hdel(bucket.payload, b"crm:1:call:later")


LOOP = {
    "4 claimed": (fall, "cp4"),
    "5 claimed, written again": (write_meanwhile, "cp5"),
    "7 pushed, reply lost": (fall, "cp7"),
    "8 pushed, not acknowledged": (fall, "cp8"),
    "9 acknowledged": (fall, "cp9"),
    "10 pushed, written again": (write_meanwhile, "cp8"),
    "11 slept before the push": (sleep_beyond_the_lease, "cp5"),
    "11 slept before the acknowledgement": (sleep_beyond_the_lease, "cp8"),
    "14 pulled, cursor not saved": (fall, "cp14"),
    "15 pulled, written meanwhile": (pull_what_is_written, "cp15"),
    "16 own change comes back": (bring_own_change_back, "cp16"),
    "18 of a later release": (keep_what_is_unknown, "cp4"),
}
"""What happens in a loop that dies, and where."""

GOES_ON = [name for name, (story, _) in LOOP.items() if story in (write_meanwhile, sleep_beyond_the_lease)]


@pytest.mark.parametrize("end", ENDS)
class TestLoop:
    @pytest.mark.parametrize("name", LOOP)
    def test_dies(self, stage, name, end):
        """Once."""
        self.play(stage, name, end, 1)

    @pytest.mark.long
    @pytest.mark.parametrize("name", LOOP)
    def test_dies__twenty_times(self, stage, name, end):
        """Again and again, with other writes each time."""
        self.play(stage, name, end, 20)

    def play(self, stage, name, end, times):
        story, place = LOOP[name]
        for number in range(times):
            stage.chance.seed(f"{name} {end} {number}")
            story(stage, place, end)
            stage.settle()

    @pytest.mark.parametrize("times", [1, pytest.param(20, marks=pytest.mark.long)])
    def test_request_half_sent(self, stage, end, times):
        """6: a request that ends in the middle has no effect, or all of it."""
        for number in range(times):
            stage.chance.seed(f"6 {end} {number}")
            stage.write()
            self.cut(stage, end)
            stage.settle()

    def cut(self, stage, end):
        cut = threading.Event()
        proxy = CuttingProxy(stage.remote_port, cut_after=stage.chance.randrange(3000, 5000), on_cut=cut.set)
        try:
            member = stage.crew.start("turn", port=proxy.port)
            assert cut.wait(PATIENCE)
            if end == "kill":
                member.kill()
            status, output = member.end()
        finally:
            proxy.close()
        stage.end_leases()
        # Who is cut off may be through with it before it is killed.
        assert status == 1 or end == "kill", output
        assert "RemoteUnavailable" in output or end == "kill"


@pytest.mark.parametrize("name", GOES_ON)
class TestSleeper:
    def test_wakes(self, stage, name):
        """Whoever slept through it all does no harm when it goes on."""
        story, place = LOOP[name]
        stage.chance.seed(name)
        story(stage, place, "")
        stage.settle()


HOW = ["one by one", "many"]


@pytest.mark.parametrize("end", ENDS)
class TestWriter:
    @pytest.mark.parametrize("how", HOW)
    @pytest.mark.parametrize("times", [1, pytest.param(20, marks=pytest.mark.long)])
    def test_before_the_write(self, stage, end, how, times):
        """1: who dies before Redis was asked has changed nothing."""
        for number in range(times):
            stage.chance.seed(f"1 {end} {number}")
            stage.write()
            waiting = {entry.redis_key: entry.version for entry in stage.outbox.entries()}
            changed = dict.fromkeys(stage.expected, "never written") | {"call:deleted": None}
            stage.crash("cp1", end, job="write", values=changed, how=how)
            assert {entry.redis_key: entry.version for entry in stage.outbox.entries()} == waiting
            stage.settle()

    @pytest.mark.parametrize("how", HOW)
    @pytest.mark.parametrize("times", [1, pytest.param(20, marks=pytest.mark.long)])
    def test_after_the_write(self, stage, end, how, times):
        """2: what Redis was asked for is there, value and entry both, whoever hears of it."""
        for number in range(times):
            stage.chance.seed(f"2 {end} {number}")
            stage.write()
            stage.settle()
            one = {"call:7": stage.chance.random()}
            stage.crash("cp2", end, job="write", values=one, how=how)
            assert [entry.remote_key for entry in stage.outbox.entries()] == ["1:call:7"]
            stage.expected |= one
            stage.settle()


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("times", [1, pytest.param(20, marks=pytest.mark.long)])
class TestServers:
    @pytest.mark.parametrize("own_stage", [True], indirect=True)
    def test_redis_killed(self, own_stage, end, times):
        """3: with an append-only file a Redis that is killed has every write that it has answered."""
        for number in range(times):
            own_stage.chance.seed(f"3 {end} {number}")
            own_stage.write()
            one = {"call:7": own_stage.chance.random()}
            own_stage.crash("cp2", end, job="write", values=one)
            own_stage.expected |= one
            waiting = {entry.redis_key: entry.version for entry in own_stage.outbox.entries()}
            own_stage.server.kill()
            own_stage.server.start()
            assert {entry.redis_key: entry.version for entry in own_stage.outbox.entries()} == waiting
            assert waiting.keys() >= {b"crm:1:call:7"}
            own_stage.settle()

    def test_redis_rolled_back(self, own_stage, end, times):
        """12: entries that an older Redis brings back change nothing there; later writes come after them."""
        for number in range(times):
            own_stage.chance.seed(f"12 {end} {number}")
            own_stage.write()
            own_stage.crash("cp8", end, meanwhile=own_stage.client.save)
            own_stage.settle()
            own_stage.write(10)
            own_stage.settle()
            own_stage.server.kill()
            own_stage.server.start()
            own_stage.end_leases()
            assert own_stage.outbox.depth()
            own_stage.settle()
            own_stage.overwrite()
            own_stage.settle()

    def test_commits_lost(self, stage, end, times):
        """13: what the remote store has lost a comparison brings back, also one that dies half-way."""
        for number in range(times):
            stage.chance.seed(f"13 {end} {number}")
            stage.write()
            stage.settle()
            stage.sql.execute("create temp table held as select * from public.callcache_entries")
            stage.write(20)
            stage.settle()
            self.put_back(stage.sql)
            stage.crash("cp14", end, verify=True)
            stage.turn(verify=True)
            stage.settle()

    def put_back(self, sql):
        """Make the table what it was, as a failover to a replica that lags does."""
        sql.execute(
            """
            begin;
            alter table public.callcache_entries disable trigger user;
            delete from public.callcache_entries where true;
            insert into public.callcache_entries select * from held;
            alter table public.callcache_entries enable trigger user;
            drop table held;
            commit
            """
        )

    def test_redis_empty(self, own_stage, end, times):
        """17: a Redis that comes back empty fetches everything, deletes nothing, and pushes when told to."""
        for number in range(times):
            own_stage.chance.seed(f"17 {end} {number}")
            own_stage.write()
            own_stage.settle()
            own_stage.server.kill()
            (own_stage.server.directory / "dump.rdb").unlink(missing_ok=True)
            own_stage.server.start()
            assert own_stage.client.dbsize() == 0
            own_stage.put(dict.fromkeys(list(own_stage.expected)[:5], "written before it was filled"))
            own_stage.crash("cp17", end)
            status, output = own_stage.crew.start("turn", redis_url=own_stage.redis_url).end()
            assert status == 1
            assert "RedisEmptied" in output
            assert own_stage.outbox.depth() == 5
            own_stage.turn(after_loss="go-on")
            own_stage.settle()


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("times", [1, pytest.param(20, marks=pytest.mark.long)])
class TestPreload:
    def test_dies(self, stage, end, times):
        """20: a preload that dies half-way, or is written under, replaces nothing that was written."""
        for number in range(times):
            stage.chance.seed(f"20 {end} {number}")
            records = {f"call:{at}": f"loaded {number}" for at in range(30)}
            stage.client.unlink(*(b"crm:1:" + key.encode() for key in records))
            written = {key: stage.chance.random() for key in stage.chance.sample(sorted(records), 10)}
            put = partial(stage.put, written)
            stage.crash("cp20", end, meanwhile=put, job="warm", values=records, chunk=10)
            assert stage.crew.run("warm", values=records, chunk=10) == len(records)
            stage.expected = records | written
            stage.settle()
