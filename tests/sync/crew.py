"""Processes that tests kill, by the dozen: one has Django loaded and forks the others.

``python -m tests.sync.crew`` is that one. It obeys a line of JSON after another, and answers each by one.
"""

from __future__ import annotations

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from django_callcache.replication.losses import AfterLoss
    from django_callcache.sync.remote import RemoteStore

PATIENCE = 90.0


class Crew:
    """Starts processes that do one job each, see ``JOBS``.

    Args:
        environment: On top of this process's; it must name settings.
    """

    def __init__(self, environment):
        self._foreman = subprocess.Popen(
            [sys.executable, "-m", "tests.sync.crew"],
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, job, failpoint="", **arguments):
        """Let a process do a job; return it."""
        return Member(self, self.ask(job=job, failpoint=failpoint, arguments=arguments))

    def run(self, job, **arguments):
        """Do a job to its end; return what it returned."""
        member = self.start(job, **arguments)
        status, output = member.end()
        assert status == 0, output
        return json.loads(output)

    def ask(self, **order):
        """Tell the foreman; return the answer."""
        self._foreman.stdin.write(json.dumps(order) + "\n")
        self._foreman.stdin.flush()
        return json.loads(self._foreman.stdout.readline())

    def close(self):
        """End all."""
        self._foreman.stdin.close()
        self._foreman.wait(PATIENCE)
        self._foreman.stdout.close()


class Member:
    """One process of the crew."""

    def __init__(self, crew, pid):
        self._crew = crew
        self.pid = pid

    def stopped(self):
        """Wait until it has stopped at its failpoint."""
        found = self._crew.ask(wait=self.pid, seconds=PATIENCE)
        assert found["stopped"], found

    def go_on(self):
        """Let it go on after it has stopped."""
        os.kill(self.pid, signal.SIGCONT)

    def kill(self):
        """End it as ``kill -9`` does."""
        os.kill(self.pid, signal.SIGKILL)

    def end(self):
        """Wait for its end; return its exit status, negative for a signal, and what it said."""
        found = self._crew.ask(wait=self.pid, seconds=PATIENCE)
        assert not found["stopped"], found
        return found["status"], found["output"]


