"""Lua scripts on single values: each is one atomic step that a plain command does not offer."""

from __future__ import annotations

from django_callcache.lua import Script
from django_callcache.outbox.fill_lua import DROP_COPY

INCREMENT = Script("""
if redis.call('EXISTS', KEYS[1]) == 0 then return false end
return redis.call('INCRBY', KEYS[1], ARGV[1])
""")
"""INCRBY of a key that exists; nil where it does not. KEYS: value. ARGV: delta."""

REPLACE = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
return 1
""")
"""SET of a key that still holds what was read. KEYS: value. ARGV: what was read, what to write."""

MOVE = Script(
    DROP_COPY
    + """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local px = redis.call('PTTL', KEYS[1])
if px < 0 then
  redis.call('SET', KEYS[2], ARGV[2])
else
  redis.call('SET', KEYS[2], ARGV[2], 'PX', math.max(px, 1))
end
if KEYS[1] ~= KEYS[2] then redis.call('DEL', KEYS[1]) end
redis.call('UNLINK', KEYS[3], KEYS[4])
drop_copy(KEYS[5])
drop_copy(KEYS[6])
return 1
"""
)
"""A value under another name, as long as it is what was read; computations of both are void.

KEYS: from, to, the leases of both, their side records. ARGV: what was read, what to write.
"""

TAKE_OUT = Script(
    DROP_COPY
    + """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('UNLINK', KEYS[1], KEYS[2])
drop_copy(KEYS[3])
return 1
"""
)
"""Delete a value that is still what was read; its computation is void. KEYS: value, lease, side record.

ARGV: what was read.
"""
