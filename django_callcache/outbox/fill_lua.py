"""What a computed value must show before it is stored, as Lua for the scripts that store one.

Who computes holds a lease: a text in the lease key, a token and behind it the fence's stamps at that time.
A deletion removes the lease. Deletions by pattern cannot know which leases there are: they move the fence.
"""

from __future__ import annotations

TOKEN_LENGTH = 16
"""Characters of a lease's token; a colon and the fence's stamps follow."""

SAME_EXPIRY_MS = 5
"""What reading the clock and the time left, one after the other, may differ by."""

DROP_COPY = """
-- Fields of the stale copy: its bytes, when the value ends (unix ms), the fence's stamps then.
local function drop_copy(side) redis.call('HDEL', side, 'g', 'x', 'f') end
"""

FENCE_MS = 260_000
"""How long the fence lies there after the last lease, which does not live longer than 250 s."""

FENCE = f"""
local FENCE_MS = {FENCE_MS}

-- Stamps of the last deletions by pattern: of all keys, and of those of one group.
local function stamps_of(fence, group)
  local stamps = redis.call('HMGET', fence, '*', group)
  return (stamps[1] or '') .. '/' .. (stamps[2] or '')
end

local function stamps_in(held) return string.sub(held, {TOKEN_LENGTH + 2}) end

local function outlive(fence, ms)
  if redis.call('PTTL', fence) < ms then redis.call('PEXPIRE', fence, string.format('%.0f', ms)) end
end

-- The fence lies there while there are leases (n, how many) or stale copies (c), and moves only then. It is
-- made with a stamp: one that Redis has lost must not look like one that never moved.
local function open_fence(fence)
  if redis.call('HINCRBY', fence, 'n', 1) == 1 and redis.call('HEXISTS', fence, '*') == 0 then
    local time = redis.call('TIME')
    redis.call('HSET', fence, '*', time[1] .. '.' .. time[2])
  end
  outlive(fence, FENCE_MS)
end

local function give_back(lease, held, fence)
  if redis.call('GET', lease) ~= held then return 0 end
  redis.call('UNLINK', lease)
  if redis.call('HINCRBY', fence, 'n', -1) <= 0 and redis.call('HEXISTS', fence, 'c') == 0 then
    redis.call('UNLINK', fence)
  end
  return 1
end

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- When a value expires, in unix ms; 0 where it never does or is none.
local function expiry_of(value)
  local left = redis.call('PTTL', value)
  return left >= 0 and now_ms() + left or 0
end
"""

STORE = (
    FENCE
    + DROP_COPY
    + f"""
-- What keeps a computed value from being stored: the value that somebody else has written, 0 where the lease
-- is void; nil for nothing. ``seen`` and ``expiry`` tell the value that was there when the lease was taken.
local function obstacle(value, lease, fence, group, held, seen, expiry)
  local present = redis.pcall('GET', value)
  local is_other = type(present) == 'string' and (
    redis.sha1hex(present) ~= seen or math.abs(expiry_of(value) - tonumber(expiry)) > {SAME_EXPIRY_MS})
  if redis.call('GET', lease) ~= held or stamps_in(held) ~= stamps_of(fence, group) then
    return is_other and present or 0
  end
  if is_other then return present end
end

-- Keep a copy to be served when the value has expired, and what computing it took (ms, or empty).
local function keep_beside(side, fence, blob, ttl, grace, stamps, cost)
  if ttl and grace > 0 then
    redis.call('HSET', fence, 'c', '1')
    outlive(fence, ttl + grace + FENCE_MS)
    redis.call('HSET', side, 'g', blob, 'x', string.format('%.0f', now_ms() + ttl), 'f', stamps)
  else
    drop_copy(side)
  end
  if ttl and cost ~= '' then redis.call('HSET', side, 't', cost) end
end
"""
)
