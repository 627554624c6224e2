"""Which buckets of an outbox have entries: of the thousands that a Redis Cluster may have, few are used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis
from redis.exceptions import ResponseError

from django_callcache.redis_keys import SLOTS, OutboxNames, RedisKeys

AT_ONCE = 4096
"""Buckets asked for in one round trip to a node."""


def used_buckets(client: redis.Redis, keys: RedisKeys) -> Sequence[OutboxNames]:
    """The buckets that may have entries: the only one of a single server, those that are there in a cluster.

    What a node does not say for certain, because a slot moves, counts as used.

    Raises:
        redis.RedisError: A node does not answer.
    """
    if not keys.is_clustered or not isinstance(client, redis.RedisCluster):
        return keys.outboxes()
    cluster: Any = client
    by_node: dict[str, tuple[Any, list[int]]] = {}
    for slot in range(SLOTS):
        node = cluster.nodes_manager.get_node_from_slot(slot)
        by_node.setdefault(node.name, (node, []))[1].append(slot)
    return [
        keys.outbox_of_slot(slot)
        for node, slots in by_node.values()
        for at in range(0, len(slots), AT_ONCE)
        for slot in _used(cluster.get_redis_connection(node), keys, slots[at : at + AT_ONCE])
    ]


def _used(node: redis.Redis, keys: RedisKeys, slots: Sequence[int]) -> list[int]:
    # By hand: a pipeline of redis-py takes ten times as long, and this is asked in every pass.
    connection: Any = node.connection_pool.get_connection()
    try:
        names = map(keys.payload_of_slot, slots)
        packed = b"".join(b"*2\r\n$6\r\nEXISTS\r\n$%d\r\n%b\r\n" % (len(name), name) for name in names)
        connection.send_packed_command((packed,))
        return [slot for slot in slots if _may_exist(connection)]
    except BaseException:
        connection.disconnect()
        raise
    finally:
        node.connection_pool.release(connection)


def _may_exist(connection: Any) -> bool:
    try:
        return bool(connection.read_response())
    except ResponseError:
        return True
