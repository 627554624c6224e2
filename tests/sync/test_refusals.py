"""A remote store that asks for a pause, or that refuses us: nobody presses it, and nothing is lost."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from contextlib import closing
from itertools import pairwise

import pytest
from django.core.cache import caches

from django_callcache.exceptions import RemoteRefused, RemoteUnavailable
from django_callcache.live import look
from django_callcache.maintenance import follow_once, run_once
from django_callcache.management.turns import Turns
from django_callcache.models import CacheAlert, SyncRejection, SyncRun
from django_callcache.sync.memory import MemoryStore
from tests.cache.waiting import wait_until
from tests.sync.cutting_proxy import CuttingProxy
from tests.sync.test_crash import PATIENCE, Worker, worker, worker_database
from tests.sync.test_supabase import impostor, store_at

__all__ = ["worker", "worker_database"]

NAMESPACE = "refusals"
BUSY = {"status": 429, "headers": {"Retry-After": "2"}}


@pytest.fixture
def cache(settings):
    settings.CALLCACHE = {"SYNC": {"NAMESPACE": NAMESPACE}}
    return caches["default"]


@pytest.mark.django_db
class TestBusy:
    def test_rest__everywhere(self, cache):
        """Who works on the same outbox in another process leaves the remote store alone for as long, too."""
        cache.set("call:7", 1)
        with impostor(**BUSY) as server, store_at(server.url) as store, store_at(server.url) as another:
            first = run_once("default", remote=store)
            second = run_once("default", remote=another)
            assert [type(error) for error in first.errors + second.errors] == [RemoteUnavailable] * 2
            assert first.errors[0].retry_after == 2
            assert 0 < second.errors[0].retry_after <= 2
            assert look(cache).standing.kind == "limited"
            assert len(server.requests) == 1
            assert SyncRun.objects.filter(error_class="RemoteUnavailable").count() == 2
            self.end_rest(cache)
            run_once("default", remote=another)
            assert len(server.requests) == 2
        assert look(cache).backlog == 1
        self.end_rest(cache)
        assert run_once("default", remote=MemoryStore()).sync.pushed == 1

    def test_rest__tables(self, cache, settings):
        """Neither are business tables asked about meanwhile."""
        rules = {"campaign:": {"source": "campaigns"}}
        settings.CACHES = {
            "default": {**settings.CACHES["default"], "OPTIONS": {"CALLCACHE": {"RULES": rules}}}
        }
        settings.CALLCACHE = {"SYNC": {"NAMESPACE": NAMESPACE, "REMOTE": "supabase"}}
        with impostor(**BUSY) as server, store_at(server.url) as store, store_at(server.url) as another:
            with pytest.raises(RemoteUnavailable):
                follow_once("default", store)
            with pytest.raises(RemoteUnavailable, match="rest"):
                follow_once("default", another)
            assert len(run_once("default", remote=another).errors) == 2
            assert len(server.requests) == 1

    def end_rest(self, cache):
        """Bring about what time does."""
        client = cache.redis_client()
        assert 0 < client.pttl(cache.redis_keys.rest()) <= 2000
        client.delete(cache.redis_keys.rest())


@pytest.mark.django_db
class TestRefused:
    def test_told_at_once(self, cache):
        """Wrong credentials, from the first turn on: the alert fires with it, and nothing is set aside."""
        cache.set_many({f"call:{number}": number for number in range(10)})
        with impostor(status=401) as server, store_at(server.url) as store:
            turn = Turns(["default"], store)
            for _ in range(2):
                with pytest.raises(RemoteRefused, match="SUPABASE_KEY"):
                    turn()
            assert len(server.requests) == 2
        alert = CacheAlert.objects.get(rule="sync-refused")
        assert alert.state == CacheAlert.State.FIRING
        assert not SyncRejection.objects.exists()
        assert look(cache).backlog == 10
        assert [run.outcome for run in SyncRun.objects.all()] == ["failed"] * 2

        Turns(["default"], MemoryStore())()

        assert SyncRun.objects.latest_of("default").pushed == 10
        assert not look(cache).totals["refused"]

    def test_rest_is_done(self, cache):
        """What needs no remote store is done while it refuses us."""
        with impostor(status=401) as server, store_at(server.url) as store:
            report = run_once("default", remote=store)
        assert [type(error) for error in report.errors] == [RemoteRefused]
        assert report.collected is not None


@pytest.mark.long
@pytest.mark.parametrize("worker", ["supabase"], indirect=True)
class TestProcesses:
    def test_two_at_once(self, worker):
        """Two loops together leave a busy server alone for the two seconds that it asks for, each time."""
        worker.write(50, random.Random(16))
        waiting = worker.outbox.depth()
        with impostor(**BUSY) as server:
            for _ in range(2):
                worker.start(port=server.server_port)
            wait_until(lambda: len(server.times) >= 6, PATIENCE)
            for process in worker.started:
                process.terminate()
            for process in worker.started:
                output, _ = process.communicate(timeout=PATIENCE)
                assert process.returncode == 0, output
                assert "failed error=RemoteUnavailable" in output
        assert min(late - early for early, late in pairwise(server.times)) >= 2
        assert worker.outbox.depth() == waiting

    def test_refused(self, worker, worker_database):
        """A wrong key is told within five seconds, rejects no row, and what waits goes when it is right."""
        worker.write(100, random.Random(17))
        waiting = worker.outbox.depth()
        with impostor(status=401) as server:
            proxy = CuttingProxy(server.server_port, cut_after=None, on_cut=threading.Event().set)
            try:
                worker.start(port=proxy.port)
                wait_until(lambda: server.times, PATIENCE)
                wait_until(lambda: alerts(worker_database), PATIENCE)
                assert time.monotonic() - server.times[0] <= 5
                assert worker.outbox.depth() == waiting
                proxy.server = worker.remote_port
                worker.drain()
                code, output = worker.end()
            finally:
                proxy.close()
        assert code == 0, output
        assert worker.arrived() == worker.expected
        assert count(worker_database, "select count(*) from django_callcache_syncrejection") == 0

    def test_stopped__no_answer(self, worker: Worker):
        """Told to stop while the remote store does not answer, a loop is gone within ten seconds."""
        worker.write(100, random.Random(18))
        waiting = worker.outbox.depth()
        with impostor(delay=30) as server:
            worker.start(port=server.server_port)
            wait_until(lambda: server.times, PATIENCE)
            began = time.monotonic()
            code, output = worker.end()
            assert time.monotonic() - began <= 10
        assert code == 0, output
        assert worker.outbox.depth() == waiting


def alerts(database):
    """How many alerts of a refusal the worker's database has."""
    return count(database, "select count(*) from django_callcache_cachealert where rule = 'sync-refused'")


def count(database, query):
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(query).fetchone()[0]
