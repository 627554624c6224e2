"""``runcachesync`` is killed, or stopped, at its worst moments; no last write is missing afterwards.

What may happen at each point is tried in test_crash_points, by processes that start faster.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import signal
import subprocess
import sys
import threading
import time
from urllib.parse import urlsplit

import pytest
from django.core.cache import caches

from django_callcache.outbox.dirty import DirtyEntries
from tests.sync.cutting_proxy import CuttingProxy

PATIENCE = 90.0
POINTS = ("cp4", "cp6", "cp7", "cp8", "cp9", "cp14")
"""After the claim; in the middle of the request; reply lost; before the acknowledgement; after it; rows
pulled, cursor not saved."""


@pytest.fixture(scope="session")
def worker_database(tmp_path_factory):
    """A database of Django's own for the worker."""
    file = tmp_path_factory.mktemp("worker") / "db.sqlite3"
    environment = {**os.environ, "SAMPLE_DATABASE": str(file)}
    command = [sys.executable, "manage.py", "migrate", "--verbosity=0"]
    subprocess.run(command, env=environment, check=True)
    return file


class Worker:
    """Starts ``runcachesync`` as a process of its own, and sees what arrived."""

    def __init__(self, kind, database, remote_url, supalite, remote_sql):
        self.kind = kind
        self.remote_url = remote_url
        self.supalite = supalite
        self.sql = remote_sql
        self.namespace = f"crash-{secrets.token_hex(4)}"
        self.cache = caches["default"]
        self.outbox = DirtyEntries(self.cache.redis_client(), self.cache.redis_keys)
        self.expected = {}
        self.process = None
        self.started = []
        self.environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.sync.worker_settings",
            "SAMPLE_DATABASE": str(database),
            "WORKER_REMOTE": kind,
            "WORKER_NAMESPACE": self.namespace,
        }

    @property
    def remote_port(self):
        return self.supalite.port if self.kind == "supabase" else urlsplit(self.remote_url).port

    def start(self, *arguments, failpoint="", port=None):
        environment = {**self.environment, "CALLCACHE_FAILPOINT": failpoint}
        port = port or self.remote_port
        if self.kind == "supabase":
            environment["WORKER_SUPABASE_URL"] = f"http://127.0.0.1:{port}"
            environment["WORKER_SUPABASE_KEY"] = self.supalite.secret_key
        else:
            environment["WORKER_DATABASE_URL"] = self.remote_url.replace(f":{self.remote_port}/", f":{port}/")
        command = [sys.executable, "manage.py", "runcachesync", "--verbosity=1", *arguments]
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.started.append(self.process)

    def end(self, number=signal.SIGTERM):
        """Signal the worker; return its exit code and what it printed."""
        self.process.send_signal(number)
        output, _ = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, output

    def die(self):
        """Wait for the worker to have been killed."""
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.terminate()
        output, _ = self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == -signal.SIGKILL, output

    def write(self, count, chance):
        """Set and delete keys at random through the cache."""
        for _ in range(count):
            key = f"call:{chance.randrange(200)}"
            if chance.random() < 0.15:
                self.cache.delete(key)
                self.expected[key] = None
            else:
                value = {"number": chance.random(), "text": "x" * chance.randrange(200)}
                self.cache.set(key, value)
                self.expected[key] = value

    def drain(self):
        """Wait until the outbox is empty."""
        deadline = time.monotonic() + PATIENCE
        while self.outbox.depth() and time.monotonic() < deadline:
            assert self.process.poll() is None, self.process.communicate()[0]
            time.sleep(0.02)
        assert self.outbox.depth() == 0

    def arrived(self):
        """What the remote store has, by key; None for a tombstone."""
        query = "select key, value, deleted_at from public.callcache_entries where namespace = %s"
        rows = self.sql.execute(query, (self.namespace,))
        return {key.removeprefix("1:"): None if deleted else value for key, value, deleted in rows}


BY_POSTGRES = ["postgres", pytest.param("supabase", marks=pytest.mark.long)]
BY_SUPABASE = ["supabase", pytest.param("postgres", marks=pytest.mark.long)]
"""Killing is tried by one way to the remote store, raising by the other; in the long suite both by both."""


def once(point, points):
    """All points, but only one of them outside the long suite."""
    return [point, *(pytest.param(other, marks=pytest.mark.long) for other in points if other != point)]


