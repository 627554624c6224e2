"""Which buckets of an outbox have entries: of the thousands that a Redis Cluster may have, few are used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis

from django_callcache.redis_keys import SLOTS, OutboxNames, RedisKeys

AT_ONCE = 4096
"""Buckets asked for in one round trip to a node."""


def used_buckets(client: redis.Redis, keys: RedisKeys) -> Sequence[OutboxNames]:
    """The buckets that may have entries: the only one of a single server, those that are there in a cluster.

    What a node does not say for certain, because a slot moves or the node fails, counts as used: whoever goes
    on to it finds out.
    """
    buckets = keys.outboxes()
    if len(buckets) == 1:
        return buckets
    if not isinstance(client, redis.RedisCluster):
        return _used(client, buckets)
    cluster: Any = client
    by_node: dict[Any, list[OutboxNames]] = {}
    for slot in range(SLOTS):
        by_node.setdefault(cluster.nodes_manager.get_node_from_slot(slot), []).append(buckets[slot])
    return [
        bucket
        for node, some in by_node.items()
        for at in range(0, len(some), AT_ONCE)
        for bucket in _used(cluster.get_redis_connection(node), some[at : at + AT_ONCE])
    ]


def _used(node: redis.Redis, buckets: Sequence[OutboxNames]) -> list[OutboxNames]:
    with node.pipeline(transaction=False) as pipeline:
        for bucket in buckets:
            pipeline.exists(bucket.payload)
        replies = pipeline.execute(raise_on_error=False)
    return [bucket for bucket, reply in zip(buckets, replies, strict=True) if reply != 0]
