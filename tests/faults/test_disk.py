"""A disk that is full: what Redis has said it took is there after a crash, and nobody is told otherwise."""

from __future__ import annotations

import os
import stat

import pytest

from django_callcache.exceptions import SyncNotRecorded
from django_callcache.outbox.dirty import DirtyEntries
from testproject.parts.redis_server import find_redis_server
from tests.cache.test_faults import once
from tests.cache.waiting import wait_until

KILOBYTES = 3072
"""What the server's files may have each."""
VALUE = os.urandom(15_000)
RULES = {"s:": {"sync": "lww"}}


@pytest.fixture
def small_disk(tmp_path):
    """A server program whose writes fail beyond a size of file, as they do on a disk that is full."""
    program = tmp_path / "redis-on-a-small-disk"
    # Ignored, the signal is no end of the process: its write fails instead.
    program.write_text(
        f"#!/bin/bash\ntrap '' XFSZ\nulimit -f {KILOBYTES}\nexec {find_redis_server()} \"$@\"\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


class TestFullDisk:
    async def test_recorded__survives(self, face_of, make_cache, start_redis, small_disk):
        """Reads go on, synced writes raise, and what was recorded a second before the crash is not lost."""
        config = {"auto-aof-rewrite-percentage": "0", "aof-use-rdb-preamble": "no"}
        server = start_redis(append_only=True, config=config, program=small_disk)
        face = face_of(make_cache(server.url, DEADLINE=10, RULES=RULES, COMPRESS=False))
        for key, value in (("plain", "old"), ("other", "old"), ("third", "stays")):
            await once(lambda key=key, value=value: face.set(key, value), face, True)
        recorded = [await self.write(face, number) for number in range(20)]
        client = face.cache.redis_client()
        wait_until(lambda: client.info("persistence")["aof_buffer_length"] == 0)
        while (key := await self.write(face, len(recorded))) is not None:
            recorded.append(key)
        assert len(recorded) > 50
        assert await face.get("s:0") == VALUE
        assert await face.get("plain") == "old"
        with pytest.raises(SyncNotRecorded):
            await face.set("s:0", "new", timeout=None)
        assert await face.get("s:0") == VALUE
        assert await face.set("plain", "new") is False
        assert await face.get("plain") is None
        assert await face.delete("other") is False
        assert await face.get_many(["other", "plain"]) == {}
        assert await face.get("third") == "stays"
        server.kill()
        server.start()
        kept = set(DirtyEntries(client, face.cache.redis_keys).redis_keys())
        lost = [key for key in recorded if face.cache.redis_key(key) not in kept]
        assert lost == recorded[len(recorded) - len(lost) :]
        assert len(lost) <= len(recorded) - 20

    async def write(self, face, number):
        """Record a write; return its key, None where it was refused."""
        assert number < 2000, "the disk was never full"
        try:
            await face.set(f"s:{number}", VALUE, timeout=None)
        except SyncNotRecorded:
            return None
        return f"s:{number}"
