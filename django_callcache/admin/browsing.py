"""Looking at keys: one by its name, many by a pattern, within what a look may cost Redis.

Nothing here scans more than asked for: a search stops after some steps or a fifth of a second and
can be continued where it stopped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import redis
from redis.exceptions import ResponseError

from django_callcache.admin.aliases import is_denied
from django_callcache.admin.scan import Scan
from django_callcache.cache import CallCache
from django_callcache.cache.value_keys import ValueKeys, escape_glob

PAGE = 100
"""Keys after which a page is full; the step that filled it is shown to its end."""

LONGEST_SEARCH = 500
"""Characters of a search."""


@dataclass(frozen=True, slots=True)
class KeyLine:
    """One key, as Redis describes it."""

    key: str
    """As callers write it."""
    redis_key: str
    """As Redis holds it; bytes that are no text are escaped."""
    kind: str
    """Redis's type: "string" for a value, else a collection."""
    milliseconds: int | None
    """Until it expires; None for never, and where Redis does not tell."""
    size: int | None
    """Bytes of memory, where Redis tells."""

    @property
    def ttl_seconds(self) -> float | None:
        """Until it expires; None for never."""
        return None if self.milliseconds is None else self.milliseconds / 1000


@dataclass(frozen=True, slots=True)
class Found:
    """One page of a search."""

    lines: tuple[KeyLine, ...]
    hidden: int
    """Keys that match and are kept from pages."""
    cursor: int
    """Where to go on; 0 at the end."""
    looked_at: int
    """Keys of the database that were looked at, roughly."""
    total: int
    """Keys in the database."""
    seconds: float
    refused: tuple[str, ...]
    """Commands that the server does not let us use, and whose columns are empty therefore."""
    is_spent: bool = False
    """Whether it ended before the page was full, since a look may cost no more."""
    nodes: int = 1
    """Servers that hold the keys between them."""


@dataclass(frozen=True, slots=True)
class Walked:
    """Names of the keys that one look has found, and nothing else of them."""

    keys: tuple[str, ...]
    """As callers write them."""
    redis_keys: tuple[str, ...]
    """As Redis holds them, in the same order; bytes that are no text are escaped."""
    hidden: int
    """Keys that match and are kept from pages."""
    cursor: int
    """Where to go on; 0 at the end."""
    looked_at: int
    """Keys of the database that were looked at, roughly."""
    total: int
    """Keys in the database."""


def nodes_of(client: redis.Redis) -> int:
    """Return between how many servers the keys lie."""
    return len(client.get_primaries()) if isinstance(client, redis.RedisCluster) else 1


def names_of(cache: CallCache) -> ValueKeys:
    """Return what makes Redis keys of this cache's keys."""
    return ValueKeys(cache.key_prefix, cache.version, cache.key_func)


def glob_of(search: str) -> str:
    """Return the pattern that a search means: what has no wildcard is looked for anywhere in a key."""
    return search if any(sign in search for sign in "*?[") else f"*{escape_glob(search)}*"


def text_of(asked: Mapping[str, str]) -> str:
    """Return the search of an address."""
    return asked.get("q", "")[:LONGEST_SEARCH].replace("\0", "")


def cursor_of(asked: Mapping[str, str]) -> int:
    """Return where the search of an address goes on; 0 where it begins."""
    cursor = asked.get("cursor", "")
    return int(cursor) if cursor.isascii() and cursor.isdigit() and len(cursor) < 21 else 0


def look_up(cache: CallCache, key: str) -> KeyLine | None:
    """Return the key of that very name, if it exists and may be shown.

    Raises:
        redis.exceptions.RedisError: Redis does not answer.
    """
    if is_denied(key):
        return None
    lines, _ = _described(cache, [names_of(cache).redis_key(key)])
    return lines[0] if lines else None


