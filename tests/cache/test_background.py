from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextvars import ContextVar
from pathlib import Path

from django_callcache.cache.background import Background
from django_callcache.cache.lease_keeper import LeaseKeeper
from django_callcache.cache.single_flight import Flights
from tests.cache.waiting import wait_until

LEAVING = """
import django
from django.conf import settings
settings.configure(
    SECRET_KEY="x",
    CACHES={{
        "default": {{
            "BACKEND": "django_callcache.cache.CallCache",
            "LOCATION": "{url}",
            "KEY_PREFIX": "t",
        }}
    }},
)
django.setup()
import time
from django.core.cache import cache
from django_callcache.exceptions import LoaderTimeout
try:
    cache.get_or_set("a", lambda: time.sleep(3600), hard_timeout=0.05)
except LoaderTimeout:
    print("left")
"""
"""A program that ends while a loader runs in the background."""


class TestBackground:
    def test_submit__no_more_than_there_is_room_for(self):
        """What does not fit is refused at once; when a thread has ended there is room again."""
        pool, go_on, done = Background(max_threads=2), threading.Event(), []

        def work():
            go_on.wait(30)
            done.append(1)

        assert [pool.submit(work) for _ in range(4)] == [True, True, False, False]
        go_on.set()
        wait_until(lambda: len(done) == 2)
        wait_until(lambda: pool.submit(work))
        wait_until(lambda: len(done) == 3)

    def test_submit__context(self):
        """Work sees the context variables of whoever asked for it."""
        language, seen = ContextVar("language", default="en"), []
        language.set("es")
        assert Background().submit(lambda: seen.append(language.get()))
        wait_until(lambda: seen == ["es"])

    def test_submit__error(self, caplog):
        """An error ends nothing but its own work."""
        pool = Background(max_threads=1)
        pool.submit(lambda: 1 / 0)
        wait_until(lambda: "ZeroDivisionError" in caplog.text)
        wait_until(lambda: pool.submit(lambda: None))

    def test_close__takes_no_more(self):
        """At the end of the process nothing is begun."""
        pool = Background()
        pool.close()
        assert not pool.submit(lambda: None)

    def test_exit__does_not_wait(self, redis_url):
        """A process ends although a loader still runs in the background."""
        program = [sys.executable, "-c", LEAVING.format(url=redis_url)]
        done = subprocess.run(
            program, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=120, check=False
        )
        assert (done.returncode, done.stdout) == (0, "left\n"), done.stderr


class TestFork:
    def test_child__starts_anew(self):
        """A child has none of its parent's threads, leases and flights to wait for."""
        pool, keeper, flights = Background(max_threads=1), LeaseKeeper(), Flights()
        go_on = threading.Event()
        pool.submit(lambda: go_on.wait(30))
        flights.join(b"a", 30)
        with keeper.holding(lambda: None, 30):
            child = os.fork()
            if child == 0:
                for each in (pool, keeper, flights):
                    each.forget()
                ran = threading.Event()
                is_anew = pool.submit(ran.set) and ran.wait(30) and flights.join(b"a", 30)[1]
                os._exit(0 if is_anew else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        go_on.set()

    def test_child__of_a_cache(self, cache):
        """A child forked while a thread of the parent computes computes itself."""
        begun, go_on = threading.Event(), threading.Event()

        def hang():
            begun.set()
            go_on.wait(60)

        parent = threading.Thread(target=cache.get_or_set, args=("a", hang), kwargs={"lock_timeout": 60})
        parent.start()
        begun.wait(30)
        cache.redis_client().delete(cache.redis_keys.lease(cache.make_key("a").encode()))
        child = os.fork()
        if child == 0:
            os._exit(0 if cache.get_or_set("a", lambda: "the child's") == "the child's" else 1)
        try:
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        finally:
            go_on.set()
            parent.join(30)


class TestLeaseKeeper:
    def test_holding__renews(self):
        """A lease is renewed again and again while it is held, also after a renewal that failed."""
        renewals = []

        def renew():
            renewals.append(1)
            raise OSError("no connection")

        with LeaseKeeper().holding(renew, 60):
            wait_until(lambda: len(renewals) >= 2)
        seen = len(renewals)
        assert seen >= 2

    def test_holding__no_longer_than_it_may(self):
        """After its time a lease is left to end, though its loader still runs."""
        keeper, renewals, other = LeaseKeeper(), [], []
        with keeper.holding(lambda: renewals.append(1), 0), keeper.holding(lambda: other.append(1), 60):
            wait_until(lambda: other)
        assert renewals == []
