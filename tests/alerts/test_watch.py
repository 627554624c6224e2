from __future__ import annotations

import datetime
import os
import signal
import threading
from functools import partial

import pytest
import redis

from django_callcache.conf import get_settings
from django_callcache.live import look
from django_callcache.maintenance import cache_of
from django_callcache.management.turns import Turns
from django_callcache.models import CacheAlert, CacheHour, SyncRun
from django_callcache.outbox.stat_buckets import Growth, StatBuckets
from django_callcache.watch import Watch
from tests.cache.waiting import wait_until

SYNC = {"SYNC": {"NAMESPACE": "tests", "REMOTE": "supabase"}}


def signals_of(cache):
    """What the rules look at now."""
    return Watch(lambda: cache).signals(cache, look(cache), get_settings())


def count_a_minute_ago(cache, redis_client, counts):
    """Put counts into the last minute that is over."""
    now = int(redis_client.time()[0]) // 60
    for minute in (now - 1, now):  # the minute may end meanwhile
        name = cache.redis_keys.stat_whole(minute)
        redis_client.delete(name)
        for field, amount in counts.items():
            redis_client.hset(name, field, amount if minute < now else 0)


@pytest.mark.django_db
class TestSignals:
    def test_signals__quiet(self, make_cache):
        """Without traffic nothing is judged that is about traffic."""
        values = signals_of(make_cache())
        assert values["redis_down"] == values["degraded"] == 0
        for name in ("hit_ratio", "hit_ratio_change", "read_p99_seconds", "error_ratio", "memory_share"):
            assert values[name] is None
        assert "outbox_share" not in values

    def test_signals__traffic(self, make_cache, redis_client):
        """Ratios and call times are those of the last minutes that are over, if there were enough reads."""
        cache = make_cache()
        counts = {"hits": 200, "near_hits": 100, "misses": 100, "errors": 4, "r10": 297, "r20": 3}
        count_a_minute_ago(cache, redis_client, counts)
        values = signals_of(cache)
        assert values["hit_ratio"] == 0.75
        assert values["error_ratio"] == pytest.approx(4 / 404)
        assert 0.0005 < values["read_p99_seconds"] < 0.0011
        count_a_minute_ago(cache, redis_client, {"hits": 100, "misses": 100})
        assert signals_of(cache)["hit_ratio"] is None

    def test_signals__same_hour_of_last_week(self, make_cache, redis_client):
        """The last hour is compared with the same hour of last week."""
        cache = make_cache()
        now = datetime.datetime.fromtimestamp(redis_client.time()[0], datetime.UTC)
        for hours in (0, 1):  # the hour may end meanwhile
            hour = now.replace(minute=0, second=0, microsecond=0) + datetime.timedelta(hours=hours)
            then = hour - datetime.timedelta(weeks=1)
            CacheHour.objects.create(alias="default", hour=then, hits=900, misses=100)
        count_a_minute_ago(cache, redis_client, {"hits": 450, "misses": 550})
        assert signals_of(cache)["hit_ratio_change"] == pytest.approx(0.5)

    def test_signals__counted_by_the_cache(self, make_cache, redis_client):
        """What a cache counts is found in its minute over all prefixes."""
        cache = make_cache()
        before = StatBuckets(redis_client, cache.redis_keys).current_minute()
        StatBuckets(redis_client, cache.redis_keys).add(Growth({"a": {"hits": 1}, "b": {"hits": 2}}))
        found = [redis_client.hgetall(cache.redis_keys.stat_whole(before + late)) for late in (0, 1)]
        assert {b"hits": b"3"} in found

    def test_signals__memory(self, make_cache, start_redis):
        """Memory is a part of the limit; evictions are told a second, from the second look on."""
        server = start_redis()
        cache = make_cache(server.url)
        used = look(cache).used_memory
        cache.redis_client().config_set("maxmemory", 2 * used)
        watch = Watch(lambda: cache)
        first = watch.signals(cache, look(cache), get_settings())
        assert 0.3 < first["memory_share"] < 0.9
        assert "evictions_per_second" not in first
        assert watch.signals(cache, look(cache), get_settings())["evictions_per_second"] == 0

    def test_signals__sync(self, make_cache, redis_client):
        """What waits, for how long beyond the loop's pause, and what the remote store refused."""
        cache = make_cache(app=SYNC, RULES={"call:": {"sync": "lww"}})
        values = signals_of(cache)
        assert values["sync_age_seconds"] is values["outbox_age_seconds"] is None
        cache.set("call:1", 1)
        hour_ago = redis_client.time()[0] - 3600
        StatBuckets(redis_client, cache.redis_keys).note(
            {}, {"synced_at": hour_ago, "refused": 1, "emptied": 1}
        )
        now = datetime.datetime.now(datetime.UTC)
        SyncRun.objects.create(alias="default", started_at=now, rejected=3)
        values = signals_of(cache)
        assert 3600 - 300 <= values["sync_age_seconds"] < 3600
        assert values["outbox_age_seconds"] == 0
        assert 0 < values["outbox_share"] < 0.001
        assert values["redis_emptied"] == 1
        assert (values["sync_refused"], values["rejected"], values["durability_at_risk"]) == (1, 3, 1)


