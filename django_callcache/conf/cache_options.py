"""Settings of one cache alias: what ``CACHES[alias]`` may hold for this backend.

Our names stand in ``OPTIONS["CALLCACHE"]``; single values may also stand in ``OPTIONS`` itself, where
a cache URL puts them. django-redis's own options are translated (see ``django_redis_options``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from django.core.exceptions import ImproperlyConfigured

from django_callcache.conf.django_redis_options import DJANGO_REDIS_OPTIONS, translate
from django_callcache.conf.parsing import (
    DERIVED,
    UNSET,
    Amount,
    Bounds,
    Count,
    ReadBy,
    Seconds,
    Unset,
    did_you_mean,
    item,
    read_bool,
    read_choice,
    read_fields,
    read_float,
    setting_types,
    wrong,
)
from django_callcache.conf.sources import ModelSource, TableSource, read_source
from django_callcache.ttl import POLICIES

OWN_OPTIONS = "CALLCACHE"

Serializer = Literal["pickle", "msgpack", "json"]
CompressLevel = Annotated[int, Bounds(at_least=-7, at_most=22)]
Threshold = Annotated[int, Bounds(at_least=0)]

UNITS = {"b": 1, "k": 10**3, "kb": 2**10, "m": 10**6, "mb": 2**20, "g": 10**9, "gb": 2**30}
"""As in redis.conf."""

EvictionPolicy = Literal[
    "noeviction",
    "allkeys-lru",
    "allkeys-lfu",
    "allkeys-random",
    "volatile-lru",
    "volatile-lfu",
    "volatile-random",
    "volatile-ttl",
]

STRATEGIES = ("lww", "local", "remote", "newest-version", "manual")

USUAL_SHARE = 0.02
"""Of the hits that are compared with their origin, where a rule states a target and no share."""

LONGEST_LOCK_TIMEOUT = 240.0
"""Seconds. A write whose value lives no longer has to void computations of its key: see `writes_void`."""


def read_rule_ttl(value: object, where: str) -> str | float | None:
    """Read the name of a TTL policy, or seconds, or None."""
    if value is None or value in POLICIES:
        return value  # type: ignore[return-value]
    hint = did_you_mean(value, POLICIES) if isinstance(value, str) else ""
    words = ", ".join(map(repr, POLICIES))
    expected = f"seconds above 0, None (entries never expire), or a policy ({words}).{hint}"
    seconds = read_float(value, where, expected)
    if seconds <= 0:
        raise wrong(where, value, expected)
    return seconds


def read_bytes(value: object, where: str) -> int | None:
    """Read an amount of memory as Redis's own configuration has it; None where nothing is said."""
    if value is None:
        return None
    text = str(value).strip().lower()
    found = re.fullmatch(r"(\d+)(b|k|kb|m|mb|g|gb)?", text)
    if found is None or isinstance(value, bool):
        raise wrong(where, value, 'bytes, or a text such as "512mb" or "2gb"; 0 where there is no limit')
    return int(found[1]) * UNITS[found[2] or "b"]


def read_near(value: object, where: str) -> Literal["rules"] | bool:
    """Read which entries are kept near."""
    return "rules" if value == "rules" else read_bool(value, where)


def read_strategy(value: object, where: str) -> str | None:
    """Read the name of a conflict strategy, or the dotted path of a function that merges."""
    if value is None or (isinstance(value, str) and "." in value):
        return value
    return read_choice(STRATEGIES, value, where)


def read_validate(value: object, where: str) -> object:
    """Read a type or a function, or the dotted path of one; it is imported when the cache is first used."""
    if value is None or callable(value) or (isinstance(value, str) and "." in value):
        return value
    raise wrong(where, value, "a type or a function that takes a value, or the dotted path of one")


