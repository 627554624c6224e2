"""Redis commands as bytes on the wire.

The commands of the hot path are templates, filled by one ``%``: a generic packer costs
as much again as everything else that happens before a command is sent.

Source of the format: Redis serialization protocol specification, "Arrays" and "Bulk strings".
"""

from __future__ import annotations

from collections.abc import Iterable

from django_callcache.lua import Script

SAME_TWICE = frozenset(
    {b"EXISTS", b"GETRANGE", b"HDEL", b"HSET", b"PEXPIRE", b"PTTL", b"PUBLISH", b"SET", b"UNLINK"}
)
"""Commands of writes that leave the same whether they are carried out once or twice; SET unless it has NX."""

LONGEST_NAME = max(map(len, SAME_TWICE))

PERSIST_EXISTING = Script("redis.call('PERSIST', KEYS[1]) return redis.call('EXISTS', KEYS[1])")


def get(key: bytes) -> bytes:
    return b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n" % (len(key), key)


def set_(key: bytes, blob: bytes, px: bytes) -> bytes:
    """SET, expiring after ``px`` milliseconds; never where ``px`` is empty."""
    if px:
        return b"*5\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$2\r\nPX\r\n$%d\r\n%b\r\n" % (
            len(key), key, len(blob), blob, len(px), px,
        )  # fmt: skip
    return b"*3\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(key), key, len(blob), blob)


def set_if(key: bytes, blob: bytes, px: bytes, condition: bytes) -> bytes:
    """SET under the condition NX (absent) or XX (present)."""
    if px:
        return b"*6\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$2\r\n%b\r\n$2\r\nPX\r\n$%d\r\n%b\r\n" % (
            len(key), key, len(blob), blob, condition, len(px), px,
        )  # fmt: skip
    return b"*4\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$2\r\n%b\r\n" % (
        len(key), key, len(blob), blob, condition,
    )  # fmt: skip


def pttl(key: bytes) -> bytes:
    return b"*2\r\n$4\r\nPTTL\r\n$%d\r\n%b\r\n" % (len(key), key)


def getrange(key: bytes, first: int, last: int) -> bytes:
    return b"*4\r\n$8\r\nGETRANGE\r\n$%d\r\n%b\r\n$%d\r\n%d\r\n$%d\r\n%d\r\n" % (
        len(key), key, len(str(first)), first, len(str(last)), last,
    )  # fmt: skip


def unlink(key: bytes) -> bytes:
    return b"*2\r\n$6\r\nUNLINK\r\n$%d\r\n%b\r\n" % (len(key), key)


def exists(key: bytes) -> bytes:
    return b"*2\r\n$6\r\nEXISTS\r\n$%d\r\n%b\r\n" % (len(key), key)


def drop_copy(side: bytes) -> bytes:
    """Take the stale copy out of a side record."""
    return b"*5\r\n$4\r\nHDEL\r\n$%d\r\n%b\r\n$1\r\ng\r\n$1\r\nx\r\n$1\r\nf\r\n" % (len(side), side)


def pexpire(key: bytes, px: bytes) -> bytes:
    return b"*3\r\n$7\r\nPEXPIRE\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(key), key, len(px), px)


def retime(key: bytes, px: bytes) -> bytes:
    """Give a key another TTL, or none where ``px`` is empty; the reply tells whether the key exists.

    GETEX would fetch the value, and PERSIST alone says no of a key that has no TTL already.
    """
    if px:
        return pexpire(key, px)
    return eval_(PERSIST_EXISTING, (key,), ())


def of_keys(name: bytes, keys: Iterable[bytes]) -> bytes:
    """A command whose arguments are keys alone: MGET, UNLINK."""
    packed = [b"$%d\r\n%b\r\n" % (len(key), key) for key in keys]
    return b"*%d\r\n$%d\r\n%b\r\n%b" % (len(packed) + 1, len(name), name, b"".join(packed))


def evalsha(script: Script, keys: Iterable[bytes], arguments: Iterable[bytes | int]) -> bytes:
    return _script_call(b"EVALSHA", script.sha1, keys, arguments)


def eval_(script: Script, keys: Iterable[bytes], arguments: Iterable[bytes | int]) -> bytes:
    return _script_call(b"EVAL", script.text, keys, arguments)


def command(*parts: bytes | str | int | float) -> bytes:
    """Any other command."""
    encoded = [part if isinstance(part, bytes) else str(part).encode() for part in parts]
    packed = [b"$%d\r\n%b\r\n" % (len(part), part) for part in encoded]
    return b"*%d\r\n%b" % (len(packed), b"".join(packed))


def are_same_twice(packed: bytes) -> bool:
    """Tell whether Redis holds the same after these commands, whether they are carried out once or twice."""
    at = 0
    while at < len(packed):
        words, at = _short_words(packed, at)
        if words[0] not in SAME_TWICE or (words[0] == b"SET" and b"NX" in words[3:]):
            return False
    return True


def _short_words(packed: bytes, at: int) -> tuple[list[bytes], int]:
    """The words of the command that begins here, long ones left empty, and where the next begins."""
    end = packed.index(b"\r\n", at)
    number, at = int(packed[at + 1 : end]), end + 2
    words = []
    for _ in range(number):
        end = packed.index(b"\r\n", at)
        size, start = int(packed[at + 1 : end]), end + 2
        words.append(packed[start : start + size] if size <= LONGEST_NAME else b"")
        at = start + size + 2
    return words, at


def _script_call(name: bytes, body: bytes, keys: Iterable[bytes], arguments: Iterable[bytes | int]) -> bytes:
    keys = tuple(keys)
    return command(name, body, b"%d" % len(keys), *keys, *arguments)
