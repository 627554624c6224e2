from __future__ import annotations

from django_callcache.cache.routing import summed_info

NODES = [
    b"# Memory\r\nused_memory:10\r\nmaxmemory_policy:noeviction\r\naof_enabled:1\r\n",
    b"# Memory\r\nused_memory:32\r\nmaxmemory_policy:allkeys-lru\r\naof_enabled:0\r\n",
]


def lines(text):
    return dict(line.split(b":") for line in text.splitlines())


class TestSummedInfo:
    def test_numbers(self):
        """Sizes are those of all nodes together."""
        assert lines(summed_info(NODES))[b"used_memory"] == b"42"

    def test_weakest(self):
        """A cluster keeps data as well as the node that keeps them worst."""
        for nodes in (NODES, NODES[::-1]):
            info = lines(summed_info(nodes))
            assert (info[b"aof_enabled"], info[b"maxmemory_policy"]) == (b"0", b"allkeys-lru")

    def test_no_limit(self):
        """A node without a limit of memory leaves the cluster without one."""
        nodes = [b"maxmemory:1000\r\n", b"maxmemory:0\r\n"]
        assert lines(summed_info(nodes)) == {b"maxmemory": b"0"}
        assert lines(summed_info(nodes[:1] * 2)) == {b"maxmemory": b"2000"}

    def test_not_asked(self):
        """What no node was asked for is not told."""
        assert lines(summed_info([b"used_memory:1\r\n"] * 2)) == {b"used_memory": b"2"}
