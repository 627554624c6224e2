from __future__ import annotations

import time

import pytest

from django_callcache.exceptions import RemoteRefused, RemoteUnavailable
from django_callcache.sync.remote import (
    SCHEMA_VERSION,
    HeldRow,
    RemoteRow,
    Span,
    ensure_schema_version,
    order_text,
    read_push_reply,
)

NAMESPACE = "crm"
NOW_US = int(time.time() * 1e6)


def row(key="1:call:7", version=NOW_US, **fields):
    return RemoteRow(key=key, version=version, **fields)


def refetch(remote, key, namespace=NAMESPACE):
    """Read a row by the conflict that a blind write to it meets."""
    reply = remote.push(namespace, "reader", [row(key, version=1, base=999_999)])
    (conflict,) = reply.conflicts
    return conflict


class TestEveryStore:
    def test_check_schema(self, remote):
        """A store with the schema of this release is accepted."""
        remote.check_schema()

    def test_push__new_rows(self, remote):
        """New rows are applied, each at version 1, and the reply tells the store's time."""
        reply = remote.push(NAMESPACE, "a", [row("1:a", value=1), row("1:b", value=2)])
        assert reply.applied == {"1:a": 1, "1:b": 1}
        assert not reply.conflicts
        assert not reply.rejected
        assert abs(reply.now_ms / 1000 - time.time()) < 60

    def test_push__place_among_changes(self, remote):
        """Pushes tell where their rows lie in the order of changes: one begins where the one before ends."""
        first = remote.push(NAMESPACE, "a", [row("1:a", value=1), row("1:b", value=2)]).span
        second = remote.push("another", "a", [row("1:a", value=1), row("1:c", value=2)]).span
        written = remote.push(NAMESPACE, "a", [row("1:a", version=NOW_US + 1, base=1, value=3)]).span
        nothing = remote.push(NAMESPACE, "a", [row("1:a", version=NOW_US + 1, value=3)]).span
        assert (first.next, second.next, written.next) == (second.after, written.after, nothing.after)
        assert first.after < first.next < second.next < written.next == nothing.next
        page = remote.pull(NAMESPACE, 0, 10, None)
        assert (page.epoch, page.next) == (first.epoch, nothing.next)
        assert not remote.pull(NAMESPACE, written.next, 10, page.epoch).rows
        assert [held.key for held in remote.pull(NAMESPACE, second.next, 10, page.epoch).rows] == ["1:a"]

    def test_push__nothing(self, remote):
        """An empty batch is a valid one."""
        assert not remote.push(NAMESPACE, "a", []).applied

    def test_push__over_known_version(self, remote):
        """A row that builds on the version in the store replaces it."""
        remote.push(NAMESPACE, "a", [row(value="old")])
        reply = remote.push(NAMESPACE, "a", [row(version=NOW_US + 1, base=1, value="new")])
        assert reply.applied == {"1:call:7": 2}
        assert refetch(remote, "1:call:7").value == "new"

    def test_push__again(self, remote):
        """A row pushed again after a lost reply is reported as applied, and nothing changes."""
        first = remote.push(NAMESPACE, "a", [row(value="x")])
        again = remote.push(NAMESPACE, "a", [row(value="x")])
        assert again.applied == first.applied == {"1:call:7": 1}

    def test_push__conflict(self, remote):
        """A row that builds on another version is not written; the reply has the row that stands there."""
        remote.push(NAMESPACE, "a", [row(value={"of": "a"}, ttl_ms=60_000)])

        reply = remote.push(NAMESPACE, "b", [row(version=NOW_US + 1, value={"of": "b"}), row("1:other")])

        assert reply.applied == {"1:other": 1}
        (conflict,) = reply.conflicts
        assert 0 < conflict.ttl_ms <= 60_000
        assert conflict == HeldRow(
            key="1:call:7", remote_version=1, version=NOW_US, origin="a", value={"of": "a"},
            ttl_ms=conflict.ttl_ms,
        )  # fmt: skip

    def test_push__row_is_gone(self, remote):
        """A row that builds on one which is gone meets a conflict without a version."""
        reply = remote.push(NAMESPACE, "a", [row(base=4)])
        assert reply.conflicts == (HeldRow(key="1:call:7", remote_version=None),)

    def test_push__deletion(self, remote):
        """A deletion leaves a tombstone, over which a later write can be pushed."""
        remote.push(NAMESPACE, "a", [row(value="x")])
        assert remote.push(NAMESPACE, "a", [row(version=NOW_US + 1, base=1, deleted=True)]).applied
        tombstone = refetch(remote, "1:call:7")
        assert tombstone.deleted
        assert tombstone.value is None
        assert remote.push(NAMESPACE, "a", [row(version=NOW_US + 2, base=2, value="y")]).applied
        assert not refetch(remote, "1:call:7").deleted

    @pytest.mark.parametrize(
        "value",
        [
            None, True, False, 0, -5, 2**53, -(2**53), 0.1, 1e-300, 5e-324, "", "text", "ñ☎\U0001f600", "1",
            [], [None, [1, [2.5]]], {}, {"a": {"b": ["c", None, True]}, "": 1}, "null", "[1]",
        ],
    )  # fmt: skip
    def test_push__values(self, remote, value):
        """What goes as JSON comes back as it was."""
        remote.push(NAMESPACE, "a", [row(value=value)])
        found = refetch(remote, "1:call:7").value
        assert found == value
        assert type(found) is type(value)

    def test_push__payload(self, remote):
        """Bytes in base64 come back as they were, with the codec's name."""
        remote.push(NAMESPACE, "a", [row(codec="callcache1", payload="AAEC", checksum="00ff")])
        found = refetch(remote, "1:call:7")
        assert (found.codec, found.payload, found.value) == ("callcache1", "AAEC", None)

    def test_push__without_ttl(self, remote):
        """A row without a time to live never expires."""
        remote.push(NAMESPACE, "a", [row(value="x")])
        assert refetch(remote, "1:call:7").ttl_ms is None

    @pytest.mark.parametrize("ttl_ms", [-5000, 0, 10**18])
    def test_push__ttl(self, remote, ttl_ms):
        """A row that has expired already is stored with its expiry; a far one stays far."""
        assert remote.push(NAMESPACE, "a", [row(value="x", ttl_ms=ttl_ms)]).applied
        found = refetch(remote, "1:call:7").ttl_ms
        assert found <= ttl_ms
        assert found > (10**12 if ttl_ms > 0 else ttl_ms - 60_000)

    def test_push__clock_ahead(self, remote):
        """A row from the future is rejected, and takes no other with it."""
        reply = remote.push(NAMESPACE, "a", [row("1:a", version=NOW_US + 10**10), row("1:b")])
        assert reply.applied == {"1:b": 1}
        assert "clock" in reply.rejected["1:a"]

    def test_push__namespaces(self, remote):
        """The same key in two namespaces is two rows."""
        remote.push("crm", "a", [row(value="x")])
        assert remote.push("crm/other", "a", [row(value="y")]).applied
        assert refetch(remote, "1:call:7").value == "x"
        assert refetch(remote, "1:call:7", "crm/other").value == "y"

    def test_close__then_use(self, remote):
        """A store that was closed opens again when it is used."""
        remote.close()
        assert remote.push(NAMESPACE, "a", [row()]).applied


