"""Operations on many keys in few round trips."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, NamedTuple

from django.core.cache.backends.base import DEFAULT_TIMEOUT
from redis import exceptions as redis_errors

from django_callcache.cache import commands
from django_callcache.cache.counters import DELETES, HITS, MISSES, SETS
from django_callcache.cache.faults import Lost
from django_callcache.cache.operations.base import FAILED, MISSING, ends_early, now
from django_callcache.cache.operations.learning import LearningOperations, Remembered
from django_callcache.cache.operations.recording import RecordingOperations
from django_callcache.cache.operations.tags import TagOperations, start_of
from django_callcache.cache.prefixes import Prefix
from django_callcache.cache.tags import check_of
from django_callcache.cache.value_keys import Key
from django_callcache.codec import Tagged
from django_callcache.exceptions import RedisFault, RedisRefused
from django_callcache.failpoints import reach
from django_callcache.outbox.dirty import RECORD_WRITE
from django_callcache.signals import are_reads_heard, cache_deleted, cache_hit, cache_miss, cache_written

READ_CHUNK = 1000
"""Keys in one command: more would hold up everybody else's."""
WRITE_CHUNK = 500
"""Writes in one round trip at the most."""
WRITE_BYTES = 1 << 20
"""Bytes in one round trip, so that large values keep the deadline too; one write goes whatever its size."""


class Write(NamedTuple):
    """A write of one key, ready to be sent."""

    key: Key
    prefix: Prefix
    redis_key: bytes
    command: bytes
    after: Sequence[bytes] = ()
    """Commands that go behind it; their replies do not matter."""
    voids: bool = False
    """Whether computations of the key are to be voided; the outbox's script does so by itself."""
    px: bytes | None = None
    """How long the entry lives, in milliseconds, empty for ever; None where none is stored."""


