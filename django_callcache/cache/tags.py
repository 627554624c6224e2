"""Tags: what an entry was made of, and what it is dropped by.

Redis holds one small key for each tag in use, named by a hash of the tag's name; in it lies the tag's
present stamp, eight bytes: four of that hash, four drawn at random when the tag was first used after it
was last dropped. An entry carries the stamps that its tags had before its value was computed, and counts
only while Redis still holds every one of them. So dropping a tag is deleting one key, however many
entries have it; nothing lists the entries of a tag, and no clock has a say.

* A tag key that is lost (expired, evicted, flushed) only makes misses: its next stamp is another.
* Two names with the same hash, 1 in 4,294,967,296 for any two, are dropped together: never too little.
* A tag that is drawn anew gets the very stamp of an entry of old once in 4,294,967,296 times. More random
  bytes would have to be paid for by each stamp of each entry; a counter would start again after a loss,
  and the time cannot tell two drops within its unit apart.
* The keys of an alias's tags share one slot of a Redis Cluster: one command reads those of an entry.

So that not every read must ask for every tag, one more key, the epoch, is deleted along with each tag that
is dropped, in one step; readers draw it anew. A process remembers of the entries it has met lately which
stamps it found valid in which epoch. While the epoch is the same no tag was dropped, and those stamps are
valid still.

A tag key lives at least as long as the longest entry written with it: `STAMP` sees to it, and `RETAIN`
where an entry is given more time. It is extended with time to spare, so that this is seldom a write.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import NamedTuple

from django_callcache.cache import commands
from django_callcache.lua import Script
from django_callcache.redis_keys import RedisKeys

MAX_TAGS = 32
"""Tags that one entry may have: each is read when it is read."""

MAX_TAG_BYTES = 128
"""Length of a tag's name in UTF-8."""

ID_BYTES = 4
"""The part of a stamp that names the tag."""

RANDOM_BYTES = 4
EPOCH_BYTES = 8

LONGEST_START = 13 + 8 * MAX_TAGS
"""Bytes of an entry that its stamps lie within."""

LEAST_MS = 3_600_000
"""A tag key lives so long at least: entries of a few seconds need not extend it again and again."""

LATELY_MET = 2048
"""Entries of a prefix whose tags are remembered; at 32 tags each takes 2 kB."""


class Met(NamedTuple):
    """What is remembered of an entry that was met with tags."""

    check: bytes
    """The command that reads the stamps of its tags."""
    stamps: bytes
    """Those that were found valid, one behind the other."""
    epoch: bytes | None
    """When that was; None for never."""


_EXTEND = """
local need, give = tonumber(ARGV[1]), ARGV[2]
local function extend(key)
  local left = redis.call('PTTL', key)
  if left < 0 then return end
  if not need then redis.call('PERSIST', key)
  elseif left < need then redis.call('PEXPIRE', key, give) end
end
"""

STAMP = Script(
    _EXTEND
    + """
local stamps = {}
for at, key in ipairs(KEYS) do
  local stamp = redis.call('GET', key)
  if stamp and #stamp == 8 then
    extend(key)
  else
    stamp = ARGV[at + 2]
    if need then redis.call('SET', key, stamp, 'PX', give) else redis.call('SET', key, stamp) end
  end
  stamps[at] = stamp
end
return stamps
"""
)
"""The present stamps of tags; those of tags not in use are begun.

KEYS: tags. ARGV: milliseconds that the keys must live, empty for ever; milliseconds to give those that
would live shorter; a new stamp for each.
"""

DROP = Script("""
local dropped = redis.call('UNLINK', unpack(KEYS, 2))
redis.call('UNLINK', KEYS[1])
return dropped
""")
"""End the epoch and drop tags; how many were in use. KEYS: epoch, tags."""

RETAIN = Script(
    _EXTEND
    + """
for at, key in ipairs(KEYS) do
  if redis.call('GET', key) ~= ARGV[at + 2] then return 0 end
end
for _, key in ipairs(KEYS) do extend(key) end
return 1
"""
)
"""Let tag keys live longer, if all of them hold these stamps; 0 if one does not. ARGV as for `STAMP`."""

REPLACE_DEAD = Script("""
local found = redis.call('GETRANGE', KEYS[1], 0, #ARGV[1] - 1)
if found ~= '' and found ~= ARGV[1] then return 0 end
if ARGV[3] == '' then
  redis.call('SET', KEYS[1], ARGV[2])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
return 1
""")
"""SET where there is nothing, or an entry that begins with these stamps, which are known to be dropped.

KEYS: value. ARGV: header with the stamps, what to write, milliseconds, empty for ever.
"""


def tag_ids(tags: Iterable[str], at_most: int | None = MAX_TAGS) -> list[bytes]:
    """The hashes of tags, each once, in an order that does not depend on how they were listed.

    Raises:
        TypeError: They are no iterable of strings; one string alone is not meant to be one.
        ValueError: There are too many, or one is empty, too long, or no text.
    """
    if isinstance(tags, str | bytes):
        raise TypeError(f"Tags are an iterable of strings, not the string {tags!r}; write ({tags!r},).")
    ids = sorted({_id_of(tag) for tag in tags})
    if at_most is not None and len(ids) > at_most:
        raise ValueError(
            f"An entry takes at most {at_most} tags, not {len(ids)}; tag it by what is dropped together."
        )
    return ids


def _id_of(tag: str) -> bytes:
    if not isinstance(tag, str):
        raise TypeError(f"A tag is a string, not {tag!r} ({type(tag).__name__}).")
    try:
        name = tag.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"The tag {tag!r} cannot be written as UTF-8.") from error
    if not 0 < len(name) <= MAX_TAG_BYTES:
        raise ValueError(
            f"A tag has 1 to {MAX_TAG_BYTES} bytes in UTF-8, not {len(name)}: {tag[:40]!r}"
            f"{'…' if len(tag) > 40 else ''}. Name it by an id instead of a text."
        )
    return blake2b(name, digest_size=ID_BYTES).digest()


def new_stamps(ids: Sequence[bytes]) -> list[bytes]:
    """Stamps that no entry has yet."""
    return [tag_id + os.urandom(RANDOM_BYTES) for tag_id in ids]


def check_of(stamps: Iterable[bytes], keys: RedisKeys) -> bytes:
    """The command whose reply is these very stamps, in their order, as long as no tag was dropped."""
    return commands.of_keys(b"MGET", [keys.tag(stamp[:ID_BYTES]) for stamp in stamps])


def check_in_epoch(check: bytes, keys: RedisKeys) -> tuple[bytes, ...]:
    """Commands that read the present epoch, drawn if there is none, and then the stamps.

    In this order: what is valid after the epoch was read is valid until it ends.
    """
    epoch = keys.tag_epoch()
    return commands.set_if(epoch, os.urandom(EPOCH_BYTES), b"", b"NX"), commands.get(epoch), check


def lifetime(px: bytes) -> tuple[bytes, bytes]:
    """The time that a tag key must have left for an entry with a TTL, and what it is given if it has not."""
    return (px, b"%d" % max(2 * int(px), LEAST_MS)) if px else (b"", b"")