@pytest.mark.django_db
class TestWatch:
    def test_look_if_due(self, make_cache, settings):
        """Looks keep their pause, however often they are asked for."""
        cache = make_cache(app={"ALERTS": {"INTERVAL": 30}})
        now, looks = [1000.0], []
        watch = Watch(lambda: cache, clock=lambda: now[0])
        watch.look = lambda: looks.append(now[0])
        for _ in range(100):
            watch.look_if_due()
            now[0] += 1
        assert looks == [1000.0, 1030.0, 1060.0, 1090.0]

    def test_look_if_due__off(self, make_cache):
        """Alerts that are switched off are not looked for."""
        cache = make_cache(app={"ALERTS": {"ENABLED": False}})
        Watch(lambda: cache).look_if_due()
        assert not CacheAlert.objects.exists()

    def test_look_if_due__fails(self, make_cache, caplog):
        """A look that fails is logged, and does not stop the loop."""
        cache = make_cache()
        watch = Watch(lambda: cache)

        def fail():
            raise RuntimeError("broken")

        watch.look = fail
        watch.look_if_due()
        assert "alerts=failed" in caplog.text


@pytest.mark.django_db
class TestOutage:
    @pytest.mark.parametrize("way", ["stopped", "hung"])
    def test_redis__down_under_load(self, make_cache, start_redis, mailbox, hook, caplog, way):
        """Redis goes while the cache is used: one alert fires and ends, once each in every channel."""
        server = start_redis(append_only=True)
        webhook = {"KIND": "webhook", "SECRET_URL": hook.url, "ALLOW_HTTP": True, "ALLOW_PRIVATE": True}
        app = {
            "ALERTS": {
                "RULES": {"redis-unreachable": {"AFTER": 0.3, "CLEAR_AFTER": 0.3}},
                "CHANNELS": {"log": {}, "mail": {"KIND": "mail"}, "hook": webhook},
            }
        }
        cache = make_cache(server.url, app=app, DEADLINE=0.2)
        watch = Watch(partial(cache_of, "default"))
        stop = threading.Event()

        def use():
            number = 0
            while not stop.is_set():
                number += 1
                cache.set(f"p:{number % 50}", number)
                cache.get(f"p:{number % 50}")

        load = threading.Thread(target=use)
        load.start()
        try:
            watch.look()
            if way == "stopped":
                server.stop()
            else:
                os.kill(server.pid, signal.SIGSTOP)
            wait_until(lambda: watch.look() and "firing" in states())
            for _ in range(3):
                watch.look()
            if way == "stopped":
                server.start()
            else:
                os.kill(server.pid, signal.SIGCONT)
            wait_until(lambda: watch.look() and states() == ["resolved"])
            watch.look()
        finally:
            stop.set()
            load.join()
            if way == "hung":
                os.kill(server.pid, signal.SIGCONT)
        told = [(each["alert"], each["state"]) for each in hook.told()]
        assert told == [("redis-unreachable", "firing"), ("redis-unreachable", "resolved")]
        subjects = [
            line for mail in mailbox.mails for line in mail.content.split(b"\r\n") if b"Subject" in line
        ]
        assert [b"FIRING" in subject for subject in subjects] == [True, False]
        logged = [record for record in caplog.records if record.name == "django_callcache.alerts"]
        assert len([record for record in logged if "state=firing" in record.getMessage()]) == 1


@pytest.mark.django_db
class TestLoop:
    def test_beat__redis_down(self, make_cache, start_redis):
        """The loop looks with each sign of life, above all when Redis is not there to take the sign."""
        server = start_redis()
        make_cache(server.url, app={"ALERTS": {"INTERVAL": 0.001}})
        turns = Turns(["default"], None)
        turns.beat()
        assert states() == []
        server.stop()
        with pytest.raises(redis.RedisError):
            turns.beat()
        assert states() == ["pending"]


def states():
    """Where the alerts of an outage stand; others may come and go on a loaded machine."""
    rows = CacheAlert.objects.filter(rule="redis-unreachable")
    return list(rows.values_list("state", flat=True))
