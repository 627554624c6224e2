"""Minute buckets of a real Redis become rows of a real database."""

from __future__ import annotations

import datetime

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext, override_settings

from django_callcache.models import CacheHour, CacheStat
from django_callcache.outbox.stat_buckets import LATENCY_SLOTS, Growth, StatBuckets
from django_callcache.redis_keys import RedisKeys
from django_callcache.stats import collect as module
from django_callcache.stats.collect import Collected, collect
from django_callcache.stats.samples import note

pytestmark = pytest.mark.django_db


class Buckets:
    """Buckets of which a test says the minute: the server's clock decides only where counts are added."""

    def __init__(self, client, keys):
        self.client = client
        self.keys = keys
        self.real = StatBuckets(client, keys)
        self.hour = self.real.current_minute() // 60

    def put(self, minute, counts, reads=(), prefix="call:"):
        """Lay counts into a minute of the present hour, negative for hours before."""
        number = self.hour * 60 + minute
        for name, amount in counts.items():
            self.client.hincrby(self.keys.stat_minute(number), f"{name}|{prefix}", amount)
        self.client.zadd(self.keys.stat_minutes(), {number: number})
        for key, amount in dict(reads).items():
            self.client.zincrby(self.keys.hot_keys(number // 60, prefix), amount, key)
            self.client.pfadd(self.keys.distinct_keys(number // 60, prefix), key)


class At(StatBuckets):
    """Real buckets, asked as if the server's clock stood elsewhere."""

    def __init__(self, buckets, minute):
        super().__init__(buckets.client, buckets.keys)
        self.minute = buckets.hour * 60 + minute

    def current_minute(self):
        return self.minute


@pytest.fixture
def buckets(redis_client):
    keys = RedisKeys("collecttest")
    yield Buckets(redis_client, keys)
    for name in redis_client.keys(keys.root + b"*"):
        redis_client.unlink(name)


def rows():
    return {
        (row.prefix, round(row.hour.timestamp()) // 3600): row
        for row in CacheStat.objects.for_alias("default")
    }


class TestHours:
    """The rows of all prefixes together."""

    def test_collect__whole(self, buckets):
        """Lists of all prefixes are added up; collecting twice changes nothing, samples stay."""
        start = buckets.hour * 3600
        note("default", start + 10, backlog=7, keys=None)
        buckets.put(1, {"r8": 5, "w9": 2, "t5": 3, "hits": 4, "misses": 1})
        buckets.put(2, {"r8": 1, "t12": 1, "hits": 3}, prefix="page:")
        for _ in range(2):
            collect(At(buckets, 5), "default")
        row = CacheHour.objects.get()
        assert (row.read_latency[8], row.write_latency[9]) == (6, 2)
        assert (row.ttl_bands[5], row.ttl_bands[12], sum(row.ttl_bands)) == (3, 1, 4)
        assert (row.backlog, row.keys) == (7, None)
        assert (row.hits, row.misses, row.errors) == (7, 1, 0)
        assert CacheStat.objects.get(prefix="call:").ttl_bands[5] == 3

    def test_collect__lost_buckets(self, buckets):
        """What Redis lost meanwhile stays as it was counted, and the whole is the sum of what there is."""
        buckets.put(1, {"r8": 5, "hits": 5})
        collect(At(buckets, 5), "default")
        buckets.client.delete(buckets.keys.stat_minute(buckets.hour * 60 + 1))
        buckets.put(3, {"r8": 2, "hits": 2}, prefix="page:")
        collect(At(buckets, 5), "default")
        row = CacheHour.objects.get()
        assert row.read_latency[8] == 7
        assert row.hits == sum(CacheStat.objects.values_list("hits", flat=True)) == 7

    def test_note__highest(self):
        """A sample is kept where it is the highest of its hour."""
        for backlog, waited in ((3, 10.0), (9, 5.0), (0, 0.0)):
            note("default", 7200.0 + backlog, backlog=backlog, oldest_seconds=waited)
        note("default", 10_800.0, backlog=0)
        hours = CacheHour.objects.order_by("hour").values_list("backlog", "oldest_seconds")
        assert list(hours) == [(9, 10.0), (0, None)]

    def test_note__nothing_known(self):
        """Where nothing is known nothing is kept."""
        note("default", 7200.0, backlog=None)
        assert not CacheHour.objects.exists()


class TestCollect:
    def test_collect__nothing(self, buckets):
        """Without buckets nothing is written."""
        assert collect(buckets.real, "default") == Collected()

    def test_collect__sums_of_the_hour(self, buckets):
        """A row holds the sums over its hour's minutes, latencies, distinct and hot keys included."""
        buckets.put(0, {"hits": 2, "misses": 1, "r3": 3}, {"call:1": 2, "call:2": 1})
        buckets.put(5, {"hits": 1, "near_hits": 4, "w23": 1, "sets": 1}, {"call:2": 9})
        buckets.put(-1, {"deletes": 1, "errors": 2, "undecodable": 3})
        done = collect(At(buckets, 6), "default")
        assert (done.minutes, done.rows, done.hours) == (3, 2, (buckets.hour - 1, buckets.hour))
        row = rows()["call:", buckets.hour]
        assert (row.hits, row.near_hits, row.misses, row.sets) == (3, 4, 1, 1)
        assert row.hour == datetime.datetime.fromtimestamp(buckets.hour * 3600, datetime.UTC)
        assert row.read_latency == [0, 0, 0, 3, *[0] * (LATENCY_SLOTS - 4)]
        assert row.write_latency == [*[0] * (LATENCY_SLOTS - 1), 1]
        assert row.distinct_keys == 2
        assert row.hot_keys == [["call:2", 10], ["call:1", 2]]
        before = rows()["call:", buckets.hour - 1]
        assert (before.deletes, before.errors, before.undecodable) == (1, 2, 3)

    def test_collect__open_minute(self, buckets):
        """The current minute is left alone until it is over."""
        buckets.put(5, {"hits": 1})
        buckets.put(6, {"hits": 2})
        collect(At(buckets, 6), "default")
        assert rows()["call:", buckets.hour].hits == 1
        collect(At(buckets, 7), "default")
        assert rows()["call:", buckets.hour].hits == 3

    def test_collect__real_clock(self, buckets):
        """What was added this minute is not collected yet, by the clock of the server itself."""
        buckets.real.add(Growth({"call:": {"hits": 1}}))
        if buckets.real.current_minute() == buckets.real.minutes()[-1]:
            assert collect(buckets.real, "default").minutes == 0

    def test_collect__twice(self, buckets):
        """Collecting twice gives the same rows."""
        buckets.put(0, {"hits": 2, "r1": 2}, {"call:1": 2})
        collect(At(buckets, 1), "default")
        first = list(CacheStat.objects.values())
        collect(At(buckets, 1), "default")
        assert list(CacheStat.objects.values()) == first

    def test_collect__aliases_apart(self, buckets):
        """The same prefix of two aliases has two rows."""
        buckets.put(0, {"hits": 2})
        collect(At(buckets, 1), "default")
        collect(At(buckets, 1), "other")
        assert CacheStat.objects.count() == 2

    def test_collect__redis_lost_data(self, buckets):
        """A Redis that came back empty in the middle of an hour takes nothing from its row."""
        buckets.put(0, {"hits": 5, "r1": 5}, {"call:1": 5})
        collect(At(buckets, 1), "default")
        for name in buckets.client.keys(buckets.keys.root + b"*"):
            buckets.client.unlink(name)
        buckets.put(2, {"hits": 3, "misses": 1, "r2": 4}, {"call:2": 3})
        collect(At(buckets, 3), "default")
        row = rows()["call:", buckets.hour]
        assert (row.hits, row.misses, row.read_latency[1:3]) == (5, 1, [5, 4])
        assert row.hot_keys == [["call:1", 5], ["call:2", 3]]

    def test_collect__hostile_names(self, buckets):
        """Names with NUL, markup or too many characters are stored, changed as little as needed."""
        prefix = "<script>\0:" + "x" * 300
        buckets.put(0, {"hits": 1}, {"a\0b": 1}, prefix=prefix)
        collect(At(buckets, 1), "default")
        row = CacheStat.objects.get()
        assert row.prefix == prefix.replace("\0", "\ufffd")[:250]
        assert row.hot_keys == [["a\ufffdb", 1]]

    def test_collect__queries_do_not_grow(self, buckets):
        """Thirty prefixes take as many queries as two."""
        for number in range(2):
            buckets.put(0, {"hits": 1}, prefix=f"p{number}:")
        with CaptureQueriesContext(connection) as few:
            collect(At(buckets, 1), "default")
        for number in range(30):
            buckets.put(0, {"hits": 1}, prefix=f"p{number}:")
        with CaptureQueriesContext(connection) as many:
            collect(At(buckets, 1), "default")
        assert len(many) == len(few) <= 6


class TestDrop:
    @pytest.fixture(autouse=True)
    def _real_transactions(self, transactional_db):
        """Commits happen."""

    def test_drop__hour_long_over(self, buckets):
        """Buckets leave when their hour ended an hour ago, the rows stay."""
        buckets.put(0, {"hits": 1}, {"call:1": 1})
        assert collect(At(buckets, 119), "default").dropped == ()
        assert collect(At(buckets, 120), "default").dropped == (buckets.hour,)
        assert buckets.client.keys(buckets.keys.root + b"*") == []
        assert collect(At(buckets, 121), "default") == Collected()
        assert rows()["call:", buckets.hour].hits == 1

    def test_drop__rows_not_committed(self, buckets):
        """A collector that dies before its commit has dropped nothing, and the next one makes it good."""
        buckets.put(0, {"hits": 1})

        @transaction.atomic
        def collect_and_die():
            collect(At(buckets, 120), "default")
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            collect_and_die()
        assert CacheStat.objects.count() == 0
        assert len(buckets.real.minutes()) == 1
        collect(At(buckets, 121), "default")
        assert rows()["call:", buckets.hour].hits == 1
        assert buckets.real.minutes() == []

    def test_drop__crash_after_commit(self, buckets, monkeypatch):
        """A collector that dies between commit and drop leaves rows that the next one confirms."""
        buckets.put(0, {"hits": 4})
        monkeypatch.setattr(At, "drop", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            collect(At(buckets, 120), "default")
        monkeypatch.undo()
        collect(At(buckets, 121), "default")
        assert rows()["call:", buckets.hour].hits == 4
        assert buckets.real.minutes() == []

    def test_drop__half_done(self, buckets):
        """A drop cut short after some buckets takes nothing from the row."""
        buckets.put(0, {"hits": 4})
        buckets.put(1, {"hits": 2})
        collect(At(buckets, 119), "default")
        buckets.client.unlink(buckets.keys.stat_minute(buckets.hour * 60))
        collect(At(buckets, 121), "default")
        assert rows()["call:", buckets.hour].hits == 6


class TestGroups:
    @pytest.fixture(autouse=True)
    def _three_prefixes(self):
        with override_settings(CALLCACHE={"STATS": {"MAX_PREFIXES": 3}}):
            yield

    def test_group__beyond_the_bound(self, buckets):
        """The most read prefixes have rows, the others share one."""
        for number in range(1, 6):
            buckets.put(0, {"hits": number}, {f"p{number}:1": number}, prefix=f"p{number}:")
        collect(At(buckets, 1), "default")
        found = {prefix: row for (prefix, _), row in rows().items()}
        assert {prefix: row.hits for prefix, row in found.items()} == {"p5:": 5, "p4:": 4, "other": 6}
        assert found["other"].distinct_keys == 3
        assert found["other"].hot_keys == [["p3:1", 3], ["p2:1", 2], ["p1:1", 1]]

    def test_group__stable_within_the_hour(self, buckets):
        """A prefix that becomes popular later stays where it was: no read is counted twice."""
        for number in range(1, 6):
            buckets.put(0, {"hits": number}, prefix=f"p{number}:")
        collect(At(buckets, 1), "default")
        buckets.put(1, {"hits": 100}, prefix="p1:")
        collect(At(buckets, 2), "default")
        found = {prefix: row.hits for (prefix, _), row in rows().items()}
        assert found == {"p5:": 5, "p4:": 4, "other": 106}

    def test_group__within_the_bound(self):
        """Up to the bound every prefix has its row."""
        counts = {name: {"hits": 1} for name in ("a:", "b:", "other")}
        assert module.group_prefixes(counts, {"a:"}, 3) == {"a:": ["a:"], "b:": ["b:"], "other": ["other"]}
