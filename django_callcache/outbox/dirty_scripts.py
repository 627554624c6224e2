"""The Lua scripts of the outbox: each is one atomic step on a value and its bucket.

They use Redis 6.2 syntax. Redis does not undo a script that fails half-way, so arguments are judged
first, and the first write is the one that a full or read-only server refuses.
"""

from __future__ import annotations

from django_callcache.lua import Script
from django_callcache.outbox.fill_lua import DROP_COPY, STORE

SIDE_GRACE_MS = 3_600_000
"""A side record outlives its value by this much, or by the value's own TTL where that is longer."""

TOMBSTONE_MS = 7 * 86_400_000
"""How long a deletion is remembered; the remote store keeps its tombstones as long (``callcache_gc``)."""

MAX_AHEAD_US = 240_000_000
"""How far a remote version may lift ours above the clock: less than ``callcache_push`` accepts."""

PAYLOAD_FORMAT = "1"
"""First field of a payload; entries of another format are left for the release that knows them."""

_COMMON = f"""
local SIDE_GRACE_MS, TOMBSTONE_MS = {SIDE_GRACE_MS}, {TOMBSTONE_MS}
local MAX_AHEAD_US, FORMAT = {MAX_AHEAD_US}, '{PAYLOAD_FORMAT}'

-- Lua's own conversion rounds beyond fourteen digits.
local function text(number) return string.format('%.0f', number) end

-- Microseconds since the epoch, as text.
local function microseconds(time) return text(time[1] * 1000000 + time[2]) end

-- Version of a payload, as text; nil for a format that this release does not know.
local function version_of(entry) return string.match(entry, '^' .. FORMAT .. '|(%d+)|') end
"""

