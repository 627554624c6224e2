"""Where the caches of the tests lie: in one private Redis, or in a cluster of three nodes.

``CALLCACHE_TEST_CLUSTER=1`` puts a cluster in the place of the server, for all tests that do not start one of
their own. What asks for one server, by what it looks at or by what it does, says so: ``needs_server``.
"""

from __future__ import annotations

import os
from functools import cache, partialmethod

import pytest
import redis

from testproject.parts.redis_cluster import RedisCluster
from testproject.parts.redis_server import RedisServer

IS_CLUSTER = os.environ.get("CALLCACHE_TEST_CLUSTER") == "1"


class WholeCluster(redis.RedisCluster):
    """A client that means all nodes where redis-py means any, for looking behind the cache."""

    keys = partialmethod(redis.RedisCluster.keys, target_nodes=redis.RedisCluster.PRIMARIES)
    dbsize = partialmethod(redis.RedisCluster.dbsize, target_nodes=redis.RedisCluster.PRIMARIES)
    flushall = partialmethod(redis.RedisCluster.flushall, target_nodes=redis.RedisCluster.PRIMARIES)

    def mset(self, mapping):
        """Set keys of any slot."""
        return self.mset_nonatomic(mapping)


def start():
    """What the session's caches are given: entered, it has a ``url``."""
    return RedisCluster() if IS_CLUSTER else RedisServer()


@cache
def client_of(url):
    """The redis-py client of a server, or of a cluster named as ``LOCATION`` names it; it stays open."""
    if "+cluster://" not in url:
        return redis.Redis.from_url(url)
    scheme, _, rest = url.partition("+cluster://")
    return WholeCluster.from_url(f"{scheme}://{rest.partition(',')[0]}")


def servers_of(client):
    """A client of each server behind a client: the nodes of a cluster, or the only one there is."""
    if isinstance(client, redis.RedisCluster):
        return [client.get_redis_connection(node) for node in client.get_nodes()]
    return [client]


def leave_out(items):
    """Skip what asks for one server, where the caches lie in a cluster."""
    for item in items if IS_CLUSTER else ():
        for mark in item.iter_markers("needs_server"):
            reason, case = mark.args[0], mark.kwargs.get("case", "")
            if case in item.name:
                item.add_marker(pytest.mark.skip(reason=f"needs one server: {reason}"))
