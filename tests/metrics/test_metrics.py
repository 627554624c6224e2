from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from importlib.util import find_spec

import pytest
from django.conf import settings
from prometheus_client.parser import text_string_to_metric_families

from django_callcache import metrics
from django_callcache.outbox.stat_buckets import LATENCY_SLOTS, StatBuckets
from testproject.parts.child import LOOPBACK, free_port, stop, wait_until_ready
from testproject.parts.prometheus_server import PrometheusServer, promtool
from tests.cache.waiting import wait_until

SYNCED = {"RULES": {"call:": {"sync": "lww", "ttl": 60}, "page:": {"ttl": None}}}


def scrape(accept=""):
    """The samples of a page, by name and labels."""
    body, _ = metrics.exposition(accept)
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def of(samples, name, **labels):
    """One sample of the default cache."""
    return samples[name, *sorted({"alias": "default", **labels}.items())]


class TestCollector:
    def test_collect__calls(self, make_cache):
        """Calls are there by operation and result as soon as they were made, a key each."""
        cache = make_cache()
        cache.set_many({"p:1": 1, "p:2": 2})
        cache.get_many(["p:1", "p:2", "p:3"])
        cache.delete("p:1")
        samples = scrape()
        calls = {
            (operation, result): of(samples, "callcache_operations_total", operation=operation, result=result)
            for operation, result in metrics.OPERATIONS.values()
        }
        assert calls == {
            ("get", "hit"): 2,
            ("get", "near_hit"): 0,
            ("get", "miss"): 1,
            ("set", "ok"): 2,
            ("delete", "ok"): 1,
        }

    def test_collect__twice(self, make_cache):
        """Scrapes take nothing from one another."""
        cache = make_cache()
        cache.get("p:1")
        assert [of(scrape(), "callcache_operations_total", operation="get", result="miss")] * 2 == [1, 1]

    def test_collect__rows_pruned(self, make_cache, redis_client):
        """Counters do not fall when buckets leave Redis."""
        cache = make_cache()
        cache.get("p:1")
        cache.flush_stats()
        buckets = StatBuckets(redis_client, cache.redis_keys)
        buckets.drop(buckets.minutes()[0] // 60)
        assert buckets.minutes() == []
        assert of(scrape(), "callcache_operations_total", operation="get", result="miss") == 1

    def test_collect__durations(self, make_cache):
        """Durations are cumulative buckets, and every counted call is in the last one."""
        cache = make_cache()
        for number in range(10):
            cache.set(f"p:{number}", number)
        samples = scrape()
        assert of(samples, "callcache_operation_duration_seconds_count", operation="write") == 10
        assert of(samples, "callcache_operation_duration_seconds_bucket", operation="write", le="+Inf") == 10
        assert 0 < of(samples, "callcache_operation_duration_seconds_sum", operation="write") < 100

    def test_buckets__every_slot(self):
        """Each latency slot is counted in the first bucket that holds all of it, and in those above."""
        for slot in range(LATENCY_SLOTS):
            buckets = metrics.buckets_of([int(index == slot) for index in range(LATENCY_SLOTS)])
            upper = 2 ** (metrics.FIRST_SLOT_POWER + slot) / 1e9 if slot < LATENCY_SLOTS - 1 else float("inf")
            assert [float(le) for le, passed in buckets if passed] == [
                float(le) for le, _ in buckets if float(le) >= upper
            ]

    def test_collect__near(self, make_cache):
        """The near caches of all processes: entries, bytes, evictions and what they heard of."""
        cache = make_cache(NEAR=True)
        runtime = cache.blocking._runtime
        runtime.near.evictions = 3
        runtime.near.invalidations = 4
        runtime.exchange.report(runtime.condition())
        samples = scrape()
        assert of(samples, "callcache_near_evictions_total") == 3
        assert of(samples, "callcache_near_invalidations_total") == 4
        assert of(samples, "callcache_processes") == 1
        assert of(samples, "callcache_near_entries") == 0
        runtime.exchange.leave()
        assert of(scrape(), "callcache_processes") == 0

    def test_collect__sync(self, make_cache):
        """What waits for the remote store, and whether Redis would lose it, where something is synced."""
        cache = make_cache(**SYNCED)
        cache.set("call:1", {"seconds": 5})
        buckets = StatBuckets(cache.redis_client(), cache.redis_keys)
        buckets.note({"passes_ok": 2, "rejected": 1}, {"synced_at": 1000.5})
        samples = scrape()
        assert of(samples, "callcache_outbox_entries") == 1
        assert of(samples, "callcache_outbox_bytes") > 10
        assert 0 <= of(samples, "callcache_outbox_oldest_age_seconds") < 300
        assert of(samples, "callcache_durability_at_risk") == 1
        assert of(samples, "callcache_sync_passes_total", outcome="ok") == 2
        assert of(samples, "callcache_sync_rejected_total") == 1
        assert of(samples, "callcache_sync_last_success_timestamp_seconds") == 1000
        assert of(samples, "callcache_policy_ttl_seconds", prefix="call:") == 60
        assert of(samples, "callcache_policy_ttl_seconds", prefix="page:") == float("inf")
        make_cache()
        assert not [name for name, *_ in scrape() if "outbox" in name or "_sync_" in name]

    def test_collect__staleness(self, make_cache):
        """The measured share of stale hits and the comparisons behind it, of prefixes that ask for them."""
        cache = make_cache(RULES={"row:": {"revalidate": 0.1}, "new:": {"revalidate": 0.1}, "page:": {}})
        found = {"n": 40, "s": 1, "fresh": 60, "stale": 2, "unclear": 3}
        cache.redis_client().hset(cache.redis_keys.checked("row:"), mapping=found)
        samples = scrape()
        assert of(samples, "callcache_stale_hit_ratio", prefix="row:") == 0.025
        for result in ("fresh", "stale", "unclear"):
            total = of(samples, "callcache_checked_hits_total", prefix="row:", result=result)
            assert total == found[result]
        ratios = [labels for name, *labels in samples if name == "callcache_stale_hit_ratio"]
        assert len(ratios) == 1
        assert not [name for name, *labels in samples if "page:" in str(labels) and "hit" in name]

    def test_collect__pinned(self, make_cache):
        """What people have decided about TTLs shows: the pin, the pause, and what a write gets by it."""
        cache = make_cache(RULES={"call:": {"ttl": 30}, "row:": {"ttl": "adaptive"}})
        assert of(scrape(), "callcache_ttl_paused") == 0
        cache.pin_ttl("call:", 120, by="maria")
        cache.pause_ttl(by="maria")
        samples = scrape()
        assert of(samples, "callcache_pinned_ttl_seconds", prefix="call:") == 120
        assert of(samples, "callcache_policy_ttl_seconds", prefix="call:") == 120
        assert of(samples, "callcache_policy_ttl_seconds", prefix="row:") == 3600
        assert of(samples, "callcache_ttl_paused") == 1

    def test_collect__down(self, make_cache, start_redis):
        """With Redis down the page says so, and nothing that it cannot know."""
        server = start_redis()
        cache = make_cache(server.url)
        cache.get("p:1")
        server.stop()
        samples = scrape()
        assert of(samples, "callcache_redis_up") == 0
        assert of(samples, "callcache_degraded") == 1
        assert {name for name, *_ in samples} == {
            "callcache_info",
            "callcache_redis_up",
            "callcache_degraded",
            "callcache_policy_ttl_seconds",
        } - ({"callcache_policy_ttl_seconds"} if not cache.options.rules else set())

    def test_collect__bounded_labels(self, make_cache):
        """However many keys and prefixes there are, the series are the same."""
        cache = make_cache()
        few = scrape().keys()
        for number in range(300):
            cache.get(f"prefix{number}:{number}")
        assert scrape().keys() - few == {
            key for key in scrape() if key[0] == "callcache_stats_last_bucket_timestamp_seconds"
        }

    def test_page__promtool(self, make_cache, prometheus_programs):
        """Prometheus's own tool finds nothing to say against the page, in either format."""
        make_cache(**SYNCED).set("call:1", 1)
        body, content_type = metrics.exposition("")
        assert content_type.startswith("text/plain")
        done = promtool("check", "metrics", text=body.decode())
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        _, content_type = metrics.exposition("application/openmetrics-text; version=1.0.0")
        assert content_type.startswith("application/openmetrics-text")

    def test_page__multiprocess(self, make_cache, tmp_path):
        """In prometheus_client's multi-process mode the page joins what all workers of the site wrote."""
        make_cache()
        code = "import prometheus_client as p; p.Counter('site_orders', 'Orders.').inc(2)"
        environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
        for _ in range(2):
            subprocess.run([sys.executable, "-c", code], env=environment, check=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
            samples = scrape()
        assert samples["site_orders_total",] == 4
        assert of(samples, "callcache_redis_up") == 1


class TestDjangoPrometheus:
    PROGRAM = """
import sys, django
from django.conf import settings
settings.configure(
    SECRET_KEY="x", INSTALLED_APPS=["django_prometheus", "django_callcache"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    CACHES={"default": {"BACKEND": "django_callcache.cache.CallCache", "LOCATION": sys.argv[1],
                        "KEY_PREFIX": "t", "OPTIONS": {"CALLCACHE": {"DEADLINE": 10}}}},
    CALLCACHE={"STATS": {"FLUSH_INTERVAL": 3600}},
    PROMETHEUS_EXPORT_MIGRATIONS=False,
)
django.setup()
from django.core.cache import cache
from django_callcache.cache import flusher
from django_callcache.cache.registry import runtimes
cache.set("p:1", 1)
cache.get_many(["p:1", "p:2"])
for _ in range(2):
    for runtime in runtimes():
        flusher._flush(runtime)
from django.test import RequestFactory
from django_prometheus.exports import ExportToDjangoView
sys.stdout.write(ExportToDjangoView(RequestFactory().get("/metrics")).content.decode())
"""

    def test_page__ours_on_it(self, redis_url):
        """django-prometheus's page has our families, and its own cache counters are fed, once, a key each."""
        if find_spec("django_prometheus") is None:
            pytest.skip("django-prometheus is missing. Install it with: pip install django-prometheus")
        done = subprocess.run(
            [sys.executable, "-c", self.PROGRAM, redis_url], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        page = done.stdout.splitlines()
        assert 'django_cache_get_total{backend="callcache"} 2.0' in page
        assert 'django_cache_get_hits_total{backend="callcache"} 1.0' in page
        assert 'django_cache_get_misses_total{backend="callcache"} 1.0' in page
        assert 'callcache_operations_total{alias="default",operation="get",result="miss"} 1.0' in page


class TestWorkers:
    def test_totals__worker_restarted(self, start_redis, make_cache, prometheus_programs, tmp_path):
        """A real Prometheus that scrapes two workers sees each request once, though a worker is replaced."""
        server = start_redis()
        with site(server.url, tmp_path) as (master, port):
            cache = make_cache(
                server.url, KEY_PREFIX="crm", DEADLINE=10, RULES=settings_rules(), app=settings.CALLCACHE
            )
            assert cache.set("contact:1", {"name": "Ana"})
            request = f"http://{LOOPBACK}:{port}/contacts/1/"
            with PrometheusServer(
                [f"{LOOPBACK}:{port}"], metrics_path="/callcache/metrics", token="scrape me"
            ) as prometheus:
                made = 0
                while len(workers := reporting(cache)) < 2:  # which of them answers is chance
                    ask(request)
                    made += 1
                wait_until(lambda: reads(prometheus) == made, 90)
                before = workers_of(master)
                os.kill(before[0], signal.SIGTERM)
                wait_until(lambda: len(set(workers_of(master)) - set(before)) == 1)
                wait_until(lambda: len(workers & reporting(cache)) == 1)
                for _ in range(40):
                    ask(request)
                wait_until(lambda: reads(prometheus) == made + 40, 90)
                assert prometheus.query("sum(resets(callcache_operations_total[10m]))")[0][1] == 0
                assert len(prometheus.query("callcache_operations_total")) == len(metrics.OPERATIONS)


def reporting(cache):
    """The processes that say that they live."""
    return set(cache.redis_client().hkeys(cache.redis_keys.processes()))


def settings_rules():
    """The rules of the sample project."""
    return settings.CACHES["default"]["OPTIONS"]["CALLCACHE"]["RULES"]


def reads(prometheus):
    """How many reads Prometheus knows of."""
    found = prometheus.query('sum(callcache_operations_total{operation="get"})')
    return found[0][1] if found else None


def ask(url):
    """Make a request."""
    with urllib.request.urlopen(url, timeout=30) as response:  # noqa: S310
        assert response.status == 200


def workers_of(master):
    """Process ids of a gunicorn's workers."""
    with open(f"/proc/{master.pid}/task/{master.pid}/children") as children:
        return [int(pid) for pid in children.read().split()]


@contextmanager
def site(redis_url, directory):
    """Two workers of the sample project."""
    port = free_port()
    log = directory / "site.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "gunicorn", "testproject.wsgi:application", "--no-control-socket"),
                *("--bind", f"{LOOPBACK}:{port}", "--workers", "2", "--threads", "2"),
            ],
            cwd=settings.BASE_DIR,
            env={
                **os.environ,
                "REDIS_URL": redis_url,
                "DJANGO_SETTINGS_MODULE": "tests.metrics.site_settings",
                "SAMPLE_DATABASE": str(directory / "db.sqlite3"),
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )

    def answers():
        try:
            with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/admin/login/", timeout=10):
                return True
        except OSError:
            return False

    try:
        wait_until_ready(process, answers, log=log)
        yield process, port
    finally:
        stop(process, signal_number=signal.SIGTERM, seconds=20)
