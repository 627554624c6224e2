from __future__ import annotations

import pytest

from django_callcache.exceptions import SyncNotRecorded
from django_callcache.outbox.durability import TRUSTED_SECONDS, Durability, flaw_in, read_info

SAFE = {"aof_enabled": "1", "maxmemory": "0", "maxmemory_policy": "noeviction"}


class TestFlawIn:
    @pytest.mark.parametrize(
        "changes",
        [{}, {"maxmemory": "100", "maxmemory_policy": "volatile-lru"}, {"maxmemory_policy": "allkeys-lru"}],
    )
    def test_durable(self, changes):
        """A log on disk is enough where nothing, or nothing of the outbox, is evicted."""
        assert flaw_in(SAFE | changes) == ""

    @pytest.mark.parametrize(
        ("changes", "cure"),
        [
            ({"aof_enabled": "0"}, "appendonly yes"),
            ({"maxmemory": "100", "maxmemory_policy": "allkeys-lru"}, "volatile-lru or noeviction"),
            ({"maxmemory": "100", "maxmemory_policy": "allkeys-random"}, "volatile-lru or noeviction"),
        ],
    )
    def test_not_durable(self, changes, cure):
        """What is said tells what helps."""
        assert cure in flaw_in(SAFE | changes)

    def test_unknown(self):
        """A server that tells nothing proves nothing."""
        assert flaw_in({})


class TestReadInfo:
    def test_lines(self):
        """Lines with a colon count, whatever their end."""
        assert read_info(b"# Memory\r\nmaxmemory:0\r\n\r\nrole:master\n") == {
            "maxmemory": "0",
            "role": "master",
        }


class TestDurability:
    async def test_asked_once_a_minute(self):
        """What was found durable is taken for it for a minute, what was not is looked at again."""
        answers = [b"aof_enabled:0", b"aof_enabled:1", b"aof_enabled:0"]
        now = 0.0

        async def ask(command):
            assert command == "INFO"
            return answers.pop(0)

        durability = Durability("redis", clock=lambda: now)
        with pytest.raises(SyncNotRecorded, match="REQUIRE_DURABLE"):
            await durability.ensure(ask)
        for _ in range(3):
            await durability.ensure(ask)
            now += TRUSTED_SECONDS / 4
        assert len(answers) == 1
        now += TRUSTED_SECONDS
        with pytest.raises(SyncNotRecorded, match="appendonly"):
            await durability.ensure(ask)
