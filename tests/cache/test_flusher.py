from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from django_callcache.cache import flusher
from django_callcache.outbox.stat_buckets import StatBuckets
from tests.cache.conftest import APP
from tests.cache.waiting import wait_until

PROGRAM = """
import os, sys, time
from django.conf import settings
settings.configure(
    SECRET_KEY="x",
    CACHES={
        "default": {
            "BACKEND": "django_callcache.cache.CallCache",
            "LOCATION": sys.argv[1],
            "KEY_PREFIX": "t",
            "OPTIONS": {"CALLCACHE": {"DEADLINE": 10}},
        }
    },
    CALLCACHE={"STATS": {"FLUSH_INTERVAL": 3600}},
)
from django.core.cache import cache
"""


def run_program(url, code, **arguments):
    program = [sys.executable, "-W", "error", "-c", PROGRAM + code, url]
    return subprocess.run(program, capture_output=True, text=True, timeout=60, check=False, **arguments)


def totals(cache):
    """What all processes have brought to Redis."""
    buckets = StatBuckets(cache.redis_client(), cache.redis_keys)
    return {
        prefix: {name: count for name, count in counts.items() if name[0] not in "rwt"}
        for prefix, counts in buckets.read(buckets.minutes()).items()
    }


class TestFlushStats:
    async def test_flush_stats__arrives(self, face):
        """What was counted arrives in the minute's bucket, with the gets of the hour and the keys read."""
        await face.set("p:1", 1)
        await face.get("p:1")
        await face.get_many(["p:1", "p:2"])
        await face.delete("p:1")
        face.cache.flush_stats()
        assert totals(face.cache) == {"p:": {"hits": 2, "misses": 1, "sets": 1, "deletes": 1}}
        buckets = StatBuckets(face.cache.redis_client(), face.cache.redis_keys)
        ((hour, gets),) = buckets.profile().items()
        assert gets == 3
        assert buckets.hot_keys(hour, ["p:"], 5) == {"p:": [("p:1", 2), ("p:2", 1)]}
        assert buckets.distinct_keys(hour, ["p:"]) == {"p:": 2}

    def test_flush_stats__not_twice(self, make_cache):
        """Each count is reported once, however often it is flushed, and from however many threads."""
        cache = make_cache()
        for _ in range(100):
            cache.get("p:1")
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda _: cache.flush_stats(), range(40)))
        assert totals(cache) == {"p:": {"misses": 100}}
        cache.get("p:1")
        cache.flush_stats()
        assert totals(cache) == {"p:": {"misses": 101}}

    def test_flush_stats__unknown_script(self, make_cache, redis_client):
        """A server that does not know the script is told it."""
        cache = make_cache()
        for _ in range(2):
            redis_client.script_flush()
            cache.get("p:1")
            cache.flush_stats()
        assert totals(cache) == {"p:": {"misses": 2}}

    def test_flush_stats__down(self, make_cache, start_redis):
        """Counts that do not arrive wait for the next time; nothing is counted twice."""
        server = start_redis(append_only=True)
        cache = make_cache(server.url)
        cache.set("p:1", 1)
        server.stop()
        with pytest.raises(redis.RedisError):
            cache.flush_stats()
        cache.get("p:1")
        with pytest.raises(redis.RedisError):
            cache.flush_stats()
        server.start()
        cache.blocking._runtime.breaker._probe_at = 0.0
        cache.flush_stats()
        cache.flush_stats()
        assert totals(cache) == {"p:": {"sets": 1, "errors": 1}}

    def test_flush_stats__full(self, make_cache, start_redis):
        """A server without memory keeps them waiting, too."""
        server = start_redis()
        cache = make_cache(server.url, DEADLINE=10)
        cache.get("p:1")
        admin = cache.redis_client()
        admin.config_set("maxmemory", 1)
        with pytest.raises(redis.RedisError):
            cache.flush_stats()
        admin.config_set("maxmemory", 0)
        cache.flush_stats()
        assert totals(cache) == {"p:": {"misses": 1}}

    def test_flush_stats__hung(self, make_cache, start_redis):
        """A server that hangs is not waited for long: the breaker ends it for everybody."""
        server = start_redis()
        cache = make_cache(server.url, DEADLINE=0.05)
        cache.get("p:1")
        os.kill(server.pid, signal.SIGSTOP)
        try:
            for _ in range(3):
                cache.get("p:1")
            assert cache.blocking._runtime.breaker.is_open
            with pytest.raises(redis.RedisError):
                cache.flush_stats()
        finally:
            os.kill(server.pid, signal.SIGCONT)


