"""Memory: a Redis that has no more of it, and what ours takes where much waits (F-R5, F-L3)."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import redis

from django_callcache.outbox.dirty import DirtyEntries
from tests.faults.caller_process import resident_bytes
from tests.sync.conftest import new_database

DIRTY = 100_000
NAMESPACE = "memory"
RULES = {"call:": {"sync": "lww"}}
MIB = 1 << 20
WORKER_MIB, REDIS_MIB = 200, 150
RECORD = {"id": 7, "campaign": 12, "state": "answered", "agent": "Ana", "seconds": 31, "tags": ["new"]}


class TestFull:
    async def test_set__no_old_value(self, face_of, make_cache, start_redis):
        """Of a hundred keys that a full server refuses to replace none is read with its old value."""
        server = start_redis(config={"maxmemory-policy": "noeviction"})
        face = face_of(make_cache(server.url, DEADLINE=10))
        keys = [f"k{number}" for number in range(100)]
        assert await face.set_many(dict.fromkeys(keys, "old" * 300)) == []
        with redis.Redis.from_url(server.url) as admin:
            admin.config_set("maxmemory", 1)
            for number, key in enumerate(keys[:-1]):
                if number % 2:
                    assert await face.set(key, "new" * 300) is False
                else:
                    assert await face.set_many({key: "new" * 300}) == [key]
            assert await face.get_many(keys) == {keys[-1]: "old" * 300}
            assert await face.delete(keys[-1]) is True
            assert await face.get(keys[-1]) is None


@pytest.mark.long
class TestBacklog:
    def test_hundred_thousand(self, make_cache, start_redis, postgres_url, capsys, tmp_path):
        """A hundred thousand entries that wait take little memory, of Redis and of the worker."""
        server = start_redis()
        database = new_database(postgres_url)
        cache = make_cache(server.url, DEADLINE=30, RULES=RULES)
        empty = cache.redis_client().info("memory")["used_memory"]
        for start in range(0, DIRTY, 1000):
            keys = [f"call:{number}" for number in range(start, start + 1000)]
            assert cache.set_many({key: {**RECORD, "id": key} for key in keys}) == []
        outbox = DirtyEntries(cache.redis_client(), cache.redis_keys)
        assert outbox.depth() == DIRTY
        took = cache.redis_client().info("memory")["used_memory"] - empty
        worker = self.worker(server, database, tmp_path)
        assert outbox.depth() == 0
        with capsys.disabled():
            sys.stdout.write(
                f"\n{DIRTY:,} entries: Redis {took / MIB:.0f} MiB, values included; the worker "
                f"{worker['before'] / MIB:.0f} MiB before, {worker['most'] / MIB:.0f} MiB at most\n"
            )
        assert took <= REDIS_MIB * MIB
        assert worker["most"] <= WORKER_MIB * MIB

    def worker(self, server, database, folder):
        """Push everything in a process of its own; return what it took."""
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.sync.worker_settings",
            "SAMPLE_DATABASE": str(folder / "db.sqlite3"),
            "REDIS_URL": server.url,
            "WORKER_REMOTE": "postgres",
            "WORKER_NAMESPACE": NAMESPACE,
            "WORKER_DATABASE_URL": database,
            "WORKER_BATCH": "500",
            "WORKER_LEASE": "30",
        }
        command = [sys.executable, "-m", "tests.faults.test_memory"]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
        return json.loads(done.stdout.splitlines()[-1])


def push_all():
    """Be the worker: one pass over the keys of this module; tell what it took."""
    import resource

    import django

    django.setup()
    from django.conf import settings
    from django.core.cache import caches
    from django.core.management import call_command

    from django_callcache.maintenance import run_once

    settings.CACHES["default"] |= {"KEY_PREFIX": "t"}
    settings.CACHES["default"]["OPTIONS"]["CALLCACHE"] |= {"RULES": RULES}
    call_command("migrate", verbosity=0)
    caches["default"].get("call:0")
    before = resident_bytes()
    report = run_once("default")
    assert report.errors == [], report.errors
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    sys.stdout.write(json.dumps({"before": before, "most": most}) + "\n")


if __name__ == "__main__":
    push_all()
