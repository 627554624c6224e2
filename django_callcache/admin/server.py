"""Facts of the Redis server, in groups, and what in them deserves advice."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import redis
from redis.exceptions import RedisError

from django_callcache.cache import CallCache
from django_callcache.conf import CacheOptions
from django_callcache.live import masked, product_of
from django_callcache.replication.losses import is_paused

GROUPS: Mapping[str, tuple[str, ...]] = {
    "server": ("version", "redis_mode", "role", "uptime_in_seconds", "os", "tcp_port"),
    "clients": (
        "connected_clients", "blocked_clients", "tracking_clients", "maxclients", "rejected_connections",
    ),
    "memory": (
        "used_memory", "used_memory_peak", "maxmemory", "maxmemory_policy", "mem_fragmentation_ratio",
        "evicted_keys", "expired_keys",
    ),
    "traffic": (
        "total_commands_processed", "instantaneous_ops_per_sec", "keyspace_hits", "keyspace_misses",
        "total_net_input_bytes", "total_net_output_bytes", "latest_fork_usec",
    ),
    "persistence": ("aof_enabled", "rdb_last_save_time", "rdb_last_bgsave_status", "aof_last_write_status"),
    "replication": ("connected_slaves", "master_host", "master_link_status", "master_repl_offset"),
}  # fmt: skip
"""Fields of INFO that are shown, by topic; ``version`` is the product's own. What the server does not
report is left out."""

BYTE_FIELDS = frozenset(
    {"used_memory", "used_memory_peak", "maxmemory", "total_net_input_bytes", "total_net_output_bytes"}
)

SLOW_SHOWN = 20
FRAGMENTED = 1.5
"""Share of memory that the allocator holds over what is used, from which on advice is given; Redis's own
documentation calls 1.5 a sign of fragmentation."""
FRAGMENTED_FROM = 256 * 2**20
"""Bytes in use below which fragmentation is no matter."""


@dataclass(frozen=True, slots=True)
class Group:
    """Fields of one topic."""

    topic: str
    fields: tuple[tuple[str, Any], ...]


@dataclass(frozen=True, slots=True)
class SlowCommand:
    """An entry of Redis's slow log. Arguments are left out: they hold keys and values."""

    moment: datetime.datetime
    seconds: float
    command: str
    arguments: int
    node: str = ""
    """Of a cluster."""


@dataclass(frozen=True, slots=True)
class Node:
    """A primary of a cluster."""

    address: str
    keys: int | None
    """None where it does not answer; so for the rest."""
    used_memory: int | None = None
    replicas: int | None = None
    info: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """All that it says of itself."""


@dataclass(frozen=True, slots=True)
class Server:
    """What the page shows."""

    product: str
    """"Redis" or "Valkey"."""
    groups: tuple[Group, ...]
    advice: Mapping[str, tuple[str, ...]]
    """Topics, each with its words in the template, and the nodes of a cluster that it is about."""
    slow: tuple[SlowCommand, ...]
    slow_fault: str
    """Why there is no slow log; empty where there is one."""
    keys: int
    """Keys in the database, other applications' included."""
    nodes: tuple[Node, ...] = ()
    """The primaries of a cluster; empty for a single server."""
    byte_fields: frozenset[str] = BYTE_FIELDS
    """Fields whose numbers are bytes."""


def server_of(cache: CallCache, *, synced: bool) -> Server:
    """Ask the server of a cache.

    Raises:
        redis.exceptions.RedisError: It does not answer, or refuses INFO.
    """
    client = cache.redis_client()
    info: Mapping[str, Any] = client.info()
    product, version = product_of(info)
    known = {**info, "version": version}
    groups = tuple(
        Group(topic, tuple((name, known[name]) for name in names if known.get(name) not in (None, "")))
        for topic, names in GROUPS.items()
    )
    nodes = tuple(_nodes(client))
    infos = {node.address: node.info for node in nodes if node.info} or {"": info}
    slow, fault = _slow(client)
    return Server(
        product,
        tuple(group for group in groups if group.fields),
        _advised(infos, _of_all(info, is_paused=synced and is_paused(cache), options=cache.options), synced),
        slow,
        fault,
        client.dbsize(),
        nodes,
    )


