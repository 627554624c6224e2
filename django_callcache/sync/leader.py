"""Who works on an outbox at this moment, and who was last seen alive: both in that outbox's Redis.

The lease saves work, it does not guard data: two passes at once are wasteful, not wrong.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self
from uuid import uuid4

import redis

from django_callcache.lua import Script, run_script
from django_callcache.redis_keys import RedisKeys

HEARTBEAT_SECONDS = 7 * 86_400
"""How long the last sign of life is kept."""

SILENT_SECONDS = 15.0
"""A loop that shows no sign of life for so long is at a pass, or gone."""

LOOPS_KEPT = 32
"""Loops whose last signs are kept; with more, those go that have been silent."""

RENEW = Script("""
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
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
        """Renew the lease when a third of it is over, or take it again where it has lapsed.

        Returns:
            False where somebody else has it.
        """
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
    next_at: float = 0.0
    """When the next turn is due; 0 where it is under way."""
    is_ended: bool = False
    """Whether the loop has ended by itself."""

    @classmethod
    def of_this_process(cls) -> Self:
        """Return the first sign of life of this process."""
        now = time.time()
        return cls(host=socket.gethostname(), pid=os.getpid(), started_at=now, alive_at=now)

    def write(self, client: redis.Redis, keys: RedisKeys) -> None:
        """Leave the sign in Redis, beside those of other loops."""
        name = keys.heartbeat()
        with client.pipeline(transaction=False) as pipeline:
            pipeline.hset(name, self._field, json.dumps(asdict(self)))
            pipeline.expire(name, HEARTBEAT_SECONDS)
            pipeline.hlen(name)
            *_, kept = pipeline.execute()
        if kept > LOOPS_KEPT:
            found: Any = client.hgetall(name)
            silent = self.alive_at - SILENT_SECONDS
            gone = [loop._field for loop in loops_of(found) if loop.alive_at < silent]
            if gone:
                client.hdel(name, *gone)

    @property
    def _field(self) -> str:
        return f"{self.host} {self.pid} {self.started_at}"

    @classmethod
    def read(cls, client: redis.Redis, keys: RedisKeys) -> Heartbeat | None:
        """Return the last sign of life of any loop, None where there is none."""
        found: Any = client.hgetall(keys.heartbeat())
        return last_sign(loops_of(found))


def loops_of(found: Mapping[bytes, bytes]) -> tuple[Heartbeat, ...]:
    """Return the last signs of the loops that a hash in Redis holds, the oldest loop first."""
    loops = []
    for text in found.values():
        try:
            loops.append(Heartbeat(**json.loads(text)))
        except (ValueError, TypeError):
            continue
    return tuple(sorted(loops, key=lambda loop: (loop.started_at, loop.host, loop.pid)))


def last_sign(loops: Sequence[Heartbeat]) -> Heartbeat | None:
    """Return what some loops together say: who was alive last and at work, and the last pass of all."""
    if not loops:
        return None
    alive_at = max(loop.alive_at for loop in loops)
    present = [loop for loop in loops if loop.alive_at >= alive_at - SILENT_SECONDS]
    at_work = max(present, key=lambda loop: (loop.passed_at, loop.alive_at))
    latest = max(loops, key=lambda loop: loop.passed_at)
    return replace(at_work, alive_at=alive_at, passed_at=latest.passed_at, outcome=latest.outcome)
