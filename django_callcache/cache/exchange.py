"""What one alias of a process hands over to the others by way of Redis, and what it learns from them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol
from uuid import uuid4

import redis

from django_callcache.cache import commands
from django_callcache.cache.counters import CountsReader
from django_callcache.cache.faults import fault_in
from django_callcache.cache.near import NearCache
from django_callcache.cache.prefixes import Prefixes
from django_callcache.cache.revalidation import HitSampler, read_staleness
from django_callcache.cache.running import run
from django_callcache.cache.shared_learning import merge_command, take_merged
from django_callcache.cache.shared_overrides import SharedOverrides, read_overrides
from django_callcache.cache.tracer import Tracer
from django_callcache.cache.value_keys import ValueKeys
from django_callcache.outbox.processes import ProcessReport, flat_pairs, report_command
from django_callcache.outbox.stat_buckets import Command, add_command
from django_callcache.outbox.trace_log import add_trace_command, read_recording
from django_callcache.redis_keys import RedisKeys
from django_callcache.ttl import Learner


class Counted(Protocol):
    """What an alias has that counts and learns; see `Runtime`."""

    server: str
    redis_keys: RedisKeys
    value_keys: ValueKeys
    near: NearCache | None
    prefixes: Prefixes
    overrides: SharedOverrides

    def learners(self) -> Mapping[str, Learner]:
        """What learns, by prefix."""
        ...

    def samplers(self) -> Mapping[str, HitSampler]:
        """What draws hits to compare with their origin, by the prefix of its rule."""
        ...


class Exchange:
    """The hand-over of one alias. Any number of threads may call it.

    It goes by a driver, not by the client of redis-py, which keeps no deadline: requests and the end of the
    process wait for some of this.

    Args:
        alias: What counts and learns.
        io: A blocking driver off the hot path: counts can be some megabytes.
        traced: What a Redis key is called in a trace, so that nobody learns it from there.
    """

    def __init__(self, alias: Counted, io: Any, traced: Callable[[bytes], bytes]) -> None:
        self.tracer: Tracer | None = None
        """What notes reads and changes, while they are recorded."""
        self._alias = alias
        self._io = io
        self._traced = traced
        self.forget()

    def forget(self) -> None:
        """Start anew in a forked child: what was counted and noted is the parent's to hand over."""
        self._counts = CountsReader()
        self._process_id = uuid4().hex
        self._lock = threading.Lock()
        self.tracer = None

    def flush_stats(self) -> None:
        """Add what was counted since the last time to this minute's bucket in Redis.

        Raises:
            redis.exceptions.RedisError: It did not arrive; the counts wait for the next time.
        """
        alias = self._alias
        with self._lock:
            growth = self._counts.growth(alias.prefixes.counts(), _counts_of(alias.near))
            if self.tracer is not None:
                self.tracer.read(growth.reads)
            if growth:
                self._call(add_command(alias.redis_keys, growth))
            self._counts.confirm()

    def share_learning(self, *, with_all: bool = False) -> None:
        """Hand over what TTL policies have learnt here since the last time, and learn what others have.

        Args:
            with_all: Ask also for prefixes of which nothing was learnt here.

        Raises:
            redis.exceptions.RedisError: It did not arrive; what was learnt waits for the next time.
        """
        with self._lock:
            for name, learner in self._alias.learners().items():
                sent = learner.tables.growth()
                if with_all or sent:
                    reply = self._call(merge_command(self._alias.redis_keys, name, sent))
                    take_merged(learner.tables, sent, reply)
                    learner.tables.refit(time.time(), learner.bins)
            if with_all:
                self._read_staleness()

    def follow_overrides(self) -> None:
        """Learn what people have decided about TTLs, and obey it from now on.

        Raises:
            redis.exceptions.RedisError: Redis did not answer; it stays as it was.
        """
        (fields,) = self._ask(("HGETALL", self._alias.redis_keys.overrides()))
        self._alias.overrides.obey(read_overrides(flat_pairs(fields)))

    def follow_recording(self) -> None:
        """Learn whether reads and changes are to be recorded now, and note them from now on.

        Raises:
            redis.exceptions.RedisError: Redis did not answer; it stays as it was.
        """
        (seconds, _), facts = self._ask(("TIME",), ("HGETALL", self._alias.redis_keys.trace()))
        recording = read_recording(flat_pairs(facts))
        if recording is None or not recording.goes_on(float(seconds)):
            self.tracer = None
        elif self.tracer is None or self.tracer.recording.id != recording.id:
            self.tracer = Tracer(recording, self._traced, self._alias.value_keys)

    def share_trace(self) -> None:
        """Hand over what was noted for the recording, as long as it goes on.

        Raises:
            redis.exceptions.RedisError: It did not arrive, and is lost.
        """
        tracer = self.tracer
        if tracer is None:
            return
        for portion in tracer.portions():
            if not self._call(add_trace_command(self._alias.redis_keys, tracer.recording.id, portion)):
                self.tracer = None
                return

    def report(self, condition: ProcessReport) -> None:
        """Tell the others how this process does.

        Raises:
            redis.exceptions.RedisError: It did not arrive.
        """
        self._call(report_command(self._alias.redis_keys, self._process_id, condition))

    def leave(self) -> None:
        """Take this process's report away: it ends.

        Raises:
            redis.exceptions.RedisError: It did not arrive; the report grows old by itself.
        """
        words = "HDEL", self._alias.redis_keys.processes(), self._process_id
        run(self._io.ask(commands.command(*words), time.monotonic_ns()))

    def _read_staleness(self) -> None:
        """Learn what comparisons of hits in all processes have found."""
        samplers = list(self._alias.samplers().values())
        keys = [self._alias.redis_keys.checked(sampler.prefix) for sampler in samplers]
        replies = self._ask(*(("HGETALL", key) for key in keys)) if keys else []
        for sampler, reply in zip(samplers, replies, strict=True):
            sampler.staleness.known = read_staleness(reply)

    def _ask(self, *questions: tuple[str | bytes, ...]) -> list[Any]:
        """The replies to commands that change nothing, in one round trip."""
        packed = [commands.command(*words) for words in questions]
        replies = run(self._io.ask_many(packed, time.monotonic_ns(), reads=True))
        return [self._checked(reply) for reply in replies]

    def _call(self, call: Command) -> Any:
        return run(self._run_script(call))

    async def _run_script(self, call: Command) -> Any:
        script, keys, arguments = call
        started = time.monotonic_ns()
        reply = await self._io.ask(commands.evalsha(script, keys, arguments), started)
        if isinstance(reply, redis.exceptions.NoScriptError):
            reply = await self._io.ask(commands.eval_(script, keys, arguments), started)
        return self._checked(reply)

    def _checked(self, reply: Any) -> Any:
        if isinstance(reply, redis.exceptions.ResponseError):
            raise fault_in(reply, self._alias.server) or reply
        return reply


def _counts_of(near: NearCache | None) -> dict[str, int]:
    """Counts of a whole alias, by name."""
    if near is None:
        return {}
    near.collect()
    return {
        "near_evictions": near.evictions,
        "near_invalidations": near.invalidations,
        "near_checked": near.checked,
        "near_inconsistent": near.inconsistent,
    }