def read_rules(value: object, where: str) -> tuple[PrefixRule, ...]:
    """Read the table of rules, longest prefix first."""
    if not isinstance(value, Mapping):
        raise wrong(where, value, "a dict of key prefixes, each with a dict of its settings")
    rules = []
    for prefix, stated in value.items():
        if not isinstance(prefix, str) or "*" in prefix:
            raise ImproperlyConfigured(
                f"{where} has the prefix {prefix!r}: give the text that keys begin with, without '*'."
            )
        if not isinstance(stated, Mapping):
            raise ImproperlyConfigured(
                f'{where}["{prefix}"] is {stated!r}: give a dict, such as {{"ttl": 60}}.'
            )
        rule = PrefixRule(prefix=prefix, **read_fields(PrefixRule, stated, item(where, prefix)))
        if rule.stale_target is not None and not rule.checked_share:
            raise ImproperlyConfigured(
                f'{item(where, prefix)} has "stale_target": {rule.stale_target:g} and "revalidate": 0, but '
                'only comparisons tell what is stale: leave "revalidate" out, or give a share above 0.'
            )
        rules.append(rule)
    return tuple(sorted(rules, key=lambda rule: (-len(rule.prefix), rule.prefix)))


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixRule:
    """What holds for the keys that begin with a prefix. The longest matching prefix wins."""

    prefix: Annotated[str, DERIVED]
    """What the keys begin with, as callers write them. It is the key of the table `RULES`."""
    ttl: Annotated[str | float | Unset | None, ReadBy(read_rule_ttl)] = UNSET
    """How long entries live where the caller gives no timeout: seconds, None (they never expire), or a
    policy ("fixed", "peak-hour", "heuristic-freshness", "alex", "adaptive"). Left out, as the alias says."""
    eta: Annotated[float | None, Bounds(above=0)] = None
    """As `TTL["ETA"]`, for these keys."""
    max_ttl: Annotated[float | None, Bounds(above=0)] = None
    """As `TTL["MAX_TTL"]`, for these keys."""
    updated_at: str | None = None
    """The item or attribute of the values that says when their row last changed (a datetime, ISO 8601 text or
    unix seconds). The policies that learn do so faster by it, and `heuristic-freshness` goes by it alone."""
    revalidate: Annotated[float | None, Bounds(at_least=0, at_most=1)] = None
    """Share of the hits that are compared with their origin in the background, where the prefix has a loader
    (a `source`, `register_loader`, or what `get_or_set` and `cached` are given): at most one a second, over
    all processes. Left out, it is 0.02 where there is a `stale_target`, else none."""
    stale_target: Annotated[float | None, Bounds(above=0, at_most=0.5)] = None
    """Share of the hits that may be stale, as measured by `revalidate`: the policies that learn shorten TTLs
    until it is kept, and bypass the cache where no TTL keeps it."""
    sync: Annotated[str | None, ReadBy(read_strategy)] = None
    """Sync with the remote store, and how a conflict is decided: "lww", the last writer wins; "local";
    "remote"; "newest-version"; "manual", by a person; or the dotted path of a function that merges."""
    serializer: Serializer | None = None
    """As the alias's SERIALIZER, for these keys."""
    compress: bool | None = None
    """As the alias's COMPRESS, for these keys."""
    compress_level: CompressLevel | None = None
    """As the alias's COMPRESS_LEVEL, for these keys."""
    compress_threshold: Threshold | None = None
    """As the alias's COMPRESS_THRESHOLD, for these keys."""
    sensitive: bool = False
    """Encrypt these values with AES-256-GCM (needs the extra `crypto`). Keys are not encrypted."""
    validate: Annotated[object, ReadBy(read_validate)] = None
    """What a value must be to be stored: a msgspec Struct, a dataclass, another class, or a function that
    raises or returns False where the value is wrong; or the dotted path of one."""
    near: bool | None = None
    """Whether processes may keep copies of these entries. Left out, as the alias's NEAR says."""
    grace: Amount = 0.0
    """Seconds after its end for which a computed value may be served stale: to all but one while that one
    computes it anew, to that one too if its loader fails."""
    refresh_ahead: Amount = 0.0
    """Compute a value anew in the background before it ends, the likelier the nearer its end and the slower
    its loader; 1 is the usual, 0 is off (beta of XFetch: Vattani, Chierichetti and Lowenstein, VLDB 2015)."""
    soft_timeout: Amount | None = None
    """Seconds that a caller waits for the loader where there is a stale value, which it gets then; the
    loader goes on in the background. 0 serves it at once."""
    hard_timeout: Seconds | None = None
    """Seconds that a caller waits for the loader in any case; it gets the stale value, or `LoaderTimeout`.
    The loader goes on in the background."""
    lock_timeout: Annotated[float, Bounds(above=0, at_most=LONGEST_LOCK_TIMEOUT)] = 30.0
    """Seconds after which a loader is taken to hang: others compute, and its value is not stored."""
    jitter: Annotated[float, Bounds(at_least=0, at_most=0.9)] = 0.0
    """Part of a computed value's TTL that is taken off at random, so that values made together do not end
    together. It does not change a timeout that the caller gives."""
    source: Annotated[ModelSource | TableSource | None, ReadBy(read_source)] = None
    """Where the records come from that `load` returns: a model, such as "crm.Campaign", a table of the remote
    store, such as "campaigns", or a dict with more about it. A change of a row deletes its record."""
    absent_ttl: Amount = 30.0
    """Seconds for which `load` remembers that a record does not exist."""

    @property
    def checked_share(self) -> float:
        """The share of the hits that are compared with their origin."""
        if self.revalidate is not None:
            return self.revalidate
        return 0.0 if self.stale_target is None else USUAL_SHARE


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheOptions:
    """Everything in ``CACHES[alias]["OPTIONS"]["CALLCACHE"]``, django-redis's options translated."""

    alias: str | None = None
    """Name under which statistics, sync and seals know this cache. Left out, it is the alias in `CACHES`."""
    on_error: Literal["degrade", "raise"] = "degrade"
    """What a call does when Redis fails: "degrade" answers as an empty cache would, "raise" raises."""
    deadline: Seconds = 0.25
    """Seconds that one call may take in all, connecting included."""
    max_connections: Count = 10
    """Connections to one server in one process."""
    pool_timeout: Annotated[float, Bounds(at_least=0)] = 30.0
    """Seconds to wait for a free connection; the call's deadline ends the wait sooner."""
    serializer: Serializer = "pickle"
    """How values become bytes: "pickle" keeps every Python type, under a seal; "msgpack" and "json" what
    these formats know."""
    compress: bool = True
    """Whether large values are compressed with zstd, where that makes them smaller."""
    compress_level: CompressLevel = 3
    """Level of zstd."""
    compress_threshold: Threshold = 1024
    """Bytes below which nothing is compressed."""
    max_value_bytes: Count = 8_388_608
    """Bytes that one stored value may have."""
    max_raw_bytes: Count = 33_554_432
    """Bytes that one value may have before compression, and after decompression."""
    read_legacy: Literal["safe", "pickle"] | None = None
    """Read what Django's RedisCache or django-redis left at the same keys: "safe", JSON and msgpack;
    "pickle", their pickles too, which run code of whoever can write to Redis. For a change of backend."""
    write_legacy: bool = False
    """Write values as they do, without a seal, while processes still run the other backend."""
    near: Annotated[Literal["rules"] | bool, ReadBy(read_near)] = "rules"
    """Which entries processes keep copies of: "rules", those whose prefix has a rule; True, all but
    sessions and counters; False, none."""
    link: Literal["broadcast", "per-key"] = "broadcast"
    """How Redis tells processes what has changed: "broadcast", all under the prefixes that are kept near;
    "per-key", what each of them has read, which spares writers where many processes listen."""
    near_ttl: Seconds = 5.0
    """Seconds after which a copy is not served any more, whatever its own TTL."""
    near_bytes: Count = 33_554_432
    """Bytes that the copies of one process may have in all."""
    max_staleness: Annotated[float, Bounds(at_least=1)] = 2.0
    """Seconds that a copy is served for after Redis last confirmed that nothing has changed."""
    expect_maxmemory: Annotated[int | None, ReadBy(read_bytes)] = None
    """The memory limit that Redis should have: bytes, or a text such as "512mb"; 0: none. Where the server
    has another, the doctor, an alert and the admin say so. Left out, nothing is expected."""
    expect_eviction_policy: EvictionPolicy | None = None
    """The `maxmemory-policy` that Redis should have; checked likewise."""
    stats: bool = True
    """Whether calls of this alias are counted."""
    rules: Annotated[tuple[PrefixRule, ...], ReadBy(read_rules)] = ()
    """A dict of key prefixes, each with a dict of its settings. The longest matching prefix wins."""
    stated_timeout: Annotated[float | Unset | None, DERIVED] = UNSET
    """The alias's `TIMEOUT`, if it states one."""