def _advised(
    infos: Mapping[str, Mapping[str, Any]], of_all: Iterable[str], synced: bool
) -> dict[str, tuple[str, ...]]:
    """The advice for each server, by topic; a cluster is as well off as the worst of its nodes."""
    found: dict[str, tuple[str, ...]] = dict.fromkeys(of_all, ())
    for address, info in infos.items():
        for topic in _advice(info, synced=synced):
            found[topic] = (*found.get(topic, ()), *filter(None, [address]))
    return found


def _of_all(info: Mapping[str, Any], *, is_paused: bool, options: CacheOptions) -> Iterator[str]:
    """What concerns all nodes together."""
    if is_paused:
        yield "emptied"
    expected = {"maxmemory": options.expect_maxmemory, "maxmemory_policy": options.expect_eviction_policy}
    if any(value is not None and info.get(name) != value for name, value in expected.items()):
        yield "unexpected"


def _advice(info: Mapping[str, Any], *, synced: bool) -> Iterator[str]:
    """What concerns one server."""
    limit, policy = int(info.get("maxmemory", 0)), str(info.get("maxmemory_policy", ""))
    if not limit:
        yield "no_limit"
    elif policy == "noeviction":
        yield "noeviction"
    if synced and limit and policy.startswith("allkeys"):
        yield "evicts_unsynced"
    if synced and not info.get("aof_enabled"):
        yield "no_log"
    if int(info.get("evicted_keys", 0)):
        yield "evicted"
    if (
        float(info.get("mem_fragmentation_ratio", 0)) > FRAGMENTED
        and int(info.get("used_memory", 0)) > FRAGMENTED_FROM
    ):
        yield "fragmented"
    if info.get("rdb_last_bgsave_status") == "err" or info.get("aof_last_write_status") == "err":
        yield "not_saved"
    if info.get("role") == "slave":
        yield "replica"


def _nodes(client: Any) -> Iterator[Node]:
    for address, server in _servers(client):
        if not address:
            continue
        try:
            info, keys = server.info(), server.dbsize()
        except RedisError:
            yield Node(address, None)
        else:
            yield Node(address, keys, info.get("used_memory"), info.get("connected_slaves"), info)


def _slow(client: Any) -> tuple[tuple[SlowCommand, ...], str]:
    """The last slow commands of all nodes, the latest first, and why those of one cannot be had."""
    found: list[SlowCommand] = []
    fault = ""
    for address, server in _servers(client):
        try:
            found += [_slow_command(entry, address) for entry in server.slowlog_get(SLOW_SHOWN)]
        except RedisError as error:
            fault = fault or masked(error)
    found.sort(key=lambda entry: (entry.moment, entry.seconds), reverse=True)
    return tuple(found[:SLOW_SHOWN]), fault


def _slow_command(entry: Mapping[str, Any], address: str) -> SlowCommand:
    words = bytes(entry["command"]).split(b" ")
    return SlowCommand(
        datetime.datetime.fromtimestamp(entry["start_time"], datetime.UTC),
        int(entry["duration"]) / 1e6,
        words[0].decode(errors="backslashreplace").upper(),
        len(words) - 1,
        address,
    )


def _servers(client: Any) -> Iterator[tuple[str, Any]]:
    """The primaries of a cluster by their addresses, or the one server that there is."""
    if not isinstance(client, redis.RedisCluster):
        yield "", client
        return
    cluster: Any = client  # its stubs leave these out
    for node in cluster.get_primaries():
        yield f"{node.host}:{node.port}", cluster.get_redis_connection(node)