RECORD_WRITE = Script(
    _COMMON
    + STORE
    + """
-- Error reply of a command that was refused, else nil. Redis 6.2 puts a position before some errors,
-- which hides their kind.
local function refusal(reply)
  if type(reply) == 'table' and reply.err then
    return {err = string.gsub(reply.err, '^@user_script: %d+: %-', '')}
  end
end

local value, side, lease, due, payload, mark, bytes = unpack(KEYS)
local op, px, blob, remote_key = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local max_keys, max_bytes, expected = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7]

local known_ops = {set = 1, add = 1, replace = 1, swap = 1, delete = 1, touch = 1, incr = 1, fill = 1}
if not known_ops[op] or (op == 'swap' and not expected) then
  return redis.error_reply('ERR unknown operation')
end
if px ~= '' and (tonumber(px) or 0) < 1 then
  return redis.error_reply('ERR the time to live must be at least one millisecond')
end

if op == 'add' then
  if redis.call('EXISTS', value) == 1 then return 0 end
elseif op == 'replace' then
  if redis.call('EXISTS', value) == 0 then return 0 end
elseif op == 'touch' then
  blob = redis.call('GET', value)
  if not blob then return 0 end
elseif op == 'incr' and redis.call('EXISTS', value) == 0 then
  return false
end
local held, seen, expiry, group, grace, cost = unpack(ARGV, 7)
if op == 'fill' then
  local other = obstacle(value, lease, KEYS[8], group, held, seen, expiry)
  if other then
    give_back(lease, held, KEYS[8])
    return other
  end
  grace = tonumber(grace)
elseif expected and redis.pcall('GET', value) ~= expected then
  return 0
else
  grace = 0
end

-- Increments are judged by a size they cannot exceed: a 64-bit integer has twenty characters.
local known = redis.call('HSTRLEN', payload, value)
if known == 0 then
  local growth = #remote_key + #blob + 64
  local held = tonumber(redis.call('GET', bytes) or '0')
  if redis.call('HLEN', payload) >= max_keys or held + growth > max_bytes then
    return redis.error_reply('BACKLOGFULL the outbox is at its bound')
  end
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local version = math.max(tonumber(redis.call('GET', mark) or '0') + 1, time[1] * 1000000 + time[2])
local reply, ttl = 1, tonumber(px)

-- A full server takes UNLINK, and after it the rest of the script: deletions are always recorded.
if op == 'delete' then
  reply = redis.pcall('UNLINK', value)
  if refusal(reply) then return refusal(reply) end
end
local refused = refusal(redis.pcall('SET', mark, text(version)))
if refused then return refused end

if op == 'delete' then
  blob, ttl = '', nil
elseif op == 'touch' then
  if ttl then redis.call('PEXPIRE', value, px) else redis.call('PERSIST', value) end
elseif op == 'incr' then
  refused = refusal(redis.pcall('INCRBY', value, blob))
  if refused then return refused end
  blob = redis.call('GET', value)
  reply, ttl = blob, redis.call('PTTL', value)
  if ttl < 0 then ttl = nil end
elseif op == 'swap' then
  redis.call('SET', value, blob, 'KEEPTTL')
  ttl = redis.call('PTTL', value)
  if ttl < 0 then ttl = nil end
elseif ttl then
  redis.call('SET', value, blob, 'PX', px)
else
  redis.call('SET', value, blob)
end
if op == 'fill' then
  keep_beside(side, KEYS[8], blob, ttl, grace, stamps_in(held), cost)
  give_back(lease, held, KEYS[8])
else
  redis.call('UNLINK', lease)
  drop_copy(side)
end

redis.call('HSET', side, 'v', text(version))
if op == 'delete' then
  redis.call('HSET', side, 'd', '1')
  redis.call('PEXPIRE', side, text(TOMBSTONE_MS))
else
  redis.call('HDEL', side, 'd')
  if ttl then
    redis.call('PEXPIRE', side, text(ttl + math.max(SIDE_GRACE_MS, ttl, grace)))
  else
    redis.call('PERSIST', side)
  end
end

local state, expires_at = op == 'delete' and 'D' or 'S', ttl and text(now + ttl) or ''
local entry = table.concat({FORMAT, text(version), state, expires_at, #remote_key, remote_key .. blob}, '|')
redis.call('HSET', payload, value, entry)
redis.call('INCRBY', bytes, #entry - known)
-- LT: a key set aside for long is due again once it is written again.
redis.call('ZADD', due, 'LT', text(now), value)
return reply
"""
)
"""Write a value and record it for the remote store.

KEYS value, side, lease, due, payload, mark, bytes. ARGV op, px, blob, remote key, max keys, max bytes,
and, where the write depends on it, the bytes that the value must have now.
``op`` is set, add (only if absent), replace (only if present), swap (only what is expected), delete, touch,
incr or fill (only under a valid lease: KEYS goes on with the fence, ARGV with what ``FILL`` of the cache
has but for px and bytes); ``px`` milliseconds, empty for no expiry (for ``touch``: remove it; ``incr`` and
``swap`` keep what there is); ``blob`` the value's bytes (for ``incr`` the difference).

Replies 1 for set, 1 or 0 for add, replace, swap, delete (whether it existed) and touch, 0 wherever the value
is not the expected one, the new value or nil for incr, for fill what ``FILL`` replies,
an error that begins with ``BACKLOGFULL`` where a key new to the outbox finds it full.
"""

