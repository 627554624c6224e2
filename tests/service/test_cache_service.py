from __future__ import annotations

import asyncio
import inspect
import threading
from dataclasses import FrozenInstanceError
from datetime import UTC, date, datetime, timedelta

import pytest
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured

from django_callcache.exceptions import RemoteUnavailable, SyncNotRecorded
from django_callcache.models import CacheHour, CacheStat, SyncRun
from django_callcache.outbox.dirty import DirtyEntries
from django_callcache.outbox.stat_buckets import Growth, StatBuckets
from django_callcache.replication import requests
from django_callcache.service import CacheMetrics, CacheService, cache_service
from django_callcache.service.threads import in_thread
from django_callcache.sync.leader import Heartbeat, LoopLease
from django_callcache.sync.sync_pass import SyncReport
from testproject.parts.redis_server import RedisServer
from tests.service.conftest import eventually

TODAY = date(2025, 11, 19)


def records(hour, counts):
    """One record a day, the last of today."""
    return [
        {"hour": hour, "count": count, "keys": set(), "date": TODAY - timedelta(days=back)}
        for back, count in enumerate(reversed(counts))
    ]


@pytest.fixture
def redis_down(settings):
    """The default cache on a Redis that is gone, one synced prefix, degraded mode."""
    with RedisServer() as server:
        settings.CACHES = {"default": {**settings.CACHES["default"], "LOCATION": server.url}}
        caches["default"].set("warm", 1)
        server.stop()
        yield


class TestConstruction:
    def test_specified_names(self):
        """Attributes, defaults and settings have the specification's names and values."""
        service = CacheService()
        assert inspect.signature(CacheService).parameters["sync_interval"].default == 300
        assert (service.sync_interval, service.sync_task, service._running) == (300, None, False)
        assert service.hourly_access_stats == []
        assert service.settings == {
            "USAGE_THRESHOLD": 50,
            "DEFAULT_TTL": 3600,
            "PEAK_TTL": 1800,
            "DEFAULT_CACHE_SIZE": 1000,
            "PEAK_CACHE_SIZE": 2000,
        }

    def test_sync_interval__left_out(self, settings):
        """Without an interval that of the settings holds; a given one wins, be it the usual default."""
        settings.CALLCACHE = {"SYNC": {"INTERVAL": 60}}
        assert CacheService().sync_interval == 60
        assert CacheService(300).sync_interval == 300
        assert CacheService(sync_interval=7).sync_interval == 7

    def test_sync_interval__none(self):
        """An interval that would spin is refused."""
        with pytest.raises(ValueError, match="sync_interval is 0"):
            CacheService(0)

    def test_settings__configured(self, settings):
        """The settings are those of the project."""
        settings.CALLCACHE = {"TTL": {"DEFAULT_TTL": 900, "PEAK_TTL": 0.5}}
        service = CacheService()
        assert (service.settings["DEFAULT_TTL"], service.settings["PEAK_TTL"]) == (900, 0.5)

    async def test_alias__of_another_backend(self, settings):
        """An alias of another backend is refused with its name."""
        settings.CACHES = settings.CACHES | {
            "other": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
        }
        with pytest.raises(ImproperlyConfigured, match="other"):
            await CacheService(alias="other").get("key")


