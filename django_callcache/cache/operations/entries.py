"""Operations on one key."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT

from django_callcache.cache import commands
from django_callcache.cache.counters import DELETES, HITS, MISSES, SETS
from django_callcache.cache.near import NearCache
from django_callcache.cache.operations.base import FAILED, MISSING, ends_early, now
from django_callcache.cache.operations.learning import LearningOperations
from django_callcache.cache.operations.recording import RecordingOperations
from django_callcache.cache.operations.tags import TagOperations, start_of
from django_callcache.cache.prefix_maker import SESSIONS
from django_callcache.cache.prefixes import Prefix
from django_callcache.cache.tags import Met, check_in_epoch
from django_callcache.cache.value_keys import Key
from django_callcache.codec import Tagged
from django_callcache.exceptions import RedisFault, RedisRefused
from django_callcache.signals import are_reads_heard, cache_deleted, cache_hit, cache_miss, cache_written


class EntryOperations(RecordingOperations, TagOperations, LearningOperations):
    """Reads and writes of single keys; Django's names and django-redis's."""

    async def read(self, key: Key, version: int | None, missing: Any, failed: Any) -> Any:
        """The value at a key; ``missing`` where there is none, ``failed`` where Redis failed and may."""
        if version is None and self.near is not None and type(key) is str:
            value = self.near.get(key, MISSING, FAILED)
            if value is not FAILED:
                if are_reads_heard():
                    signal = cache_miss if value is MISSING else cache_hit
                    await self._tell(signal, key, version, near=True)
                return missing if value is MISSING else value
        return await self.fetch(key, version, missing, failed)

    async def fetch(self, key: Key, version: int | None, missing: Any, failed: Any) -> Any:
        """The same from Redis, whatever this process holds a copy of."""
        started = now()
        text = key if type(key) is str else str(key)
        prefix = self._prefix_of(text)
        redis_key = self._redis_key(key, version)
        try:
            met = prefix.tagged.get(redis_key) if prefix.tagged else None
            if prefix.is_near and version is None and self.near is not None and type(key) is str:
                value = await self._fetch_and_keep(self.near, key, prefix, redis_key, started, met)
            elif met is not None:
                value = await self._fetch_met(prefix, redis_key, met, started)
            else:
                reply = await self._io.ask(commands.get(redis_key), started, reads=True)
                value = self._decoded(reply, prefix, redis_key)
            if type(value) is Tagged:
                value = await self._untagged(value, prefix, redis_key, started)
        except RedisFault as fault:
            return self._degraded(fault, prefix, failed)
        if value is MISSING:
            if self._dictionaries.wanted and await self._learns():
                return await self.read(key, version, missing, failed)
            prefix.counts.read(text, MISSES, now() - started)
            if cache_miss.receivers:
                await self._tell(cache_miss, key, version, near=False)
            return missing
        prefix.counts.read(text, HITS, now() - started)
        if prefix.sampler is not None:
            self._hit(prefix, key, version)
        if cache_hit.receivers:
            await self._tell(cache_hit, key, version, near=False)
        return value

    async def _fetch_and_keep(
        self,
        near: NearCache,
        key: str,
        prefix: Prefix,
        redis_key: bytes,
        started: int,
        met: Met | None,
    ) -> Any:
        """The value in Redis, a copy of which is kept in this process for as long as it may."""
        token = near.begin()
        if token is None:
            self._runtime.listen()
        if met is not None and (token is None or self._tracking is not None):
            return await self._fetch_met(prefix, redis_key, met, started)
        if token is None:
            reply = await self._io.ask(commands.get(redis_key), started, reads=True)
            return self._decoded(reply, prefix, redis_key)
        check = () if met is None else check_in_epoch(met.check, self._internal)
        asked = (commands.get(redis_key), commands.pttl(redis_key), *check)
        (reply, left, *held), may_keep = await self._ask_to_keep(asked, started)
        value = self._decoded(reply, prefix, redis_key)
        is_tagged = type(value) is Tagged
        if is_tagged:
            value = await self._untagged(value, prefix, redis_key, started, met, held)
            may_keep = may_keep and value is not MISSING and self._hears_of_tags(prefix, redis_key)
        elif met is not None:
            prefix.tagged.pop(redis_key, None)
        copy = self._copy(near, key, redis_key, started, prefix, reply, value, left) if may_keep else None
        if copy is not None:
            copy.is_tagged = is_tagged
            near.fill((copy,), token)
        return value

    async def set(
        self,
        key: Key,
        value: Any,
        timeout: float | None = DEFAULT_TIMEOUT,
        version: int | None = None,
        *,
        nx: bool = False,
        xx: bool = False,
        tags: Iterable[str] = (),
    ) -> bool:
        """Store a value.

        Args:
            key: Anything with a text form.
            value: Whatever the prefix's serializer takes.
            timeout: Seconds, fractions included; None for ever; 0 or less deletes the key. Left out,
                the TTL policy of the key's prefix decides.
            version: Left out, the alias's ``VERSION``.
            nx: Store only if the key is absent.
            xx: Store only if the key is present.
            tags: What `delete_tags` drops it by: at most 32, of at most 128 bytes each. They cost one more
                round trip. A value that is stored without tags has none, whatever was there.

        Returns:
            Whether it was stored.

        Raises:
            TypeError: Tags are no iterable of strings.
            ValueError: There are too many tags, one is empty or too long, or the prefix is synced.
            SyncNotRecorded: The prefix is synced and the write could not be recorded. Also in degraded
                mode, as are `SyncUncertain` and `BacklogFull`: nothing meant for the remote store is lost
                silently.
        """
        if nx:
            return await self.add(key, value, timeout, version, tags=tags)
        started = now()
        prefix = self._prefix(key)
        ids = self._tag_ids(tags, prefix) if tags else ()
        px = self._px(prefix, timeout)
        if px is None:
            await self.delete(key, version)
            return True
        redis_key = self._redis_key(key, version)
        if prefix.is_synced:
            blob = prefix.codec.encode(value, redis_key)
            px, after = await self._life(prefix, timeout, px, redis_key, value, blob)
            operation = b"replace" if xx else b"set"
            return bool(await self._record(prefix, key, version, operation, px, blob, started, after=after))
        try:
            stamps = await self._stamps(ids, self._longest(prefix, timeout, px), started) if ids else ()
            blob = self._encoded(prefix, value, redis_key, stamps)
            px, after = await self._life(prefix, timeout, px, redis_key, value, blob)
            command = (
                commands.set_if(redis_key, blob, px, b"XX") if xx else commands.set_(redis_key, blob, px)
            )
            write = self._write_voiding if prefix.leaves_copies or ends_early(px) else self._write
            reply = self._checked(await write(command, started, redis_key, after=after))
        except RedisRefused as refused:
            await self._drop_old_value(redis_key)
            return self._degraded(refused, prefix, False)
        except RedisFault as fault:
            return self._degraded(fault, prefix, False, lost=(redis_key,))
        finally:
            self._written(key, version)
        prefix.counts.wrote(SETS, now() - started)
        prefix.counts.keeps(px)
        if reply is None:
            return False
        if cache_written.receivers:
            await self._tell(cache_written, key, version)
        return True

    async def add(
        self,
        key: Key,
        value: Any,
        timeout: float | None = DEFAULT_TIMEOUT,
        version: int | None = None,
        *,
        tags: Iterable[str] = (),
    ) -> bool:
        """Store a value if the key is absent; tell whether it was stored. See `set` for the arguments.

        Raises:
            RedisFault: The key is that of a session, also in degraded mode.
        """
        ids = self._tag_ids(tags, self._prefix(key)) if tags else ()
        return await self._add(key, value, timeout, version, ids)

    async def _add(
        self, key: Key, value: Any, timeout: float | None, version: int | None, ids: Sequence[bytes]
    ) -> bool:
        started = now()
        prefix = self._prefix(key)
        px = self._px(prefix, timeout)
        if px is None:  # nothing would be kept, but the answer is the one that a real timeout gets
            return not await self._has_key(key, version, prefix, failed=True)
        redis_key = self._redis_key(key, version)
        if prefix.is_synced:
            blob = prefix.codec.encode(value, redis_key)
            px, after = await self._life(prefix, timeout, px, redis_key, value, blob)
            return bool(await self._record(prefix, key, version, b"add", px, blob, started, after=after))
        try:
            stamps = await self._stamps(ids, self._longest(prefix, timeout, px), started) if ids else ()
            blob = self._encoded(prefix, value, redis_key, stamps)
            px, after = await self._life(prefix, timeout, px, redis_key, value, blob)
            before = self._voiding((redis_key,)) if prefix.leaves_copies or ends_early(px) else ()
            asked = (*before, commands.set_if(redis_key, blob, px, b"NX"), start_of(redis_key), *after)
            replies = await self._write_all(asked, started, (redis_key,))
            reply, start = replies[len(before) : len(before) + 2]
            has_stored = self._checked(reply) is not None or await self._add_over(
                start, redis_key, blob, px, started
            )
        except RedisFault as fault:
            self._degraded(fault, prefix, False)
            if str(key).startswith(SESSIONS):
                raise  # told that the key is taken, Django would try ten thousand others
            return False
        finally:
            self._written(key, version)
        prefix.counts.wrote(SETS, now() - started)
        if has_stored:
            prefix.counts.keeps(px)
        if has_stored and cache_written.receivers:
            await self._tell(cache_written, key, version)
        return has_stored

    async def delete(self, key: Key, version: int | None = None) -> bool:
        """Delete a key; tell whether it existed."""
        started = now()
        prefix = self._prefix(key)
        redis_key = self._redis_key(key, version)
        after = self._removal(prefix, redis_key)
        if prefix.is_synced:
            return bool(await self._record(prefix, key, version, b"delete", b"", b"", started, after=after))
        try:
            unlink = commands.unlink(redis_key)
            reply = self._checked(await self._write_voiding(unlink, started, redis_key, after=after))
        except RedisFault as fault:
            return self._degraded(fault, prefix, False, lost=(redis_key,))
        finally:
            self._written(key, version)
        prefix.counts.wrote(DELETES, now() - started)
        if cache_deleted.receivers:
            await self._tell(cache_deleted, key, version)
        return bool(reply)

    async def has_key(self, key: Key, version: int | None = None) -> bool:
        """Tell whether a key exists, and none of its tags was dropped."""
        return await self._has_key(key, version, self._prefix(key), failed=False)

    async def _has_key(self, key: Key, version: int | None, prefix: Prefix, *, failed: bool) -> bool:
        started = now()
        redis_key = self._redis_key(key, version)
        try:
            asked = (commands.exists(redis_key), start_of(redis_key))
            exists, start = await self._io.ask_many(asked, started, reads=True)
            return bool(self._checked(exists)) and not await self._is_dropped(start, started)
        except RedisFault as fault:
            return self._degraded(fault, prefix, failed)