def search(
    cache: CallCache, pattern: str, cursor: int = 0, *, clock: Callable[[], float] = time.monotonic
) -> Found:
    """Look for keys that match, from where an earlier page stopped.

    Args:
        cache: Whose keys.
        pattern: Over keys as callers write them.
        cursor: Of the page before; 0 for the first.
        clock: Seconds, monotonic.

    Raises:
        redis.exceptions.RedisError: Redis does not answer.
    """
    names = names_of(cache)
    # A page that fills quickly comes from a small step, so that it is not much longer than a page.
    scan = Scan(cache.redis_client(), names.pattern(pattern), cursor=cursor, first=PAGE, clock=clock)
    found, hidden = _matching(cache, scan, PAGE)
    lines, refused = _described(cache, found)
    return Found(
        tuple(lines),
        hidden,
        scan.cursor,
        scan.looked_at,
        scan.total,
        scan.seconds,
        refused,
        bool(scan.cursor) and len(found) < PAGE,
        nodes_of(cache.redis_client()),
    )


def walk(
    cache: CallCache, pattern: str, cursor: int = 0, *, clock: Callable[[], float] = time.monotonic
) -> Walked:
    """Name the keys that match, as many as one look may cost, from where an earlier one stopped.

    Args:
        cache: Whose keys.
        pattern: Over keys as callers write them.
        cursor: Of the look before; 0 for the first.
        clock: Seconds, monotonic.

    Raises:
        redis.exceptions.RedisError: Redis does not answer.
    """
    names = names_of(cache)
    scan = Scan(cache.redis_client(), names.pattern(pattern), cursor=cursor, clock=clock)
    found, hidden = _matching(cache, scan)
    return Walked(
        tuple(names.caller_key(redis_key) for redis_key in found),
        tuple(redis_key.decode(errors="backslashreplace") for redis_key in found),
        hidden,
        scan.cursor,
        scan.looked_at,
        scan.total,
    )


def _matching(cache: CallCache, scan: Scan, enough: float = math.inf) -> tuple[list[bytes], int]:
    """Return the keys that a walk finds until there are enough, and how many are kept from pages."""
    names = names_of(cache)
    found: dict[bytes, None] = {}
    hidden: set[bytes] = set()
    for page in scan.pages():
        for redis_key in page:
            if not cache.redis_keys.is_internal(redis_key):
                if is_denied(names.caller_key(redis_key)):
                    hidden.add(redis_key)
                else:
                    found[redis_key] = None
        if len(found) >= enough:
            break
    return list(found), len(hidden)


def _described(cache: CallCache, redis_keys: Sequence[bytes]) -> tuple[list[KeyLine], tuple[str, ...]]:
    """Ask type, remaining time and size of keys in one round trip; keys gone meanwhile are left out."""
    if not redis_keys:
        return [], ()
    pipeline = cache.redis_client().pipeline(transaction=False)
    for redis_key in redis_keys:
        pipeline.type(redis_key)
        pipeline.pttl(redis_key)
        pipeline.memory_usage(redis_key, samples=5)
    replies = pipeline.execute(raise_on_error=False)
    names = names_of(cache)
    lines = []
    for redis_key, kind, left, size in zip(
        redis_keys, replies[::3], replies[1::3], replies[2::3], strict=True
    ):
        if kind == b"none" or left == -2:
            continue
        lines.append(
            KeyLine(
                names.caller_key(redis_key),
                redis_key.decode(errors="backslashreplace"),
                kind.decode() if isinstance(kind, bytes) else "",
                left if isinstance(left, int) and left >= 0 else None,
                size if isinstance(size, int) else None,
            )
        )
    return lines, _refused(replies)


def _refused(replies: Iterable[Any]) -> tuple[str, ...]:
    """Return the commands among TYPE, PTTL and MEMORY USAGE that every reply of was an error."""
    told = list(replies)
    columns = ((name, told[at::3]) for at, name in enumerate(("TYPE", "PTTL", "MEMORY USAGE")))
    return tuple(
        name for name, column in columns if all(isinstance(reply, ResponseError) for reply in column)
    )
