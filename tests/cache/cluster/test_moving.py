"""Slots that move, and nodes that fail, while a cache is used."""

from __future__ import annotations

import asyncio
import time

import pytest

from django_callcache.exceptions import SyncNotRecorded, Uncertain
from django_callcache.redis_keys import slot_of
from testproject.parts.redis_cluster import RedisCluster
from tests.cache.linked import confirm_anew, is_near, keep, until
from tests.cache.waiting import wait_until

pytestmark = pytest.mark.usefixtures("hurried_links")


@pytest.fixture(scope="module")
def cluster():
    """Nodes of this module's own: their slots move, and they end and come back with their data."""
    with RedisCluster(append_only=True) as nodes:
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


class TestNear:
    def test_near__all_nodes(self, make_near, cluster, redis_client):
        """Copies of keys on every node are kept, and dropped when another writer changes them."""
        cache = make_near()
        keys = [key_of(cluster, node) for node in cluster.nodes]
        for key in keys:
            keep(cache, key, 1)
        for key in keys:
            redis_client.delete(f"t:1:{key}")
        until(lambda: not any(is_near(cache, key) for key in keys))
        assert cache.get_many(keys) == {}

    def test_near__slot_moves(self, make_near, cluster, redis_client):
        """No copy outlives the move of its slot, and what is kept after it is dropped when it changes."""
        source, target, _ = cluster.nodes
        cache = make_near()
        key = key_of(cluster, source)
        slot = slot_of(f"t:1:{key}".encode())
        keep(cache, key, 1)
        cluster.begin_move(slot, source, target)
        cluster.end_move(slot, source, target)
        until(lambda: not is_near(cache, key))
        until(lambda: cache._runtime.reach.topology.slots[slot].port == target.port)
        keep(cache, key, 2)
        redis_client.set(f"t:1:{key}", "3")
        until(lambda: not is_near(cache, key))
        assert cache.get(key) == 3

    def test_near__tags(self, make_pair, cluster):
        """A tag that another process drops takes copies along, on whichever node its entries lie."""
        cache, other = make_pair()
        keys = [key_of(cluster, node) for node in cluster.nodes]
        for key in keys:
            other.set(key, 1, tags=("x",))
        confirm_anew(cache)
        until(lambda: [cache.get(key) for key in keys] == [1, 1, 1] and all(is_near(cache, k) for k in keys))
        other.delete_tags("x")
        until(lambda: not any(is_near(cache, key) for key in keys))
        assert cache.get_many(keys) == {}


class TestNodeDown:
    @pytest.fixture
    def fallen(self, cluster):
        """The last node, killed; it is there again after the test."""
        node = cluster.nodes[2]
        yield node
        node.start()
        cluster.settle()

    async def test_calls__other_slots(self, face_of, make_cache, cluster, fallen):
        """A node that is gone takes its own slots along and nothing else."""
        face = face_of(make_cache(DEADLINE=2))
        keys = [key_of(cluster, node) for node in cluster.nodes]
        assert await face.set_many(dict.fromkeys(keys, 1)) == []
        fallen.kill()
        assert await face.get_many(keys) == dict.fromkeys(keys[:2], 1)
        assert await face.set_many(dict.fromkeys(keys, 2)) == keys[2:]
        assert [await face.get(key) for key in keys] == [2, 2, None]
        assert await face.touch_many(keys) == 2
        assert await face.delete_many(keys[:2]) == 2

    async def test_synced__not_recorded(self, face_of, make_cache, cluster, fallen):
        """A synced write to a node that is gone raises, whatever else was in the batch."""
        face = face_of(make_cache(DEADLINE=2, RULES={"k:": {"sync": "lww"}}))
        keys = [key_of(cluster, node) for node in cluster.nodes]
        await face.get("k:")
        fallen.kill()
        with pytest.raises((SyncNotRecorded, Uncertain)):
            await face.set_many(dict.fromkeys(keys, 1))
        assert await face.set(keys[0], 2) is True

    async def test_invalidations__made_good(self, face_of, make_cache, cluster, fallen):
        """What could not be deleted is deleted once the node is back, before anything is read there."""
        face = face_of(make_cache(DEADLINE=2))
        key, other = key_of(cluster, fallen), key_of(cluster, cluster.nodes[0])
        await face.set_many({key: 1, other: 1})
        fallen.kill()
        assert await face.delete(key) is False
        assert face.cache._runtime.recovery.is_pending
        assert await face.get(other) == 1
        fallen.start()  # with the value that should be gone
        until(lambda: not face.cache._runtime.recovery.is_pending)
        assert cluster.ask(fallen, "EXISTS", f"t:1:{key}") == 0


@pytest.mark.long
class TestFailover:
    async def test_calls__replica_takes_over(self, face_of, make_near):
        """When a primary dies its replica is found; the near cache hears the new primary."""
        with RedisCluster(replicas=1) as nodes:
            cache = make_near(location=nodes.url, DEADLINE=2)
            face = face_of(cache)
            key = key_of(nodes, nodes.nodes[0])
            await face.set(key, 1)
            nodes.nodes[0].kill()
            assert await written(face, key)
            keep(cache, key, 5)
            assert (
                cache._runtime.reach.topology.slots[slot_of(f"t:1:{key}".encode())].port
                != nodes.nodes[0].port
            )
            nodes.ask(nodes.nodes[3], "SET", f"t:1:{key}", "6")
            until(lambda: not is_near(cache, key))
            assert await face.get(key) == 6

    async def test_calls__orderly_failover(self, face_of, make_cache):
        """A primary that is told to change places with its replica is followed without a failure."""
        with RedisCluster(replicas=1) as nodes:
            face = face_of(make_cache(nodes.url, DEADLINE=10))
            key = key_of(nodes, nodes.nodes[0])
            await face.set(key, 1)
            nodes.ask(nodes.nodes[3], "CLUSTER", "FAILOVER")
            wait_until(lambda: nodes.ask(nodes.nodes[0], "ROLE")[0] == b"slave")
            assert await face.get(key) == 1
            assert await face.incr(key) == 2


async def written(face, key):
    """Write until it is done."""
    deadline = time.monotonic() + 30
    while not await face.set(key, 4):
        assert time.monotonic() < deadline, "nothing could be written"
        await asyncio.sleep(0.05)
    return True
