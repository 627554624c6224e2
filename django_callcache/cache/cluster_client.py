"""A redis-py client for a whole cluster: what is asked of a server is asked of all primaries together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import redis

from django_callcache.cache import commands
from django_callcache.cache.routing import SUMMED


class ClusterClient(redis.RedisCluster):
    """`redis.RedisCluster`, whose answers on the whole keyspace have the shape of a single server's.

    Args:
        walk: Sends a packed SCAN, whose cursor goes over all primaries, and returns its reply.
        arguments: Of ``redis.RedisCluster``.
    """

    def __init__(self, walk: Callable[[bytes], Any], **arguments: Any) -> None:
        super().__init__(**arguments)
        self._walk = walk

    def info(self, section: str | None = None, *sections: str, **_: Any) -> Any:
        """What one primary says, with numbers that add up added up; without a limit where one has none."""
        told: list[dict[str, Any]] = [
            node.info(*filter(None, (section, *sections))) for node in self._nodes()
        ]
        whole = dict(told[0])
        for name in (summed.decode() for summed in SUMMED if summed.decode() in whole):
            whole[name] = sum(int(each.get(name) or 0) for each in told)
        if "maxmemory" in whole and not all(each.get("maxmemory") for each in told):
            whole["maxmemory"] = 0
        keys = sum(each.get("db0", {}).get("keys", 0) for each in told)
        return whole | ({"db0": {"keys": keys}} if keys else {})

    def mget(self, keys: Any, *others: Any) -> Any:
        """The values at keys of any slot; not all of them are of one moment."""
        return self.mget_nonatomic(keys, *others)

    def dbsize(self, **_: Any) -> Any:
        """Keys on all primaries."""
        return sum(node.dbsize() for node in self._nodes())

    def time(self, **_: Any) -> Any:
        """The clock of a node."""
        return self._nodes()[0].time()

    def scan(
        self, cursor: Any = 0, match: Any = None, count: int | None = None, _type: str | None = None, **_: Any
    ) -> Any:
        """One step of a walk over all primaries: where to go on, and the keys found."""
        words: list[Any] = ["SCAN", cursor]
        for name, value in (("MATCH", match), ("COUNT", count), ("TYPE", _type)):
            if value is not None:
                words += [name, value]
        following, keys = self._walk(commands.command(*words))
        return int(following), keys

    def scan_iter(
        self, match: Any = None, count: int | None = None, _type: str | None = None, **_: Any
    ) -> Any:
        """Every key on all primaries."""
        cursor = 0
        while True:
            cursor, keys = self.scan(cursor, match, count, _type)
            yield from keys
            if not cursor:
                return

    def _nodes(self) -> list[Any]:
        """A client of each primary."""
        cluster: Any = super()
        return [cluster.get_redis_connection(node) for node in cluster.get_primaries()]
