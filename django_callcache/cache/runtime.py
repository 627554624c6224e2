"""What one alias shares in a process: connections, breaker, codec, counts, policies.

Django makes a backend object for every thread and every asynchronous context, so a hundred
request tasks make a hundred of them. All that must be there once lives here, in a registry,
and is made anew in a forked child.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import uuid4

import redis
from django.conf import settings as django_settings
from django.core.cache import caches
from django.core.cache.backends.base import get_key_func
from django.core.signals import setting_changed
from django.dispatch import receiver

from django_callcache.cache import commands
from django_callcache.cache.announcer import Announcer
from django_callcache.cache.codecs import make_codec
from django_callcache.cache.consistency import NearProbe
from django_callcache.cache.counters import CountsReader, PrefixCounts
from django_callcache.cache.dictionaries import SharedDictionaries
from django_callcache.cache.faults import fault_in
from django_callcache.cache.near import NearCache
from django_callcache.cache.prefixes import Prefix, Prefixes, TtlClock
from django_callcache.cache.reach import ClusterReach, Reach, ServerReach, Shared
from django_callcache.cache.recovery import Recovery
from django_callcache.cache.revalidation import HitSampler, read_staleness
from django_callcache.cache.running import run
from django_callcache.cache.secrecy import cipher_for
from django_callcache.cache.server import Server
from django_callcache.cache.shared_learning import merge_command, take_merged
from django_callcache.cache.single_flight import Flights
from django_callcache.cache.tracer import Tracer
from django_callcache.cache.value_keys import ValueKeys
from django_callcache.cache.watch import Watch
from django_callcache.codec import Encoding, KeyRing
from django_callcache.conf import (
    SOURCES,
    UNSET,
    PrefixRule,
    get_settings,
    parameters_of,
    parse_cache_options,
    refuse_on_cluster,
)
from django_callcache.outbox.durability import Durability
from django_callcache.outbox.processes import ProcessReport, flat_pairs, report_command
from django_callcache.outbox.stat_buckets import FIELDS, Command, StatBuckets, add_command
from django_callcache.outbox.trace_log import add_trace_command, read_recording
from django_callcache.redis_keys import RedisKeys
from django_callcache.ttl import DIGEST_BYTES, ChangeTables, HourlyProfile, Learner, Policy, make_policy

logger = logging.getLogger(__name__)

DEFAULT_ALIAS = "default"
"""Name of a cache that is made by hand, outside ``CACHES``."""

FLUSH_SECONDS = 1.0
"""How long counts may take to Redis: they can be some megabytes."""

COLD_SECONDS = 1.0
"""How long a round trip off the hot path may take."""

SESSIONS = "django.contrib.sessions"
"""What the keys of Django's session backends begin with."""


