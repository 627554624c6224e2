"""Rotation: what older secrets sealed is put under the newest, and what became sensitive is encrypted.

Values, stale copies beside them, members of collections and entries that wait for the remote store; nothing
else about them changes, not their time to live and not their versions. Each is replaced only if it is still
what was read, so that no write is lost. What is done already is told by its first bytes, which makes a
rotation that was stopped cheap to start again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import redis

from django_callcache.codec import Codec
from django_callcache.codec.blob import PLAIN_HEADER_BYTES
from django_callcache.exceptions import Undecodable
from django_callcache.lua import Script, run_scripts
from django_callcache.outbox.dirty import DirtyEntries
from django_callcache.redis_keys import RedisKeys

BATCH = 500
"""Keys looked at in one round trip."""

PORTION = 50
"""Values held and replaced in one round trip."""

MEMBER = b""
"""What stands for the key in the seal of a member of a collection."""

STALE = b"g"
"""Field of a side record that holds a stale copy of the value, sealed as the value is."""

_SWAP = Script("""
local kind, name, field, old, new = ARGV[1], KEYS[1], ARGV[2], ARGV[3], ARGV[4]
if kind == 'string' then
  if redis.call('GET', name) ~= old then return 0 end
  redis.call('SET', name, new, 'KEEPTTL')
elseif kind == 'hash' then
  if redis.call('HGET', name, field) ~= old then return 0 end
  redis.call('HSET', name, field, new)
elseif kind == 'set' then
  if redis.call('SREM', name, old) == 0 then return 0 end
  redis.call('SADD', name, new)
else
  local score = redis.call('ZSCORE', name, old)
  if not score then return 0 end
  redis.call('ZREM', name, old)
  redis.call('ZADD', name, score, new)
end
return 1
""")
"""Put one sealed thing in place of another, if it is still there; the time to live stays.

KEYS the key. ARGV its type (string, hash, set, zset), the field of a hash, what was read, what to write.
Replies 1, or 0 where somebody has written meanwhile.
"""


class Subject(Protocol):
    """A cache, with what rotation asks of it. `CallCache` documents it."""

    @property
    def alias(self) -> str: ...
    @property
    def glob(self) -> bytes: ...
    @property
    def redis_keys(self) -> RedisKeys: ...
    def caller_key(self, redis_key: bytes) -> str: ...
    def codec_for(self, key: str) -> Codec: ...
    def redis_client(self) -> redis.Redis: ...


@dataclass(slots=True)
class Rotated:
    """What a rotation did."""

    seen: int = 0
    """Values, members, stale copies and waiting entries that were looked at."""
    resealed: int = 0
    """Those of them that are under the newest secret now and were not before."""
    changed: int = 0
    """Those that somebody wrote meanwhile, by the newest secret if all processes know it."""
    unreadable: int = 0
    """Those that no secret opens: misses, whatever is done."""

    def count(self, was_replaced: bool) -> None:
        """Count one that was to be replaced."""
        if was_replaced:
            self.resealed += 1
        else:
            self.changed += 1


@dataclass(frozen=True, slots=True)
class _Sealed:
    """One sealed thing in Redis."""

    kind: str
    name: bytes
    field: bytes
    blob: bytes
    value_key: bytes
    sealed_for: bytes
    """What stands for the key in the seal."""


def rotate(cache: Subject, *, batch: int = BATCH, progress: Callable[[int], object] | None = None) -> Rotated:
    """Put everything of an alias under the newest secret.

    Args:
        cache: Whose values.
        batch: Keys looked at in one round trip.
        progress: Called after each with the number of keys that were looked at since the last time.

    Raises:
        redis.RedisError: Redis failed; what is done stays done.
    """
    client, rotated = cache.redis_client(), Rotated()
    scan = client.scan_iter(match=cache.glob, count=batch)
    while page := list(islice(scan, batch)):
        keys = [key for key in page if not cache.redis_keys.is_internal(key)]
        sealed = _sealed_at(cache, client, keys, rotated)
        while portion := list(islice(sealed, PORTION)):
            _reseal(cache, client, portion, rotated)
        if progress is not None:
            progress(len(page))
    entries = DirtyEntries(client, cache.redis_keys)
    for waiting in entries.waiting():
        resealed = anew(cache, waiting.redis_key, waiting.blob, waiting.redis_key, rotated)
        if resealed is not None:
            rotated.count(entries.replace(waiting, resealed))
    return rotated


def _sealed_at(cache: Subject, client: redis.Redis, keys: list[bytes], rotated: Rotated) -> Iterator[_Sealed]:
    """Yield what is sealed at some keys and beside them, bar values whose first bytes say they are done."""
    pipeline = client.pipeline(transaction=False)
    for key in keys:
        pipeline.type(key)
        pipeline.getrange(key, 0, PLAIN_HEADER_BYTES - 1)
        pipeline.hget(cache.redis_keys.side(key), STALE.decode())
    replies = pipeline.execute(raise_on_error=False)
    for key, kind, start, stale in zip(keys, replies[::3], replies[1::3], replies[2::3], strict=True):
        if isinstance(stale, bytes):
            yield _Sealed("hash", cache.redis_keys.side(key), STALE, stale, key, key)
        if kind != b"string":
            yield from _members(client, key, bytes(kind).decode())
        elif cache.codec_for(cache.caller_key(key)).is_current(start):
            rotated.seen += 1
        elif isinstance(blob := client.get(key), bytes):
            yield _Sealed("string", key, b"", blob, key, key)


def _members(client: redis.Redis, key: bytes, kind: str) -> Iterator[_Sealed]:
    if kind == "hash":
        for name, item in client.hscan_iter(key):
            yield _Sealed(kind, key, name, item, key, MEMBER)
    elif kind == "set":
        for member in client.sscan_iter(key):
            yield _Sealed(kind, key, b"", member, key, MEMBER)
    elif kind == "zset":
        for member, _ in client.zscan_iter(key):
            yield _Sealed(kind, key, b"", member, key, MEMBER)


def _reseal(cache: Subject, client: redis.Redis, portion: list[_Sealed], rotated: Rotated) -> None:
    calls = []
    for sealed in portion:
        resealed = anew(cache, sealed.value_key, sealed.blob, sealed.sealed_for, rotated)
        if resealed is not None:
            calls.append(((sealed.name,), (sealed.kind, sealed.field, sealed.blob, resealed)))
    for reply in run_scripts(client, _SWAP, calls):
        rotated.count(bool(reply))


def anew(cache: Subject, redis_key: bytes, blob: bytes, sealed_for: bytes, rotated: Rotated) -> bytes | None:
    """The same thing under the newest secret; None where it is so, or cannot be.

    Args:
        cache: Whose it is.
        redis_key: Of the value that it belongs to, which says by which codec.
        blob: As it was read.
        sealed_for: What stands for the key in the seal.
        rotated: Gets it counted.
    """
    rotated.seen += 1
    key = cache.caller_key(redis_key)
    try:
        return cache.codec_for(key).resealed(blob, sealed_for)
    except Undecodable:
        rotated.unreadable += 1
        return None