@pytest.fixture(params=["postgres", "supabase"])
def worker(request, worker_database, remote_url, remote_sql):
    supalite = request.getfixturevalue("supalite") if request.param == "supabase" else None
    worker = Worker(request.param, worker_database, remote_url, supalite, remote_sql)
    yield worker
    # One left alive would take the entries of every test to come.
    for process in worker.started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def crash_and_recover(worker, point, chance):
    """Kill a worker at a point while people write, start another, and compare."""
    worker.write(300, chance)
    if point == "cp6":
        proxy = CuttingProxy(
            worker.remote_port, cut_after=chance.randrange(3000, 9000), on_cut=lambda: worker.process.kill()
        )
        try:
            worker.start(port=proxy.port)
            worker.die()
        finally:
            proxy.close()
    else:
        worker.start(failpoint=f"{point}:kill")
        worker.die()
    assert worker.outbox.depth() > 0 or point == "cp14"
    worker.write(50, chance)
    worker.start()
    worker.write(50, chance)
    worker.drain()
    code, output = worker.end()
    assert code == 0, output
    assert worker.arrived() == worker.expected
    assert worker.outbox.payload_bytes() == 0


class TestKilled:
    @pytest.mark.parametrize("worker", BY_SUPABASE, indirect=True)
    @pytest.mark.parametrize("point", once("cp7", POINTS))
    def test_once(self, worker, point):
        """Killed at a point, the next worker brings everything, each key as it was last written."""
        crash_and_recover(worker, point, random.Random(point))


class TestStopped:
    def test_signal__in_the_middle(self, worker):
        """Told to stop, a worker finishes its batch, leaves no claim behind and exits with 0."""
        worker.write(3000, random.Random(1))
        worker.environment["WORKER_BATCH"] = "1"
        worker.start()
        waiting = worker.outbox.depth()
        deadline = time.monotonic() + PATIENCE
        while worker.outbox.depth() == waiting and time.monotonic() < deadline:
            time.sleep(0.001)

        code, output = worker.end()

        assert code == 0, output
        assert 0 < worker.outbox.depth() < waiting
        assert len(worker.outbox.claim(1000, 1 << 24, 30).entries) == worker.outbox.depth()
        assert worker.cache.redis_client().get(worker.cache.redis_keys.loop_lease()) is None

    @pytest.mark.parametrize("worker", BY_POSTGRES, indirect=True)
    @pytest.mark.parametrize("point", once("cp8", [point for point in POINTS if point != "cp6"]))
    def test_raise(self, worker, point):
        """An error in the middle of a pass is told and tried again; nothing is lost."""
        worker.write(100, random.Random(2))
        worker.start("--once", failpoint=f"{point}:raise")
        output, _ = worker.process.communicate(timeout=PATIENCE)
        assert worker.process.returncode == 1
        assert "FailpointReached" in output
        worker.start("--once")
        output, _ = worker.process.communicate(timeout=PATIENCE)
        assert worker.process.returncode == 0, output
        assert worker.outbox.depth() == 0
        assert worker.arrived() == worker.expected

    def test_several_at_once(self, worker):
        """Four workers on one backlog end with the same rows as one."""
        worker.write(500, random.Random(3))
        for _ in range(4):
            worker.start("--max-passes=4")
        worker.write(300, random.Random(4))
        for process in worker.started:
            output, _ = process.communicate(timeout=PATIENCE)
            assert process.returncode == 0, output
        worker.start("--once")
        worker.process.communicate(timeout=PATIENCE)
        assert worker.outbox.depth() == 0
        assert worker.arrived() == worker.expected

    def test_json(self, worker):
        """With --json each pass is a line that machines read."""
        worker.write(10, random.Random(5))
        worker.start("--once", "--json")
        output, _ = worker.process.communicate(timeout=PATIENCE)
        assert worker.process.returncode == 0, output
        line = next(line for line in output.splitlines() if line.startswith("{"))
        assert json.loads(line)["pushed"] == len(worker.expected)


class TestCuttingProxy:
    def test_whole(self, worker):
        """A proxy that cuts nothing changes nothing."""
        proxy = CuttingProxy(worker.remote_port, cut_after=None, on_cut=threading.Event().set)
        try:
            worker.write(20, random.Random(6))
            worker.start("--once", port=proxy.port)
            output, _ = worker.process.communicate(timeout=PATIENCE)
            assert worker.process.returncode == 0, output
            assert worker.arrived() == worker.expected
        finally:
            proxy.close()
