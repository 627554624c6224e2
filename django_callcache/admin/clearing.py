"""Before a cache is cleared: what that would do, who may, and the confirmation.

Nothing is deleted without a token that a preview gave out to the same user for the same scope,
ten minutes ago at most.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from django.core import signing

from django_callcache.admin.access import Power, may
from django_callcache.admin.aliases import is_denied
from django_callcache.admin.browsing import PAGE, names_of
from django_callcache.admin.scan import Scan
from django_callcache.cache import CallCache
from django_callcache.clearing import Scope, Target
from django_callcache.conf import get_settings

TOKEN_SECONDS = 600
SALT = "django_callcache.admin.clearing"

SAMPLES = 10
TYPED_ABOVE = 1000
"""Keys above which the name of the cache has to be typed."""

IN_REQUEST = 2000
"""Keys up to which a deletion is done while the person waits; longer ones are left to the loop."""

GROWTH = 2
GROWTH_FLOOR = 100
"""A scope that has grown beyond twice its preview and a hundred keys is previewed again."""


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


class Refused(Exception):
    """An attempt that nothing came of. The first argument is the reason's name, for the template."""


def power_of(scope: str) -> Power:
    """Return the permission that a scope asks for."""
    return Power.CLEAR_CACHE if scope == Scope.ALIAS else Power.DELETE_KEYS


def limit_for(user: Any, scope: str) -> int | None:
    """Return how many keys a user may delete at once; None for any number."""
    is_limited = scope != Scope.ALIAS and not may(user, Power.CLEAR_CACHE)
    return get_settings().admin.max_delete if is_limited else None


def preview(cache: CallCache, target: Target, *, clock: Callable[[], float] = time.monotonic) -> Preview:
    """Look at a bounded number of keys.

    Raises:
        redis.exceptions.RedisError: Redis does not answer.
    """
    if target.scope in (Scope.KEY, Scope.KEYS):
        return _preview_of_keys(cache, target)
    names = names_of(cache)
    glob = (names.everything() if target.search is None else names.pattern(target.search)).decode()
    scan = Scan(cache.redis_client(), glob, clock=clock)
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


def _preview_of_keys(cache: CallCache, target: Target) -> Preview:
    names = names_of(cache)
    keys = target.keys or (target.text,)
    redis_keys = [names.redis_key(key) for key in keys]
    pipeline = cache.redis_client().pipeline(transaction=False)
    for redis_key in redis_keys:
        pipeline.exists(redis_key)
    found = [
        (key, redis_key.decode(errors="backslashreplace"))
        for key, redis_key, exists in zip(keys, redis_keys, pipeline.execute(), strict=True)
        if exists
    ]
    shown = tuple(redis_key for key, redis_key in found if not is_denied(key))
    glob = redis_keys[0].decode(errors="backslashreplace") if target.scope == Scope.KEY else ""
    number = len(found)
    return Preview(glob, number, number, True, number, shown[:PAGE], number - len(shown))


def make_token(user_id: object, target: Target, expected: int) -> str:
    """Return what a confirmation has to bring."""
    return signing.dumps([*_bound(user_id, target), expected], salt=SALT)


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
    if bound != _bound(user_id, target):
        raise Refused("forged")
    return int(expected)


def _bound(user_id: object, target: Target) -> list[str]:
    """What a token holds for; of many keys their digest, so that it stays short."""
    keys = "" if not target.keys else sha256("\0".join(target.keys).encode()).hexdigest()
    return [str(user_id), target.alias, target.scope, target.text, keys]


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
