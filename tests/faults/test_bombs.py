"""A small value that would become a large one (F-S5)."""

from __future__ import annotations

import sys
import time

import pytest
import zstandard

from tests.cache.test_faults import DEFAULT
from tests.codec.test_abuse import seal
from tests.faults.caller_process import resident_bytes

GIGABYTE = 1 << 30
MIB = 1 << 20


@pytest.mark.long
class TestBomb:
    @pytest.mark.parametrize("declared", [GIGABYTE, 1000])
    async def test_get__miss(self, face_of, make_cache, redis_client, capsys, declared):
        """A gigabyte in 33 kB is a miss within 100 ms, for 40 MB at the most, though its seal is right."""
        app = {"SECRETS": ["correct horse battery staple"], "SYNC": {"NAMESPACE": "tests"}}
        face = face_of(make_cache(app=app))
        compressor = zstandard.ZstdCompressor().compressobj(size=GIGABYTE)
        zeros = bytes(MIB)
        frame = b"".join(compressor.compress(zeros) for _ in range(GIGABYTE // MIB)) + compressor.flush()
        ring = face.cache._runtime._key_ring
        header = b"\x01\x01" + ring.first.id + (declared % 2**32).to_bytes(4, "big")
        sealed = seal(header, frame, ring.first, redis_key=b"t:1:bomb")
        redis_client.set("t:1:bomb", sealed)
        assert await face.get("other", DEFAULT) is DEFAULT
        before, began = resident_bytes(), time.monotonic()
        assert await face.get("bomb", DEFAULT) is DEFAULT
        took, grown = time.monotonic() - began, resident_bytes() - before
        assert face.cache.counted()["other"]["undecodable"] == 1
        with capsys.disabled():
            sys.stdout.write(f"\n{len(sealed):,} bytes: {took * 1000:.1f} ms, {grown / MIB:+.1f} MiB\n")
        assert took <= 0.100
        assert grown <= 40_000_000
