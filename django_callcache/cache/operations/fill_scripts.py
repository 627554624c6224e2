"""Lua scripts of computed values: who may compute, and whether what was computed may be stored."""

from __future__ import annotations

from django_callcache.lua import Script
from django_callcache.outbox.fill_lua import FENCE, STORE

MOST_GROUPS = 1000
"""Groups of keys that the fence tells apart; beyond it, one deletion by pattern counts for all."""

CLAIM = Script(
    FENCE
    + """
local value, lease, side, fence = unpack(KEYS)
local token, px, seen, group, grace = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])

local present = redis.pcall('GET', value)
if type(present) ~= 'string' then present = nil end
if present and redis.sha1hex(present) ~= seen then return {'value', present, '', ''} end

local copy = ''
if grace > 0 then
  local kept = redis.call('HMGET', side, 'g', 'x', 'f')
  local is_valid = kept[1] and kept[3] == stamps_of(fence, group)
  if is_valid and now_ms() < tonumber(kept[2]) + grace then copy = kept[1] end
end
local held = redis.call('GET', lease)
if token == '' or (held and (ARGV[6] == 'open' or string.sub(held, 1, 1) ~= 'o')) then
  return {'held', held or '', '', copy}
end
open_fence(fence)
local text = token .. ':' .. stamps_of(fence, group)
redis.call('SET', lease, text, 'PX', px)
return {'granted', text, string.format('%.0f', present and expiry_of(value) or 0), copy}
"""
)
"""The value, or the right to compute it.

KEYS value, lease, side, fence. ARGV token (empty: ask for nothing), milliseconds of the lease, SHA-1 of the
value that is to be replaced (empty: any value will do), group, milliseconds of grace, ``open`` where a lease
that somebody else holds is shared. A token that begins with ``o`` is an open lease, which the next
computation takes.

Replies {'value', bytes}, {'held', lease, '', stale copy}, or {'granted', lease, expiry of the value that
is to be replaced (unix ms, or 0), stale copy}; no copy is an empty one.
"""

FILL = Script(
    STORE
    + """
local value, lease, side, fence = unpack(KEYS)
local held, px, blob, seen, expiry, group = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local grace, cost = tonumber(ARGV[7]), ARGV[8]

local other = obstacle(value, lease, fence, group, held, seen, expiry)
if other then
  give_back(lease, held, fence)
  return other
end
if px == '' then
  redis.call('SET', value, blob)
else
  redis.call('SET', value, blob, 'PX', px)
end
keep_beside(side, fence, blob, tonumber(px), grace, stamps_in(held), cost)
give_back(lease, held, fence)
local ends = px ~= '' and px + grace
if ends and redis.call('PTTL', side) < ends then redis.call('PEXPIRE', side, string.format('%.0f', ends)) end
return 1
"""
)
"""Store a computed value, unless it was invalidated or written since the lease was taken.

KEYS value, lease, side, fence. ARGV lease, px (empty: no expiry), bytes, SHA-1 and expiry of the value that
the lease was taken over, group, milliseconds of grace, milliseconds that computing took (empty: not kept).

Replies 1; or the value that somebody else has written; or 0 where the lease is void and there is no value.
"""

RELEASE = Script(
    FENCE
    + """
local is_current = stamps_in(ARGV[1]) == stamps_of(KEYS[2], ARGV[2])
return give_back(KEYS[1], ARGV[1], KEYS[2]) == 1 and is_current and 1 or 0
"""
)
"""Give a lease back; tells whether nothing has voided it. KEYS: lease, fence. ARGV: lease, group."""

RENEW = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
""")
"""Prolong a lease; tells whether it was still held. KEYS: lease. ARGV: lease, milliseconds."""

MOVE_FENCE = Script(f"""
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local time = redis.call('TIME')
local group = redis.call('HLEN', KEYS[1]) < {MOST_GROUPS} and ARGV[1] or '*'
redis.call('HSET', KEYS[1], group, time[1] .. '.' .. time[2])
return 1
""")
"""Void every lease and every stale copy of a group; tells whether there may be any.

KEYS: fence. ARGV: group, ``*`` for all keys.
"""
