"""What one alias shares in a process: connections, breaker, codec, counts, policies."""

from __future__ import annotations

import asyncio
import logging
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import redis
from django.conf import settings as django_settings
from django.core.cache import caches
from django.core.cache.backends.base import get_key_func

from django_callcache.cache import commands
from django_callcache.cache.announcer import Announcer
from django_callcache.cache.codecs import make_codec
from django_callcache.cache.consistency import NearProbe
from django_callcache.cache.dictionaries import SharedDictionaries
from django_callcache.cache.exchange import Exchange
from django_callcache.cache.near import NearCache
from django_callcache.cache.prefix_maker import PrefixMaker, is_near
from django_callcache.cache.prefixes import Prefixes, TtlClock
from django_callcache.cache.reach import ClusterReach, Reach, ServerReach, Shared
from django_callcache.cache.recovery import Recovery
from django_callcache.cache.revalidation import HitSampler
from django_callcache.cache.running import run
from django_callcache.cache.secrecy import cipher_for
from django_callcache.cache.server import Server
from django_callcache.cache.shared_overrides import SharedOverrides
from django_callcache.cache.single_flight import Flights
from django_callcache.cache.value_keys import ValueKeys
from django_callcache.cache.watch import Watch
from django_callcache.codec import Codec, Encoding, KeyRing
from django_callcache.conf import PrefixRule, get_settings, parse_cache_options, refuse_on_cluster
from django_callcache.outbox.durability import Durability
from django_callcache.outbox.processes import ProcessReport
from django_callcache.outbox.stat_buckets import FIELDS, StatBuckets
from django_callcache.redis_keys import RedisKeys
from django_callcache.ttl import DIGEST_BYTES, HourlyProfile, Learner, make_policy

logger = logging.getLogger(__name__)

DEFAULT_ALIAS = "default"
"""Name of a cache that is made by hand, outside ``CACHES``."""

FLUSH_SECONDS = 1.0
"""How long counts may take to Redis: they can be some megabytes."""

COLD_SECONDS = 1.0
"""How long a round trip off the hot path may take."""


class Runtime:
    """One alias in one process.

    Args:
        server: ``LOCATION``.
        params: The rest of the alias's settings, as Django hands them to a backend.
        shared: What it shares with other aliases of the same server.
    """

    def __init__(self, server: Any, params: Mapping[str, Any], shared: Shared) -> None:
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
        self.link = shared.link(self._server)
        self.near = self._make_near()
        self.watch = None if self.near is None else self._make_watch(self.near)
        """What this alias wants to hear of over the link; None where it keeps no copies."""
        self._digester = self._key_ring.first.hasher(b"learnt\0")
        self.overrides = SharedOverrides(lambda: self.prefixes.forget_decisions())
        """What people have decided about TTLs."""
        self._maker = PrefixMaker(
            self.options,
            self.settings,
            self._codec_of,
            lambda: self.profile,
            self.overrides,
            self.near is not None,
        )
        self.prefixes = Prefixes(self._maker.rules(), self._maker.make, self.settings.stats.max_prefixes)
        self.flights = Flights()
        deadline = self.options.deadline
        self.durability = Durability(self.server) if self.settings.sync.require_durable else None
        """What synced writes depend on; None: on nothing."""
        self._when_lost = None if self.near is None else self.link.suspect
        reach = ClusterReach if is_cluster else ServerReach
        self.reach: Reach = reach(self._server, self.options, shared)
        self.breaker = self.reach.breaker
        self.connections = self.reach.connections
        self.recovery = Recovery(
            self.value_keys.siblings, lambda: self._flush_io, self.server, self.redis_keys
        )
        self.blocking_io = self._blocking_io(deadline, self.recovery)
        self._flush_io = self._blocking_io(FLUSH_SECONDS)
        self._cold_io = self._blocking_io(max(COLD_SECONDS, deadline))
        self.exchange = Exchange(self, self._flush_io, partial(self.digest_of, b"traced"))
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

    def digest_of(self, payload: bytes, redis_key: bytes) -> bytes:
        """What two values of a key are compared by. Keyed, so that it tells nobody what a value may be."""
        hasher = self._digester.copy()
        hasher.update(redis_key + b"\0")
        hasher.update(payload)
        return hasher.digest()[:DIGEST_BYTES]

    def learners(self) -> dict[str, Learner]:
        """What learns, by prefix."""
        return dict(self._maker.learners)

    def samplers(self) -> dict[str, HitSampler]:
        """What draws hits to compare with their origin, by the prefix of its rule."""
        return dict(self._maker.samplers)

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
        self.exchange.forget()
        for learner in self._maker.learners.values():
            learner.tables.forget_growth()
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

    def _codec_of(self, name: str, rule: PrefixRule | None) -> Codec:
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
        codec = make_codec(self.alias, self._key_ring, options, encoding, rule, known, caller_key)
        codec.compress_with(self.dictionaries.of_prefix(name))
        return codec

    def _make_near(self) -> NearCache | None:
        """The near cache; none where no prefix may be kept, or keys cannot be told from Redis keys."""
        options = self.options
        wanted = options.near is True or any(is_near(options, rule.prefix, rule) for rule in options.rules)
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
        ruled = [rule.prefix for rule in self.options.rules if is_near(self.options, rule.prefix, rule)]
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
