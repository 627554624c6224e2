"""Slots that move, and nodes that fail, while a cache is used."""

from __future__ import annotations

import pytest

from django_callcache.redis_keys import slot_of
from testproject.parts.redis_cluster import RedisCluster


@pytest.fixture(scope="module")
def cluster():
    """Nodes of this module's own: their slots move."""
    with RedisCluster() as nodes:
        yield nodes


def key_of(cluster, node):
    """A key whose slot a node has."""
    first, last = next(
        (int(low), int(high))
        for low, high, (_, port, *_), *_ in cluster.ask(node, "CLUSTER SLOTS")
        if port == node.port
    )
    return next(f"k:{n}" for n in range(10**6) if first <= slot_of(b"t:1:k:%d" % n) <= last)


class TestMoved:
    async def test_calls__slot_has_moved(self, face, cluster):
        """A slot that has moved is found where it is now: nothing is lost, nothing is done twice."""
        source, target, _ = cluster.nodes
        key = key_of(cluster, source)
        slot = slot_of(f"t:1:{key}".encode())
        await face.set_many({key: 1, "other": 2})
        cluster.begin_move(slot, source, target)
        cluster.end_move(slot, source, target)
        assert await face.get_many([key, "other"]) == {key: 1, "other": 2}
        assert await face.incr(key) == 2
        assert await face.delete(key) is True
        assert await face.set(key, 5) is True
        assert cluster.ask(target, "EXISTS", f"t:1:{key}") == 1
        assert face.cache._runtime.reach.topology.slots[slot].port == target.port

    async def test_calls__slot_is_on_its_way(self, face, cluster):
        """While a slot moves, a key is found on either side, and written where it belongs."""
        source, target, _ = cluster.nodes
        key = key_of(cluster, source)
        slot = slot_of(f"t:1:{key}".encode())
        tagged = [f"{{t:1:{key}}}{n}" for n in range(4)]
        assert {slot_of(f"t:1:{name}".encode()) for name in tagged} == {slot}
        await face.set_many(dict.fromkeys(tagged[:2], "old"))
        cluster.begin_move(slot, source, target)
        cluster.move_keys([f"t:1:{tagged[0]}".encode()], source, target)
        assert await face.get_many(tagged) == dict.fromkeys(tagged[:2], "old")
        assert await face.get(tagged[0]) == "old"
        assert await face.set(tagged[2], "new") is True
        assert await face.get(tagged[2]) == "new"
        assert await face.delete_many(tagged) == 3
        cluster.end_move(slot, source, target)
        assert await face.get_many(tagged) == {}