class Runtime:
    """One alias in one process.

    Args:
        server: ``LOCATION``.
        params: The rest of the alias's settings, as Django hands them to a backend.
    """

    def __init__(self, server: Any, params: Mapping[str, Any]) -> None:
        self.options = parse_cache_options(params, alias=_alias_of(server, params))
        self.alias = self.options.alias or _alias_of(server, params) or DEFAULT_ALIAS
        self.settings = get_settings()
        key_prefix = params.get("KEY_PREFIX", "")
        reverse = params.get("REVERSE_KEY_FUNCTION")
        self.value_keys = ValueKeys(
            key_prefix,
            params.get("VERSION", 1),
            get_key_func(params.get("KEY_FUNCTION")),
            get_key_func(reverse) if reverse else None,
        )
        self._server = Server(server, params.get("OPTIONS") or {})
        self.server = self._server.label
        is_cluster = bool(self._server.seeds)
        if is_cluster:
            refuse_on_cluster(key_prefix, self.options)
        self.redis_keys = RedisKeys(key_prefix, clustered=is_cluster)
        self.tag_epoch: bytes | None = None
        """The epoch of tags that a read of this process has met last."""
        self._key_ring = KeyRing(self.settings.secrets, cipher_for(self.options))
        self.profile = HourlyProfile({})
        self.dictionaries = SharedDictionaries(self.alias, self._key_ring, self.redis_keys.dictionaries())
        self._size_clock = TtlClock(
            make_policy("peak-hour", self.settings.ttl.parameters), lambda: self.profile
        )
        self.link = _shared.link(self._server)
        self.near = self._make_near()
        self.watch = None if self.near is None else self._make_watch(self.near)
        """What this alias wants to hear of over the link; None where it keeps no copies."""
        self._learners: dict[str, Learner] = {}
        self._samplers: dict[str, HitSampler] = {}
        self.tracer: Tracer | None = None
        """What notes reads and changes, while they are recorded."""
        self._digester = self._key_ring.first.hasher(b"learnt\0")
        self.prefixes = Prefixes(self._rules(), self._make_prefix, self.settings.stats.max_prefixes)
        self.counts_reader = CountsReader()
        self.flights = Flights()
        deadline = self.options.deadline
        self.durability = Durability(self.server) if self.settings.sync.require_durable else None
        """What synced writes depend on; None: on nothing."""
        self._when_lost = None if self.near is None else self.link.suspect
        reach = ClusterReach if is_cluster else ServerReach
        self.reach: Reach = reach(self._server, self.options, _shared)
        self.breaker = self.reach.breaker
        self.connections = self.reach.connections
        self.recovery = Recovery(
            self.value_keys.siblings, lambda: self._flush_io, self.server, self.redis_keys
        )
        self.blocking_io = self._blocking_io(deadline, self.recovery)
        self._flush_io = self._blocking_io(FLUSH_SECONDS)
        self._cold_io = self._blocking_io(max(COLD_SECONDS, deadline))
        self._process_id = uuid4().hex
        self._flush_lock = threading.Lock()
        self._async_io: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Any] = (
            weakref.WeakKeyDictionary()
        )
        self._client: redis.Redis | None = None

    def async_io(self) -> Any:
        """The driver of the running event loop."""
        loop = asyncio.get_running_loop()
        io = self._async_io.get(loop)
        if io is None:
            # A driver holds its loop by its tasks, so a weak key alone never lets go of a closed one.
            for other in [reference() for reference in self._async_io.keyrefs()]:
                if other is not None and other.is_closed():
                    self._async_io.pop(other, None)
            io = self.reach.async_io(self.options.deadline, self._when_lost, self.recovery)
            self._async_io[loop] = io
        return io

    @property
    def address(self) -> str:
        """Server and database."""
        return f"{self.server}/{self._server.pool.connection_kwargs.get('db') or 0}"

    def listen(self) -> None:
        """Let the near cache hear of changes; from the link's first confirmation on it keeps copies."""
        if self.watch is not None:
            self.link.start(self.watch)

    def client(self) -> redis.Redis:
        """A redis-py client for work off the hot path."""
        if self._client is None:
            self._client = self.reach.client()
        return self._client

    def flush_stats(self) -> None:
        """Add what was counted since the last time to this minute's bucket in Redis.

        Raises:
            redis.exceptions.RedisError: It did not arrive; the counts wait for the next time.
        """
        with self._flush_lock:
            whole = {}
            if self.near is not None:
                self.near.collect()
                whole["near_evictions"] = self.near.evictions
                whole["near_invalidations"] = self.near.invalidations
                whole["near_checked"] = self.near.checked
                whole["near_inconsistent"] = self.near.inconsistent
            growth = self.counts_reader.growth(self.prefixes.counts(), whole)
            if self.tracer is not None:
                self.tracer.read(growth.reads)
            if growth:
                run(self._run_script(add_command(self.redis_keys, growth)))
            self.counts_reader.confirm()

    def digest_of(self, payload: bytes, redis_key: bytes) -> bytes:
        """What two values of a key are compared by. Keyed, so that it tells nobody what a value may be."""
        hasher = self._digester.copy()
        hasher.update(redis_key + b"\0")
        hasher.update(payload)
        return hasher.digest()[:DIGEST_BYTES]

    def learners(self) -> dict[str, Learner]:
        """What learns, by prefix."""
        return dict(self._learners)

    def samplers(self) -> dict[str, HitSampler]:
        """What draws hits to compare with their origin, by the prefix of its rule."""
        return dict(self._samplers)

    def share_learning(self, *, with_all: bool = False) -> None:
        """Hand over what TTL policies have learnt here since the last time, and learn what others have.

        Args:
            with_all: Ask also for prefixes of which nothing was learnt here.

        Raises:
            redis.exceptions.RedisError: It did not arrive; what was learnt waits for the next time.
        """
        with self._flush_lock:
            for name, learner in list(self._learners.items()):
                sent = learner.tables.growth()
                if with_all or sent:
                    reply = run(self._run_script(merge_command(self.redis_keys, name, sent)))
                    take_merged(learner.tables, sent, reply)
                    learner.tables.refit(time.time(), learner.bins)
            if with_all:
                for sampler in list(self._samplers.values()):
                    asked = commands.command("HGETALL", self.redis_keys.checked(sampler.prefix))
                    reply = run(self._flush_io.ask(asked, time.monotonic_ns(), reads=True))
                    sampler.staleness.known = read_staleness(self._checked(reply))

    def follow_recording(self) -> None:
        """Learn whether reads and changes are to be recorded now, and note them from now on.

        Raises:
            redis.exceptions.RedisError: Redis did not answer; it stays as it was.
        """
        asked = [commands.command("TIME"), commands.command("HGETALL", self.redis_keys.trace())]
        found = run(self._flush_io.ask_many(asked, time.monotonic_ns(), reads=True))
        (seconds, _), facts = map(self._checked, found)
        recording = read_recording(flat_pairs(facts))
        if recording is None or not recording.goes_on(float(seconds)):
            self.tracer = None
        elif self.tracer is None or self.tracer.recording.id != recording.id:
            self.tracer = Tracer(recording, self._traced, self.value_keys)

    def share_trace(self) -> None:
        """Hand over what was noted for the recording, as long as it goes on.

        Raises:
            redis.exceptions.RedisError: It did not arrive, and is lost.
        """
        tracer = self.tracer
        if tracer is None:
            return
        for portion in tracer.portions():
            call = add_trace_command(self.redis_keys, tracer.recording.id, portion)
            if not run(self._run_script(call)):
                self.tracer = None
                return

    def _traced(self, redis_key: bytes) -> bytes:
        """What a key is called in a trace: nobody learns it from that without our secret."""
        return self.digest_of(b"traced", redis_key)

    def report(self) -> None:
        """Tell the others how this process does.

        Raises:
            redis.exceptions.RedisError: It did not arrive.
        """
        run(self._run_script(report_command(self.redis_keys, self._process_id, self.condition())))

    def probe(self, wait: Callable[[float], object]) -> int:
        """Compare some near copies with Redis; return how many are served that should not be.

        Args:
            wait: Waits for some seconds.

        Raises:
            RedisFault: Redis cannot be asked.
        """
        if self.near is None or not len(self.near):
            return 0
        redis_key = partial(self.value_keys.redis_key, version=None)
        probe = NearProbe(self.near, redis_key, self.ask, self.options.max_staleness, self.alias)
        return probe.look(wait)

    def leave(self) -> None:
        """Take this process's report away: it ends.

        Raises:
            redis.exceptions.RedisError: It did not arrive; the report grows old by itself.
        """
        words = "HDEL", self.redis_keys.processes(), self._process_id
        run(self._flush_io.ask(commands.command(*words), time.monotonic_ns()))

    def condition(self) -> ProcessReport:
        """How this process does."""
        near = self.near
        return ProcessReport(
            near_entries=0 if near is None else len(near),
            near_bytes=0 if near is None else near.bytes,
            lag_seconds=None if self.watch is None else self.watch.lag_seconds(),
            is_degraded=self.breaker.is_open,
        )

    def ask(self, questions: Sequence[Sequence[bytes | str | int]]) -> list[Any]:
        """The replies to some commands that change nothing, error replies included, in one round trip.

        Raises:
            RedisFault: There was no reply in time.
        """
        packed = [commands.command(*words) for words in questions]
        return run(self._cold_io.ask_many(packed, time.monotonic_ns(), reads=True))

    async def _run_script(self, call: Command) -> Any:
        # Not by the client: it keeps no deadline, and requests and the end of the process wait for this.
        script, keys, arguments = call
        started = time.monotonic_ns()
        reply = await self._flush_io.ask(commands.evalsha(script, keys, arguments), started)
        if isinstance(reply, redis.exceptions.NoScriptError):
            reply = await self._flush_io.ask(commands.eval_(script, keys, arguments), started)
        return self._checked(reply)

    def _checked(self, reply: Any) -> Any:
        if isinstance(reply, redis.exceptions.ResponseError):
            raise fault_in(reply, self.server) or reply
        return reply

    def counted(self) -> dict[str, dict[str, int]]:
        """What this process has counted since it started, by prefix and name."""
        if self.near is not None:
            self.near.collect()
        prefixes = self.prefixes.counts()
        for counts in prefixes.values():
            counts.settle()
        return {name: dict(zip(FIELDS, counts.slots, strict=True)) for name, counts in prefixes.items()}

    def read_profile(self) -> None:
        """Read the hours of all processes, which the policies decide by."""
        self.profile = HourlyProfile(StatBuckets(self.client(), self.redis_keys).profile())
        self.prefixes.forget_decisions()

    def read_dictionaries(self, *, all_of_them: bool = False) -> None:
        """Read which prefixes have a zstd dictionary now, and use it for what is written from now on.

        Args:
            all_of_them: Learn the dictionaries of old values too, instead of when one is met.

        Raises:
            redis.exceptions.RedisError: Nothing was learnt, and nothing changes.
        """

        async def ask(*words: str | bytes) -> Any:
            return self.client().execute_command(*words)  # type: ignore[no-untyped-call]

        read = self.dictionaries.read_all if all_of_them else self.dictionaries.refresh
        run(read(ask))
        for prefix in self.prefixes.each():
            prefix.codec.compress_with(self.dictionaries.of_prefix(prefix.name))

    def forget(self) -> None:
        """Start anew in a forked child: sockets, locks and counts are the parent's."""
        self.connections.forget()
        self.recovery.forget()
        self.prefixes.forget()
        self.flights.forget()
        if self.near is not None and self.watch is not None:
            self.near.forget()
            self.watch.forget()
        for counts in self.prefixes.counts().values():
            counts.forget()
        self.counts_reader = CountsReader()
        self._process_id = uuid4().hex
        self.tracer = None
        for learner in self._learners.values():
            learner.tables.forget_growth()
        self._flush_lock = threading.Lock()
        self._async_io = weakref.WeakKeyDictionary()
        self._client = None

    def close(self) -> None:
        """Close the connections that are not in use."""
        self.recovery.stop()
        if self.watch is not None:
            self.link.stop(self.watch)
        self.reach.close()

    def _blocking_io(self, deadline: float, recovery: Recovery | None = None) -> Any:
        return self.reach.blocking_io(deadline, self._when_lost, recovery)

    def _make_prefix(self, name: str, rule: PrefixRule | None) -> Prefix:
        options = self.options
        encoding = Encoding(
            serializer=_first(rule and rule.serializer, options.serializer),
            compress=_first(rule and rule.compress, options.compress),
            compress_level=_first(rule and rule.compress_level, options.compress_level),
            compress_threshold=_first(rule and rule.compress_threshold, options.compress_threshold),
            max_value_bytes=options.max_value_bytes,
            max_raw_bytes=options.max_raw_bytes,
        )
        known, caller_key = self.dictionaries.known, self.value_keys.caller_key
        codec = make_codec(self.alias, self._key_ring, self.options, encoding, rule, known, caller_key)
        codec.compress_with(self.dictionaries.of_prefix(name))
        policy = self._policy_of(rule)
        return Prefix(
            name,
            rule,
            TtlClock(policy, lambda: self.profile),
            codec,
            PrefixCounts(self.settings.stats.max_keys),
            self.near is not None and self._is_near(name, rule),
            self._learner_of(name, rule, policy) if policy.learns else None,
            None if rule is None else self._sampler_of(rule),
        )

    def _learner_of(self, name: str, rule: PrefixRule | None, policy: Policy) -> Learner:
        """The one learner of a name: a rule's keys may be found by several of our prefixes."""
        if name not in self._learners:
            parameters = parameters_of(self.settings.ttl, rule)
            tables = ChangeTables(parameters.eta, parameters.peak_ttl, is_shared=True)
            jitter = self.settings.ttl.jitter
            sampler = None if rule is None else self._sampler_of(rule)
            staleness = None if sampler is None else sampler.staleness
            self._learners[name] = Learner(
                policy, parameters, jitter=jitter, tables=tables, staleness=staleness
            )
        return self._learners[name]

    def _sampler_of(self, rule: PrefixRule) -> HitSampler | None:
        """The one sampler of a rule; none where it asks for no comparisons."""
        if rule.prefix not in self._samplers and rule.checked_share:
            sampler = HitSampler(rule.prefix, rule.checked_share, rule.stale_target)
            self._samplers[rule.prefix] = sampler
        return self._samplers.get(rule.prefix)

    def _rules(self) -> tuple[PrefixRule, ...]:
        """The rules, and one for sessions where all else is near: their keys have no colon to be told by."""
        rules = self.options.rules
        if self.near is None or self.options.near is not True:
            return rules
        broader = next((rule for rule in rules if SESSIONS.startswith(rule.prefix)), PrefixRule(prefix=""))
        if broader.prefix == SESSIONS:
            return rules
        sessions = replace(broader, prefix=SESSIONS, near=False)
        return tuple(sorted((*rules, sessions), key=lambda rule: (-len(rule.prefix), rule.prefix)))

    def _is_near(self, name: str, rule: PrefixRule | None) -> bool:
        if rule is None:
            return self.options.near is True
        return rule.near is True if name.startswith(SESSIONS) else rule.near is not False

    def _policy_of(self, rule: PrefixRule | None) -> Policy:
        spec = self.options.stated_timeout if rule is None or rule.ttl is UNSET else rule.ttl
        return make_policy("peak-hour" if spec is UNSET else spec, parameters_of(self.settings.ttl, rule))

    def _make_near(self) -> NearCache | None:
        """The near cache; none where no prefix may be kept, or keys cannot be told from Redis keys."""
        options = self.options
        wanted = options.near is True or any(self._is_near(rule.prefix, rule) for rule in options.rules)
        if not options.near or not wanted:
            return None
        if not self.value_keys.is_default:
            logger.warning(
                "alias=%s near=off: keys that KEY_FUNCTION makes cannot be mapped back", self.alias
            )
            return None
        return NearCache(self._near_entries, options.near_bytes, options.near_ttl)

    def _near_entries(self) -> int:
        ttl = self.settings.ttl
        return ttl.peak_cache_size if self._size_clock.decision().terms["peak"] else ttl.default_cache_size

    def _make_watch(self, near: NearCache) -> Watch:
        stem = self.value_keys.stem
        ruled = [rule.prefix for rule in self.options.rules if self._is_near(rule.prefix, rule)]
        kept = (stem,) if self.options.near is True else tuple(stem + each.encode() for each in ruled)
        prefixes = (*kept, self.redis_keys.tag_epoch())
        return Watch(
            near,
            stem,
            prefixes,
            Announcer(self.redis_keys.near_channel(), prefixes),
            self.options.max_staleness,
            self.redis_keys.tag_epoch(),
            per_key=self.options.link == "per-key",
            when_lost=self.link.suspect,
        )