CLAIM = Script(
    _COMMON
    + """
local due, payload = KEYS[1], KEYS[2]
local limit, max_bytes, lease = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local not_after, side_prefix, chosen = tonumber(ARGV[4]), ARGV[5], #ARGV > 6

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local due_by, until_ms = text(math.min(now, not_after or now)), text(now + lease)
local reply, unknown, size = {text(now), 0, 0}, 0, tonumber(ARGV[6])
local members = {}
if not chosen then
  members = redis.call('ZRANGEBYSCORE', due, '-inf', due_by, 'LIMIT', 0, limit)
end
for i = 7, #ARGV do
  local score = redis.call('ZSCORE', due, ARGV[i])
  if score and tonumber(score) <= tonumber(due_by) then members[#members + 1] = ARGV[i] end
end
for _, key in ipairs(members) do
  local entry = redis.call('HGET', payload, key)
  if not entry then
    redis.call('ZREM', due, key)
  elseif not version_of(entry) then
    unknown = unknown + 1
    redis.call('ZADD', due, until_ms, key)
  else
    if size > 0 and size + #entry > max_bytes then
      reply[3] = 1
      break
    end
    size = size + #entry
    redis.call('ZADD', due, until_ms, key)
    reply[#reply + 1] = key
    reply[#reply + 1] = entry
    reply[#reply + 1] = redis.call('HGET', side_prefix .. key, 'rv') or '0'
  end
end
reply[2] = unknown
return reply
"""
)
"""Lend the entries that are due, oldest first; nothing is removed.

KEYS due, payload. ARGV limit, max bytes, lease ms, latest due time ms (may be empty), prefix of side records,
bytes lent already, and, where only some keys are meant, these.
Replies now in ms, the number of entries of an unknown format, 1 if the bytes did not suffice, then key,
payload, remote version of each.
"""

ACKNOWLEDGE = Script(
    _COMMON
    + """
local due, payload, bytes = KEYS[1], KEYS[2], KEYS[3]
local side_prefix, cleared, now = ARGV[1], 0, microseconds(redis.call('TIME'))
for i = 2, #ARGV, 3 do
  local key, version, remote_version = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local entry = redis.call('HGET', payload, key)
  local found = entry and version_of(entry)
  if found == version then
    redis.call('HDEL', payload, key)
    redis.call('ZREM', due, key)
    redis.call('DECRBY', bytes, #entry)
    cleared = cleared + 1
  elseif found then
    redis.call('ZADD', due, 'XX', text(math.floor(found / 1000)), key)
  end
  local side = side_prefix .. key
  -- A worker that slept comes back with an older version than is known by now.
  if tonumber(redis.call('HGET', side, 'rv') or '0') < tonumber(remote_version) then
    redis.call('HSET', side, 'rv', remote_version)
  end
  redis.call('HSET', side, 's', now)
  -- The record may have expired and been made anew, or its value may be gone: only a value that
  -- never expires has a side record that never does.
  if redis.call('PTTL', side) == -1 then
    local ttl = redis.call('PTTL', key)
    if ttl == -2 then
      redis.call('PEXPIRE', side, text(TOMBSTONE_MS))
    elseif ttl >= 0 then
      redis.call('PEXPIRE', side, text(ttl + math.max(SIDE_GRACE_MS, ttl)))
    end
  end
end
return cleared
"""
)
"""Clear what the remote store has, unless it was written again; then it is due at once.

KEYS due, payload, bytes. ARGV prefix of side records, then key, version, remote version of each entry.
Replies the number cleared.
"""

DEFER = Script(
    _COMMON
    + """
local due, payload, delay = KEYS[1], KEYS[2], tonumber(ARGV[1])
local time = redis.call('TIME')
local later = text(time[1] * 1000 + math.floor(time[2] / 1000) + delay)
for i = 2, #ARGV, 2 do
  local entry = redis.call('HGET', payload, ARGV[i])
  local found = entry and version_of(entry)
  if found then
    -- Due at its time of writing, not now, so that the age of the backlog stays true.
    local score = text(math.floor(found / 1000))
    if delay > 0 and found == ARGV[i + 1] then score = later end
    redis.call('ZADD', due, 'XX', score, ARGV[i])
  end
end
return 1
"""
)
"""Give a claim back, due at once or after a delay; an entry written again is due at once either way.

KEYS due, payload. ARGV delay ms, then key, version of each entry.
"""

REPLACE_PAYLOAD = Script("""
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('INCRBY', KEYS[2], #ARGV[3] - #ARGV[2])
return 1
""")
"""Put one payload in place of another of the same key and version, if it is still there.

KEYS payload, bytes. ARGV value key, what was read, what to write. Replies 1, or 0 where it is another by now.
"""

