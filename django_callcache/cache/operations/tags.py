"""Operations on tags: entries written with them, checked when read, dropped by them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from django_callcache.cache import commands
from django_callcache.cache.operations.base import MISSING, OperationsBase, now
from django_callcache.cache.prefixes import Prefix
from django_callcache.cache.tags import (
    DROP,
    ID_BYTES,
    LATELY_MET,
    LONGEST_START,
    REPLACE_DEAD,
    RETAIN,
    STAMP,
    Met,
    check_in_epoch,
    check_of,
    lifetime,
    new_stamps,
    tag_ids,
)
from django_callcache.codec import Tagged
from django_callcache.codec.blob import stamped_header
from django_callcache.exceptions import RedisFault
from django_callcache.signals import cache_invalidated

DROPPED_AT_ONCE = 1000
"""Tags in one command."""


class TagOperations(OperationsBase):
    """Tags of entries. See `django_callcache.cache.tags` for what they are to Redis."""

    async def delete_tags(self, *tags: str) -> int:
        """Drop every entry that was written with one of these tags, under whatever key and version.

        It costs one command, however many entries there are. They stay in Redis until they expire
        or are written again, but no read finds them. A value that is being computed with one of
        these tags is not found either, whoever computes it.

        Args:
            tags: Any number of names, each at most 128 bytes in UTF-8.

        Returns:
            How many of the tags were in use.

        Raises:
            TypeError: One is no string.
            ValueError: One is empty or too long.
        """
        ids = iter(tag_ids(tags, at_most=None))
        epoch = self._internal.tag_epoch()
        dropped = 0
        try:
            while chunk := [self._internal.tag(tag_id) for tag_id in islice(ids, DROPPED_AT_ONCE)]:
                dropped += self._checked(await self._run_script(DROP, (epoch, *chunk), (), now()))
        except RedisFault as fault:
            lost = [*chunk, *map(self._internal.tag, ids), epoch]
            self._flights.leave()
            return self._degraded(fault, self._prefix(""), dropped, lost)
        finally:
            if self._runtime.near is not None:
                self._runtime.near.drop_tagged()
        if cache_invalidated.receivers:
            await self._tell_all("tags", tags, dropped)
        return dropped

    def _tag_ids(self, tags: Iterable[str], *prefixes: Prefix) -> list[bytes]:
        """The hashes of the tags of entries with these prefixes.

        Raises:
            TypeError: They are no iterable of strings.
            ValueError: They cannot be taken; under a synced prefix none can.
        """
        ids = tag_ids(tags)
        for prefix in prefixes:
            if ids and prefix.is_synced:
                raise ValueError(
                    f"Entries under {prefix.name!r} are synced and take no tags. "
                    "Tag entries of a prefix without `sync`, or delete by key or prefix."
                )
        return ids

    async def _stamps(self, ids: Sequence[bytes], px: bytes, started: int) -> list[bytes]:
        """The present stamps of tags, which live as long as an entry with this TTL from now on.

        Taken before a value is computed, they make it dead on arrival where a tag is dropped meanwhile.

        Raises:
            RedisFault: Redis did not answer.
        """
        keys = [self._internal.tag(tag_id) for tag_id in ids]
        arguments = (*lifetime(px), *new_stamps(ids))
        # Sent twice it does the same, and no copy is changed by it: so it is a read to those it concerns.
        stamps: list[bytes] = self._checked(
            await self._run_script(STAMP, keys, arguments, started, reads=True)
        )
        return stamps

    def _encoded(self, prefix: Prefix, value: Any, redis_key: bytes, stamps: Sequence[bytes]) -> bytes:
        codec = prefix.codec
        return codec.encode_tagged(value, redis_key, stamps) if stamps else codec.encode(value, redis_key)

    async def _fetch_met(self, prefix: Prefix, redis_key: bytes, met: Met, started: int) -> Any:
        """The value of an entry that had tags when it was last met; `MISSING` if there is none.

        Where the epoch may still be that in which its tags were valid, it is asked for with the value;
        otherwise the stamps are.
        """
        if met.epoch is not None and met.epoch == self._runtime.tag_epoch:
            asked = (commands.get(redis_key), commands.get(self._internal.tag_epoch()))
            reply, epoch = await self._io.ask_many(asked, started, reads=True)
            value = self._decoded(reply, prefix, redis_key)
            if type(value) is Tagged:
                if epoch == met.epoch and b"".join(value.stamps) == met.stamps:
                    return value.value
                return await self._untagged(value, prefix, redis_key, started)
        else:
            check = check_in_epoch(met.check, self._internal)
            reply, *held = await self._io.ask_many((commands.get(redis_key), *check), started, reads=True)
            value = self._decoded(reply, prefix, redis_key)
            if type(value) is Tagged:
                return await self._untagged(value, prefix, redis_key, started, met, held)
        prefix.tagged.pop(redis_key, None)
        return value

    async def _untagged(
        self,
        tagged: Tagged,
        prefix: Prefix,
        redis_key: bytes,
        started: int,
        met: Met | None = None,
        held: Sequence[Any] = (),
    ) -> Any:
        """The value of an entry with tags; `MISSING` if one of them was dropped since it was written.

        Args:
            tagged: As decoded.
            prefix: Of its key.
            redis_key: Where it was found.
            started: When the call began.
            met: With which tags it was met before, if their stamps were asked for behind the entry.
            held: The replies, see `check_in_epoch`.

        Raises:
            RedisFault: Redis did not answer.
        """
        stamps = b"".join(tagged.stamps)
        is_alike = met is not None and met.stamps == stamps
        check = met.check if met is not None and is_alike else check_of(tagged.stamps, self._internal)
        if met is None or check != met.check:
            held = await self._io.ask_many(check_in_epoch(check, self._internal), started, reads=True)
        _, epoch, present = held
        is_valid = self._checked(present) == list(tagged.stamps)
        self._runtime.tag_epoch = epoch if type(epoch) is bytes else None
        if len(prefix.tagged) >= LATELY_MET:
            prefix.tagged.clear()
        prefix.tagged[redis_key] = Met(check, stamps, self._runtime.tag_epoch if is_valid else None)
        return tagged.value if is_valid else MISSING

    def _hears_of_tags(self, prefix: Prefix, redis_key: bytes) -> bool:
        """Tell whether this process will be told when a tag of an entry is dropped that was found valid.

        It is told of the epoch, which must be there to end. Where Redis remembers what is read, it would
        have to be told to remember the epoch too: no copies are kept of entries with tags then.
        """
        met = prefix.tagged.get(redis_key)
        return self._tracking is None and met is not None and met.epoch is not None

    async def _current(
        self, reply: Any, prefix: Prefix, redis_key: bytes, started: int
    ) -> tuple[Any, list[bytes]]:
        """The value in a reply to GET, `MISSING` for none, and the stamps of its tags."""
        value = self._decoded(reply, prefix, redis_key)
        if type(value) is not Tagged:
            return value, []
        return await self._untagged(value, prefix, redis_key, started), list(value.stamps)

    async def _is_dropped(self, start: Any, started: int) -> bool:
        """Tell whether a tag of an entry that begins with these bytes was dropped since it was written.

        Args:
            start: The reply to GETRANGE; an error reply where something else than a value lies there.
            started: When the call began.

        Raises:
            RedisFault: Redis did not answer.
        """
        if type(start) is not bytes:
            return False
        _, stamps = stamped_header(start)
        if not stamps:
            return False
        return not await self._hold(stamps, started)

    async def _hold(self, stamps: Sequence[bytes], started: int) -> bool:
        """Tell whether none of the tags with these stamps was dropped since.

        Raises:
            RedisFault: Redis did not answer.
        """
        held = self._checked(await self._io.ask(check_of(stamps, self._internal), started, reads=True))
        return bool(held == list(stamps))

    async def _add_over(self, start: Any, redis_key: bytes, blob: bytes, px: bytes, started: int) -> bool:
        """Store a value over an entry whose tags were dropped; tell whether it was one and still is."""
        if not await self._is_dropped(start, started):
            return False
        header, _ = stamped_header(start)
        return bool(
            self._checked(await self._run_script(REPLACE_DEAD, (redis_key,), (header, blob, px), started))
        )

    async def _retain(self, redis_key: bytes, start: Any, started: int) -> bool:
        """Let the tags of an entry live as long as it does now; tell whether none of them was dropped.

        Args:
            redis_key: Where the entry is.
            start: The reply to GETRANGE.
            started: When the call began.

        Raises:
            RedisFault: Redis did not answer.
        """
        _, stamps = stamped_header(start) if type(start) is bytes else (b"", ())
        if not stamps:
            return True
        left = self._checked(await self._io.ask(commands.pttl(redis_key), started, reads=True))
        return await self._retained(stamps, b"" if left == -1 else b"%d" % max(left, 1), started)

    async def _retained(self, stamps: Sequence[bytes], px: bytes, started: int) -> bool:
        """Let the tags with these stamps live as long as an entry with this TTL; tell whether all still hold.

        Raises:
            RedisFault: Redis did not answer.
        """
        if not stamps:
            return True
        keys = [self._internal.tag(stamp[:ID_BYTES]) for stamp in stamps]
        arguments = (*lifetime(px), *stamps)
        return bool(self._checked(await self._run_script(RETAIN, keys, arguments, started, reads=True)))


def start_of(redis_key: bytes) -> bytes:
    """The command that reads as much of an entry as its stamps lie within."""
    return commands.getrange(redis_key, 0, LONGEST_START - 1)
