"""Rows of statistics, sync reports and audit."""

from __future__ import annotations

import datetime
import io

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.db import IntegrityError
from django.utils import timezone

from django_callcache.models import CacheOperation, CacheStat, Dashboard, SyncRun
from django_callcache.outbox.stat_buckets import COUNTERS

NOON = datetime.datetime(2026, 3, 4, 12, tzinfo=datetime.UTC)
HOUR = datetime.timedelta(hours=1)


def stat(hours_ago=0, **fields):
    return CacheStat.objects.create(
        **{"alias": "default", "prefix": "call:", "hour": NOON - hours_ago * HOUR, **fields}
    )


class TestMigrations:
    @pytest.mark.django_db
    def test_makemigrations__nothing_new(self):
        """The committed migrations say all that the models say."""
        call_command("makemigrations", "django_callcache", check=True, dry_run=True, stdout=io.StringIO())


@pytest.mark.django_db
class TestCacheStat:
    def test_counters__names_of_the_buckets(self):
        """Rows have a column for everything that is counted."""
        assert CacheStat.COUNTERS == COUNTERS
        assert {field.name for field in CacheStat._meta.get_fields()} >= set(COUNTERS)

    def test_unique__alias_prefix_hour(self):
        """An hour of a prefix has one row."""
        stat()
        with pytest.raises(IntegrityError):
            stat()

    def test_by_prefix__sums_hours(self):
        """Sums by prefix run over the hours of the period, its end left out."""
        stat(hits=1)
        stat(hours_ago=1, hits=2)
        stat(hours_ago=2, hits=4, errors=1)
        stat(hours_ago=2, hits=8, alias="other")
        rows = CacheStat.objects.for_alias("default").until(NOON).by_prefix()
        assert [(row["name"], row["total_hits"], row["total_errors"]) for row in rows] == [("call:", 6, 1)]

    def test_gets__all_outcomes(self):
        """Gets are hits of both tiers and misses."""
        assert CacheStat(hits=1, near_hits=2, misses=4).gets == 7

    def test_prune__old_rows_only(self):
        """Rows older than the retention leave, those at its edge stay."""
        for hours_ago in (0, 23, 24, 25, 26):
            stat(hours_ago=hours_ago)
        assert CacheStat.objects.prune(1, now=NOON) == 2
        assert CacheStat.objects.count() == 3

    def test_prune__bounded_batches(self, django_assert_num_queries):
        """No statement deletes more than a batch."""
        for hours_ago in range(5):
            stat(hours_ago=hours_ago + 30)
        with django_assert_num_queries(3 + 3 + 1):
            assert CacheStat.objects.prune(1, now=NOON, batch=2) == 5

    def test_prune__only_this_set(self):
        """Pruning a narrower set leaves the others alone."""
        stat(hours_ago=48)
        stat(hours_ago=48, alias="other")
        assert CacheStat.objects.for_alias("other").prune(1, now=NOON) == 1
        assert CacheStat.objects.get().alias == "default"


@pytest.mark.django_db
class TestSyncRun:
    def test_latest_of__alias(self):
        """The last pass of an alias is the one that started last."""
        for hours in (3, 1, 2):
            SyncRun.objects.create(alias="default", started_at=NOON - hours * HOUR, pushed=hours)
        SyncRun.objects.create(alias="other", started_at=NOON)
        assert SyncRun.objects.latest_of("default").pushed == 1
        assert SyncRun.objects.latest_of("none") is None

    @pytest.mark.parametrize("wrong", [{"outcome": "maybe"}, {"duration_seconds": -1.0}])
    def test_constraints__impossible_report(self, wrong):
        """The database refuses a report that cannot be."""
        with pytest.raises(IntegrityError):
            SyncRun.objects.create(alias="default", **wrong)


@pytest.mark.django_db
class TestCacheOperation:
    def test_user__deleted(self):
        """The audit outlives its user, name included."""
        user = User.objects.create(username="ana")
        operation = CacheOperation.objects.create(
            user=user,
            username="ana",
            kind=CacheOperation.Kind.CLEAR,
            scope=CacheOperation.Scope.ALIAS,
            alias="default",
        )
        user.delete()
        operation.refresh_from_db()
        assert (operation.user, operation.username) == (None, "ana")

    def test_finish__stored(self):
        """The end of an operation is stored, and only that."""
        operation = CacheOperation.objects.create(kind="clear", scope="prefix", alias="default", pattern="a*")
        CacheOperation.objects.update(reason="kept")
        operation.finish(
            CacheOperation.Outcome.PARTIAL, deleted=3, duration_seconds=0.5, error_class="X" * 300
        )
        operation.refresh_from_db()
        assert (operation.outcome, operation.deleted, operation.reason) == ("partial", 3, "kept")
        assert len(operation.error_class) == 200

    def test_prune__by_start(self):
        """Audit rows leave by the time they started."""
        for days in (0, 400):
            CacheOperation.objects.create(
                kind="clear", scope="alias", alias="default", started_at=timezone.now() - days * 24 * HOUR
            )
        assert CacheOperation.objects.prune(365) == 1


@pytest.mark.django_db
class TestPermissions:
    def test_permissions__exactly_eight(self):
        """The app brings eight permissions, one for each power, and no others."""
        codenames = set(
            Permission.objects.filter(content_type__app_label="django_callcache").values_list(
                "codename", flat=True
            )
        )
        assert codenames == {
            "view_dashboard",
            "view_keys",
            "view_values",
            "delete_keys",
            "clear_cache",
            "change_ttl",
            "run_sync",
            "manage_alerts",
        }

    def test_dashboard__no_table(self):
        """The model that carries the permissions is not managed."""
        assert not Dashboard._meta.managed
