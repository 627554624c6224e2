"""Whether a Redis has lost what it held, as after a restart without its data.

The first pass leaves a mark in Redis and remembers it in the database, by the server's address. Where the
mark is gone, so is the rest: what is written from then on builds on misses, and would replace in the remote
store what was right there, a count of a thousand by one that begins at zero. So pushes pause and nothing is
deleted remotely, while everything is pulled. Where no pulled row meets a key that was written meanwhile,
nothing is at stake, and pushes go on by themselves; else a person says which of the two stays.
"""

from __future__ import annotations

import logging
from typing import Any, Literal
from uuid import uuid4

from django.utils import timezone

from django_callcache.cache.backend import CallCache
from django_callcache.exceptions import RedisEmptied
from django_callcache.models import SyncedRedis
from django_callcache.outbox.replica import Replica
from django_callcache.replication.remotes import namespace_of

logger = logging.getLogger(__name__)

AfterLoss = Literal["", "restore", "go-on"]
"""What a person decided: the remote rows stay, or the strategies decide as ever; empty: nothing yet."""

CURE = (
    "Run `manage.py runcachesync --once --after-loss restore` to take the remote rows also for these keys, "
    "or `--after-loss go-on` to let the strategy of their prefixes decide"
)


def has_lost_data(cache: CallCache) -> bool:
    """Tell whether a Redis that was synced before has not been brought up to date since it lost its data."""
    client: Any = cache.redis_client()
    found = client.get(cache.redis_keys.epoch())
    known = SyncedRedis.objects.of(cache.alias, cache.address)
    if known is not None and found is None:
        if known.emptied_at is None:
            known.mark_emptied()
            # An eviction may have left the cursor, by which only the latest rows would come.
            client.delete(cache.redis_keys.cursor(namespace_of(cache)))
            logger.error("emptied alias=%s server=%s pushes=paused", cache.alias, cache.address)
        return True
    if known is None or known.epoch != found.decode() or known.emptied_at is not None:
        begin_anew(cache)
    return False


def is_paused(cache: CallCache) -> bool:
    """Tell whether pushes pause, by what the last pass found."""
    known = SyncedRedis.objects.of(cache.alias, cache.address)
    return known is not None and known.emptied_at is not None


def begin_anew(cache: CallCache) -> None:
    """Mark Redis, unless it is, and remember the mark: from now on it holds what it should."""
    client: Any = cache.redis_client()
    name = cache.redis_keys.epoch()
    client.set(name, uuid4().hex, nx=True)
    SyncedRedis.objects.update_or_create(
        alias=cache.alias,
        server=cache.address,
        defaults={
            "epoch": client.get(name).decode(),
            "marked_at": timezone.now(),
            "emptied_at": None,
            "held": 0,
        },
    )


def forget_held(cache: CallCache) -> None:
    """Count anew the rows that meet a key written since."""
    SyncedRedis.objects.for_alias(cache.alias).filter(server=cache.address).update(held=0)


def still_lost(cache: CallCache, held: int) -> RedisEmptied | None:
    """Begin anew once everything was pulled and nothing met a key written meanwhile.

    Args:
        cache: Which.
        held: Rows that did, in the last pull.

    Returns:
        Why a person has to decide; None where nobody has to, or not everything was pulled yet.
    """
    known = SyncedRedis.objects.of(cache.alias, cache.address)
    if known is None:
        return None
    known.hold(held)
    if known.held:
        return RedisEmptied(
            f"Redis has lost what it held, and {known.held} rows of the remote store meet keys that were "
            f"written since; pushes pause. {CURE}"
        )
    cursor = Replica(cache.redis_client(), cache.redis_keys).cursor(namespace_of(cache))
    if cursor is not None and not cursor.reset_at:
        begin_anew(cache)
        logger.warning("restored alias=%s server=%s pushes=resumed", cache.alias, cache.address)
    return None
