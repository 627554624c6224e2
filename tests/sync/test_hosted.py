"""The contract of remote stores, and a sync between two sites, against a hosted Supabase project.

Run where CALLCACHE_SUPABASE_URL and CALLCACHE_SUPABASE_KEY are set. All lies in namespaces of the test,
which are removed after it; nothing else of the project is touched.
"""

from __future__ import annotations

import os
import secrets

import pytest

from django_callcache.conf import TableSource
from django_callcache.sync.supabase import SupabaseStore
from tests.sync.test_environments import TestEveryStore as EnvironmentContract
from tests.sync.test_preload import TestEveryStore as FetchContract
from tests.sync.test_remote import NAMESPACE, row
from tests.sync.test_remote import TestEveryStore as RemoteContract

URL = os.environ.get("CALLCACHE_SUPABASE_URL", "")
KEY = os.environ.get("CALLCACHE_SUPABASE_KEY", "")

pytestmark = pytest.mark.skipif(
    not (URL and KEY),
    reason="set CALLCACHE_SUPABASE_URL and CALLCACHE_SUPABASE_KEY to test against a hosted project",
)


class HostedStore(SupabaseStore):
    """A project whose namespaces are those of one test.

    Args:
        url: Its address.
        key: Its secret key.
    """

    def __init__(self, url, key):
        super().__init__(url, key, timeout_seconds=30)
        self.root = f"ci-{secrets.token_hex(8)}"

    def push(self, namespace, origin, rows):
        return super().push(f"{self.root}/{namespace}", origin, rows)

    def pull(self, namespace, after, limit, epoch):
        return super().pull(f"{self.root}/{namespace}", after, limit, epoch)

    def fetch(self, namespace, keys):
        return super().fetch(f"{self.root}/{namespace}", keys)

    def claim(self, namespace, marks, *, take_over=False):
        return super().claim(f"{self.root}/{namespace}", marks, take_over=take_over)

    def left(self):
        """How many rows of these namespaces there are."""
        return sum(len(self._ask_own(table, lambda rows: rows.select("namespace"))) for table in TABLES)

    def clean(self):
        """Remove them."""
        for table in TABLES:
            self._ask_own(table, lambda rows: rows.delete())

    def _ask_own(self, table, narrow):
        own = f"{self.root}/*"
        return self._within_time(
            lambda client: narrow(client.table(table)).like("namespace", own).execute().data
        )


TABLES = ("callcache_entries", "callcache_environments")


@pytest.fixture
def remote():
    """The hosted project, in place of the stores of the other tests."""
    store = HostedStore(URL, KEY)
    try:
        yield store
        store.clean()
        assert store.left() == 0
    finally:
        store.close()


class TestRemote(RemoteContract):
    """What every remote store does."""


class TestEnvironments(EnvironmentContract):
    """Whose a namespace is."""


class TestFetch(FetchContract):
    """Rows by their keys."""


class TestSync:
    def test_two_sites(self, remote, site, other_site):
        """What one site writes and deletes arrives at the other, and the later of two writes stays."""
        for number in range(1200):
            site.set(f"call:{number}", {"number": number})
        site.sync(remote)
        assert other_site.sync(remote).pulled == 1200
        assert other_site.get("call:7") == {"number": 7}
        site.delete("call:7")
        site.set("call:8", "earlier")
        other_site.set("call:8", "later")
        for each in (site, other_site, site):
            report = each.sync(remote)
            assert report.error is None
        assert (site.get("call:7"), other_site.get("call:7")) == (None, None)
        assert site.get("call:8") == other_site.get("call:8") == "later"
        assert site.outbox.depth() == other_site.outbox.depth() == 0


class TestTables:
    def test_read(self, remote):
        """Rows of a table are read by a column, and in the order of their changes."""
        keys = [f"{remote.root}:{name}" for name in ("a", 'b",(c', "d")]
        remote.push(NAMESPACE, "a", [row(key, value=1) for key in keys])
        source = TableSource(
            table="callcache_entries", by="key", fields=("codec", "version"), changed_at="updated_at"
        )
        found = remote.read_rows(source, [*keys, "nobody"])
        assert {each["key"]: each["version"] for each in found} == dict.fromkeys(keys, 1)
        latest = remote.latest_change(source)
        assert latest is not None
        stamps = {each.name: each for each in remote.changed_since(source, "-infinity", None)}
        assert stamps

    def test_feed(self, remote):
        """The feed can be read from its beginning on, and tells which tables report."""
        beginning = remote.feed(None)
        assert beginning.reset
        assert not remote.feed(beginning.cursor).reset
        assert isinstance(remote.attached(), frozenset)
