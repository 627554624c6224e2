"""Keys of every kind that people and attackers think of: stored under one's own prefix, or refused (F-S9)."""

from __future__ import annotations

import pytest
from django.core.cache.backends.base import InvalidCacheKey

ACCEPTED = {
    "space": "a b",
    "newline": "a\nb",
    "a command": "a\r\nFLUSHALL\r\n",
    "zero byte": "a\0b",
    "escape": "a\x1b[31mb",
    "right to left": "a\u202eb",
    "ten kilobytes": "k" * 10_000,
    "a megabyte": "k" * 1_000_000,
    "empty": "",
    "colons": "1:k",
    "wildcards": "*[a]?\\",
    "like ours": "callcache@t:outbox",
    "number": 1,
    "bytes": b"bb",
    "text of bytes": "b'cc'",
    "astral": "\U0001f600",
}
REFUSED = {"lone surrogate": "a\ud800b", "text of a lone surrogate": "\udcff"}


@pytest.mark.filterwarnings("ignore::django.core.cache.CacheKeyWarning")
class TestZoo:
    async def test_accepted__its_own(self, face, redis_client):
        """Each key holds its own value, is found and deleted by its name, and has prefix and version."""
        assert await face.set_many(dict(zip(ACCEPTED.values(), ACCEPTED, strict=True))) == []
        for name, key in ACCEPTED.items():
            assert await face.get(key) == name
            assert await face.has_key(key) is True
        assert len(await face.get_many(ACCEPTED.values())) == len(ACCEPTED)
        stored = redis_client.keys("*")
        assert sum(key.startswith(b"t:1:") for key in stored) == len(ACCEPTED)
        assert all(key.startswith((b"t:1:", b"callcache@t:")) for key in stored)
        assert await face.delete_many(list(ACCEPTED.values())) == len(ACCEPTED)

    @pytest.mark.parametrize("key", REFUSED.values(), ids=REFUSED)
    @pytest.mark.parametrize(
        "method", ["get", "set", "add", "delete", "incr", "touch", "has_key", "get_or_set"]
    )
    async def test_refused__one_error(self, face, redis_client, method, key):
        """What has no UTF-8 is an invalid key to every call, and never an encoding error."""
        arguments = {"set": (1,), "add": (1,), "get_or_set": (lambda: 1,)}.get(method, ())
        with pytest.raises(InvalidCacheKey):
            await getattr(face, method)(key, *arguments)
        for call in (face.get_many([key]), face.set_many({key: 1}), face.delete_many([key])):
            with pytest.raises(InvalidCacheKey):
                await call
        assert redis_client.keys("t:*") == []