class TestEntries:
    async def test_round_trip(self, service):
        """A value is stored, found and deleted."""
        assert await service.get("campaign:7") is None
        assert await service.set("campaign:7", {"name": "May"}) is True
        assert await service.get("campaign:7") == {"name": "May"}
        assert await service.delete("campaign:7") is True
        assert await service.delete("campaign:7") is False
        assert await service.get("campaign:7") is None

    @pytest.mark.parametrize("value", [{}, [], 0, "", False])
    async def test_get__empty_value(self, service, value):
        """An empty value is no miss."""
        await service.set("page:1", value)
        found = await service.get("page:1")
        assert found == value
        assert found is not None

    async def test_clear(self, service):
        """What matches is deleted and counted; without a pattern, everything."""
        for key in ("page:1", "page:2", "other:1"):
            await service.set(key, 1)
        assert await service.clear("page:*") == 2
        assert await service.get("other:1") == 1
        assert await service.clear() == 1
        assert await service.clear() == 0

    async def test_no_threads(self, service):
        """Reads and writes run in the event loop, in no thread."""
        await service.set("page:1", 1)
        await service.get("page:1")
        await service.delete("page:1")
        await service.clear()
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("asyncio_")]

    async def test_set__degraded(self, redis_down):
        """Without Redis a plain write is reported as failed and a read is a miss."""
        service = CacheService()
        assert await service.set("page:1", 1) is False
        assert await service.get("page:1") is None
        assert await service.delete("page:1") is False
        assert await service.clear() == 0

    async def test_set__not_recorded_for_sync(self, redis_down):
        """A write meant for the remote store is never lost silently, also in degraded mode."""
        with pytest.raises(SyncNotRecorded):
            await CacheService().set("call:1", 1)


class TestTtl:
    async def test_set__hours(self, service, cache, clock):
        """Without statistics office hours are peak hours: 09:00 to 18:59."""
        expected = {"08:59": 3600, "09:00": 1800, "18:59": 1800, "19:00": 3600}
        for time, seconds in expected.items():
            clock.set(f"2025-11-19T{time}")
            assert service._get_adaptive_ttl() == seconds
            await service.set("page:1", 1)
            assert seconds - 2 < cache.ttl("page:1") <= seconds

    async def test_set__given_ttl(self, service, cache):
        """The caller's own always wins."""
        await service.set("page:1", 1, 10)
        assert 8 < cache.ttl("page:1") <= 10
        await service.set("page:1", 1, ttl=0)
        assert "page:1" not in cache

    async def test_set__rule_of_the_prefix(self, service, cache):
        """A prefix with a TTL of its own keeps it."""
        await service.set("stats:1", 1)
        assert 28 < cache.ttl("stats:1") <= 30

    async def test_set__changed_settings(self, service, cache):
        """A changed entry of the settings holds for this object at once, and for no other."""
        service.settings["PEAK_TTL"] = 100
        await service.set("page:1", 1)
        assert 98 < cache.ttl("page:1") <= 100
        assert CacheService(clock=service._clock)._get_adaptive_ttl() == 1800
        service.hourly_access_stats = records(12, [10] * 8)
        service.settings["USAGE_THRESHOLD"] = 9
        assert service._is_peak_hour(12)
        service.settings["USAGE_THRESHOLD"] = 10
        assert not service._is_peak_hour(12)

    def test_get_adaptive_ttl__fraction(self, service):
        """A fraction of a second is rounded up: an entry with no time left would be deleted."""
        service.settings["PEAK_TTL"] = 0.2
        assert service._get_adaptive_ttl() == 1

    @pytest.mark.parametrize(
        ("counts", "is_peak"),
        [
            ([60, 40, 53], True),
            ([50, 50], False),
            ([0, 0, 0, 0, 0, 0, 350], False),
            ([0, 0, 0, 0, 0, 0, 351], True),
        ],
    )
    def test_is_peak_hour__average(self, service, counts, is_peak):
        """An hour is a peak hour if its average over the days with a record is above the threshold."""
        service.hourly_access_stats = records(20, counts)
        assert service._is_peak_hour(20) is is_peak

    def test_is_peak_hour__one_day(self, service):
        """One busy day and no other record make a peak hour."""
        service.hourly_access_stats = records(8, [350])
        assert service._is_peak_hour(8)

    def test_is_peak_hour__no_record_of_the_hour(self, service):
        """When the warm-up is over, an hour without a record is none, office hours or not."""
        service.hourly_access_stats = records(10, [60, 60, 60])
        assert not service._is_peak_hour(11)

    def test_is_peak_hour__warm_up(self, service):
        """On the first day of collection office hours are peak hours too."""
        service.hourly_access_stats = records(10, [1])
        assert service._is_peak_hour(11)
        assert not service._is_peak_hour(20)

    @pytest.mark.parametrize(("days", "is_peak"), [(7, True), (8, False)])
    def test_is_peak_hour__age(self, service, days, is_peak):
        """A record of seven days ago counts, one of eight does not."""
        service.hourly_access_stats = [
            {"hour": 20, "count": 400, "keys": set(), "date": TODAY - timedelta(days=days)},
            *records(21, [1]),
        ]
        assert service._is_peak_hour(20) is is_peak