APPLY_REMOTE = Script(
    _COMMON
    + DROP_COPY
    + """
local value, side, lease, due, payload, mark, bytes = unpack(KEYS)
local op, px, blob = ARGV[1], ARGV[2], ARGV[3]
local version, remote_version, decided, trust = ARGV[4], ARGV[5], ARGV[6], ARGV[7]

-- A row from the far future would lift every version to come above what the remote store accepts.
local time = redis.call('TIME')
local seen = math.min(tonumber(version), time[1] * 1000000 + MAX_AHEAD_US)
if tonumber(redis.call('GET', mark) or '0') < seen then redis.call('SET', mark, text(seen)) end

local entry = redis.call('HGET', payload, value)
local ours = entry and version_of(entry)
if entry and not ours then return {'unknown'} end
local state = redis.call('HMGET', side, 'v', 'rv', 'c')
local known, theirs = tonumber(state[2] or '0'), tonumber(remote_version)

if trust == '' and known >= theirs then return {'known'} end
if trust == 'absent' and (known > theirs or redis.call('EXISTS', value) == 1) then return {'known'} end
if known == theirs and (trust == 'compare' or (trust == 'anew' and state[1] == version)) then
  redis.call('HSET', side, 's', microseconds(time))
  return {'known'}
end
if entry and ours ~= decided then
  redis.call('HSET', side, 's', microseconds(time))
  return {'dirty', entry, text(known)}
end
if trust == 'compare' and known > theirs then
  redis.call('HSET', side, 's', microseconds(time))
  return {'lost'}
end
if trust ~= 'decided' and state[3] then
  redis.call('HSET', side, 's', microseconds(time))
  return {'parked'}
end

if entry then
  redis.call('HDEL', payload, value)
  redis.call('ZREM', due, value)
  redis.call('DECRBY', bytes, #entry)
end
redis.call('UNLINK', lease)
redis.call('HSET', side, 'v', version, 'rv', remote_version, 's', microseconds(time))
redis.call('HDEL', side, 'd', 'c')
drop_copy(side)
if op == 'set' and px == '' then
  redis.call('SET', value, blob)
  redis.call('PERSIST', side)
elseif op == 'set' then
  redis.call('SET', value, blob, 'PX', px)
  redis.call('PEXPIRE', side, text(px + math.max(SIDE_GRACE_MS, px)))
else
  redis.call('UNLINK', value)
  if op == 'delete' then redis.call('HSET', side, 'd', '1') end
  redis.call('PEXPIRE', side, text(TOMBSTONE_MS))
end
return {'taken'}
"""
)
"""Take a remote value, without marking it dirty. A dirty key is left alone, unless this entry was decided.

KEYS value, side, lease, due, payload, mark, bytes. ARGV op (set, delete, or drop: forget the local copy),
px, blob, version, remote version, version of the entry that was decided to lose (may be empty), and how far
what is known here is trusted: empty, wholly: a row not later than the known one is skipped; ``compare``, a
row earlier than the known one means that the remote store has lost a write; ``anew``, not at all: the remote
store was made or restored from elsewhere; ``decided``, not at all: a person has chosen this row; ``absent``,
wholly, but a row that is known is taken where its value is gone here, and none over a value.
Replies ``taken``; ``known``; ``lost``; ``parked``: two sides of the key wait for a person; ``unknown``:
another release's entry is in the way; or ``dirty`` with the entry in the way and the remote version that it
builds on.
"""

