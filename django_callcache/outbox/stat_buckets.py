"""Minute buckets of counts in Redis: where requests leave their statistics and the collector finds them.

A growth is added by one script and lands in the minute of the Redis server's clock, so the clocks of
hosts do not matter and a minute that is over never grows again. Everything here expires by itself:
without a collector the counts of the last three days are kept, and nothing more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar, cast

import msgspec
import redis
from redis.exceptions import NoScriptError

from django_callcache.lua import Script
from django_callcache.redis_keys import RedisKeys

COUNTERS = (
    *("hits", "near_hits", "misses", "sets", "deletes", "errors", "undecodable"),
    *("checked", "stale"),
)
"""What is counted for each prefix. ``hits`` are answers from Redis, ``near_hits`` those from this process;
a get is a hit, a near hit or a miss. ``checked`` are hits that were compared with their origin, ``stale``
those of them that differed."""

LATENCY_SLOTS = 24
"""Slot i counts calls with ``(nanoseconds >> 10).bit_length() == i``, hence faster than ``2**(10 + i)`` ns;
the last slot counts everything slower too."""

TTL_BOUNDS = (1, 10, 60, 300, 900, 1800, 3600, 7200, 21_600, 86_400, 604_800)
"""Band i counts writes whose entry lives for at most so many seconds, and longer than the bound before."""

TTL_BANDS = len(TTL_BOUNDS) + 2
"""The last but one counts entries that live longer than all bounds, the last one those that never expire."""

FIELDS = (
    *COUNTERS,
    *(f"r{slot}" for slot in range(LATENCY_SLOTS)),
    *(f"w{slot}" for slot in range(LATENCY_SLOTS)),
    *(f"t{band}" for band in range(TTL_BANDS)),
)
"""Names of one prefix's counts, in the order of a process's flat list: counters, read and write latencies,
and writes by the time that their entries live."""

OTHER = "other"
"""Where keys without a prefix are counted, and prefixes beyond the bound."""

HOT_KEYS = 1000
"""Keys remembered for each prefix and hour, the most read ones."""

BUCKET_DAYS = 3
"""How long minutes, hot keys and distinct keys wait for a collector."""

HOUR_DAYS = 9
"""How long the profile of gets an hour reaches back: a week, and room for its first and last day."""

TOTAL_DAYS = 30
"""How long the totals of all time stay when nothing is counted any more."""

WHOLE_SECONDS = 3 * 3600
"""How long minutes over all prefixes stay: they are for looks at the present."""

READ_CHUNK = 60
"""Minute buckets fetched in one round trip."""

ADD_GROWTH = Script("""
local now = redis.call('TIME')
local minute = math.floor(tonumber(now[1]) / 60)
local hour = math.floor(minute / 60)
local bucket = KEYS[3] .. string.format('%d', minute)
local keep, keep_hours, hot_bound = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local gets, totals = 0, {}
for _, growth in ipairs(cmsgpack.unpack(ARGV[1])) do
  local prefix, counts, reads = growth[1], growth[2], growth[3]
  for i = 1, #counts, 2 do
    local name, amount = counts[i], counts[i + 1]
    redis.call('HINCRBY', bucket, name .. '|' .. prefix, amount)
    totals[name] = (totals[name] or 0) + amount
    if name == 'hits' or name == 'near_hits' or name == 'misses' then
      gets = gets + amount
    end
  end
  if #reads > 0 then
    local tail = string.format('%d:', hour) .. prefix
    local hot, distinct, keys = KEYS[4] .. tail, KEYS[5] .. tail, {}
    for i = 1, #reads, 2 do
      redis.call('ZINCRBY', hot, reads[i + 1], reads[i])
      keys[#keys + 1] = reads[i]
      if #keys == 1000 then
        redis.call('PFADD', distinct, unpack(keys))
        keys = {}
      end
    end
    if #keys > 0 then
      redis.call('PFADD', distinct, unpack(keys))
    end
    redis.call('ZREMRANGEBYRANK', hot, 0, -hot_bound - 1)
    redis.call('EXPIRE', hot, keep)
    redis.call('EXPIRE', distinct, keep)
  end
end
local whole = cmsgpack.unpack(ARGV[5])
for i = 1, #whole, 2 do
  totals[whole[i]] = whole[i + 1]
end
local whole_bucket = KEYS[7] .. string.format('%d', minute)
for name, amount in pairs(totals) do
  redis.call('HINCRBY', KEYS[6], name, amount)
  redis.call('HINCRBY', whole_bucket, name, amount)
end
redis.call('EXPIRE', whole_bucket, ARGV[7])
redis.call('EXPIRE', KEYS[6], ARGV[6])
if redis.call('EXISTS', bucket) == 1 then
  redis.call('EXPIRE', bucket, keep)
  redis.call('ZADD', KEYS[2], minute, string.format('%d', minute))
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', minute - keep / 60)
  redis.call('EXPIRE', KEYS[2], keep)
end
if gets > 0 then
  local first = redis.call('HEXISTS', KEYS[1], string.format('%d', hour)) == 0
  redis.call('HINCRBY', KEYS[1], string.format('%d', hour), gets)
  redis.call('EXPIRE', KEYS[1], keep_hours)
  if first then
    for _, old in ipairs(redis.call('HKEYS', KEYS[1])) do
      if tonumber(old) <= hour - keep_hours / 3600 then
        redis.call('HDEL', KEYS[1], old)
      end
    end
  end
end
return minute
""")
"""Adds one growth to the current minute and replies its number.

KEYS: hours, minutes, then the stems of minute, hot and distinct keys, totals, and the stem of
minutes over all prefixes.
ARGV: growth (MessagePack), seconds to keep buckets, seconds to keep hours, hot keys to keep, growth of what
is counted for all prefixes together (MessagePack), seconds to keep totals, and minutes
over all prefixes.
"""

_ENCODER = msgspec.msgpack.Encoder()
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Growth:
    """What a process counted since it last reported."""

    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Prefix to counts by the names of ``FIELDS``; zeros may be left out."""
    reads: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Prefix to reads by key, bounded by whoever counts."""
    whole: Mapping[str, int] = field(default_factory=dict)
    """Counts of the whole alias, which have no prefix; they are kept as totals alone."""

    @classmethod
    def between(
        cls,
        before: Mapping[str, Sequence[int]],
        now: Mapping[str, Sequence[int]],
        reads: Mapping[str, Mapping[str, int]] | None = None,
    ) -> Growth:
        """Return what grew between two snapshots of a process's flat lists.

        Args:
            before: The snapshot reported last; a prefix missing from it counted nothing then.
            now: The present snapshot.
            reads: Reads by prefix and key in between.
        """
        counts = {}
        for prefix, present in now.items():
            past = before.get(prefix) or (0,) * len(present)
            grown = {
                name: new - old for name, new, old in zip(FIELDS, present, past, strict=True) if new != old
            }
            if grown:
                counts[prefix] = grown
        return cls(counts, reads or {})

    def __add__(self, other: Growth) -> Growth:
        whole = _sum({"": self.whole}, {"": other.whole})[""]
        return Growth(_sum(self.counts, other.counts), _sum(self.reads, other.reads), whole)

    def __bool__(self) -> bool:
        return any(self.counts.values()) or any(self.reads.values()) or any(self.whole.values())


class Command(NamedTuple):
    """A script call, for whoever sends it by its own connection."""

    script: Script
    keys: tuple[bytes, ...]
    arguments: tuple[bytes | int, ...]


class StatBuckets:
    """The minute buckets of one cache alias.

    Args:
        client: A redis-py client that answers bytes.
        keys: The alias's internal names.
    """

    def __init__(self, client: redis.Redis, keys: RedisKeys) -> None:
        self._client = client
        self._keys = keys

    def add(self, growth: Growth) -> None:
        """Add a growth to the current minute, in one round trip."""
        if not growth:
            return
        script, names, arguments = add_command(self._keys, growth)
        try:
            self._client.evalsha(script.sha1.decode(), len(names), *names, *arguments)
        except NoScriptError:
            self._client.eval(script.source, len(names), *names, *arguments)

    def note(self, grown: Mapping[str, int], moments: Mapping[str, float]) -> None:
        """Keep with the totals what the loop alone knows.

        Args:
            grown: What is added to counts, by name.
            moments: What is set, by name: unix seconds, kept whole.
        """
        name = self._keys.stat_totals()
        pipeline = self._client.pipeline(transaction=False)
        for field_name, amount in grown.items():
            pipeline.hincrby(name, field_name, amount)
        for field_name, moment in moments.items():
            pipeline.hset(name, field_name, str(int(moment)))
        pipeline.expire(name, TOTAL_DAYS * 86400)
        pipeline.execute()

    def profile(self) -> dict[int, int]:
        """Return gets of all processes by hour since the epoch (UTC), the current hour included."""
        hours = cast("dict[bytes, bytes]", self._client.hgetall(self._keys.stat_hours()))
        return {int(hour): int(gets) for hour, gets in hours.items()}

    def current_minute(self) -> int:
        """Return the server's minute since the epoch; every earlier one is closed."""
        seconds, _ = self._client.time()
        return seconds // 60

    def minutes(self) -> list[int]:
        """Return the minutes that have a bucket, oldest first, the current one included."""
        members = cast("list[bytes]", self._client.zrange(self._keys.stat_minutes(), 0, -1))
        return [int(minute) for minute in members]

    def read(self, minutes: Sequence[int]) -> dict[str, dict[str, int]]:
        """Return the sums of some minutes by prefix and name."""
        totals: dict[str, dict[str, int]] = {}
        for _, bucket in self.read_each(minutes):
            for prefix, amounts in bucket.items():
                counts = totals.setdefault(prefix, {})
                for name, amount in amounts.items():
                    counts[name] = counts.get(name, 0) + amount
        return totals

    def read_each(self, minutes: Sequence[int]) -> Iterator[tuple[int, dict[str, dict[str, int]]]]:
        """Yield some minutes with their counts by prefix and name; a minute without a bucket is empty."""
        for chunk in _chunks(minutes, READ_CHUNK):
            pipeline = self._client.pipeline(transaction=False)
            for minute in chunk:
                pipeline.hgetall(self._keys.stat_minute(minute))
            for minute, bucket in zip(chunk, pipeline.execute(), strict=True):
                yield minute, _by_prefix(bucket)

    def distinct_keys(self, hour: int, prefixes: Sequence[str]) -> dict[str, int]:
        """Return how many different keys were read in an hour, by prefix (HyperLogLog, 0.81 % error)."""
        pipeline = self._client.pipeline(transaction=False)
        for prefix in prefixes:
            # Not by its method, which pipelines of a cluster do not have.
            pipeline.execute_command("PFCOUNT", self._keys.distinct_keys(hour, prefix))  # type: ignore[no-untyped-call]
        return dict(zip(prefixes, pipeline.execute(), strict=True))

    def hot_keys(self, hour: int, prefixes: Sequence[str], limit: int) -> dict[str, list[tuple[str, int]]]:
        """Return the most read keys of an hour with their reads, by prefix, the hottest first."""
        pipeline = self._client.pipeline(transaction=False)
        for prefix in prefixes:
            pipeline.zrevrange(self._keys.hot_keys(hour, prefix), 0, limit - 1, withscores=True)
        return {
            prefix: [(key.decode(errors="replace"), int(reads)) for key, reads in ranking]
            for prefix, ranking in zip(prefixes, pipeline.execute(), strict=True)
        }

    def drop(self, hour: int) -> None:
        """Forget the buckets of an hour, its hot keys and its distinct keys; the profile keeps its gets."""
        minutes = [minute for minute in self.minutes() if minute // 60 == hour]
        names: list[bytes] = []
        for prefix in self.read(minutes):
            names += (self._keys.hot_keys(hour, prefix), self._keys.distinct_keys(hour, prefix))
        # Buckets go last and the index with them: a drop cut short is found again by its minutes.
        names += map(self._keys.stat_minute, minutes)
        for chunk in _chunks(names, 500):
            self._client.unlink(*chunk)
        if minutes:
            self._client.zrem(self._keys.stat_minutes(), *minutes)


def add_command(keys: RedisKeys, growth: Growth) -> Command:
    """Return the script call that adds a growth to the current minute."""
    names = (
        keys.stat_hours(),
        keys.stat_minutes(),
        _stem(keys.stat_minute(0)),
        _stem(keys.hot_keys(0, "")),
        _stem(keys.distinct_keys(0, "")),
        keys.stat_totals(),
        _stem(keys.stat_whole(0)),
    )
    whole = _ENCODER.encode(_flat(growth.whole))
    lasting = (BUCKET_DAYS * 86400, HOUR_DAYS * 86400, HOT_KEYS)
    arguments = (_packed(growth), *lasting, whole, TOTAL_DAYS * 86400, WHOLE_SECONDS)
    return Command(ADD_GROWTH, names, arguments)


def _stem(name: bytes) -> bytes:
    """What stands before the number in a name; the script alone knows the time, hence the number."""
    return name[: name.rindex(b"0")]


def _packed(growth: Growth) -> bytes:
    items = [
        (prefix, _flat(growth.counts.get(prefix, {})), _flat(growth.reads.get(prefix, {})))
        for prefix in {**growth.counts, **growth.reads}
    ]
    try:
        return _ENCODER.encode(items)
    except UnicodeEncodeError:
        # A lone surrogate has no UTF-8; the statistics of everything else must not be lost for it.
        return _ENCODER.encode(_encodable(items))


def _flat(amounts: Mapping[str, int]) -> list[str | int]:
    return [part for item in amounts.items() if item[1] > 0 for part in item]


def _encodable(part: Any) -> Any:
    if isinstance(part, str):
        return part.encode(errors="replace").decode()
    if isinstance(part, (list, tuple)):
        return [_encodable(item) for item in part]
    return part


def _by_prefix(bucket: Mapping[bytes, bytes]) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    for label, amount in bucket.items():
        name, _, prefix = label.decode(errors="replace").partition("|")
        counts.setdefault(prefix, {})[name] = int(amount)
    return counts


def _sum(
    one: Mapping[str, Mapping[str, int]], other: Mapping[str, Mapping[str, int]]
) -> dict[str, dict[str, int]]:
    total = {prefix: dict(amounts) for prefix, amounts in one.items()}
    for prefix, amounts in other.items():
        mine = total.setdefault(prefix, {})
        for name, amount in amounts.items():
            mine[name] = mine.get(name, 0) + amount
    return total


def _chunks(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
