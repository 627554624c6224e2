from __future__ import annotations

import pytest

from django_callcache.ttl import KeyRecord

RECORD = KeyRecord(
    loaded_at=1_800_000_000.125,
    expires_at=1_800_000_900.125,
    born_at=1_799_999_999.0,
    has_updated_at=True,
    digest=b"12345678",
    changes=1.5,
    exposure=2.25,
    gaps=3.0,
    gap_seconds=17.5,
    log_ttl=-0.5,
)


class TestKeyRecord:
    def test_pack__and_back(self):
        """A record survives Redis, in 49 bytes."""
        packed = RECORD.pack()
        assert len(packed) == 49
        assert KeyRecord.unpack(packed) == RECORD

    @pytest.mark.parametrize(
        "packed", [None, b"", b"short", b"\x02" + RECORD.pack()[1:], RECORD.pack() + b"x"]
    )
    def test_unpack__none_of_ours(self, packed):
        """The bytes of another release are no record, and no error."""
        assert KeyRecord.unpack(packed) is None

    @pytest.mark.parametrize(("ttl", "grace"), [(60, 3600), (3600, 3600), (7200, 7200)])
    def test_kept_until(self, ttl, grace):
        """A record outlives its value by an hour, or by the value's TTL where that is longer."""
        record = KeyRecord(0.0, ttl, 0.0, False, b"x" * 8)
        assert record.kept_until == ttl + grace
