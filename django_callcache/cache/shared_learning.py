"""What prefixes have learnt, added up over all processes in Redis, and read back after a restart.

One hash for each prefix: sums by their index, changes by their hour, the first hour. A process hands over
what it has added and gets the sums of all in the same script call, so it learns from the others too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from django_callcache.lua import Script
from django_callcache.outbox.stat_buckets import Command
from django_callcache.redis_keys import RedisKeys
from django_callcache.ttl.change_tables import (
    FADING,
    HALVED_EVERY,
    OBSERVATIONS,
    SEASON_HOURS,
    SUMS,
    ChangeTables,
    Growth,
)

KEPT_SECONDS = 35 * 86400
"""Nothing is known any more of a prefix that was not loaded for so long."""

MERGE = Script("""
local sums, hours = unpack(cmsgpack.unpack(ARGV[1]))
local halved_every, fading, season_hours = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local hour = math.floor(redis.call('TIME')[1] / 3600)
local function observations() return tonumber(redis.call('HGET', KEYS[1], ARGV[2]) or '0') end

local before = observations()
for i = 1, #sums, 2 do
  redis.call('HINCRBYFLOAT', KEYS[1], sums[i], string.format('%.17g', sums[i + 1]))
end
for i = 1, #hours, 2 do
  redis.call('HINCRBYFLOAT', KEYS[1], 'h' .. hours[i], string.format('%.17g', hours[i + 1]))
end
if #sums > 0 then
  redis.call('HSETNX', KEYS[1], 'first', hour)
  redis.call('EXPIRE', KEYS[1], ARGV[6])
end
if math.floor(observations() / halved_every) > math.floor(before / halved_every) then
  local known = redis.call('HGETALL', KEYS[1])
  for i = 1, #known, 2 do
    local index, number = tonumber(known[i]), string.match(known[i], '^h(%d+)$')
    if index and index < fading then
      redis.call('HSET', KEYS[1], known[i], string.format('%.17g', known[i + 1] / 2))
    elseif number and tonumber(number) <= hour - season_hours then
      redis.call('HDEL', KEYS[1], known[i])
    end
  end
end
return redis.call('HGETALL', KEYS[1])
""")
"""Add what a process has learnt, and reply all that is known.

KEYS: the prefix's hash. ARGV: growth (MessagePack: index and amount of sums, hour and amount of changes),
index of the observations, after how many of them the sums are halved, the first index that is not, hours that
changes are remembered for, seconds to keep all this.
"""

_ENCODER = msgspec.msgpack.Encoder()


def merge_command(keys: RedisKeys, prefix: str, growth: Growth) -> Command:
    """The script call that merges a growth."""
    sums = [part for index, amount in enumerate(growth.sums) if amount for part in (str(index), amount)]
    hours = [part for hour, amount in growth.hours.items() if amount for part in (str(hour), amount)]
    numbers = (OBSERVATIONS, HALVED_EVERY, FADING, SEASON_HOURS, KEPT_SECONDS)
    return Command(MERGE, (keys.learnt(prefix),), (_ENCODER.encode((sums, hours)), *numbers))


def take_merged(tables: ChangeTables, sent: Growth, reply: Iterable[Any]) -> None:
    """Let a prefix go on from what all processes know."""
    parts = iter(reply)
    known = dict(zip(parts, parts, strict=True))
    if not known:
        return
    sums = [float(known.get(b"%d" % index, 0)) for index in range(SUMS)]
    hours = {int(name[1:]): float(amount) for name, amount in known.items() if name[:1] == b"h"}
    tables.merged(sent, sums, hours, int(known[b"first"]))