class TestHourlyAccessStats:
    async def test_reads(self, service):
        """Reads are recorded, hits and misses, and writes are not."""
        await service.set("page:1", 1)
        assert service.hourly_access_stats == []
        await service.get("page:1")
        await service.get("page:2")
        await service.get("page:2")
        assert service.hourly_access_stats == [
            {"hour": 12, "count": 3, "keys": {"page:1", "page:2"}, "date": TODAY}
        ]

    async def test_new_hour(self, service, clock):
        """Each hour of each day has its record."""
        await service.get("page:1")
        clock.set("2025-11-19T13:00")
        await service.get("page:1")
        clock.set("2025-11-20T12:00")
        await service.get("page:1")
        assert [(one["date"].day, one["hour"], one["count"]) for one in service.hourly_access_stats] == [
            (19, 12, 1),
            (19, 13, 1),
            (20, 12, 1),
        ]

    @pytest.mark.django_db(transaction=True)
    async def test_other_processes(self, cache):
        """What other processes have counted is in it, and counts for peak hours."""
        service = CacheService()
        buckets = StatBuckets(cache.redis_client(), cache.redis_keys)
        buckets.add(Growth({"page:": {"hits": 40, "misses": 20}}, {"page:": {"page:7": 60}}))
        await service._read_shared_access()
        [record] = service.hourly_access_stats
        assert (record["count"], record["keys"]) == (60, {"page:7"})
        await service.get("page:8")
        assert (record["count"], record["keys"]) == (61, {"page:7", "page:8"})
        assert service._is_peak_hour(record["hour"])

    @pytest.mark.django_db(transaction=True)
    async def test_rows(self, cache):
        """The hottest keys of past hours come from the hourly rows."""
        service = CacheService()
        yesterday = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=1)
        await CacheStat.objects.acreate(
            alias="default", prefix="page:", hour=yesterday, hits=9, hot_keys=[["page:7", 9]]
        )
        cache.redis_client().hset(cache.redis_keys.stat_hours(), str(int(yesterday.timestamp()) // 3600), "9")
        await service._read_shared_access()
        [record] = service.hourly_access_stats
        assert (record["count"], record["keys"]) == (9, {"page:7"})


@pytest.mark.django_db(transaction=True)
class TestGetMetrics:
    async def test_nothing_yet(self, service):
        """A new cache has figures too."""
        metrics = await service.get_metrics()
        assert isinstance(metrics, CacheMetrics)
        assert (metrics.hit_count, metrics.miss_count, metrics.hit_rate) == (0, 0, 0.0)
        assert (metrics.keys_count, metrics.last_sync) == (0, None)
        assert metrics.memory_usage_bytes > 0
        with pytest.raises(FrozenInstanceError):
            metrics.hit_count = 1

    async def test_own_reads(self, service):
        """Reads of this process are counted at once."""
        await service.set("page:1", 1)
        for key in ("page:1", "page:1", "page:1", "page:2"):
            await service.get(key)
        metrics = await service.get_metrics()
        assert (metrics.hit_count, metrics.miss_count, metrics.hit_rate) == (3, 1, 0.75)
        assert metrics.keys_count == 1

    async def test_all_processes(self, service, cache):
        """Minutes in Redis and rows of past hours add up; an hour that is in both counts once."""
        this_hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        buckets = StatBuckets(cache.redis_client(), cache.redis_keys)
        buckets.add(Growth({"page:": {"hits": 7, "misses": 3}, "call:": {"near_hits": 1}}))
        for hour, hits in ((this_hour, 5), (this_hour - timedelta(days=3), 100)):
            await CacheHour.objects.acreate(alias="default", hour=hour, hits=hits)
        await CacheHour.objects.acreate(alias="another", hour=this_hour, hits=1000)
        metrics = await service.get_metrics()
        assert (metrics.hit_count, metrics.miss_count) == (108, 3)

    async def test_last_sync(self, service):
        """The last sync is the end of the last pass that was no failure."""
        started_at = datetime(2026, 11, 18, 12, tzinfo=UTC)
        for minutes, outcome in ((0, "ok"), (5, "partial"), (10, "failed")):
            await SyncRun.objects.acreate(
                alias="default",
                started_at=started_at + timedelta(minutes=minutes),
                duration_seconds=2,
                outcome=outcome,
            )
        metrics = await service.get_metrics()
        assert metrics.last_sync == started_at + timedelta(minutes=5, seconds=2)

    async def test_redis_down(self, redis_down):
        """Without Redis the rows are left, and what is not known says so."""
        await CacheHour.objects.acreate(
            alias="default", hour=datetime(2026, 11, 18, 12, tzinfo=UTC), hits=3, misses=1
        )
        metrics = await CacheService().get_metrics()
        assert (metrics.hit_count, metrics.hit_rate) == (3, 0.75)
        assert (metrics.memory_usage_bytes, metrics.keys_count, metrics.last_sync) == (None, None, None)


@pytest.mark.django_db(transaction=True)
class TestSync:
    async def test_sync_now(self, store, service):
        """A pass pushes what waits, at once, and its time is the last sync."""
        await service.set("call:7", {"agent": "Ana"})
        assert await service._get_keys_to_sync() == ["call:7"]
        report = await service.sync_now()
        assert (report.outcome, report.sync.pushed) == ("ok", 1)
        assert store.stored("tests", "1:call:7").row.value == {"agent": "Ana"}
        assert await service._get_keys_to_sync() == []
        assert (await service.get_metrics()).last_sync is not None

    async def test_sync_now__remote_down(self, store, service, monkeypatch):
        """What the remote store answers is raised, and the entries wait."""

        def push(*args):
            raise RemoteUnavailable("down")

        monkeypatch.setattr(store, "push", push)
        await service.set("call:7", 1)
        with pytest.raises(RemoteUnavailable):
            await service.sync_now()
        assert await service._get_keys_to_sync() == ["call:7"]

    async def test_sync_now__somebody_else_is_at_it(self, store, service, cache):
        """It waits for the pass of another process, and then runs its own."""
        lease = LoopLease(cache.redis_client(), cache.redis_keys, 30)
        assert lease.take()
        await service.set("call:7", 1)
        waiting = asyncio.create_task(service.sync_now())
        done, _ = await asyncio.wait({waiting}, timeout=0.2)
        assert not done
        lease.give_back()
        assert (await waiting).sync.pushed == 1

    async def test_sync_now__shared(self, store, service, cache):
        """Of all who ask while a pass is under way one runs the next, for all of them."""
        lease = LoopLease(cache.redis_client(), cache.redis_keys, 30)
        assert lease.take()
        await service.set("call:7", 1)
        waiting = [asyncio.create_task(CacheService().sync_now()) for _ in range(5)]
        done, _ = await asyncio.wait(waiting, timeout=0.3)
        assert not done
        lease.give_back()
        reports = await asyncio.gather(*waiting)
        assert [report.sync.pushed for report in reports] == [1] * 5
        assert await in_thread(SyncRun.objects.count) < 5

    async def test_sync_now__shared_failure(self, cache):
        """A pass that failed has failed for all who wait for it."""
        number = await in_thread(requests.request, cache)
        error = RemoteUnavailable("down")
        report = SyncReport(started_at=1.0, duration_seconds=0.1, error=error)
        await in_thread(requests.answer, cache, number, report)
        found = await in_thread(requests.answered, cache, number)
        assert isinstance(found.error, RemoteUnavailable)
        assert await in_thread(requests.answered, cache, number + 1) is None
        assert not await in_thread(requests.is_asked_for, cache)

    async def test_several_services(self, store, service):
        """Several services at once push every entry once, and share the report."""
        for number in range(5):
            await service.set(f"call:{number}", number)
        reports = await asyncio.gather(*(CacheService().sync_now() for _ in range(3)))
        assert max(report.sync.pushed for report in reports) == 5
        assert [store.stored("tests", f"1:call:{number}").remote_version for number in range(5)] == [1] * 5

    async def test_start_and_stop(self, store, service):
        """The loop begins with a pass; starting and stopping twice changes nothing."""
        await service.set("call:7", 1)
        await service.start_sync()
        task = service.sync_task
        await service.start_sync()
        assert service.sync_task is task
        await eventually(lambda: store.stored("tests", "1:call:7"))
        await service.stop_sync()
        assert task.done()
        assert not service._running
        await service.stop_sync()

    async def test_start_again(self, store, service):
        """A stopped loop starts again."""
        async with service:
            pass
        await service.set("call:7", 1)
        async with service as same:
            assert same is service
            await eventually(lambda: store.stored("tests", "1:call:7"))
        assert service.sync_task.done()

    async def test_loop__interval(self, store, service):
        """Passes follow each other by the interval."""
        service.sync_interval = 0.01
        async with service:
            for number in range(3):
                await service.set(f"call:{number}", 1)
                await eventually(lambda: store.stored("tests", f"1:call:{number}"))  # noqa: B023

    async def test_loop__sign_of_life(self, store, service, cache):
        """The loop leaves the sign of life that the admin shows."""
        async with service:
            await eventually(lambda: Heartbeat.read(cache.redis_client(), cache.redis_keys))
        heartbeat = Heartbeat.read(cache.redis_client(), cache.redis_keys)
        assert heartbeat.outcome == "ok"
        assert heartbeat.passed_at <= heartbeat.alive_at

    async def test_loop__failures(self, store, service, monkeypatch, caplog):
        """Failures of any kind are logged and retried; they do not end the loop."""
        monkeypatch.setattr(cache_service, "FIRST_RETRY_SECONDS", 0.01)
        faults = [RemoteUnavailable("down"), RuntimeError("a bug")]
        push = store.push

        def failing_at_first(*args):
            if faults:
                raise faults.pop(0)
            return push(*args)

        monkeypatch.setattr(store, "push", failing_at_first)
        await service.set("call:7", 1)
        async with service:
            await eventually(lambda: store.stored("tests", "1:call:7"))
        told = {record.args[2]: record.exc_info for record in caplog.records if record.levelname == "ERROR"}
        assert told.keys() == {"RemoteUnavailable", "RuntimeError"}
        assert not told["RemoteUnavailable"]
        assert told["RuntimeError"]

    async def test_stop__in_the_middle_of_a_pass(self, store, service, cache, monkeypatch):
        """The batch at hand is finished, what comes after it waits, and nothing stays lent."""
        pushing, may_end = threading.Event(), threading.Event()
        push = store.push

        def slow(*args):
            pushing.set()
            assert may_end.wait(30)
            return push(*args)

        monkeypatch.setattr(store, "push", slow)
        for number in range(3):
            await service.set(f"call:{number}", number)
        await service.start_sync()
        await eventually(pushing.is_set)
        stopping = asyncio.create_task(service.stop_sync())
        done, _ = await asyncio.wait({stopping}, timeout=0.1)
        assert not done
        may_end.set()
        await stopping
        outbox = DirtyEntries(cache.redis_client(), cache.redis_keys)
        assert outbox.depth() == 2
        assert len(outbox.claim(10, 10**6, 30).entries) == 2


class TestRetryPause:
    def test_grows(self):
        """Ten seconds at first, twice as many with each failure in a row, five minutes at most."""
        pauses = [cache_service._retry_pause(failures, OSError()) for failures in (1, 2, 3, 50)]
        for pause, expected in zip(pauses, (10, 20, 40, 300), strict=True):
            assert expected * 0.8 <= pause <= expected * 1.2

    def test_asked_for(self):
        """At least what the remote store asks for."""
        assert cache_service._retry_pause(1, RemoteUnavailable("busy", retry_after=77)) == 77
