"""How an alias reaches its Redis: addresses, TLS, AUTH, Sentinel are redis-py's, set as in django-redis."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from typing import Any

import redis
import redis.asyncio as redis_asyncio
from django_redis.pool import get_connection_factory
from redis.backoff import NoBackoff
from redis.retry import Retry

from django_callcache.cache.sockets import timed
from django_callcache.conf import as_redis_url

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
    """One alias's Redis.

    Args:
        location: ``LOCATION``. Where several servers are stated, the first is the primary; reads go
            there too.
        options: ``OPTIONS``.
    """

    def __init__(self, location: Any, options: dict[str, Any]) -> None:
        several = location if isinstance(location, list | tuple | set) else str(location).split(",")
        factory: Any = get_connection_factory(options=options)
        self.pool: Any = factory.get_connection_pool(
            factory.make_connection_params(as_redis_url(next(iter(several))))
        )
        """A redis-py pool of this alias's own; calls use its settings, not its connections."""
        self.label = _label_of(self.pool)
        """How the server is called in messages: without a password."""

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
            *(self.label, sentinels, self.pool.connection_class),
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
        }


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