class Foreman:
    """The process that forks the others, and waits for them."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="crew-"))
        self._alive: set[int] = set()

    def serve(self) -> None:
        """Obey until there are no more orders."""
        for line in sys.stdin:
            order = json.loads(line)
            answer = self._wait(order["wait"], order["seconds"]) if "wait" in order else self._fork(order)
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()
        for pid in self._alive:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    def _fork(self, order: dict[str, Any]) -> int:
        pid = os.fork()
        if not pid:
            os._exit(self._work(order))
        self._alive.add(pid)
        return pid

    def _work(self, order: dict[str, Any]) -> int:
        from django_callcache import failpoints

        # The orders of the others are none of its business.
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        output = os.open(self._output_of(os.getpid()), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        failpoints.arm(order["failpoint"])
        try:
            os.write(output, json.dumps(JOBS[order["job"]](**order["arguments"])).encode())
        except BaseException:
            os.write(output, traceback.format_exc().encode())
            return 1
        return 0

    def _wait(self, pid: int, seconds: float) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found, status = os.waitpid(pid, os.WUNTRACED | os.WNOHANG)
            if found and os.WIFSTOPPED(status):
                return {"stopped": True}
            if found:
                self._alive.discard(pid)
                return self._ended(pid, os.waitstatus_to_exitcode(status))
            time.sleep(0.002)
        return {"stopped": False, "status": None, "output": f"process {pid} goes on and on"}

    def _ended(self, pid: int, status: int) -> dict[str, Any]:
        path = self._output_of(pid)
        said = path.read_text() if path.exists() else ""
        path.unlink(missing_ok=True)
        return {"stopped": False, "status": status, "output": said}

    def _output_of(self, pid: int) -> Path:
        return self._folder / str(pid)

    def close(self) -> None:
        """Remove the files."""
        for path in self._folder.iterdir():
            path.unlink()
        self._folder.rmdir()


def turn(
    redis_url: str = "", port: int = 0, *, verify: bool = False, after_loss: AfterLoss = ""
) -> dict[str, Any]:
    """Run once, as a turn of the loop does, when nobody else is at it; return what moved.

    The port is where the remote store is reached, where it is another one than the settings say.
    """
    from django_callcache.maintenance import run_once
    from django_callcache.management.turns import facts_of

    _look_at(redis_url)
    remote = _remote_at(port) if port else None
    how: dict[str, Any] = {"remote": remote, "verify": verify, "after_loss": after_loss}
    while (report := run_once("default", **how)).busy_for is not None:
        time.sleep(min(report.busy_for, 0.02))
    for error in report.errors:
        raise error
    return facts_of(report)


def settle(keys: list[str], redis_url: str = "") -> dict[str, Any]:
    """Run until nothing waits and nothing comes; return what the cache then has at keys."""
    from django.core.cache import caches

    from django_callcache.outbox.dirty import DirtyEntries

    _look_at(redis_url)
    cache = caches["default"]
    outbox = DirtyEntries(cache.redis_client(), cache.redis_keys)
    deadline = time.monotonic() + PATIENCE
    while turn()["pulled"] or outbox.depth():
        if time.monotonic() > deadline:
            raise TimeoutError("it never settles")
    return {key: cache.get(key) for key in keys}


def write(
    values: dict[str, Any], redis_url: str = "", *, how: str = "one by one", timeout: float | None = None
) -> None:
    """Set keys, for as long as their rule says or for some seconds; those without a value are deleted."""
    from django.core.cache import caches

    _look_at(redis_url)
    cache = caches["default"]
    if how == "one by one":
        for key, value in values.items():
            if value is None:
                cache.delete(key)
            else:
                cache.set(key, value, **({} if timeout is None else {"timeout": timeout}))
    elif how == "many":
        cache.set_many({key: value for key, value in values.items() if value is not None})
        cache.delete_many([key for key, value in values.items() if value is None])


def keep_writing(log: str, keys: list[str]) -> None:
    """Set and delete keys for ever; log each write before it is made, and each that was acknowledged.

    A value is the number of its write; numbers ascend, also over the lives of writers.
    """
    from django.core.cache import caches

    from django_callcache.exceptions import CallCacheError

    cache = caches["default"]
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    while True:
        number = time.time_ns()
        key, is_deleted = random.choice(keys), random.random() < 0.1
        os.write(file, f"try {key} {number} {int(is_deleted)}\n".encode())
        try:
            if is_deleted:
                cache.delete(key)
            else:
                cache.set(key, str(number))
        except CallCacheError:
            time.sleep(0.01)
        else:
            os.write(file, f"ack {key} {number} {int(is_deleted)}\n".encode())


def waiting() -> int:
    """Return what the metrics say waits for the remote store."""
    from prometheus_client.parser import text_string_to_metric_families

    from django_callcache import metrics

    body, _ = metrics.exposition("")
    return next(
        int(sample.value)
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
        if sample.name == "callcache_outbox_entries"
    )


def loop() -> None:
    """Run ``runcachesync`` until told to stop."""
    from django.core.management import call_command

    call_command("runcachesync", verbosity=1)


def warm(values: dict[str, Any], chunk: int, redis_url: str = "") -> int:
    """Preload keys whose loader knows values; return how many have one."""
    from django.core.cache import caches

    from django_callcache import warm as warming
    from django_callcache.cache.loading import register_loader

    _look_at(redis_url)
    register_loader("call:", lambda names: {name: values[f"call:{name}"] for name in names})
    return warming.warm(caches["default"], list(values), chunk, lambda done: None).records


def _look_at(redis_url: str) -> None:
    from django.conf import settings

    if redis_url:
        settings.CACHES["default"]["LOCATION"] = redis_url


def _remote_at(port: int) -> RemoteStore:
    from django.db import connections

    from django_callcache.conf import get_settings
    from django_callcache.replication.remotes import open_remote

    sync = get_settings().sync
    if sync.remote == "postgres":
        connections[sync.database].settings_dict["PORT"] = port
    remote = open_remote(dataclasses.replace(sync, supabase_url=f"http://127.0.0.1:{port}"))
    assert remote is not None
    return remote


JOBS = {
    "turn": turn, "settle": settle, "write": write, "keep writing": keep_writing, "waiting": waiting,
    "loop": loop, "warm": warm,
}  # fmt: skip


def main() -> None:
    """Load Django, and wait for orders."""
    import django

    django.setup()
    # What each job would import by itself, once for all.
    for name in (
        "management.commands.runcachesync",
        "warm",
        "metrics",
        f"sync.{os.environ['WORKER_REMOTE']}",
    ):
        import_module(f"django_callcache.{name}")
    foreman = Foreman()
    try:
        foreman.serve()
    finally:
        foreman.close()


if __name__ == "__main__":
    main()