# What may stand beside our own dict: every single value whose name django-redis does not use.
SINGLE_NAMES = frozenset(setting_types(CacheOptions)) - {"rules", "serializer"}


def parse_cache_options(params: Mapping[str, Any], *, alias: str | None = None) -> CacheOptions:
    """Read what Django hands to a cache backend.

    Args:
        params: The alias's settings: ``TIMEOUT``, ``OPTIONS`` and the rest.
        alias: The alias, for messages.

    Raises:
        ImproperlyConfigured: For an unknown name, a value that cannot be, or a contradiction.
    """
    where = f'CACHES["{alias}"]' if alias else "CACHES[...]"
    where_options = item(where, "OPTIONS")
    options = params.get("OPTIONS") or {}
    own = read_fields(CacheOptions, options.get(OWN_OPTIONS, {}), item(where_options, OWN_OPTIONS))
    beside = read_fields(CacheOptions, _own_beside(options, where_options), where_options)
    meant = translate(options, where_options)
    _refuse_contradictions(beside, own, where_options)
    _refuse_contradictions(meant.as_stated, {**beside, **own}, where_options)
    timeout = _stated_timeout(params, where)
    values = {**meant.unless_stated, **meant.as_stated, **beside, **own}
    cache_options = CacheOptions(**values, stated_timeout=timeout)
    _refuse_unreadable(cache_options, where_options)
    return cache_options


