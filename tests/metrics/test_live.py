from __future__ import annotations

from django_callcache.doctor import diagnose, examine
from django_callcache.live import look
from django_callcache.sync.leader import Heartbeat
from testproject.parts.child import LOOPBACK


class TestLook:
    def test_look__outbox(self, make_cache):
        """What waits for the remote store, and whether it could be lost."""
        cache = make_cache(RULES={"call:": {"sync": "lww"}})
        assert (look(cache).backlog, look(cache).oldest_at) == (0, None)
        cache.set("call:1", 1)
        live = look(cache)
        assert live.backlog == 1
        assert live.now - 60 < live.oldest_at <= live.now
        assert live.may_lose_writes

    def test_look__down(self, make_cache, start_redis):
        """A Redis that is down is a fault with a reason."""
        server = start_redis()
        cache = make_cache(server.url)
        server.stop()
        assert not look(cache).is_reachable
        assert "RedisUnavailable" in look(cache).fault

    def test_look__may_not_ask_the_server_of_itself(self, make_cache, start_redis):
        """A user without INFO and SLOWLOG sees all the rest, and nothing is taken for wrong."""
        server = start_redis()
        admin = make_cache(server.url).redis_client()
        admin.acl_setuser(
            "web", enabled=True, passwords=["+secret"], keys=["*"], channels=["*"],
            categories=["+@all"], commands=["-info", "-slowlog"],
        )  # fmt: skip
        location = f"redis://web:secret@{LOOPBACK}:{server.port}/0"
        cache = make_cache(location, DEADLINE=10, RULES={"call:": {"sync": "lww"}})
        cache.set("call:1", 1)
        Heartbeat.of_this_process().write(admin, cache.redis_keys)
        live = look(cache)
        assert live.is_reachable
        assert (live.backlog, live.used_memory, live.may_lose_writes) == (1, None, False)
        assert diagnose(examine(cache)) == []