class TestFlusher:
    def test_thread__flushes_by_itself(self, make_cache, redis_client):
        """Counts arrive without anybody's doing, every few seconds."""
        cache = make_cache(app={**APP, "STATS": {"FLUSH_INTERVAL": 0.05}}, STATS=True)
        cache.get("p:1")
        own = flusher.Flusher()
        own.start()
        try:
            wait_until(lambda: totals(cache) == {"p:": {"misses": 1}})
            cache.get("p:1")
            wait_until(lambda: totals(cache) == {"p:": {"misses": 2}})
        finally:
            own.finish()
            own._thread.join()

    def test_thread__one(self, make_cache):
        """However many backend objects there are, one thread flushes for all."""
        for _ in range(3):
            make_cache().get("a")
        names = [thread.name for thread in threading.enumerate()]
        assert names.count("callcache-flusher") == 1

    def test_thread__profile(self, make_cache):
        """The gets of all processes come back, for the policies to decide by."""
        cache = make_cache(app={**APP, "STATS": {"FLUSH_INTERVAL": 0.05}}, STATS=True)
        cache.get("p:1")
        cache.flush_stats()
        own = flusher.Flusher()
        own.start()
        try:
            wait_until(lambda: sum(cache.profile.counts.values()) == 1)
        finally:
            own.finish()
            own._thread.join()

    def test_stats_off(self, make_cache, redis_client):
        """With statistics off nothing is sent."""
        cache = make_cache(STATS=False)
        cache.get("p:1")
        flusher.Flusher().finish()
        assert redis_client.keys("callcache@*") == []


class TestAtExit:
    def test_exit__flushes(self, make_cache, start_redis):
        """A process without requests brings its counts when it ends."""
        server = start_redis()
        ended = run_program(server.url, "cache.set('p:1', 1); cache.get('p:1')")
        assert (ended.returncode, ended.stderr) == (0, "")
        cache = make_cache(server.url, DEADLINE=10)
        assert totals(cache) == {"p:": {"hits": 1, "sets": 1}}

    def test_exit__server_down(self, start_redis):
        """A server that is gone neither holds the end of a process up nor shows in its output."""
        server = start_redis()
        code = "cache.set('p:1', 1)\nprint('ready', flush=True)\nsys.stdin.read()"
        program = [sys.executable, "-W", "error", "-c", PROGRAM + code, server.url]
        for signal_number in (signal.SIGSTOP, signal.SIGKILL):
            with subprocess.Popen(
                program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            ) as process:
                assert process.stdout.readline() == "ready\n"
                os.kill(server.pid, signal_number)
                try:
                    _, errors = process.communicate(timeout=60)
                finally:
                    os.kill(server.pid, signal.SIGCONT)
                assert (process.returncode, errors) == (0, "")


class TestFork:
    def test_fork__child_starts_anew(self, make_cache, start_redis):
        """After a fork parent and child go on with sockets and counts of their own; nothing is counted
        twice and no reply goes astray."""
        server = start_redis()
        ended = run_program(
            server.url,
            """
import asyncio, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of fork in a process with threads
cache.set("a", "parent")
cache.get("p:1")
assert asyncio.run(cache.aget("a")) == "parent"
child = os.fork()
if not child:
    assert not any(any(counts.values()) for counts in cache.counted().values()), cache.counted()
    for number in range(200):
        assert cache.set("child", number) and cache.get("child") == number
    assert asyncio.run(cache.aget("a")) == "parent"
    cache.get("p:1")
    sys.exit(0)  # flushes
for number in range(200):
    assert cache.set("parent", number) and cache.get("parent") == number
_, status = os.waitpid(child, 0)
assert status == 0, status
assert cache.get("child") == 199
""",
        )
        assert (ended.returncode, ended.stderr) == (0, "")
        cache = make_cache(server.url, DEADLINE=10)
        seen = totals(cache)
        assert seen["p:"] == {"misses": 2}
        assert seen["other"]["sets"] == 401
        assert seen["other"]["hits"] == 403

    def test_fork__child_flushes_after_a_request(self, make_cache, start_redis):
        """A child that serves requests has a timer of its own again."""
        server = start_redis()
        ended = run_program(
            server.url,
            """
import threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from django.core.signals import request_finished
cache.get("a")
if not (child := os.fork()):
    request_finished.send(None)
    alive = [t.name for t in threading.enumerate()].count("callcache-flusher")
    os._exit(0 if alive == 1 else 1)
assert os.waitpid(child, 0)[1] == 0
""",
        )
        assert (ended.returncode, ended.stderr) == (0, "")