_runtimes: dict[tuple[Any, ...], tuple[Any, Runtime]] = {}
_shared = Shared()
_lock = threading.Lock()


def runtime_of(server: Any, params: Mapping[str, Any]) -> Runtime:
    """The runtime of an alias, made when it is first asked for."""
    options = params.get("OPTIONS")
    # The options are told apart by identity, which is safe as long as the registry holds them.
    key = (
        str(server),
        id(options) if options else 0,
        params.get("KEY_PREFIX", ""),
        params.get("VERSION", 1),
        params.get("TIMEOUT", UNSET),
        params.get("KEY_FUNCTION"),
        params.get("REVERSE_KEY_FUNCTION"),
    )
    known = _runtimes.get(key)
    if known is not None:
        return known[1]
    runtime = Runtime(server, params)
    with _lock:
        return _runtimes.setdefault(key, (options, runtime))[1]


def runtimes() -> list[Runtime]:
    """Every runtime of this process."""
    return [runtime for _, runtime in list(_runtimes.values())]


@receiver(setting_changed)
def _forget_settings(*, setting: str, **_: object) -> None:
    if setting in SOURCES:
        for runtime in runtimes():
            runtime.close()
        _runtimes.clear()
        _shared.clear()


def _forget_parent() -> None:
    global _lock
    _lock = threading.Lock()
    _shared.forget()
    for runtime in runtimes():
        runtime.forget()


os.register_at_fork(after_in_child=_forget_parent)


def _alias_of(server: Any, params: Mapping[str, Any]) -> str | None:
    """The alias whose settings these are: Django does not tell a backend its name."""
    if not django_settings.configured:
        return None
    for alias, stated in caches.settings.items():
        same = {name: value for name, value in stated.items() if name not in {"BACKEND", "LOCATION"}}
        if stated.get("LOCATION", "") == server and same == params:
            return str(alias)
    return None


def _first(stated: Any, otherwise: Any) -> Any:
    return otherwise if stated is None else stated
