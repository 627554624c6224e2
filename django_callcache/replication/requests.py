"""Requests for a pass now, from any process: those that come while one is under way share the next.

Each request draws a number. A pass answers every number drawn before it began.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from django_callcache.cache.backend import CallCache
from django_callcache.exceptions import (
    RedisEmptied,
    RemoteRefused,
    RemoteRejected,
    RemoteUnavailable,
    SyncError,
    WrongEnvironment,
)
from django_callcache.sync.sync_pass import SyncReport

TOLD = tuple(field.name for field in dataclasses.fields(SyncReport) if field.name != "error")
KINDS = {
    kind.__name__: kind
    for kind in (RedisEmptied, RemoteRefused, RemoteRejected, RemoteUnavailable, WrongEnvironment)
}
"""Errors that end a pass."""


def request(cache: CallCache) -> int:
    """Ask for a pass; return the number by which its report can be had.

    A process that runs `manage.py runcachesync` begins one within a second or two.
    """
    return int(cache.redis_client().incr(cache.redis_keys.requests()))


def drawn(cache: CallCache) -> int:
    """Return the last number that was drawn."""
    found: Any = cache.redis_client().get(cache.redis_keys.requests())
    return int(found or 0)


def is_asked_for(cache: CallCache) -> bool:
    """Tell whether somebody waits for a pass to begin."""
    client: Any = cache.redis_client()
    names = cache.redis_keys
    return drawn(cache) > int(client.hget(names.answer(), "number") or 0)


def answer(cache: CallCache, number: int, report: SyncReport | None) -> None:
    """Keep the report of a pass for those whose numbers were drawn before it began."""
    error = None if report is None else report.error
    fields = {} if report is None else {name: getattr(report, name) for name in TOLD}
    told: Any = {
        "number": number,
        "report": json.dumps(fields),
        "error": "" if error is None else type(error).__name__,
        "message": "" if error is None else str(error),
    }
    cache.redis_client().hset(cache.redis_keys.answer(), mapping=told)


def answered(cache: CallCache, number: int) -> SyncReport | None:
    """Return the report of the pass that answered a number; None where none has yet.

    A pass without a remote store has an empty report.
    """
    found: Any = cache.redis_client().hgetall(cache.redis_keys.answer())
    if not found or int(found[b"number"]) < number:
        return None
    error: SyncError | None = None
    if found[b"error"]:
        kind = KINDS.get(found[b"error"].decode(), SyncError)
        error = kind(found[b"message"].decode())
    fields = json.loads(found[b"report"]) or {"started_at": 0.0, "duration_seconds": 0.0}
    return SyncReport(**fields, error=error)
