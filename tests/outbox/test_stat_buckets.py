"""Minute buckets on a real Redis."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from django_callcache.outbox import stat_buckets
from django_callcache.outbox.stat_buckets import FIELDS, Growth, StatBuckets
from django_callcache.redis_keys import RedisKeys


@pytest.fixture
def keys(redis_client):
    keys = RedisKeys("bucket0test")
    yield keys
    for name in redis_client.keys(keys.root + b"*"):
        redis_client.unlink(name)


@pytest.fixture
def buckets(redis_client, keys):
    return StatBuckets(redis_client, keys)


def flat(**counts):
    return [counts.get(name, 0) for name in FIELDS]


class TestGrowth:
    def test_between__two_snapshots(self):
        """A growth holds what changed, by name, and nothing else."""
        before = {"call:": flat(hits=3, r2=3), "idle:": flat(hits=9)}
        now = {"call:": flat(hits=5, r2=4, misses=1), "idle:": flat(hits=9), "new:": flat(sets=1)}
        assert Growth.between(before, now).counts == {
            "call:": {"hits": 2, "misses": 1, "r2": 1},
            "new:": {"sets": 1},
        }

    def test_add__same_prefix(self):
        """Two growths add up, so that one whose report failed can be reported with the next."""
        one = Growth({"a:": {"hits": 1}}, {"a:": {"a:1": 1}})
        other = Growth({"a:": {"hits": 2, "sets": 1}, "b:": {"misses": 1}}, {"a:": {"a:1": 2, "a:2": 1}})
        total = one + other
        assert total.counts == {"a:": {"hits": 3, "sets": 1}, "b:": {"misses": 1}}
        assert total.reads == {"a:": {"a:1": 3, "a:2": 1}}
        assert one.counts == {"a:": {"hits": 1}}

    @pytest.mark.parametrize("growth", [Growth(), Growth({"a:": {}}, {"a:": {}})])
    def test_bool__nothing_counted(self, growth):
        """A growth without counts is false."""
        assert not growth


class TestStatBuckets:
    def test_add__twice(self, buckets):
        """Two growths of one minute or two accumulate."""
        buckets.add(Growth({"call:": {"hits": 2, "near_hits": 5, "r3": 2}}))
        buckets.add(Growth({"call:": {"hits": 1, "misses": 1}, "": {"sets": 7, "w23": 7}}))
        assert buckets.read(buckets.minutes()) == {
            "call:": {"hits": 3, "near_hits": 5, "misses": 1, "r3": 2},
            "": {"sets": 7, "w23": 7},
        }

    def test_add__nothing(self, buckets, redis_client, keys):
        """A growth without counts leaves no trace."""
        buckets.add(Growth({"call:": {}}))
        assert redis_client.keys(keys.root + b"*") == []

    def test_add__minute_of_the_server(self, buckets, redis_client):
        """The bucket is the minute of Redis's own clock."""
        earliest = redis_client.time()[0] // 60
        buckets.add(Growth({"a": {"hits": 1}}))
        assert earliest <= buckets.minutes()[0] <= buckets.current_minute()

    @pytest.mark.needs_server("counts commands of one server")
    def test_add__one_command(self, buckets, redis_client):
        """A growth of any size is one call of one script."""
        growth = Growth({f"p{n}:": {"hits": 1} for n in range(300)})
        buckets.add(growth)
        redis_client.config_resetstat()
        buckets.add(growth)
        calls = redis_client.info("commandstats")
        assert calls["cmdstat_evalsha"]["calls"] == 1
        assert "cmdstat_eval" not in calls

    def test_add__script_forgotten(self, buckets, redis_client):
        """A server that restarted has no scripts; the growth arrives all the same."""
        buckets.add(Growth({"a": {"hits": 1}}))
        redis_client.script_flush()
        buckets.add(Growth({"a": {"hits": 1}}))
        assert buckets.read(buckets.minutes()) == {"a": {"hits": 2}}

    def test_add__expiries(self, buckets, redis_client, keys):
        """Everything a growth leaves expires by itself."""
        buckets.add(Growth({"a": {"hits": 1}}, {"a": {"a1": 1}}))
        ttls = {name: redis_client.ttl(name) for name in redis_client.keys(keys.root + b"*")}
        assert len(ttls) == 7
        assert all(map(keys.is_internal, ttls))
        assert 0 < ttls.pop(keys.stat_hours()) <= 9 * 86400
        assert 0 < ttls.pop(keys.stat_totals()) <= 30 * 86400
        assert all(0 < ttl <= 3 * 86400 for ttl in ttls.values())

    def test_add__old_hours(self, buckets, redis_client, keys):
        """The profile forgets hours older than nine days when a new hour begins."""
        hour = buckets.current_minute() // 60
        redis_client.hset(keys.stat_hours(), mapping={hour - 9 * 24 - 1: 5, hour - 9 * 24 + 1: 6})
        buckets.add(Growth({"a": {"hits": 1}}))
        assert sorted(buckets.profile().values()) == [1, 6]

    def test_add__old_minutes(self, buckets, redis_client, keys):
        """Minutes whose buckets have expired leave the index."""
        minute = buckets.current_minute()
        redis_client.zadd(keys.stat_minutes(), {minute - 3 * 1440 - 1: minute - 3 * 1440 - 1})
        buckets.add(Growth({"a": {"hits": 1}}))
        assert all(known >= minute for known in buckets.minutes())

    def test_add__hot_keys_bounded(self, buckets, redis_client, keys, monkeypatch):
        """No more than a thousand keys are remembered, and the hottest stay."""
        reads = {f"call:{n}": n for n in range(1, 2501)}
        buckets.add(Growth({}, {"call:": reads}))
        hour = buckets.current_minute() // 60
        ranking = buckets.hot_keys(hour, ["call:", "none:"], 2)
        if ranking["call:"]:  # unless the hour turned in between
            assert ranking == {"call:": [("call:2500", 2500), ("call:2499", 2499)], "none:": []}
        assert [redis_client.zcard(name) for name in redis_client.keys(keys.root + b"*hot:*")] == [
            stat_buckets.HOT_KEYS
        ]

    def test_add__distinct_keys(self, buckets, redis_client, keys):
        """Distinct keys are counted beyond the bound of hot keys, within HyperLogLog's error."""
        buckets.add(Growth({}, {"call:": {f"call:{n}": 1 for n in range(4000)}}))
        buckets.add(Growth({}, {"call:": {f"call:{n}": 1 for n in range(4000)}}))
        (name,) = redis_client.keys(keys.root + b"*distinct:*")
        assert abs(redis_client.pfcount(name) - 4000) < 4000 * 0.04
        hour = int(name.decode().split(":distinct:")[1].split(":")[0])
        assert buckets.distinct_keys(hour, ["call:"])["call:"] == redis_client.pfcount(name)

    def test_add__hostile_names(self, buckets):
        """Separators, line ends, NUL and lone surrogates in prefixes and keys break nothing."""
        prefix = "a|b\r\n\0'\"{}é"
        buckets.add(Growth({prefix: {"hits": 1}}, {prefix: {"\ud800": 1, "é|": 2}}))
        assert buckets.read(buckets.minutes()) == {prefix: {"hits": 1}}
        hour = buckets.minutes()[0] // 60
        assert buckets.hot_keys(hour, [prefix], 5)[prefix] == [("é|", 2), ("?", 1)]

    @pytest.mark.needs_server("connects by redis-py alone")
    def test_add__concurrent(self, buckets, redis_url, keys):
        """Adds by many threads and connections lose nothing."""

        def add_many(_):
            with redis.Redis.from_url(redis_url) as client:
                own = StatBuckets(client, keys)
                for _ in range(50):
                    own.add(Growth({"a": {"hits": 1, "near_hits": 2}}, {"a": {"a1": 3}}))

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(add_many, range(8)))
        assert buckets.read(buckets.minutes()) == {"a": {"hits": 400, "near_hits": 800}}
        assert sum(buckets.profile().values()) == 1200
        hours = {minute // 60 for minute in buckets.minutes()}
        assert sum(buckets.hot_keys(hour, ["a"], 1)["a"][0][1] for hour in hours) == 1200

    def test_profile__gets_by_hour(self, buckets):
        """The profile counts gets, that is hits of both tiers and misses, by hour."""
        before = buckets.current_minute() // 60
        buckets.add(Growth({"a": {"hits": 1, "near_hits": 2, "misses": 4, "sets": 8}, "b": {"hits": 16}}))
        profile = buckets.profile()
        assert list(profile.values()) == [23]
        assert set(profile) <= {before, before + 1}

    def test_drop__hour(self, buckets, redis_client, keys):
        """Dropping an hour removes all of it but its line in the profile; totals stay as they were."""
        buckets.add(Growth({"a": {"hits": 1}}, {"a": {"a1": 1}}))
        (minute,) = buckets.minutes()
        buckets.drop(minute // 60 - 1)
        assert buckets.minutes() == [minute]
        buckets.drop(minute // 60)
        left = {keys.stat_hours(), keys.stat_totals(), keys.stat_whole(minute)}
        assert set(redis_client.keys(keys.root + b"*")) == left
        assert redis_client.hgetall(keys.stat_totals()) == {b"hits": b"1"}