def _refuse_unreadable(options: CacheOptions, where: str) -> None:
    """Values are written without a seal only where they are read without one."""
    needed = ("pickle",) if options.serializer == "pickle" else ("safe", "pickle")
    if options.write_legacy and options.read_legacy not in needed:
        raise ImproperlyConfigured(
            f"{where} has WRITE_LEGACY and the serializer {options.serializer!r}: state READ_LEGACY, "
            f"{' or '.join(map(repr, needed))}, or nobody could read what is written."
        )


def _own_beside(options: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Our names among ``OPTIONS`` itself; those that only resemble one of ours are refused."""
    own = [OWN_OPTIONS, "RULES", *map(str.upper, SINGLE_NAMES)]
    beside = {}
    for name, value in options.items():
        if name == OWN_OPTIONS or name in DJANGO_REDIS_OPTIONS:
            continue
        if name.lower() in SINGLE_NAMES:
            beside[name] = value
        elif nearest := get_close_matches(name.upper(), own, n=1, cutoff=0.85):
            place = "" if nearest[0] == OWN_OPTIONS else f", in {item(where, OWN_OPTIONS)}"
            raise ImproperlyConfigured(f"{where} has no {name!r}: did you mean {nearest[0]!r}{place}?")
    return beside


def _refuse_contradictions(one: Mapping[str, Any], other: Mapping[str, Any], where: str) -> None:
    for name in one.keys() & other.keys():
        if one[name] != other[name]:
            raise ImproperlyConfigured(
                f"{where} says twice, and differently, what {name.upper()} is: {one[name]!r} and "
                f"{other[name]!r}. Keep what stands in {item(where, OWN_OPTIONS)}."
            )


def _stated_timeout(params: Mapping[str, Any], where: str) -> float | Unset | None:
    # Django takes either case, the lower one first (django/core/cache/backends/base.py).
    name = next((name for name in ("timeout", "TIMEOUT") if name in params), None)
    if name is None or params[name] is None:
        return UNSET if name is None else None
    expected = "seconds (0: nothing is kept), or None (entries never expire)"
    seconds = read_float(params[name], item(where, name), expected)
    if seconds < 0:
        raise wrong(item(where, name), params[name], expected)
    return seconds
