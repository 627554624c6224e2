"""The backend that ``CACHES`` names. It decides nothing itself: operations do."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from time import monotonic_ns
from typing import Any

import redis
from django.core.signals import setting_changed
from django.dispatch import receiver
from django_redis.cache import RedisCache

from django_callcache.cache.drivers import Io
from django_callcache.cache.faces import faces, iterating_faces
from django_callcache.cache.faults import bared
from django_callcache.cache.flusher import flush_if_late, keep_flushing
from django_callcache.cache.locks import LockingCache
from django_callcache.cache.near import NearCache, absent
from django_callcache.cache.operations import Operations
from django_callcache.cache.operations.base import MISSING
from django_callcache.cache.operations.overrides import PinBounds
from django_callcache.cache.registry import runtime_of
from django_callcache.cache.revalidation import read_staleness
from django_callcache.cache.running import run
from django_callcache.cache.runtime import Runtime
from django_callcache.cache.value_keys import Key, KeyFunction, ValueKeys
from django_callcache.codec import Codec, DictionaryRecords
from django_callcache.conf import SOURCES, CacheOptions, PrefixRule
from django_callcache.exceptions import RedisFault
from django_callcache.outbox.processes import ProcessReport
from django_callcache.redis_keys import RedisKeys
from django_callcache.signals import are_reads_heard, when_changed
from django_callcache.ttl import HourlyProfile, Policy, Staleness


class CallCache(LockingCache, RedisCache):
    """A cache on Redis with adaptive TTL, statistics and sync; drop-in for django-redis's ``RedisCache``.

    All of Django's cache API, all of django-redis's method names, and an ``a…`` method of each
    that is native to asyncio. `Operations` documents every method; `CacheOptions` every setting.

    Args:
        server: ``LOCATION``: what django-redis takes, also ``valkey://``.
        params: The rest of the alias's settings.

    Wrong options raise `ImproperlyConfigured` when the cache is first used, not when it is made:
    Django makes every cache in its system checks, which are there to report them.
    """

    _native: tuple[asyncio.AbstractEventLoop, Operations] | None = None
    _is_heard = False
    """Whether somebody listens to hits and misses: those of the near cache are told by `Operations.read`."""

    def __init__(self, server: Any, params: dict[str, Any]) -> None:
        self._near: NearCache | None = None  # until the first call that reaches Redis
        super().__init__(server, params)
        self._stated = server, params

    @cached_property
    def _runtime(self) -> Runtime:
        _in_use.add(self)
        return runtime_of(*self._stated)

    @cached_property
    def _value_keys(self) -> ValueKeys:
        known = self._runtime.value_keys
        return known if self._key_function is known.make else known.made_by(self._key_function)

    @cached_property
    def blocking(self) -> Operations:
        """Operations that block the calling thread."""
        return self._operations(self._runtime.blocking_io)

    @property
    def native(self) -> Operations:
        """Operations of the running event loop."""
        loop = asyncio.get_running_loop()
        if self._native is None or self._native[0] is not loop:
            self._native = loop, self._operations(self._runtime.async_io())
        return self._native[1]

    def _operations(self, io: Io) -> Operations:
        keep_flushing()
        operations = Operations(self._runtime, io, self._value_keys)
        self._is_heard = are_reads_heard()
        self._near = None if self._is_heard else operations.near
        return operations

    @property
    def key_func(self) -> KeyFunction:
        """The alias's ``KEY_FUNCTION``. What is assigned holds for this object alone."""
        return self._key_function

    @key_func.setter
    def key_func(self, make: KeyFunction) -> None:
        self._key_function = make
        self._forget("_value_keys", "blocking")

    def _forget(self, *names: str) -> None:
        """Make anew what was made by other settings or another key function."""
        self._native = None
        self._near = None
        for name in names:
            self.__dict__.pop(name, None)

    def close(self, **_: Any) -> None:
        """Called when a request ends. Connections stay: they belong to the process."""
        keep_flushing()
        flush_if_late()

    def get(self, key: Key, default: Any = None, version: int | None = None) -> Any:
        """The value at a key, or ``default`` where there is none."""
        near = self._near
        if near is not None and version is None and type(key) is str:
            # The same as `NearCache.get`, spelled out: a hit costs little more than the call.
            entry = near.find(key)
            if entry is not None and (at := monotonic_ns()) < entry.deadline and at < near.confirmed_until:
                entry.hits += 1
                copy = entry.copy
                if copy is None:
                    return entry.value
                if copy is absent:
                    return default
                value = near.copied(entry, MISSING)
                if value is not MISSING:
                    return value
        operations = self.blocking
        if self._is_heard:
            return run(operations.read(key, version, default, default))
        return run(operations.fetch(key, version, default, default))

    async def aget(self, key: Key, default: Any = None, version: int | None = None) -> Any:
        """The value at a key, or ``default`` where there is none."""
        near = self._near
        if near is not None and version is None and type(key) is str:
            value = near.get(key, default, MISSING)
            if value is not MISSING:
                return value
        operations = self.native
        try:
            if self._is_heard:
                return await operations.read(key, version, default, default)
            return await operations.fetch(key, version, default, default)
        except RedisFault as fault:
            raise bared(fault) from fault.__cause__

    set, aset = faces(Operations.set)
    add, aadd = faces(Operations.add)
    get_or_set, aget_or_set = faces(Operations.get_or_set)
    get_for_fill, aget_for_fill = faces(Operations.get_for_fill)
    fill, afill = faces(Operations.fill)
    load, aload = faces(Operations.load)
    load_many, aload_many = faces(Operations.load_many)
    delete, adelete = faces(Operations.delete)
    touch, atouch = faces(Operations.touch)
    has_key, ahas_key = faces(Operations.has_key)
    incr, aincr = faces(Operations.incr)
    decr, adecr = faces(Operations.decr)
    incr_version, aincr_version = faces(Operations.incr_version)
    decr_version, adecr_version = faces(Operations.decr_version)

    explain_ttl, aexplain_ttl = faces(Operations.explain_ttl)
    ttl_overrides, attl_overrides = faces(Operations.ttl_overrides)
    pin_ttl, apin_ttl = faces(Operations.pin_ttl)
    unpin_ttl, aunpin_ttl = faces(Operations.unpin_ttl)
    pause_ttl, apause_ttl = faces(Operations.pause_ttl)
    resume_ttl, aresume_ttl = faces(Operations.resume_ttl)
    ttl, attl = faces(Operations.ttl)
    pttl, apttl = faces(Operations.pttl)
    persist, apersist = faces(Operations.persist)
    expire, aexpire = faces(Operations.expire)
    pexpire, apexpire = faces(Operations.pexpire)
    expire_at, aexpire_at = faces(Operations.expire_at)
    pexpire_at, apexpire_at = faces(Operations.pexpire_at)

    get_many, aget_many = faces(Operations.get_many)
    set_many, aset_many = faces(Operations.set_many)
    delete_many, adelete_many = faces(Operations.delete_many)
    touch_many, atouch_many = faces(Operations.touch_many)

    keys, akeys = faces(Operations.keys)
    iter_keys, aiter_keys = iterating_faces(Operations.iter_keys)
    count, acount = faces(Operations.count)
    delete_pattern, adelete_pattern = faces(Operations.delete_pattern)
    delete_step, adelete_step = faces(Operations.delete_step)
    delete_prefix, adelete_prefix = faces(Operations.delete_prefix)
    delete_tags, adelete_tags = faces(Operations.delete_tags)
    clear, aclear = faces(Operations.clear)
    flush_db, aflush_db = faces(Operations.flush_db)

    sadd, asadd = faces(Operations.sadd)
    srem, asrem = faces(Operations.srem)
    scard, ascard = faces(Operations.scard)
    sismember, asismember = faces(Operations.sismember)
    smismember, asmismember = faces(Operations.smismember)
    smembers, asmembers = faces(Operations.smembers)
    sdiff, asdiff = faces(Operations.sdiff)
    sinter, asinter = faces(Operations.sinter)
    sunion, asunion = faces(Operations.sunion)
    sdiffstore, asdiffstore = faces(Operations.sdiffstore)
    sinterstore, asinterstore = faces(Operations.sinterstore)
    sunionstore, asunionstore = faces(Operations.sunionstore)
    smove, asmove = faces(Operations.smove)
    spop, aspop = faces(Operations.spop)
    srandmember, asrandmember = faces(Operations.srandmember)
    sscan, asscan = faces(Operations.sscan)
    sscan_iter, asscan_iter = iterating_faces(Operations.sscan_iter)

    hset, ahset = faces(Operations.hset)
    hget, ahget = faces(Operations.hget)
    hgetall, ahgetall = faces(Operations.hgetall)
    hdel, ahdel = faces(Operations.hdel)
    hlen, ahlen = faces(Operations.hlen)
    hkeys, ahkeys = faces(Operations.hkeys)
    hexists, ahexists = faces(Operations.hexists)

    zadd, azadd = faces(Operations.zadd)
    zcard, azcard = faces(Operations.zcard)
    zcount, azcount = faces(Operations.zcount)
    zincrby, azincrby = faces(Operations.zincrby)
    zpopmax, azpopmax = faces(Operations.zpopmax)
    zpopmin, azpopmin = faces(Operations.zpopmin)
    zrange, azrange = faces(Operations.zrange)
    zrevrange, azrevrange = faces(Operations.zrevrange)
    zrangebyscore, azrangebyscore = faces(Operations.zrangebyscore)
    zrevrangebyscore, azrevrangebyscore = faces(Operations.zrevrangebyscore)
    zrank, azrank = faces(Operations.zrank)
    zrem, azrem = faces(Operations.zrem)
    zremrangebyscore, azremrangebyscore = faces(Operations.zremrangebyscore)
    zscore, azscore = faces(Operations.zscore)

    def __contains__(self, key: Key) -> bool:
        return self.has_key(key)

    @property
    def alias(self) -> str:
        """The name under which statistics, sync and seals know this cache."""
        return self._runtime.alias

    @property
    def options(self) -> CacheOptions:
        """The alias's options."""
        return self._runtime.options

    @property
    def address(self) -> str:
        """Server and database, as messages name them: without a password."""
        return self._runtime.address

    @property
    def redis_keys(self) -> RedisKeys:
        """Names of the internal keys."""
        return self._runtime.redis_keys

    def redis_client(self) -> redis.Redis:
        """A redis-py client for work off the hot path: it keeps no deadline and knows no breaker."""
        return self._runtime.client()

    def redis_key(self, key: Key, version: int | None = None) -> bytes:
        """The key that Redis holds a value under."""
        return self._value_keys.redis_key(key, version)

    def remote_key_of(self, redis_key: bytes) -> str | None:
        """The name in the remote store of what Redis holds; None where the key function does not tell."""
        return self._value_keys.remote_key_of(redis_key)

    def announce(self, redis_keys: Iterable[bytes]) -> None:
        """Tell near caches that these values were written through `redis_client`.

        Only where the server does not tell them itself does anybody listen.
        """
        watch = self._runtime.watch
        message = None if watch is None else watch.announcer.message(redis_keys)
        if watch is None or message is None:
            return
        try:
            self.redis_client().publish(watch.announcer.channel, message)
        except redis.exceptions.NoPermissionError:
            return  # copies end by their age then, as those of any writer here do

    def caller_key(self, redis_key: bytes) -> str:
        """The key as its writer spelt it, of the key that Redis holds."""
        return self._value_keys.caller_key(redis_key)

    def codec_for(self, key: str) -> Codec:
        """What turns the values of a key into bytes and back."""
        return self._runtime.prefixes.of(key).codec

    def rule_for(self, key: str) -> PrefixRule | None:
        """The rule that holds for a key, if there is one."""
        return self._runtime.prefixes.of(key).rule

    def prefix_of(self, key: str) -> str:
        """The name of the prefix whose rule, counts and dictionary hold for a key."""
        return self._runtime.prefixes.of(key).name

    @property
    def glob(self) -> bytes:
        """A pattern for SCAN that every value of this alias matches, whatever its version."""
        return self._value_keys.everything()

    @property
    def dictionary_records(self) -> DictionaryRecords:
        """What seals and opens the zstd dictionaries that this alias keeps in Redis."""
        return self._runtime.dictionaries.records

    def read_dictionaries(self) -> None:
        """Learn every zstd dictionary in Redis now, instead of in a few seconds or when a value needs it.

        For programs that write much as soon as they start.

        Raises:
            redis.exceptions.RedisError: Redis did not answer, or refuses.
        """
        self._runtime.read_dictionaries(all_of_them=True)

    def policy_for(self, key: str) -> Policy:
        """What chooses the TTL of a key where its writer leaves the timeout open."""
        return self._runtime.prefixes.of(key).clock.policy

    def jitter_of(self, key: str) -> float:
        """Part of the TTL of a key that its policy takes off at random, at most."""
        prefix = self._runtime.prefixes.of(key)
        if prefix.learner is None or prefix.clock.decision().is_override:
            return 0.0
        return prefix.learner.jitter

    def is_ttl_overridden(self, key: str) -> bool:
        """Whether a pin or the pause decides the TTL of a key now, as far as this process knows."""
        return self._runtime.prefixes.of(key).clock.decision().is_override

    def pin_bounds(self, prefix: str) -> PinBounds:
        """Seconds that a prefix may be pinned to.

        Raises:
            PinRefused: It is no prefix by itself.
        """
        return self.blocking.pin_bounds(prefix)

    def changes_an_hour(self) -> dict[str, float]:
        """How often a key of a prefix changes, on average, where its TTL policy has learnt that."""
        return {
            name: rate * 3600
            for name, learner in self._runtime.learners().items()
            if (rate := learner.tables.changes_a_second) is not None
        }

    def read_learning(self) -> None:
        """Learn now what TTL policies of all processes go by, instead of within a minute.

        For programs that ask `explain_ttl` as soon as they start.

        Raises:
            redis.exceptions.RedisError: Redis did not answer, or refuses.
        """
        self._runtime.read_profile()
        self._runtime.exchange.follow_overrides()
        self._runtime.exchange.share_learning(with_all=True)

    def measured_staleness(self) -> dict[str, Staleness]:
        """What comparisons of hits with their origin have found, over all processes, by prefix.

        Of prefixes whose rule has ``revalidate`` or ``stale_target``. It is a measurement, not an estimate.

        Raises:
            RedisFault: There was no reply in time.
        """
        prefixes = [rule.prefix for rule in self.options.rules if rule.checked_share]
        asked = [("HGETALL", self.redis_keys.checked(prefix)) for prefix in prefixes]
        replies = self.ask_redis(*asked) if asked else ()
        return {
            prefix: read_staleness(reply)
            for prefix, reply in zip(prefixes, replies, strict=True)
            if not isinstance(reply, redis.RedisError)
        }

    def follow_recording(self) -> None:
        """Learn now whether reads and changes are recorded, and hand over what was; else within 10 s.

        Raises:
            redis.exceptions.RedisError: Redis did not answer, or refuses.
        """
        self._runtime.exchange.flush_stats()
        self._runtime.exchange.share_trace()
        self._runtime.exchange.follow_recording()

    @property
    def profile(self) -> HourlyProfile:
        """Gets of all processes by hour, as this process last read them: once a minute."""
        return self._runtime.profile

    def flush_stats(self) -> None:
        """Add what this process has counted to Redis now, instead of in a few seconds.

        Raises:
            redis.exceptions.RedisError: It did not arrive; the counts wait for the next time.
        """
        self._runtime.exchange.flush_stats()

    def ask_redis(self, *questions: Sequence[bytes | str | int]) -> list[Any]:
        """The replies to some commands that change nothing, in one round trip with a deadline.

        For work off the hot path. Each command is a sequence of its words; an error reply is among the
        replies.

        Raises:
            RedisFault: There was no reply in time, or the breaker is open.
        """
        return self._runtime.ask(questions)

    @property
    def condition(self) -> ProcessReport:
        """How this process does: its near cache, its link, whether it has given Redis up for now."""
        return self._runtime.condition()

    def counted(self) -> Mapping[str, Mapping[str, int]]:
        """What this process has counted since it started: prefix to name to number."""
        return self._runtime.counted()


_in_use: weakref.WeakSet[CallCache] = weakref.WeakSet()
"""Objects that have been used: tests that override settings expect them to follow."""


def _follow_receivers() -> None:
    for cache in list(_in_use):
        cache._forget("blocking")


when_changed(_follow_receivers)


@receiver(setting_changed)
def _forget_settings(*, setting: str, **_: object) -> None:
    if setting in SOURCES:
        for cache in list(_in_use):
            cache._forget("_runtime", "_value_keys", "blocking")
