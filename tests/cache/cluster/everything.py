"""Each kind of thing that a cache does with the nodes of a cluster, done once, as whoever it is."""

from __future__ import annotations

from django_callcache.maintenance import run_once
from django_callcache.outbox.dirty import DirtyEntries
from django_callcache.rotation import rotate
from django_callcache.sync.memory import MemoryStore
from tests.cache.linked import is_near, keep, until

KEYS = [f"k:{number}" for number in range(30)]
RULES = {"k:": {"ttl": 600}, "s:": {"sync": "lww", "ttl": 600}}


async def call_everything(face, other):
    """Calls of each kind on keys of all nodes; another client deletes behind the cache's back."""
    await face.set_many(dict.fromkeys(KEYS, 1))
    assert await face.get_many(KEYS) == dict.fromkeys(KEYS, 1)
    assert await face.get_or_set("k:new", lambda: 2) == 2
    await face.set(KEYS[0], 3, tags=("red",))
    assert await face.delete_tags("red") == 1
    assert await face.get(KEYS[0]) is None
    assert await face.incr(KEYS[1]) == 2
    assert sorted(await face.keys("k:*")) == sorted([*KEYS, "k:new"])
    for key in KEYS[:3]:
        keep(face.cache, key, 5)
        other.delete(f"t:1:{key}")
    until(lambda: not any(is_near(face.cache, key) for key in KEYS[:3]))
    assert await face.delete_pattern("k:*") == len(KEYS) - 2
    assert await face.clear() is True


def do_the_rest(cache):
    """What goes on behind the calls."""
    cache.set_many({f"s:{number}": number for number in range(9)})
    cache.flush_stats()
    report = run_once("default", remote=MemoryStore())
    assert report.errors == []
    assert report.sync.pushed == 9
    assert DirtyEntries(cache.redis_client(), cache.redis_keys).depth() == 0
    with cache.lock("job", timeout=20) as lock:
        lock.extend(5)
    assert rotate(cache).unreadable == 0
