"""Clearing a cache: what it would do, the confirmation, the deed, and its trace.

Nothing is deleted without a token that a preview gave out to the same user for the same scope,
ten minutes ago at most. Every attempt leaves one `CacheOperation`, whatever came of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.core import signing

from django_callcache.admin.access import Power, may
from django_callcache.admin.aliases import is_denied
from django_callcache.admin.browsing import names_of
from django_callcache.admin.scan import Scan
from django_callcache.cache import CallCache
from django_callcache.cache.value_keys import escape_glob
from django_callcache.conf import get_settings
from django_callcache.live import FAULTS, masked
from django_callcache.models import CacheOperation
from django_callcache.outbox.stat_buckets import OTHER

Scope = CacheOperation.Scope
Outcome = CacheOperation.Outcome

TOKEN_SECONDS = 600
SALT = "django_callcache.admin.clearing"

SAMPLES = 10
TYPED_ABOVE = 1000
"""Keys above which the name of the cache has to be typed."""

GROWTH = 2
GROWTH_FLOOR = 100
"""A scope that has grown beyond twice its preview and a hundred keys is previewed again."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be cleared."""

    alias: str
    """Its key in ``CACHES``."""
    scope: str
    text: str
    """The prefix or the pattern as a person wrote it; empty for the whole cache."""

    @property
    def power(self) -> Power:
        """The permission that this scope asks for."""
        return Power.CLEAR_CACHE if self.scope == Scope.ALIAS else Power.DELETE_KEYS

    @property
    def search(self) -> str:
        """The pattern over keys as callers write them."""
        if self.scope == Scope.PREFIX:
            return escape_glob(self.text) + "*"
        if self.scope == Scope.KEY:
            return escape_glob(self.text)
        return self.text if self.scope == Scope.PATTERN else "*"

    def deletes_remotely(self, cache: CallCache) -> bool:
        """Tell whether the remote store forgets it too: a single key of a synced prefix is deleted there."""
        if self.scope != Scope.KEY:
            return False
        rule = cache.rule_for(self.text)
        return rule is not None and bool(rule.sync)

    def glob(self, cache: CallCache) -> str:
        """The pattern over the keys in Redis."""
        names = names_of(cache)
        glob = names.everything() if self.scope == Scope.ALIAS else names.pattern(self.search)
        return glob.decode()


@dataclass(frozen=True, slots=True)
class Preview:
    """What a look at some of the keys says about a scope."""

    glob: str
    matched: int
    """Keys seen that match."""
    looked_at: int
    """Keys seen, roughly: Redis goes through its table in steps."""
    is_complete: bool
    """Whether all keys were seen, so that `matched` is the number and not the least it can be."""
    estimate: int
    """The number of keys that match, extrapolated where not all were seen."""
    samples: tuple[str, ...]
    """Some of them, as Redis holds them."""
    hidden: int
    """Keys seen that match and are kept from pages."""

    @property
    def must_type(self) -> bool:
        """Whether the number alone asks for the name of the cache to be typed."""
        return self.estimate > TYPED_ABOVE or not self.is_complete


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a deletion."""

    outcome: str
    deleted: int
    seconds: float
    error_class: str = ""
    error: str = ""


class LimitReached(Exception):
    """A user without the permission for the whole cache has deleted as much as one deletion may."""


class Refused(Exception):
    """An attempt that nothing came of. The first argument is the reason's name, for the template."""


def preview(cache: CallCache, target: Target, *, clock: Callable[[], float] = time.monotonic) -> Preview:
    """Look at a bounded number of keys.

    Raises:
        redis.exceptions.RedisError: Redis does not answer.
    """
    client = cache.redis_client()
    if target.scope == Scope.KEY:
        return _preview_of_key(cache, target)
    glob = target.glob(cache)
    names = names_of(cache)
    scan = Scan(client, glob, clock=clock)
    matched, hidden, samples = set[bytes](), 0, list[str]()
    for page in scan.pages():
        for redis_key in page:
            if redis_key in matched or cache.redis_keys.is_internal(redis_key):
                continue
            matched.add(redis_key)
            if is_denied(names.caller_key(redis_key)):
                hidden += 1
            elif len(samples) < SAMPLES:
                samples.append(redis_key.decode(errors="backslashreplace"))
    is_complete = not scan.cursor
    scale = 1 if is_complete else max(scan.total / max(scan.looked_at, 1), 1)
    estimate = round(len(matched) * scale)
    return Preview(glob, len(matched), scan.looked_at, is_complete, estimate, tuple(samples), hidden)


def _preview_of_key(cache: CallCache, target: Target) -> Preview:
    names = names_of(cache)
    redis_key = names.redis_key(target.text)
    matched = int(cache.redis_client().exists(redis_key))
    hidden = matched if is_denied(target.text) else 0
    samples = (redis_key.decode(),) if matched and not hidden else ()
    return Preview(redis_key.decode(), matched, matched, True, matched, samples, hidden)


def make_token(user_id: object, target: Target, expected: int) -> str:
    """Return what a confirmation has to bring."""
    return signing.dumps([str(user_id), target.alias, target.scope, target.text, expected], salt=SALT)


def expected_by(token: str, user_id: object, target: Target) -> int:
    """Return how many keys the preview announced that gave out a token.

    Raises:
        Refused: The token is too old, or not this user's for this scope.
    """
    try:
        *bound, expected = signing.loads(token, salt=SALT, max_age=TOKEN_SECONDS)
    except signing.SignatureExpired as error:
        raise Refused("expired") from error
    except (signing.BadSignature, ValueError) as error:
        raise Refused("forged") from error
    if bound != [str(user_id), target.alias, target.scope, target.text]:
        raise Refused("forged")
    return int(expected)


def check_bounds(user: Any, target: Target, seen: Preview) -> None:
    """Refuse what a scope is too large or too sensitive for.

    Raises:
        Refused: With the reason's name.
    """
    if target.scope == Scope.ALIAS:
        return
    if seen.hidden:
        raise Refused("protected")
    if seen.estimate > get_settings().admin.max_delete and not may(user, Power.CLEAR_CACHE):
        raise Refused("too_many")


def run(cache: CallCache, target: Target, *, limit: int | None) -> Result:
    """Delete, in steps of 500 keys.

    Args:
        cache: Where.
        target: What.
        limit: Keys after which to stop; None for none.
    """
    deleted = 0

    def progress(removed: int) -> None:
        nonlocal deleted
        deleted = removed
        if limit is not None and removed >= limit:
            raise LimitReached

    faults = _faults(cache)
    started = time.monotonic()
    error: BaseException | None = None
    try:
        if target.scope == Scope.ALIAS:
            cache.clear(progress=progress)
        elif target.scope == Scope.KEY:
            deleted = int(cache.delete(target.text))
        else:
            cache.delete_pattern(target.search, progress=progress)
    except (*FAULTS, LimitReached) as fault:
        error = fault
    seconds = time.monotonic() - started
    if error is not None:
        text = "" if isinstance(error, LimitReached) else masked(error)
        return Result(
            Outcome.PARTIAL if deleted else Outcome.FAILED, deleted, seconds, type(error).__name__, text
        )
    if _faults(cache) > faults:
        # In degraded mode a deletion that Redis cut short returns as if it were whole.
        return Result(Outcome.PARTIAL if deleted else Outcome.FAILED, deleted, seconds, "RedisUnavailable")
    return Result(Outcome.OK, deleted, seconds)


def _faults(cache: CallCache) -> int:
    """Calls without a prefix that Redis failed in this process; deletions by pattern are counted there."""
    return cache.counted().get(OTHER, {}).get("errors", 0)
