from __future__ import annotations

import pytest
from django.core.cache import caches

from django_callcache.models import SyncConflict, SyncRejection, SyncRun
from django_callcache.replication.findings import findings
from django_callcache.sync.leader import Heartbeat
from django_callcache.sync.memory import MemoryStore
from tests.sync.test_maintenance import Down

pytestmark = pytest.mark.django_db(databases="__all__")


@pytest.fixture
def cache(settings):
    settings.CALLCACHE = {"SYNC": {"NAMESPACE": "crm"}}
    return caches["default"]


def bad(cache, remote):
    """What is not as it should be, by subject."""
    return {found.subject: found for found in findings(cache, remote) if found.level != "ok"}


class TestFindings:
    def test_no_remote(self, cache):
        """Without a remote store that is the finding."""
        assert bad(cache, None).keys() == {"remote store"}

    def test_all_well(self, cache):
        """With a loop alive only the durability of a Redis without AOF is left to say."""
        Heartbeat.of_this_process().write(cache.redis_client(), cache.redis_keys)
        found = list(findings(cache, MemoryStore()))
        assert {one.subject for one in found if one.level != "ok"} <= {"durability", "eviction"}
        assert {"schema", "environment", "rights", "exposure", "loop", "backlog"} <= {
            one.subject for one in found
        }

    def test_loop_silent(self, cache):
        """A loop that never ran is an error."""
        assert bad(cache, MemoryStore())["loop"].level == "error"

    @pytest.mark.parametrize(("required", "level"), [(False, "warning"), (True, "error")])
    def test_not_durable(self, cache, settings, required, level):
        """A Redis without a log on disk is worse where synced writes depend on one."""
        if cache.redis_client().info("persistence")["aof_enabled"]:
            pytest.skip("this Redis has an append-only file")
        settings.CALLCACHE = {"SYNC": {"NAMESPACE": "crm", "REQUIRE_DURABLE": required}}
        found = bad(cache, MemoryStore())["durability"]
        assert (found.level, "refused" in found.text) == (level, required)

    def test_remote_down(self, cache):
        """What cannot be asked is told, and the rest is still looked at."""
        found = bad(cache, Down())
        assert found["rights"].text == "down"
        assert "loop" in found

    def test_waiting_for_people(self, cache):
        """What waits for a decision is counted."""
        SyncRun.objects.create(alias="default", outcome="failed", error_class="RemoteRefused", error="401")
        SyncRejection.objects.create(
            alias="default",
            key="1:a",
            digest="a",
            redis_key=b"a",
            version=1,
            remote_version=0,
            payload=b"",
            reason="r",
        )
        SyncConflict.objects.create(
            alias="default", key="1:a", digest="a", redis_key=b"a", local_version=1, local_payload=b"",
            remote_version=1, remote_order=1, remote_origin="x",
        )  # fmt: skip
        found = bad(cache, MemoryStore())
        assert "1 wait" in found["rejected entries"].text
        assert "1 wait" in found["open conflicts"].text
        assert "401" in found["last pass"].text

    def test_exposed(self, cache, remote_sql, postgres_store):
        """A table that browsers may read is an error that names the role."""
        remote_sql.execute("grant select on public.callcache_entries to anon")
        assert "exposure" not in bad(cache, postgres_store)
        remote_sql.execute("create policy open on public.callcache_entries using (true)")
        try:
            found = bad(cache, postgres_store)["exposure"]
            assert found.level == "error"
            assert "anon may reach callcache_entries" in found.text
        finally:
            remote_sql.execute("drop policy open on public.callcache_entries")
            remote_sql.execute("revoke select on public.callcache_entries from anon")
