"""Settings of the whole app: what ``settings.CALLCACHE`` may hold.

Fields are the lower-case of the names that users write; the texts beneath them are the manual.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from django.conf import settings as django_settings

from django_callcache.conf.alert_rules import AlertSettings
from django_callcache.conf.invalidation_rules import InvalidationRule, read_invalidation_rules
from django_callcache.conf.parsing import (
    HIDDEN,
    Amount,
    Bounds,
    Count,
    ReadBy,
    Seconds,
    did_you_mean,
    parse,
    wrong,
)
from django_callcache.ttl import DEFAULT_TTL, PEAK_TTL, TtlParameters

REMOTES = ("supabase", "postgres")
DEFAULT_TIME_ZONE = "UTC"


def read_remote(value: object, where: str) -> str | None:
    """Read the name of a remote store, or the dotted path of one."""
    if value is None or value in REMOTES:
        return value
    if isinstance(value, str) and "." in value:
        return value
    hint = did_you_mean(value, REMOTES) if isinstance(value, str) else ""
    expected = f"'supabase', 'postgres', the dotted path of a RemoteStore, or None for no sync.{hint}"
    raise wrong(where, value, expected)


def read_time_zone(value: object, where: str) -> str:
    """Read the name of a time zone that this machine knows."""
    try:
        return ZoneInfo(str(value)).key
    except (ValueError, OSError, KeyError) as error:
        expected = "a time zone that zoneinfo knows, such as 'America/Bogota'"
        raise wrong(where, value, expected) from error


def read_permission_rule(value: object, where: str) -> Callable[..., bool] | str | None:
    """Read a callable, or the dotted path of one."""
    if value is None or callable(value) or (isinstance(value, str) and "." in value):
        return value
    raise wrong(where, value, "a callable that takes a user and an alias, or the dotted path of one")


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncSettings:
    """The remote store. Matters only where a rule has ``sync``, or a table as ``source``."""

    remote: Annotated[str | None, ReadBy(read_remote)] = None
    """The remote store: "supabase" (needs the extra `supabase`), "postgres" (the same tables through a
    Django database alias), or the dotted path of a RemoteStore."""
    namespace: Annotated[str, Bounds(at_most=128)] = ""
    """Names this deployment in the remote store, so that environments that share one never meet. Needed
    as soon as a rule has `sync`; at most 128 bytes."""
    interval: Seconds = 300.0
    """Seconds between two sync passes."""
    batch: Annotated[int, Bounds(at_least=1, at_most=1000)] = 500
    """Entries in one remote call."""
    batch_bytes: Count = 1_048_576
    """Bytes of payload in one remote call; a single larger entry travels alone."""
    database: str = "supabase"
    """Key in `DATABASES` that the remote store "postgres" uses."""
    supabase_url: str = ""
    """Address of the Supabase project."""
    supabase_key: Annotated[str, HIDDEN] = field(default="", repr=False)
    """Service key of the Supabase project. The process that runs `runcachesync` needs it, and those that load
    records from its tables."""
    timeout: Seconds = 10.0
    """Seconds that one remote call may take, retries included."""
    read_timeout: Seconds = 1.0
    """Seconds that a caller of `load` may wait for a table of the remote store, which is asked once."""
    follow_interval: Seconds = 10.0
    """Seconds between two looks of the loop at what changed in tables that are sources."""
    lease: Seconds = 30.0
    """Seconds after which the entries claimed by a pass that died are claimed again."""
    max_keys: Count = 100_000
    """Keys that may wait for the remote store. Beyond it a new key is refused; overwrites are taken."""
    max_bytes: Count = 268_435_456
    """Bytes that may wait for the remote store."""
    require_durable: bool = False
    """Refuse writes of synced prefixes (`SyncNotRecorded`) while Redis might lose them before they are
    synced: `appendonly` is off, or memory is limited and `maxmemory-policy` one of `allkeys-*`. Each
    process asks Redis by INFO once a minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TtlSettings:
    """What the TTL policies go by, where the caller gave no timeout."""

    default_ttl: Seconds = DEFAULT_TTL
    """Seconds an entry lives outside peak hours, and under the policy `fixed`."""
    peak_ttl: Seconds = PEAK_TTL
    """Seconds an entry lives in peak hours. Left out, it is never above DEFAULT_TTL."""
    usage_threshold: Amount = 50.0
    """Reads in an hour of the day, averaged over a week, above which the hour is a peak hour."""
    time_zone: Annotated[str, ReadBy(read_time_zone)] = DEFAULT_TIME_ZONE
    """Time zone of the business, in which hours of the day are meant. Left out, it is Django's TIME_ZONE."""
    warmup_hours: Amount = 24.0
    """Hours after the first recorded read during which office hours (09:00 to 18:59) are peak hours too."""
    eta: Annotated[float, Bounds(above=0)] = 12.0
    """How many loads from the database one stale read costs as much as, for the policy `adaptive`: more
    makes entries fresher, less spares the database."""
    min_ttl: Seconds = 1.0
    """Seconds an entry lives at least under the policies that learn."""
    max_ttl: Seconds = 3600.0
    """Seconds an entry lives at most under the policies that learn: where nothing deletes what has changed,
    no entry is stale for longer. Where something does, a day is reasonable."""
    jitter: Annotated[float, Bounds(at_least=0, at_most=0.9)] = 0.1
    """Part of a TTL that the policies that learn take off at random, at most, so that entries written
    together do not expire together."""
    freshness_fraction: Annotated[float, Bounds(above=0)] = 0.1
    """Part of its age that a row is trusted for by the policy `heuristic-freshness`."""
    change_target: Annotated[float, Bounds(above=0, at_most=0.99)] = 0.1
    """Share of an entry's reloads that are to find a change, for the policy `alex`."""
    default_cache_size: Count = 1000
    """Entries of the near cache outside peak hours."""
    peak_cache_size: Count = 2000
    """Entries of the near cache in peak hours."""

    @classmethod
    def left_out(cls, stated: Mapping[str, Any]) -> dict[str, Any]:
        """Defaults that depend on Django's settings or on each other."""
        return {
            "time_zone": django_settings.TIME_ZONE or DEFAULT_TIME_ZONE,
            "peak_ttl": min(PEAK_TTL, stated.get("default_ttl", DEFAULT_TTL)),
        }

    @property
    def parameters(self) -> TtlParameters:
        """These settings as the policies take them."""
        return TtlParameters(
            default_ttl=self.default_ttl,
            peak_ttl=self.peak_ttl,
            usage_threshold=self.usage_threshold,
            time_zone=self.time_zone,
            warmup_hours=self.warmup_hours,
            eta=self.eta,
            min_ttl=min(self.min_ttl, self.max_ttl),
            max_ttl=self.max_ttl,
            freshness_fraction=self.freshness_fraction,
            change_target=self.change_target,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StatsSettings:
    """Counting of cache calls."""

    enabled: bool = True
    """Whether calls are counted at all."""
    flush_interval: Seconds = 5.0
    """Seconds between two hand-overs of a process's counts to Redis."""
    max_prefixes: Count = 256
    """Key prefixes counted apart; the rest is counted together."""
    max_keys: Count = 4096
    """Distinct keys that a process remembers between two hand-overs."""
    hot_keys: Count = 20
    """Most read keys kept for each hour and prefix."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreloadSettings:
    """Loading of the keys that are read most, before somebody asks for them."""

    top: Annotated[int, Bounds(at_least=0)] = 0
    """Keys that the loop loads when it starts, of each cache; 0: none. `callcache_warm` does so on demand."""
    days: Count = 7
    """Days whose reads count."""
    chunk: Count = 100
    """Keys that are loaded at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionSettings:
    """Days after which old rows are pruned."""

    cache_stat: Count = 90
    """Days that hourly statistics are kept."""
    sync_run: Count = 30
    """Days that reports of sync passes are kept."""
    sync_rejection: Count = 365
    """Days that rejected entries wait for a decision; afterwards they are discarded."""
    sync_conflict: Count = 365
    """Days that decided conflicts are kept. Open ones stay."""
    cache_alert: Count = 365
    """Days that alerts are kept after they were resolved."""
    cache_operation: Count = 365
    """Days that the audit rows of the admin are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminSettings:
    """The admin pages."""

    read_only: bool = False
    """Whether the pages refuse everything that changes the cache, whoever asks."""
    can_access_alias: Annotated[Callable[..., bool] | str | None, ReadBy(read_permission_rule)] = None
    """A callable, or its dotted path, that takes a user and an alias and says whether the user may see it."""
    max_delete: Count = 10_000
    """Keys that one deletion by pattern may remove; more needs the permission to clear the whole alias."""
    value_decode: Literal["safe", "full"] = "safe"
    """How values are shown to who may see them: "safe" shows texts, integers, JSON and msgpack, and of a
    pickle only what it names; "full" loads pickles too, which runs code of the site's classes."""
    key_deny: tuple[str, ...] = ("django.contrib.sessions.*", "*password*", "*token*")
    """Patterns of keys that the pages neither show, nor delete by prefix or pattern."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsSettings:
    """The page that Prometheus scrapes."""

    token: Annotated[str, HIDDEN] = field(default="", repr=False)
    """What a scrape sends as `Authorization: Bearer ...`. Without one the page is for those alone who are
    logged in and may see the overview in the admin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything in ``settings.CALLCACHE``."""

    sync: SyncSettings = field(default_factory=SyncSettings)
    """Sync with the remote store."""
    ttl: TtlSettings = field(default_factory=TtlSettings)
    """Parameters of the TTL policies."""
    stats: StatsSettings = field(default_factory=StatsSettings)
    """Counting of cache calls."""
    preload: PreloadSettings = field(default_factory=PreloadSettings)
    """Loading of the keys that are read most."""
    retention: RetentionSettings = field(default_factory=RetentionSettings)
    """How long rows are kept."""
    admin: AdminSettings = field(default_factory=AdminSettings)
    """The admin pages."""
    metrics: MetricsSettings = field(default_factory=MetricsSettings)
    """The page that Prometheus scrapes."""
    alerts: AlertSettings = field(default_factory=AlertSettings)
    """Alerts, looked for by the loop."""
    secrets: Annotated[tuple[str, ...], HIDDEN, Bounds(at_least=1)] = field(default=(), repr=False)
    """Secrets that stored values are sealed with: the first seals, all of them open. Left out, they are
    SECRET_KEY and SECRET_KEY_FALLBACKS."""
    invalidate: Annotated[tuple[InvalidationRule, ...], ReadBy(read_invalidation_rules)] = ()
    """A dict of models, such as "crm.Campaign", each with what a change of a row makes stale."""
    release: str = ""
    """Version of the site's code, marked in charts."""

    @classmethod
    def left_out(cls, stated: Mapping[str, Any]) -> dict[str, Any]:
        """Defaults that are Django's own settings."""
        return {"secrets": (django_settings.SECRET_KEY, *django_settings.SECRET_KEY_FALLBACKS)}


def read_settings() -> Settings:
    """Read ``settings.CALLCACHE``, and from Django's own settings what it leaves out.

    Raises:
        ImproperlyConfigured: For an unknown name or a value that cannot be.
    """
    return parse(Settings, getattr(django_settings, "CALLCACHE", {}), "CALLCACHE")