REPLY = {"applied": [["1:call:7", 3, 9, order_text(NOW_US)]], "conflicts": [], "rejected": [], "now_ms": 1}


class TestReadPushReply:
    def test_reply(self):
        """A row named with its own order counts as applied."""
        assert read_push_reply(REPLY, [row()]).applied == {"1:call:7": 3}

    def test_span(self):
        """Where the store does not tell its place among the changes, none is known."""
        told = read_push_reply(REPLY | {"epoch": "e", "after": 3, "next": 4}, [row()])
        assert told.span == Span(epoch="e", after=3, next=4)
        assert read_push_reply(REPLY, [row()]).span is None
        assert read_push_reply(REPLY | {"epoch": "e", "after": None, "next": None}, [row()]).span is None

    def test_foreign_rows(self):
        """Rows that were not sent, or with another order, prove nothing."""
        assert not read_push_reply(REPLY, [row("1:other")]).applied
        assert not read_push_reply(REPLY, [row(version=NOW_US + 1)]).applied

    @pytest.mark.parametrize(
        "data",
        [
            None, "", "<html></html>", [], {}, [REPLY], {"applied": []}, REPLY | {"applied": [["1:call:7"]]},
            REPLY | {"applied": None}, REPLY | {"now_ms": None}, REPLY | {"conflicts": [{"k": "1:call:7"}]},
            REPLY | {"conflicts": [{"k": "1:call:7", "ver": 1, "h": "zz"}]}, REPLY | {"after": 3},
        ],
    )  # fmt: skip
    def test_other_replies(self, data):
        """Anything else is an answer of somebody else."""
        with pytest.raises(RemoteUnavailable):
            read_push_reply(data, [row()])


class TestSchemaVersion:
    def test_same(self):
        """The version of this release is accepted."""
        ensure_schema_version(SCHEMA_VERSION)

    @pytest.mark.parametrize("found", [None, 0, SCHEMA_VERSION + 1, "1"])
    def test_other(self, found):
        """Any other version, and none, is refused with what to do."""
        with pytest.raises(RemoteRefused, match="callcache_sql"):
            ensure_schema_version(found)


class TestRemoteRow:
    def test_repr__no_value(self):
        """The cached value does not show where a row is printed."""
        assert "hidden" not in repr(row(value="hidden", payload="hidden"))
        assert "hidden" not in repr(HeldRow(key="k", remote_version=1, value="hidden", payload="hidden"))
