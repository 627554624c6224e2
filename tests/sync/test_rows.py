from __future__ import annotations

import base64
import collections
import datetime
import decimal
import enum
import math
from hashlib import blake2b

import pytest

from django_callcache.exceptions import RemoteRejected, Undecodable
from django_callcache.outbox.dirty import DirtyEntry
from django_callcache.sync.remote import HeldRow
from django_callcache.sync.rows import MAX_DEPTH, SEALED, NotExact, blob_of, ensure_key, json_size, row_of


class Number(enum.IntEnum):
    ONE = 1


class Text(str):
    pass


def nested(depth):
    value = 1
    for _ in range(depth):
        value = [value]
    return value


def entry(**fields):
    defaults = {
        "redis_key": b"crm:1:call:7", "remote_key": "1:call:7", "version": 5, "deleted": False,
        "expires_at_ms": None, "blob": b"blob", "remote_version": 3,
    }  # fmt: skip
    return DirtyEntry(**(defaults | fields))


class Values:
    """A cache whose every value is the one given."""

    def __init__(self, value=None):
        self.value = value

    def decode(self, entry, blob):
        if blob == b"broken":
            raise Undecodable("broken")
        return self.value

    def is_sensitive(self, entry):
        return False

    def independent(self, entry, blob):
        return blob

    def encode(self, entry, value):
        if value == "too large":
            raise ValueError("too large")
        return repr(value).encode()


class TestJsonSize:
    @pytest.mark.parametrize(
        "value",
        [
            None,
            True,
            0,
            -1,
            2**53,
            -(2**53),
            0.5,
            -1e-300,
            "",
            "ñ☎",
            [],
            [1, [None]],
            {},
            {"a": {"b": [0.1]}},
        ],
    )
    def test_exact(self, value):
        """What JSON keeps exactly has a size."""
        assert json_size(value) > 0

    @pytest.mark.parametrize(
        "value",
        [
            2**53 + 1, -(2**53) - 1, 1.0, -0.0, 1e300, math.nan, math.inf, "a\0b", "\ud800", b"bytes", (1,),
            {1}, {1: 2}, {None: 1}, {"a\0": 1}, {"a": (1,)}, [b""], Number.ONE, Text("x"), {Text("x"): 1},
            collections.OrderedDict(a=1), decimal.Decimal("0.5"), datetime.date(2026, 11, 22),
            nested(MAX_DEPTH + 1),
        ],
        ids=repr,
    )  # fmt: skip
    def test_not_exact(self, value):
        """What would come back as something else has none."""
        with pytest.raises(NotExact):
            json_size(value)

    def test_size(self):
        """The size is about that of the text."""
        assert 1000 <= json_size(["x" * 100] * 10) <= 1200


class TestEnsureKey:
    @pytest.mark.parametrize("key", ["1:call:7", "x" * 512, "ñ" * 256])
    def test_good(self, key):
        """Keys of up to 512 bytes are taken."""
        ensure_key(key)

    @pytest.mark.parametrize("key", ["", "x" * 513, "ñ" * 257, "a\0b", "\udcff"])
    def test_bad(self, key):
        """Other keys are rejected."""
        with pytest.raises(RemoteRejected, match="the key"):
            ensure_key(key)


class TestRowOf:
    def test_json(self):
        """A value that JSON keeps goes as itself."""
        row = row_of(entry(expires_at_ms=1500), Values({"a": 1}), 1000)
        assert (row.codec, row.value, row.payload, row.ttl_ms) == ("json", {"a": 1}, None, 500)
        assert (row.key, row.version, row.base) == ("1:call:7", 5, 3)
        assert row.checksum == blake2b(b"blob", digest_size=16).hexdigest()

    @pytest.mark.parametrize(("blob", "value"), [(b"blob", (1, 2)), (b"broken", None)])
    def test_sealed(self, blob, value):
        """Any other value, and one that this process cannot read, goes as the cache's bytes."""
        row = row_of(entry(blob=blob), Values(value), 1000)
        assert (row.codec, row.value) == (SEALED, None)
        assert base64.b64decode(row.payload) == blob

    def test_deleted(self):
        """A deletion has no value."""
        row = row_of(entry(deleted=True, blob=b""), Values(), 1000)
        assert row.as_json() == {"k": "1:call:7", "h": "0000000000000005", "b": 3, "d": True}

    def test_expired(self):
        """A value that ended before it was pushed goes with the end it had."""
        assert row_of(entry(expires_at_ms=400), Values(1), 1000).ttl_ms == -600


class TestBlobOf:
    @pytest.mark.parametrize(
        ("fields", "blob"),
        [
            ({"value": {"a": 1}}, b"{'a': 1}"),
            ({"value": None}, b"None"),
            ({"value": "too large"}, None),
            ({"deleted": True}, None),
            ({"codec": SEALED, "payload": base64.b64encode(b"blob").decode()}, b"blob"),
            ({"codec": SEALED, "payload": base64.b64encode(b"broken").decode()}, None),
            ({"codec": SEALED, "payload": "no base64!"}, None),
            ({"codec": SEALED, "payload": None}, None),
            ({"codec": "newer", "payload": "AAEC"}, None),
        ],
        ids=repr,
    )
    def test_blob(self, fields, blob):
        """A remote value becomes the cache's bytes, or nothing where this cache cannot read it."""
        conflict = HeldRow(key="1:call:7", remote_version=1, **fields)
        assert blob_of(conflict, entry(), Values()) == blob
