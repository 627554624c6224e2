"""How the remote store answers, as the last pass found it: kept in Redis, for who looks from elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import redis

from django_callcache.exceptions import RemoteRefused, RemoteUnavailable, WrongEnvironment
from django_callcache.redis_keys import RedisKeys

KEPT_SECONDS = 7 * 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What came of the last attempt to reach the remote store. Times are unix seconds."""

    kind: str
    """``ok``; ``refused``: credentials or rights; ``schema``: tables or functions are missing or of another
    release; ``environment``: it belongs to another one; ``limited``: it wants fewer requests;
    ``unreachable``; ``failed``: anything else."""
    since: float
    """When it was found so first."""
    at: float
    """When it was found so last."""
    message: str = ""

    @classmethod
    def of(cls, found: Mapping[bytes, bytes]) -> Self | None:
        """Return what a hash in Redis holds, None where it holds nothing of the sort."""
        values = {name.decode(): value.decode(errors="replace") for name, value in found.items()}
        try:
            since, at = float(values["since"]), float(values["at"])
            return cls(kind=values["kind"], since=since, at=at, message=values.get("message", ""))
        except (KeyError, ValueError):
            return None


def note_standing(
    client: redis.Redis, keys: RedisKeys, error: BaseException | None, *, now: float | None = None
) -> None:
    """Keep what came of an attempt.

    Args:
        client: Of the outbox's Redis.
        keys: Names of the alias's internal keys.
        error: What ended it, None where it went well.
        now: Unix seconds.
    """
    moment = time.time() if now is None else now
    kind = kind_of(error)
    found: Any = client.hgetall(keys.standing())
    before = Standing.of(found)
    since = before.since if before is not None and before.kind == kind else moment
    told: Any = {
        "kind": kind,
        "since": since,
        "at": moment,
        "message": "" if error is None else str(error)[:500],
    }
    with client.pipeline(transaction=False) as pipeline:
        pipeline.hset(keys.standing(), mapping=told)
        pipeline.expire(keys.standing(), KEPT_SECONDS)
        pipeline.execute()


def kind_of(error: BaseException | None) -> str:
    """Return what sort of answer an error tells of."""
    if error is None:
        return "ok"
    if isinstance(error, WrongEnvironment):
        return "environment"
    if isinstance(error, RemoteRefused):
        return "schema" if error.lacks_schema else "refused"
    if isinstance(error, RemoteUnavailable):
        return "limited" if error.is_limited else "unreachable"
    return "failed"
