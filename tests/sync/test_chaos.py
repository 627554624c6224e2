"""Everything that can die dies again and again; afterwards no key is behind its last acknowledged write."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from contextlib import ExitStack, suppress

import psycopg
import pytest
import redis

from django_callcache.outbox.dirty import DirtyEntries
from django_callcache.redis_keys import RedisKeys
from testproject.parts.postgres_server import PostgresServer
from testproject.parts.redis_server import RedisServer
from tests.sync.conftest import SCHEMA
from tests.sync.crew import Crew

SECONDS = 40
PATIENCE = 240
NAMESPACE = "chaos"
KEYS = RedisKeys("crm")
WRITERS = LOOPS = 3
KEYS_EACH = 60


@pytest.fixture
def parts(tmp_path, request):
    """A Redis with an append-only file, a PostgreSQL that keeps its commits, and a crew for both."""
    with ExitStack() as stack:
        server = stack.enter_context(RedisServer(append_only=True))
        postgres = stack.enter_context(PostgresServer(sql_files=[SCHEMA]))
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            # As a role's, it goes before what the server was started with.
            connection.execute("alter role postgres set synchronous_commit = on")
        environment = {
            "DJANGO_SETTINGS_MODULE": "tests.sync.worker_settings",
            "SAMPLE_DATABASE": str(tmp_path / "db.sqlite3"),
            "SAMPLE_LOG_LEVEL": "ERROR",
            "WORKER_REMOTE": "postgres",
            "WORKER_NAMESPACE": NAMESPACE,
            "WORKER_DATABASE_URL": postgres.url,
            "REDIS_URL": server.url,
            **getattr(request, "param", {}),
        }
        command = [sys.executable, "manage.py", "migrate", "--verbosity=0"]
        subprocess.run(command, env={**os.environ, **environment}, check=True)
        crew = Crew(environment)
        stack.callback(crew.close)
        yield server, postgres, crew


class Storm:
    """Writers and loops, and what befalls them and their servers."""

    def __init__(self, server, postgres, crew, folder, chance):
        self.server = server
        self.postgres = postgres
        self.crew = crew
        self.chance = chance
        self.logs = [folder / f"writer-{number}" for number in range(WRITERS)]
        self.writers = [self.writer(number) for number in range(WRITERS)]
        self.loops = [crew.start("loop") for _ in range(LOOPS)]
        self.counts = Counter()

    def writer(self, number):
        keys = [f"call:{number}:{at}" for at in range(KEYS_EACH)]
        return self.crew.start("keep writing", log=str(self.logs[number]), keys=keys)

    def rage(self):
        """Let something happen several times a second, and to the servers now and then."""
        began = time.monotonic()
        ends = began + SECONDS
        redis_at = [began + SECONDS * part for part in (0.15, 0.4, 0.65, 0.9)]
        postgres_at = [began + SECONDS * part for part in (0.25, 0.5, 0.75)]
        while (now := time.monotonic()) < ends:
            if redis_at and now > redis_at[0]:
                redis_at.pop(0)
                self.fell("redis", self.server)
            elif postgres_at and now > postgres_at[0]:
                postgres_at.pop(0)
                self.fell("postgres", self.postgres)
            else:
                self.chance.choice([self.kill_writer, self.kill_loop, self.kill_loop, self.pause_loop])()
            time.sleep(self.chance.uniform(0.1, 0.5))

    def fell(self, name, server):
        """Kill a server, and start it after a while."""
        self.counts[name] += 1
        server.kill()
        time.sleep(self.chance.uniform(0.2, 1.0))
        server.start()

    def kill_writer(self):
        number = self.chance.randrange(WRITERS)
        self.end(self.writers[number])
        self.writers[number] = self.writer(number)

    def kill_loop(self):
        number = self.chance.randrange(LOOPS)
        self.end(self.loops[number])
        self.loops[number] = self.crew.start("loop")

    def pause_loop(self):
        """Stop a loop for longer than its leases last."""
        self.counts["pause"] += 1
        member = self.chance.choice(self.loops)
        os.kill(member.pid, signal.SIGSTOP)
        time.sleep(1.2)
        member.go_on()

    def end(self, member):
        self.counts["kill"] += 1
        member.kill()
        status, output = member.end()
        assert status == -signal.SIGKILL, output

    def calm(self):
        """End the writers, and wait until the loops have brought everything."""
        for member in self.writers:
            self.end(member)
        with redis.Redis.from_url(self.server.url) as client:
            outbox = DirtyEntries(client, KEYS)
            deadline = time.monotonic() + PATIENCE
            while outbox.depth():
                assert time.monotonic() < deadline, "it never drains"
                time.sleep(0.05)
        for member in self.loops:
            os.kill(member.pid, signal.SIGTERM)
            status, output = member.end()
            assert status == 0, output


class Watcher(threading.Thread):
    """Looks at the remote rows all the time: none may ever go back to an earlier write."""

    def __init__(self, url):
        super().__init__(daemon=True)
        self.url = url
        self.stopped = threading.Event()
        self.latest = {}
        self.regressions = []
        self.looks = 0

    def run(self):
        while not self.stopped.wait(0.1):
            with suppress(psycopg.OperationalError), psycopg.connect(self.url, autocommit=True) as connection:
                for key, hlc in connection.execute("select key, hlc from public.callcache_entries"):
                    if hlc < self.latest.get(key, ""):
                        self.regressions.append(key)
                    self.latest[key] = hlc
                self.looks += 1


def rows_of(url):
    """Return the remote values by key; None for a tombstone."""
    with psycopg.connect(url) as connection:
        found = connection.execute("select key, value, deleted_at from public.callcache_entries").fetchall()
    return {key.removeprefix("1:"): None if deleted else value for key, value, deleted in found}


def read_logs(logs):
    """Return of each key its tries, by number, and the number of the last that was acknowledged."""
    tries, acknowledged, count = defaultdict(dict), {}, 0
    for log in logs:
        # The last line may be half of one.
        for line in log.read_text().rpartition("\n")[0].splitlines():
            what, key, number, is_deleted = line.split()
            if what == "try":
                tries[key][int(number)] = bool(int(is_deleted))
            else:
                acknowledged[key] = int(number)
                count += 1
    return tries, acknowledged, count


@pytest.mark.long
@pytest.mark.timeout(SECONDS + PATIENCE + 300)
class TestChaos:
    @pytest.mark.parametrize("parts", [{"WORKER_DEADLINE": "0.25"}], indirect=True, ids=["as by default"])
    @pytest.mark.parametrize("seed", range(3))
    def test_nothing_is_behind(self, parts, tmp_path, seed, capsys):
        """After 40 s of killing, pausing and felling no key is older anywhere than it was acknowledged."""
        server, postgres, crew = parts
        storm = Storm(server, postgres, crew, tmp_path, random.Random(seed))
        watcher = Watcher(postgres.url)
        watcher.start()
        storm.rage()
        began = time.monotonic()
        storm.calm()
        drained = time.monotonic() - began
        watcher.stopped.set()
        watcher.join()

        tries, acknowledged, count = read_logs(storm.logs)
        there = rows_of(postgres.url)
        here = crew.run("settle", keys=list(acknowledged))
        behind = [key for key, number in acknowledged.items() if not stands(there, key, number, tries[key])]
        figures = (
            f"seed {seed}: {count:,} acknowledged writes of {len(acknowledged)} keys, {dict(storm.counts)}: "
            f"{len(behind)} behind, {len(watcher.regressions)} regressions in {watcher.looks} looks, "
            f"drained in {drained:.1f} s"
        )
        with capsys.disabled():
            sys.stdout.write(f"\n{figures}\n")
        assert count > 1000
        assert behind == []
        assert watcher.regressions == []
        assert drained <= 30
        assert here == {key: there[key] for key in acknowledged}


def stands(there, key, acknowledged, tries):
    """Tell whether a row is that of the acknowledged write, or of a later try."""
    if key not in there:
        return False
    if there[key] is None:
        return any(is_deleted and number >= acknowledged for number, is_deleted in tries.items())
    return int(there[key]) >= acknowledged


@pytest.mark.long
class TestTakeOver:
    LEASE_SECONDS = 0.5
    """As in the settings of the crew."""

    def test_within_the_lease(self, parts, capsys):
        """Of four loops on one backlog the one at work dies: within the lease and two seconds it is done."""
        server, postgres, crew = parts
        taken = []
        with redis.Redis.from_url(server.url) as client:
            outbox = DirtyEntries(client, KEYS)
            for number in range(10):
                values = {f"call:{at}": number for at in range(200)}
                dying = crew.start("loop", failpoint="cp5:stop")
                others = [crew.start("loop") for _ in range(3)]
                # Whichever of them comes first: the one that stands there has the lease.
                while True:
                    crew.run("write", values=values)
                    if crew.ask(wait=dying.pid, seconds=0.2)["stopped"]:
                        break
                dying.kill()
                began = time.monotonic()
                assert dying.end()[0] == -signal.SIGKILL
                while outbox.depth():
                    assert time.monotonic() < began + PATIENCE
                    time.sleep(0.005)
                taken.append(time.monotonic() - began)
                for other in others:
                    os.kill(other.pid, signal.SIGTERM)
                    assert other.end()[0] == 0
                assert rows_of(postgres.url) == values
        with capsys.disabled():
            sys.stdout.write(f"\ntaken over after {max(taken):.2f} s at most\n")
        assert max(taken) <= self.LEASE_SECONDS + 2
