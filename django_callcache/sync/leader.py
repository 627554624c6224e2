"""Who works on an outbox at this moment, and who was last seen alive: both in that outbox's Redis.

The lease saves work, it does not guard data: two passes at once are wasteful, not wrong.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Self
from uuid import uuid4

import redis

from django_callcache.lua import Script, run_script
from django_callcache.redis_keys import RedisKeys

HEARTBEAT_SECONDS = 7 * 86_400
"""How long the last sign of life is kept."""

RENEW = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
""")

RELEASE = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
""")


class LoopLease:
    """The right to work on an outbox, for one holder at a time.

    Args:
        client: Blocking client of the outbox's Redis.
        keys: Names of the alias's internal keys.
        seconds: How long the lease lasts without renewal.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        client: redis.Redis,
        keys: RedisKeys,
        seconds: float,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._name = keys.loop_lease()
        self._milliseconds = round(seconds * 1000)
        self._token = uuid4().hex
        self._clock = clock
        self._renew_at = 0.0

    def take(self) -> bool:
        """Take the lease; False while somebody else has it."""
        self._plan_renewal()
        return bool(self._client.set(self._name, self._token, nx=True, px=self._milliseconds))

    def keep(self) -> bool:
        """Renew the lease when a third of it is over; False where it was lost."""
        if self._clock() < self._renew_at:
            return True
        self._plan_renewal()
        return bool(self._run(RENEW, self._token, self._milliseconds))

    def give_back(self) -> None:
        """Let others take the lease at once."""
        self._run(RELEASE, self._token)

    def remaining_seconds(self) -> float:
        """How long the lease that somebody has lasts if it is not renewed."""
        return max(0, int(self._call("PTTL", self._name))) / 1000

    def _plan_renewal(self) -> None:
        self._renew_at = self._clock() + self._milliseconds / 3000

    def _run(self, script: Script, *arguments: str | int) -> Any:
        return run_script(self._client, script, (self._name,), arguments)

    def _call(self, *command: bytes | str | int) -> Any:
        return self._client.execute_command(*command)  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """A sign of life of the loop that works for a cache alias. Times are unix seconds."""

    host: str
    pid: int
    started_at: float
    alive_at: float
    """Last sign of life."""
    passed_at: float = 0.0
    """End of the last pass; 0 before the first."""
    outcome: str = ""
    """How the last pass ended: ``ok``, ``partial``, ``failed``; ``none`` without a remote store."""

    @classmethod
    def of_this_process(cls) -> Self:
        """Return the first sign of life of this process."""
        now = time.time()
        return cls(host=socket.gethostname(), pid=os.getpid(), started_at=now, alive_at=now)

    def write(self, client: redis.Redis, keys: RedisKeys) -> None:
        """Leave the sign in Redis."""
        stated: Any = {field.name: str(getattr(self, field.name)) for field in fields(self)}
        with client.pipeline(transaction=False) as pipeline:
            pipeline.hset(keys.heartbeat(), mapping=stated)
            pipeline.expire(keys.heartbeat(), HEARTBEAT_SECONDS)
            pipeline.execute()

    @classmethod
    def read(cls, client: redis.Redis, keys: RedisKeys) -> Self | None:
        """Return the last sign of life, None where there is none."""
        found: Any = client.hgetall(keys.heartbeat())
        return cls.of(found)

    @classmethod
    def of(cls, found: Mapping[bytes, bytes]) -> Self | None:
        """Return the sign of life that a hash in Redis holds, None where it holds none."""
        try:
            values = {name.decode(): value.decode() for name, value in found.items()}
            return cls(
                host=values["host"],
                pid=int(values["pid"]),
                started_at=float(values["started_at"]),
                alive_at=float(values["alive_at"]),
                passed_at=float(values["passed_at"]),
                outcome=values["outcome"],
            )
        except (KeyError, ValueError):
            return None
