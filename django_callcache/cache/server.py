"""How an alias reaches its Redis: addresses, TLS, AUTH, Sentinel and Cluster are redis-py's, set as in
django-redis."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Hashable
from typing import Any

import redis
import redis.asyncio as redis_asyncio
from django_redis.pool import get_connection_factory
from redis.backoff import NoBackoff
from redis.retry import Retry

from django_callcache.cache.sockets import timed
from django_callcache.cache.topology import Node
from django_callcache.conf import as_redis_url, is_cluster, nodes_of_cluster

_OF_THE_SYNC_POOL = frozenset(
    {
        "connection_pool",
        "event_dispatcher",
        "himport_registry",
        "maint_notifications_config",
        "maint_notifications_pool_handler",
        "orig_host_address",
        "orig_socket_connect_timeout",
        "orig_socket_timeout",
        "parser_class",
        "retry",
        "retry_on_error",
        "retry_on_timeout",
    }
)
"""Arguments that redis-py's pool adds for its own use, or that our drivers decide."""


class Server:
    """One alias's Redis: a server, or a cluster of them.

    Args:
        location: ``LOCATION``. Where several servers are stated, the first is the primary; reads go
            there too. Where they are nodes of a cluster, it tells of the others.
        options: ``OPTIONS``.

    Raises:
        ImproperlyConfigured: A cluster is named in a way that cannot be.
    """

    def __init__(self, location: Any, options: dict[str, Any]) -> None:
        factory: Any = get_connection_factory(options=options)

        def pool_of(url: str) -> Any:
            return factory.get_connection_pool(factory.make_connection_params(as_redis_url(url)))

        several = location if isinstance(location, list | tuple | set) else str(location).split(",")
        pools = [pool_of(url) for url in nodes_of_cluster(location)] if is_cluster(location) else []
        self.pool: Any = pools[0] if pools else pool_of(next(iter(several)))
        if isinstance(self.pool, redis.sentinel.SentinelConnectionPool):
            _make_discreet(self.pool.sentinel_manager)
        """A redis-py pool of this alias's own; calls use its settings, not its connections."""
        self.seeds = tuple(_place_of(pool) for pool in pools)
        """The nodes of a cluster that are stated; none of a single server."""
        self.label = "cluster " + ", ".join(map(str, self.seeds)) if pools else _label_of(self.pool)
        """How the server is called in messages: without a password."""
        self._place: dict[str, Any] = {}

    def node(self, node: Node) -> Server:
        """One node of the cluster, reached with the same credentials and settings."""
        same = copy.copy(self)
        same._place = {"host": node.host, "port": node.port}
        same.label = str(node)
        return same

    def cluster_arguments(self, timeout: float | None = None) -> dict[str, Any]:
        """What a ``redis.RedisCluster`` is made with, which looks at the cluster at once.

        Args:
            timeout: Seconds for connecting and for each reply; left out, as the settings say.
        """
        stated = dict(self.pool.connection_kwargs)
        for name in _OF_THE_SYNC_POOL | {"host", "port", "db", "max_connections"}:
            stated.pop(name, None)
        node_of: Any = redis.cluster.ClusterNode
        if timeout is not None:
            stated |= {"socket_timeout": timeout, "socket_connect_timeout": timeout}
        return {
            **stated,
            "startup_nodes": [node_of(*seed) for seed in self.seeds],
            "require_full_coverage": False,
            "ssl": issubclass(self.pool.connection_class, redis.SSLConnection),
            "protocol": 2,
            "decode_responses": False,
        }

    @property
    def identity(self) -> Hashable:
        """Equal where connections to one server, as one user, are asked for; databases do not matter."""
        arguments = self._arguments(0)
        for name in ("db", "retry", "connection_pool"):
            arguments.pop(name, None)
        sentinels: Any = ()
        if isinstance(self.pool, redis.sentinel.SentinelConnectionPool):
            manager = self.pool.sentinel_manager
            sentinels = tuple(
                (
                    each.connection_pool.connection_kwargs["host"],
                    each.connection_pool.connection_kwargs["port"],
                )
                for each in manager.sentinels
            )
        return (
            *(self.label, self.seeds, sentinels, self.pool.connection_class),
            *((name, repr(value)) for name, value in sorted(arguments.items())),
        )

    def connection(self, timeout: float) -> Any:
        """A connection of redis-py that keeps deadlines; it connects when it is first used."""
        return timed(self.pool.connection_class)(**self._arguments(timeout))

    def listener(self, timeout: float) -> Any:
        """A connection of redis-py that waits for as long as it is told."""
        return self.pool.connection_class(**self._arguments(timeout))

    async def connect_async(self, connect_timeout: float) -> Any:
        """A connected asyncio connection of redis-py."""
        arguments = {
            name: value
            for name, value in self.pool.connection_kwargs.items()
            if name not in _OF_THE_SYNC_POOL
        }
        arguments |= {
            "protocol": 2,
            "decode_responses": False,
            "socket_timeout": None,
            "socket_connect_timeout": connect_timeout,
            "retry": redis_asyncio.retry.Retry(NoBackoff(), 0),
            **self._place,
        }
        if isinstance(self.pool, redis.sentinel.SentinelConnectionPool):
            host, port = await asyncio.to_thread(self.pool.get_master_address)
            arguments |= {"host": host, "port": port}
        connection = _async_class_of(self.pool.connection_class)(**arguments)
        try:
            await connection.connect()
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return connection

    def _arguments(self, timeout: float) -> dict[str, Any]:
        arguments = dict(self.pool.connection_kwargs)
        for name in _OF_THE_SYNC_POOL - {"connection_pool", "parser_class"}:
            arguments.pop(name, None)
        return arguments | {
            "protocol": 2,
            "decode_responses": False,
            "socket_timeout": timeout,
            "socket_connect_timeout": timeout,
            "retry": Retry(NoBackoff(), 0),
            **self._place,
        }


class _DiscreetSentinel(redis.Redis):
    """A Sentinel that errors call by its address alone."""

    def __repr__(self) -> str:
        return str(_place_of(self.connection_pool))


def _make_discreet(manager: Any) -> None:
    """Keep the password of the Sentinels out of the error that none of them knows the primary.

    It calls each by its ``repr``, and that of some versions of redis-py (6.4 and 7.0 among them)
    has all that the client was made with.
    """
    manager.sentinels = [_DiscreetSentinel.from_pool(each.connection_pool) for each in manager.sentinels]


def _place_of(pool: Any) -> Node:
    arguments = pool.connection_kwargs
    return Node(arguments.get("host", "localhost"), int(arguments.get("port", 6379)))


def _label_of(pool: Any) -> str:
    arguments = pool.connection_kwargs
    if "path" in arguments:
        return str(arguments["path"])
    if isinstance(pool, redis.sentinel.SentinelConnectionPool):
        return f"sentinel service {pool.service_name}"
    return f"{arguments.get('host', 'localhost')}:{arguments.get('port', 6379)}"


def _async_class_of(connection_class: type[Any]) -> type[Any]:
    if issubclass(connection_class, redis.SSLConnection):
        return redis_asyncio.SSLConnection
    if issubclass(connection_class, redis.UnixDomainSocketConnection):
        return redis_asyncio.UnixDomainSocketConnection
    return redis_asyncio.Connection