class BatchOperations(RecordingOperations, TagOperations, LearningOperations):
    """Reads and writes of many keys. None of them is a snapshot or a transaction."""

    async def get_many(self, keys: Iterable[Key], version: int | None = None) -> dict[Key, Any]:
        """The values of those keys that have one, by the caller's keys."""
        found: dict[Key, Any] = {}
        if not are_reads_heard():
            await self._get_many(keys, version, found)
            return found
        keys = list(dict.fromkeys(keys))
        asked = await self._get_many(keys, version, found)
        if asked is None:  # Redis failed: nobody knows what is not found
            return found
        for key in keys:
            signal = cache_hit if key in found else cache_miss
            if signal.receivers:
                await self._tell(signal, key, version, near=key not in asked)
        return found

    async def _get_many(
        self, keys: Iterable[Key], version: int | None, found: dict[Key, Any]
    ) -> set[Key] | None:
        """Put the values there are into ``found``; return the keys asked for in Redis, None if it failed."""
        asked: set[Key] = set()
        for chunk in _chunks(self._not_near(keys, version, found), READ_CHUNK):
            asked.update(chunk)
            started = now()
            redis_keys = [self._redis_key(key, version) for key in chunk]
            prefixes = [self._prefix(key) for key in chunk]
            token, kept = self._begin(chunk, prefixes, version)
            try:
                replies, left = await self._read_many(redis_keys, kept, started)
                self._take_out_lost(replies, prefixes[0])
                values = list(map(self._decoded, replies, prefixes, redis_keys))
                tagged = [at for at, value in enumerate(values) if type(value) is Tagged]
                if tagged:
                    await self._untag(values, tagged, started)
            except RedisFault as fault:
                return self._degraded(fault, prefixes[0], None)
            elapsed = (now() - started) // len(chunk)
            for key, prefix, value in zip(chunk, prefixes, values, strict=True):
                prefix.counts.read(str(key), MISSES if value is MISSING else HITS, elapsed)
                if value is not MISSING:
                    found[key] = value
                    if prefix.sampler is not None:
                        self._hit(prefix, key, version)
            if token is not None and self.near is not None:
                near = self.near
                copies = [
                    self._copy(
                        near, chunk[at], redis_keys[at], started, prefixes[at], replies[at], values[at], ms
                    )
                    for at, ms in left.items()
                    if at not in tagged
                ]
                near.fill(filter(None, copies), token)
            if self._dictionaries.wanted and await self._learns():
                await self._get_many([key for key in chunk if key not in found], version, found)
        return asked

    def _take_out_lost(self, replies: list[Any], prefix: Prefix) -> None:
        """Let what a failed node of a cluster has be missing, as ``ON_ERROR`` says; others have answered."""
        if not self._internal.is_clustered:
            return
        lost = [at for at, reply in enumerate(replies) if isinstance(reply, Lost)]
        if lost:
            self._degraded(replies[lost[0]].fault, prefix, None)
        for at in lost:
            replies[at] = None

    async def _untag(self, values: list[Any], places: Sequence[int], started: int) -> None:
        """Put values in place of what is `Tagged`: `MISSING` where a tag was dropped."""
        stamps = list(dict.fromkeys(chain.from_iterable(values[at].stamps for at in places)))
        checks = [check_of(part, self._internal) for part in _chunks(stamps, READ_CHUNK)]
        replies = await self._io.ask_many(checks, started, reads=True)
        held = set(chain.from_iterable(self._checked(reply) for reply in replies))
        for at in places:
            values[at] = values[at].value if held.issuperset(values[at].stamps) else MISSING

    def _not_near(self, keys: Iterable[Key], version: int | None, found: dict[Key, Any]) -> Iterator[Key]:
        """The keys that Redis must be asked for; what this process holds is put into ``found``."""
        near = self.near if version is None else None
        for key in keys:
            value = near.get(key, MISSING, FAILED) if near is not None and type(key) is str else FAILED
            if value is FAILED:
                yield key
            elif value is not MISSING:
                found[key] = value

    def _begin(
        self, keys: Sequence[Key], prefixes: Sequence[Prefix], version: int | None
    ) -> tuple[int | None, Sequence[int]]:
        """A token, and the places of those keys that this process may keep copies of."""
        near = self.near if version is None else None
        if near is None:
            return None, ()
        kept = [at for at, key in enumerate(keys) if prefixes[at].is_near and type(key) is str]
        if not kept:
            return None, ()
        token = near.begin()
        if token is None:
            self._runtime.listen()
            return None, ()
        return token, kept

    async def _read_many(
        self, redis_keys: Sequence[bytes], kept: Sequence[int], started: int
    ) -> tuple[list[Any], dict[int, Any]]:
        """The replies to MGET, and to PTTL by the places of the keys to keep, in one round trip."""
        asked = [commands.of_keys(b"MGET", redis_keys), *(commands.pttl(redis_keys[at]) for at in kept)]
        if not kept:
            return self._checked(await self._io.ask(asked[0], started, reads=True)), {}
        (replies, *left), may_keep = await self._ask_to_keep(asked, started)
        return self._checked(replies), dict(zip(kept, left, strict=True)) if may_keep else {}

    async def set_many(
        self,
        data: Mapping[Key, Any],
        timeout: float | None = DEFAULT_TIMEOUT,
        version: int | None = None,
        *,
        tags: Iterable[str] = (),
    ) -> list[Key]:
        """Store several values, in no transaction; return the keys that were not stored.

        Args:
            data: Values by their keys.
            timeout: As for `set`, of all of them.
            version: As for `set`.
            tags: As for `set`, of all of them.

        Raises:
            Exception: A value that cannot be encoded, before any value is sent.
            TypeError: As for `set`.
            ValueError: As for `set`.
            SyncNotRecorded: A synced key among them could not be recorded, as for `set`. Others may
                have been stored.
        """
        try:
            stamps = await self._stamps_of_all(data, timeout, tags)
        except RedisFault as fault:
            lost = [self._redis_key(key, version) for key in data]
            return self._degraded(fault, self._prefix(next(iter(data))), list(data), lost)
        known = await self._known_of(data, timeout, version)
        writes = [
            self._set(key, value, timeout, version, stamps, known.get(key)) for key, value in data.items()
        ]
        failed: list[Key] = []
        portions = _portions(writes)
        for portion in portions:
            try:
                replies = await self._send(portion, version)
            except RedisFault as fault:  # not asked again: the caller has waited long enough
                return failed + self._lost(fault, [*portion, *chain.from_iterable(portions)])
            for write, reply in zip(portion, replies, strict=True):
                if isinstance(reply, redis_errors.ResponseError):
                    await self._refused(write, reply, version)
                    failed.append(write.key)
                else:
                    write.prefix.counts.slots[SETS] += 1
                    if write.px is not None:
                        write.prefix.counts.keeps(write.px)
                    if cache_written.receivers:
                        await self._tell(cache_written, write.key, version)
        return failed

    async def _stamps_of_all(
        self, data: Mapping[Key, Any], timeout: float | None, tags: Iterable[str]
    ) -> Sequence[bytes]:
        """The present stamps of these tags, to live as long as the entry among these that lives longest."""
        if not tags or not data:
            return ()
        prefixes = set(map(self._prefix, data))
        ids = self._tag_ids(tags, *prefixes)
        ttls = [px for prefix in prefixes if (px := self._px(prefix, timeout)) is not None]
        if not ids or not ttls:
            return ()
        ttls += [self._longest(prefix, timeout, ttls[0]) for prefix in prefixes]
        return await self._stamps(ids, b"" if b"" in ttls else max(ttls, key=int), now())

    async def delete_many(
        self, keys: Iterable[Key], version: int | None = None, *, polled: bool = False
    ) -> int | None:
        """Delete several keys; return how many existed, None where no key was given.

        Args:
            keys: Any number.
            version: Left out, the alias's ``VERSION``.
            polled: Whether a poll found these changed, some time after they did. TTL policies that learn
                take any other deletion for the change itself, which no shorter TTL could have helped.
        """
        removed: int | None = None
        for chunk in _chunks(keys, READ_CHUNK):
            removed = removed or 0
            writes = [self._delete(key, version, is_polled=polled) for key in chunk]
            plain = [write.redis_key for write in writes if not write.prefix.is_synced]
            try:
                if plain:
                    unlink = commands.of_keys(b"UNLINK", plain)
                    after = [part for write in writes if not write.prefix.is_synced for part in write.after]
                    removed += self._checked(await self._write_voiding(unlink, now(), *plain, after=after))
            except RedisFault as fault:
                self._lost(fault, writes)
                return removed
            finally:
                for key in chunk:
                    self._written(key, version)
            for portion in _portions(write for write in writes if write.prefix.is_synced):
                removed += await self._deleted(portion, version)
            for write in writes:
                write.prefix.counts.slots[DELETES] += 1
                if cache_deleted.receivers:
                    await self._tell(cache_deleted, write.key, version)
        return removed

    async def touch_many(
        self, keys: Iterable[Key], timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None
    ) -> int:
        """Give several keys a new timeout, as `touch` does; return how many exist."""
        if timeout is not DEFAULT_TIMEOUT and timeout is not None and timeout <= 0:
            return await self.delete_many(keys, version) or 0
        touched = 0
        for portion in _portions(self._touch(key, timeout, version) for key in keys):
            try:
                replies = await self._send(portion, version)
            except RedisFault as fault:
                self._lost(fault, portion, may_stand=True)
                return touched
            for write, reply in zip(portion, replies, strict=True):
                if isinstance(reply, redis_errors.ResponseError):
                    await self._refused(write, reply, version, may_stand=True)
                else:
                    touched += bool(reply)
            try:
                touched -= await self._dropped_among(portion)
            except RedisFault as fault:
                self._lost(fault, portion, may_stand=True)
                return touched
        return touched

    async def _dropped_among(self, writes: Sequence[Write]) -> int:
        """Let the tags of touched entries live as long as they; return how many have one that was dropped."""
        started = now()
        plain = [write.redis_key for write in writes if not write.prefix.is_synced]
        starts = (
            await self._io.ask_many([start_of(name) for name in plain], started, reads=True) if plain else []
        )
        held = [await self._retain(*each, now()) for each in zip(plain, starts, strict=True)]
        return held.count(False)

    async def _known_of(
        self, keys: Iterable[Key], timeout: Any, version: int | None
    ) -> dict[Key, Remembered]:
        """What is remembered of those keys whose TTL is decided by it."""
        known: dict[Key, Remembered] = {}
        if timeout is DEFAULT_TIMEOUT:
            learnt = (key for key in keys if self._prefix(key).learner is not None)
            for chunk in _chunks(learnt, READ_CHUNK):
                found = await self._remembered([self._redis_key(key, version) for key in chunk])
                known.update(zip(chunk, found, strict=False))
        return known

    def _set(
        self,
        key: Key,
        value: Any,
        timeout: Any,
        version: int | None,
        stamps: Sequence[bytes],
        known: Remembered | None,
    ) -> Write:
        """The write that stores a value, or deletes it where nothing would be kept."""
        prefix = self._prefix(key)
        px = self._px(prefix, timeout)
        if px is None:
            return self._delete(key, version)
        redis_key = self._redis_key(key, version)
        blob = self._encoded(prefix, value, redis_key, stamps)
        after: Sequence[bytes] = ()
        if self._runtime.exchange.tracer is not None:
            self._trace(self._runtime.exchange.tracer, prefix, redis_key, value, blob)
        if known is not None:
            px, after = self._taken(prefix, redis_key, value, blob, known)
        if prefix.is_synced:
            return self._synced(key, prefix, version, b"set", px, blob)._replace(after=after, px=px)
        voids = prefix.leaves_copies or ends_early(px)
        return Write(key, prefix, redis_key, commands.set_(redis_key, blob, px), after, voids, px)

    def _delete(self, key: Key, version: int | None, *, is_polled: bool = False) -> Write:
        prefix = self._prefix(key)
        redis_key = self._redis_key(key, version)
        after = self._removal(prefix, redis_key, is_polled=is_polled)
        if prefix.is_synced:
            return self._synced(key, prefix, version, b"delete", b"", b"")._replace(after=after)
        return Write(key, prefix, redis_key, commands.unlink(redis_key), after, voids=True)

    def _touch(self, key: Key, timeout: Any, version: int | None) -> Write:
        prefix = self._prefix(key)
        px = self._px(prefix, timeout)
        if px is None:
            return self._delete(key, version)
        if prefix.is_synced:
            return self._synced(key, prefix, version, b"touch", px, b"")
        redis_key = self._redis_key(key, version)
        voids = prefix.leaves_copies or ends_early(px)
        return Write(key, prefix, redis_key, commands.retime(redis_key, px), voids=voids)

    def _synced(
        self, key: Key, prefix: Prefix, version: int | None, operation: bytes, px: bytes, blob: bytes
    ) -> Write:
        redis_key = self._redis_key(key, version)
        arguments = (operation, px, blob, self._remote_key(key, version), *self._outbox_bounds)
        command = commands.evalsha(RECORD_WRITE, self._record_keys(redis_key), arguments)
        return Write(key, prefix, redis_key, command)

    async def _send(self, writes: Sequence[Write], version: int | None) -> list[Any]:
        """The replies; where the server did not know the outbox's script, it is told, and asked again."""
        if self._durability is not None:
            for prefix in {write.prefix for write in writes if write.prefix.is_synced}:
                await self._ensure_durable(self._durability, prefix)
        reach("cp1")
        try:
            replies = await self._send_knowing(writes)
        finally:
            for write in writes:
                self._written(write.key, version)
        reach("cp2")
        return replies

    async def _send_knowing(self, writes: Sequence[Write]) -> list[Any]:
        redis_keys = [write.redis_key for write in writes]
        voided = [write.redis_key for write in writes if write.voids]
        before = self._voiding(voided) if voided else []
        asked = [*before, *(write.command for write in writes)]
        after = [part for write in writes for part in write.after]
        replies = (await self._write_all([*asked, *after], now(), redis_keys))[len(before) : len(asked)]
        unknown = [at for at, reply in enumerate(replies) if isinstance(reply, redis_errors.NoScriptError)]
        if unknown:
            load = commands.command("SCRIPT", "LOAD", RECORD_WRITE.text)
            asked = [load, *(writes[at].command for at in unknown)]
            again = await self._write_all(asked, now(), redis_keys)
            for at, reply in zip(unknown, again[1:], strict=True):
                replies[at] = reply
        return replies

    async def _deleted(self, writes: Sequence[Write], version: int | None) -> int:
        """How many of these synced keys existed."""
        try:
            replies = await self._send(writes, version)
            return sum(bool(self._recorded(reply, writes[0].prefix)) for reply in replies)
        except RedisFault as fault:
            raise self._not_recorded(fault, writes[0].prefix) from fault

    def _lost(self, fault: RedisFault, writes: Sequence[Write], *, may_stand: bool = False) -> list[Key]:
        """The keys of a round trip that failed.

        Args:
            fault: What happened.
            writes: What was, or would have been, in it.
            may_stand: Whether the values that Redis holds are still right.

        Raises:
            SyncNotRecorded: A synced key is among them.
        """
        if not may_stand:
            self._remember(fault, (write.redis_key for write in writes if not write.prefix.is_synced))
        synced = next((write.prefix for write in writes if write.prefix.is_synced), None)
        if synced is not None:
            raise self._not_recorded(fault, synced) from fault
        return self._degraded(fault, writes[0].prefix, [write.key for write in writes])

    async def _refused(
        self,
        write: Write,
        reply: redis_errors.ResponseError,
        version: int | None,
        *,
        may_stand: bool = False,
    ) -> None:
        """Let no old value stand where a new one was refused, unless it is right."""
        try:
            if write.prefix.is_synced:
                self._recorded(reply, write.prefix)
            self._checked(reply)
        except RedisFault as fault:
            if write.prefix.is_synced:
                raise self._not_recorded(fault, write.prefix) from fault
            if isinstance(fault, RedisRefused):
                await self._drop_old_value(write.redis_key)
                self._written(write.key, version)
            self._degraded(fault, write.prefix, None, () if may_stand else (write.redis_key,))


def _chunks(keys: Iterable[Key], size: int) -> Iterator[list[Key]]:
    iterator = iter(keys)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _portions(writes: Iterable[Write]) -> Iterator[list[Write]]:
    """Writes that go in one round trip each."""
    portion: list[Write] = []
    size = 0
    for write in writes:
        if portion and (len(portion) == WRITE_CHUNK or size + len(write.command) > WRITE_BYTES):
            yield portion
            portion, size = [], 0
        portion.append(write)
        size += len(write.command)
    if portion:
        yield portion
