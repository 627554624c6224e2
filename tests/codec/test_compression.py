"""zstd frames: whole, honest about their length, one set of objects a thread."""

from __future__ import annotations

import threading

import pytest
import zstandard

from django_callcache.codec import compression
from django_callcache.exceptions import Undecodable

RAW = b"campaign " * 500


class TestCompression:
    @pytest.mark.parametrize("level", [1, 3, 19, 22])
    def test_round_trip__levels(self, level):
        """Every level gives back what went in."""
        frame = compression.compress(RAW, level)

        assert len(frame) < len(RAW)
        assert compression.decompress(frame, len(RAW)) == RAW

    def test_decompress__another_length(self):
        """A frame that states another length than the header is refused."""
        frame = compression.compress(RAW, 3)
        for length in (0, len(RAW) - 1, len(RAW) + 1, 2**32 - 1):
            with pytest.raises(Undecodable, match="length"):
                compression.decompress(frame, length)

    def test_decompress__length_not_stated(self):
        """A frame that does not state its length is refused."""
        frame = zstandard.ZstdCompressor(write_content_size=False).compress(RAW)

        with pytest.raises(Undecodable, match="length"):
            compression.decompress(frame, len(RAW))

    @pytest.mark.parametrize(
        "garbage", [b"", b"\x28\xb5\x2f\xfd", b"\x28\xb5\x2f\xfdgarbage", b"garbage" * 9]
    )
    def test_decompress__garbage(self, garbage):
        """What is no frame is refused."""
        with pytest.raises(Undecodable):
            compression.decompress(garbage, 100)

    def test_decompress__cut_or_longer(self):
        """A frame that is cut anywhere, or followed by anything, is refused."""
        frame = compression.compress(RAW, 3)
        for broken in [frame[:length] for length in range(len(frame))] + [frame + b"\0", frame + frame]:
            with pytest.raises(Undecodable):
                compression.decompress(broken, len(RAW))

    def test_contexts__kept_per_thread(self):
        """A thread keeps its objects; another has its own."""
        compression.compress(RAW, 3)
        mine = compression._contexts.compressors[3]
        compression.compress(RAW, 3)
        theirs = []

        def compress():
            compression.compress(RAW, 3)
            theirs.append(compression._contexts.compressors[3])

        thread = threading.Thread(target=compress)
        thread.start()
        thread.join()

        assert compression._contexts.compressors[3] is mine
        assert theirs[0] is not mine
