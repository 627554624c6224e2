"""Which slots of a Redis Cluster a packed command concerns, and how replies to its parts are put together.

Operations pack a command once and know nothing of slots. A command whose keys lie in several of them is
taken apart here, one part a slot, where that means the same; where it does not, Redis refuses it by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from redis import exceptions as redis_errors

from django_callcache.cache import commands
from django_callcache.redis_keys import slot_of

NO_SLOT = -1
"""Of a command that has no key."""

SEVERAL = -2
"""Of a command that may have to be taken apart."""

_SPLIT = frozenset({b"MGET", b"UNLINK", b"DEL", b"EXISTS", b"TOUCH"})
"""Commands of keys alone, which mean the same for each key apart."""

_KEYLESS = frozenset(
    {
        *(b"CLIENT", b"CONFIG", b"DBSIZE", b"FLUSHALL", b"FLUSHDB", b"INFO", b"LATENCY", b"PING"),
        *(b"PUBLISH", b"SCAN", b"SCRIPT", b"SLOWLOG", b"TIME"),
    }
)

_AS_SECOND = frozenset({b"MEMORY", b"OBJECT"})
"""Commands of two words, with the key behind them."""

_SCRIPTS = frozenset({b"EVAL", b"EVALSHA"})

SUMMED = frozenset(
    {
        *(b"used_memory", b"maxmemory", b"evicted_keys", b"expired_keys", b"keyspace_hits"),
        *(b"keyspace_misses", b"connected_clients", b"total_commands_processed"),
        *(b"instantaneous_ops_per_sec",),
    }
)
"""What INFO says of a node and is worth knowing of all together."""

Merge = Callable[[Sequence[Any]], Any]


class Part(NamedTuple):
    """What of a command concerns one slot."""

    packed: bytes
    slot: int
    places: tuple[int, ...] = ()
    """Where its keys stand among those of the whole command."""


def slot_of_command(packed: bytes) -> int:
    """The slot of a command's first key, `NO_SLOT` or `SEVERAL`."""
    name, *rest = words_of(packed, 2)
    if name in _SPLIT:
        return SEVERAL
    if name in _SCRIPTS:
        *_, number, key = words_of(packed, 4)
        return slot_of(key) if number != b"0" else NO_SLOT
    if not rest or name in _KEYLESS:
        return NO_SLOT
    if name in _AS_SECOND:
        rest = words_of(packed, 3)[2:]
    return slot_of(rest[-1]) if rest else NO_SLOT


def name_of(packed: bytes) -> bytes:
    """The first word of a command."""
    return words_of(packed, 1)[0]


def parts_of(packed: bytes) -> list[Part]:
    """The parts of a command of keys alone, in the order in which their slots come."""
    name, *keys = words_of(packed)
    by_slot: dict[int, list[int]] = {}
    for place, key in enumerate(keys):
        by_slot.setdefault(slot_of(key), []).append(place)
    if len(by_slot) == 1:
        return [Part(packed, next(iter(by_slot)), tuple(range(len(keys))))]
    return [
        Part(commands.of_keys(name, [keys[place] for place in places]), slot, tuple(places))
        for slot, places in by_slot.items()
    ]


def joined(name: bytes, parts: Sequence[Part], replies: Sequence[Any]) -> Any:
    """The reply to a command that was taken apart: what it would have been.

    A part that failed stands in the place of each of its values; a number is known only if all parts are.
    """
    if name != b"MGET":
        return total(replies)
    values: list[Any] = [None] * sum(len(part.places) for part in parts)
    for part, reply in zip(parts, replies, strict=True):
        failed = isinstance(reply, redis_errors.ResponseError)
        for at, place in enumerate(part.places):
            values[place] = reply if failed else reply[at]
    return values


def total(replies: Sequence[Any]) -> Any:
    """The sum of numbers, or the first error among them."""
    return _failure(replies) or sum(replies)


def first(replies: Sequence[Any]) -> Any:
    """The first reply, or the first error among them."""
    return _failure(replies) or replies[0]


def most(replies: Sequence[Any]) -> Any:
    """The highest number, or the first error where there is none."""
    return max((reply for reply in replies if isinstance(reply, int)), default=replies[0])


def listed(replies: Sequence[Any]) -> Any:
    """Lists, one behind the other."""
    return _failure(replies) or [item for reply in replies for item in reply]


def summed_info(replies: Sequence[Any]) -> Any:
    """What the first node says of itself, with numbers of all nodes together where `SUMMED` names them.

    Whether data are kept is said of the node that keeps them worst; a node without a limit of memory leaves
    all without one.
    """
    failure = _failure(replies)
    if failure:
        return failure
    told = [dict(line.partition(b":")[::2] for line in text.splitlines() if b":" in line) for text in replies]
    info = dict(told[0])
    for name in SUMMED & info.keys():
        info[name] = b"%d" % sum(int(each.get(name) or 0) for each in told)
    if any(each.get(b"maxmemory") == b"0" for each in told):
        info[b"maxmemory"] = b"0"
    if b"aof_enabled" in info:
        info[b"aof_enabled"] = min(each.get(b"aof_enabled", b"0") for each in told)
    for policy in (each.get(b"maxmemory_policy", b"") for each in told):
        if policy.startswith(b"allkeys"):
            info[b"maxmemory_policy"] = policy
    keys = sum(_keys_in(each.get(b"db0", b"")) for each in told)
    if keys:
        info[b"db0"] = b"keys=%d,expires=0,avg_ttl=0" % keys
    return b"\r\n".join(b"%b:%b" % pair for pair in info.items())


OF_EVERY_NODE: dict[bytes, Merge] = {
    b"DBSIZE": total,
    b"FLUSHALL": first,
    b"FLUSHDB": first,
    b"INFO": summed_info,
    b"PING": first,
    b"SLOWLOG": listed,
}
"""Commands that every primary is sent, and what their replies make together."""

OF_NODES_ASKED: dict[bytes, Merge] = {b"PUBLISH": most, b"SCRIPT": first}
"""Commands that go along to each node of the same round trip: listeners and scripts are a node's own."""


def _failure(replies: Sequence[Any]) -> Any:
    return next((reply for reply in replies if isinstance(reply, redis_errors.ResponseError)), None)


def _keys_in(text: bytes) -> int:
    number = text.partition(b"keys=")[2].partition(b",")[0]
    return int(number) if number.isdigit() else 0


def words_of(packed: bytes, number: int | None = None) -> list[bytes]:
    """The first words of a packed command, or all."""
    at = packed.index(b"\n") + 1
    there = int(packed[1 : at - 2])
    words = []
    for _ in range(there if number is None else min(number, there)):
        end = packed.index(b"\r\n", at)
        start = end + 2
        at = start + int(packed[at + 1 : end]) + 2
        words.append(packed[start : at - 2])
    return words