WRITE_BACK = Script(
    _COMMON
    + """
local value, side, lease, due, payload, mark, bytes = unpack(KEYS)
local op, px, blob, remote_key, remote_version = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local decided, order, last = ARGV[6], ARGV[7], ARGV[8]

local entry = redis.call('HGET', payload, value)
if entry and version_of(entry) ~= decided then return '0' end
local found = redis.call('HGET', side, 'v')
if last ~= '' and found and found ~= last then return '0' end

local time = redis.call('TIME')
local now, ttl = time[1] * 1000 + math.floor(time[2] / 1000), tonumber(px)
local version = order
if version == '' then
  version = math.max(tonumber(redis.call('GET', mark) or '0') + 1, time[1] * 1000000 + time[2])
  version = text(version)
  redis.call('SET', mark, version)
  if op == 'S' and ttl then redis.call('SET', value, blob, 'PX', px)
  elseif op == 'S' then redis.call('SET', value, blob)
  else redis.call('UNLINK', value) end
  redis.call('UNLINK', lease)
end

redis.call('HSET', side, 'v', version, 's', microseconds(time))
if remote_version ~= '' then redis.call('HSET', side, 'rv', remote_version) end
redis.call('HDEL', side, 'c', 'd')
if op == 'D' then
  redis.call('HSET', side, 'd', '1')
  redis.call('PEXPIRE', side, text(TOMBSTONE_MS))
elseif ttl then
  redis.call('PEXPIRE', side, text(ttl + math.max(SIDE_GRACE_MS, ttl)))
else
  redis.call('PERSIST', side)
end

local ends = op == 'S' and ttl and text(now + ttl) or ''
local body = table.concat({FORMAT, version, op, ends, #remote_key, remote_key .. blob}, '|')
redis.call('HSET', payload, value, body)
redis.call('INCRBY', bytes, #body - (entry and #entry or 0))
redis.call('ZADD', due, 'LT', text(now), value)
return version
"""
)
"""Mark a key dirty on behalf of a decision: the result of a merge, a side that was chosen, a write to repeat.

KEYS value, side, lease, due, payload, mark, bytes. ARGV op (S or D), px (may be empty), blob, remote key,
remote version to build on (empty: as it is), version of the entry that may be replaced (empty: none may be
there), version of the write (empty: a new one, and the value is written too; else only the outbox), and the
version that the key must have had last (empty: any).
Replies the version, or ``0`` where the key was written meanwhile.
"""

REBASE = Script(
    _COMMON
    + """
local side, payload = KEYS[1], KEYS[2]
local entry = redis.call('HGET', payload, ARGV[1])
if not entry or version_of(entry) ~= ARGV[2] then return 0 end
redis.call('HSET', side, 'rv', ARGV[3])
return 1
"""
)
"""Let the next push of an entry build on another remote version, unless it was written again or is gone.

KEYS side, payload. ARGV key, version, remote version.
"""

WITHDRAW = Script(
    _COMMON
    + """
local side, due, payload, bytes = unpack(KEYS)
local key, version, is_parked = ARGV[1], ARGV[2], ARGV[3]
local entry = redis.call('HGET', payload, key)
if not entry or version_of(entry) ~= version then return 0 end
redis.call('HDEL', payload, key)
redis.call('ZREM', due, key)
redis.call('DECRBY', bytes, #entry)
if is_parked == '1' then
  redis.call('HSET', side, 'c', '1')
  redis.call('PERSIST', side)
end
return 1
"""
)
"""Take an entry out of the outbox, unless it was written again.

KEYS side, due, payload, bytes. ARGV key, version, ``1`` where two sides of the key wait for a person.
"""

FORGET = Script("""
local value, side, lease, payload = unpack(KEYS)
if redis.call('HEXISTS', payload, value) == 1 then return 0 end
local state = redis.call('HMGET', side, 'v', 's')
if state[1] ~= ARGV[1] or tonumber(state[2] or '0') >= tonumber(ARGV[2]) then return 0 end
redis.call('UNLINK', value, side, lease)
return 1
""")
"""Forget a key that the remote store does not have, unless it was written or seen meanwhile.

KEYS value, side, lease, payload. ARGV version as last read, microseconds of the time since when it would
have been seen.
"""
