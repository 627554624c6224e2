"""A trace of reads and changes, recorded on request for `callcache_simulate`: bounded, sampled, without keys.

A recording is of some keys, all of whose events are kept: simulating a TTL needs every read of a key, not
some reads of all. Keys are there as keyed hashes alone. Processes look for a recording now and then, and add
what they saw with their statistics; a recording ends by itself, by its time or by its size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import msgspec
import redis

from django_callcache.lua import Script, run_script
from django_callcache.outbox.stat_buckets import Command
from django_callcache.redis_keys import RedisKeys

KEPT_SECONDS = 7 * 86400
"""How long a recording can be fetched after its end."""

READ, WRITE, REMOVAL = 0, 1, 2

START = Script("""
redis.call('UNLINK', KEYS[1], KEYS[2])
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
redis.call('EXPIRE', KEYS[1], ARGV[1])
""")
"""Begin a recording in place of the last one.

KEYS: recording, portions. ARGV: seconds to keep it, then its facts, names and values in turn.
"""

ADD = Script("""
local known = redis.call('HMGET', KEYS[1], 'until', 'most', 'bytes', 'id')
if not known[1] or known[4] ~= ARGV[1] then return 0 end
if tonumber(redis.call('TIME')[1]) >= tonumber(known[1]) then return 0 end
if tonumber(known[3]) + #ARGV[2] > tonumber(known[2]) then
  redis.call('HSET', KEYS[1], 'until', '0', 'full', '1')
  return 0
end
redis.call('HINCRBY', KEYS[1], 'bytes', #ARGV[2])
redis.call('RPUSH', KEYS[2], ARGV[2])
redis.call('EXPIRE', KEYS[2], ARGV[3])
return 1
""")
"""Add a portion of events to a recording; tells whether it still goes on.

KEYS: recording, portions. ARGV: id of the recording, the portion, seconds to keep it.
"""


class TraceEvent(NamedTuple):
    """What happened to a key that is recorded."""

    at: float
    """Unix seconds; of reads, from when on they came."""
    kind: int
    prefix: str
    key: str
    """Its keyed hash."""
    number: int = 1
    """Of reads."""
    digest: str = ""
    """Of what was written: a keyed hash of its bytes."""
    updated_at: float | None = None
    """When the row had changed, as the value says."""
    span: float = 0.0
    """Seconds in which reads came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A recording that was asked for."""

    id: str
    started_at: float
    until: float
    """Unix seconds by the clock of Redis; 0 where it was ended early."""
    share: float
    """Of the keys."""
    prefix: str
    """What the recorded keys begin with."""
    most_bytes: int
    bytes: int
    is_full: bool
    """Whether it ended because it had reached its size."""

    def goes_on(self, now: float) -> bool:
        """Whether events are still added."""
        return now < self.until


class TraceLog:
    """The recording of one cache.

    Args:
        client: A redis-py client that answers bytes.
        keys: The alias's internal names.
    """

    def __init__(self, client: redis.Redis, keys: RedisKeys) -> None:
        self._client = client
        self._keys = keys

    def start(self, id_: str, *, seconds: float, share: float, most_bytes: int, prefix: str) -> Recording:
        """Begin a recording in place of the last one, whose events are forgotten."""
        now = self._client.time()[0]
        facts: dict[str, str | int] = {
            "id": id_,
            "at": now,
            "until": now + int(seconds),
            "share": repr(share),
        }
        facts |= {"most": most_bytes, "bytes": 0, "prefix": prefix}
        names = (self._keys.trace(), self._keys.trace_portions())
        told = [word for fact in facts.items() for word in fact]
        run_script(self._client, START, names, (int(seconds) + KEPT_SECONDS, *told))
        recording = self.recording()
        assert recording is not None  # noqa: S101
        return recording

    def stop(self) -> bool:
        """End the recording; what was recorded stays. Tell whether there was one."""
        if not self._client.exists(self._keys.trace()):
            return False
        self._client.hset(self._keys.trace(), "until", "0")
        return True

    def forget(self) -> None:
        """End the recording and delete what was recorded."""
        self._client.unlink(self._keys.trace(), self._keys.trace_portions())

    def recording(self) -> Recording | None:
        """The last recording that was asked for, if it is still kept."""
        return read_recording(self._client.hgetall(self._keys.trace()))  # type: ignore[arg-type]

    def now(self) -> float:
        """Unix seconds by the clock of Redis."""
        seconds, microseconds = self._client.time()
        return seconds + microseconds / 1e6

    def events(self) -> Iterator[TraceEvent]:
        """What was recorded, portion by portion: in no order across processes."""
        at = 0
        while portions := cast("list[bytes]", self._client.lrange(self._keys.trace_portions(), at, at + 99)):
            at += len(portions)
            for portion in portions:
                for event in msgspec.msgpack.decode(portion):
                    yield TraceEvent(*event)


def read_recording(found: dict[bytes, bytes]) -> Recording | None:
    """A recording from its hash in Redis; None for none."""
    if b"id" not in found:
        return None
    return Recording(
        id=found[b"id"].decode(),
        started_at=float(found[b"at"]),
        until=float(found[b"until"]),
        share=float(found[b"share"]),
        prefix=found[b"prefix"].decode(),
        most_bytes=int(found[b"most"]),
        bytes=int(found[b"bytes"]),
        is_full=b"full" in found,
    )


def add_trace_command(keys: RedisKeys, id_: str, events: Sequence[Any]) -> Command:
    """The script call that adds a portion."""
    portion = msgspec.msgpack.encode(events)
    return Command(ADD, (keys.trace(), keys.trace_portions()), (id_.encode(), portion, KEPT_SECONDS))
