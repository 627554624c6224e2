"""Recording reads and changes, and what comes of a recording."""

from __future__ import annotations

import io
import itertools

import pytest
from django.core.management import CommandError, call_command

from django_callcache.cache.tracer import MOST_EVENTS, Tracer
from django_callcache.outbox.trace_log import READ, REMOVAL, WRITE, TraceEvent, TraceLog
from django_callcache.stats.traces import from_recording, read_trace

pytestmark = pytest.mark.usefixtures("undisturbed")

RULES = {"row:": {"ttl": 600}}


@pytest.fixture
def site(make_cache):
    """A cache whose policy learns nothing: a recording is for those who have not chosen yet."""
    return make_cache(NEAR=False, RULES=RULES)


def run(*arguments, **options):
    out = io.StringIO()
    call_command("callcache_trace", *arguments, stdout=out, **options)
    return out.getvalue()


def log_of(cache):
    return TraceLog(cache.redis_client(), cache.redis_keys)


def event(at, kind, key="k", **details):
    return TraceEvent(at, kind, "row:", key, **details)


class TestRecord:
    def test_record__reads_and_changes(self, site, tmp_path):
        """Reads, and values that differ from the one before, are in the file, and none of the keys."""
        run("start", share=1)
        site.follow_recording()
        site.set("row:1", "a")
        for _ in range(3):
            site.get("row:1")
        site.set("row:1", "a")
        site.set_many({"row:1": "b", "row:2": "x"})
        site.get_many(["row:1", "row:2"])
        site.delete("row:2")
        site.set("row:2", "y")
        site.follow_recording()
        path = tmp_path / "trace.csv"
        assert "5 reads and 2 changes" in run("save", str(path))
        events = read_trace(path)
        assert {each.prefix for each in events} == {"row:"}
        assert len({each.key for each in events}) == 2
        assert "row:1" not in path.read_text()
        assert [each.at for each in events] == sorted(each.at for each in events)
        out = io.StringIO()
        call_command("callcache_simulate", trace=path, policy=["fixed"], stdout=out)
        assert "Simulated" in out.getvalue()

    def test_record__off(self, site):
        """Nothing is recorded where nobody asked for it."""
        site.follow_recording()
        site.set("row:1", "a")
        site.follow_recording()
        assert site._runtime.exchange.tracer is None
        assert list(log_of(site).events()) == []

    def test_record__stopped(self, site):
        """What happens after the end is not recorded; what was stays."""
        run("start", share=1)
        site.follow_recording()
        site.set("row:1", "a")
        site.follow_recording()
        assert "ended" in run("stop")
        site.set("row:1", "b")
        site.follow_recording()
        assert site._runtime.exchange.tracer is None
        assert len([each for each in log_of(site).events() if each.kind == WRITE]) == 1
        assert "ended" in run("status")
        run("forget")
        assert list(log_of(site).events()) == []

    def test_record__full(self, site):
        """A recording that has reached its size ends."""
        run("start", share=1, megabytes=0.0001)
        site.follow_recording()
        for turn in range(20):
            site.set(f"row:{turn}", turn)
        site.follow_recording()
        assert site._runtime.exchange.tracer is None
        assert "Recording: full" in run("status")
        assert log_of(site).recording().bytes <= 105

    def test_record__some_keys(self, site):
        """Of a share of the keys, and of one prefix, everything is recorded; of others nothing."""
        run("start", share=0.5, prefix="row:1")
        site.follow_recording()
        for number in range(400):
            site.set(f"row:{number}", number)
            site.set(f"row:{number}", -number - 1)
        site.follow_recording()
        events = list(log_of(site).events())
        assert 70 < len(events) < 155  # of 111 keys that begin so, two writes each
        assert all(len(list(pair)) == 2 for _, pair in itertools.groupby(sorted(each.key for each in events)))

    def test_record__other_processes(self, site, make_cache):
        """Processes agree on what a key is called."""
        run("start", share=1)
        site.follow_recording()
        site.set("row:1", "a")
        site.follow_recording()
        app = {"SYNC": {"NAMESPACE": "tests"}, "STATS": {"FLUSH_INTERVAL": 3600}, "RELEASE": "other"}
        other = make_cache(app=app, NEAR=False, RULES=RULES)
        other.follow_recording()
        other.set("row:1", "b")
        other.follow_recording()
        written = [each for each in log_of(site).events() if each.kind == WRITE]
        assert len({each.key for each in written}) == 1
        assert len({each.digest for each in written}) == 2

    def test_record__bounded_in_the_process(self, site):
        """What a process keeps until it hands it over is bounded."""
        run("start", share=1)
        recording = log_of(site).recording()
        tracer = Tracer(recording, lambda key: b"12345678", site._runtime.value_keys)
        for _ in range(MOST_EVENTS + 10):
            tracer.removed("row:", b"t:1:row:1")
        assert sum(map(len, tracer.portions())) == MOST_EVENTS


class TestEvents:
    def test_from_recording__reads(self):
        """Reads that were counted together are spread over their time."""
        events = from_recording([event(100.0, READ, number=50, span=10.0)], seed=1)
        assert len(events) == 50
        assert 100 <= events[0].at < 102 < 108 < events[-1].at <= 110

    @pytest.mark.parametrize(
        ("between", "low", "high"),
        [
            ([event(20.0, WRITE, digest="b")], 10, 20),
            ([event(20.0, WRITE, digest="b", updated_at=12.5)], 12.5, 12.5),
            ([event(13.0, REMOVAL), event(14.0, REMOVAL), event(20.0, WRITE, digest="b")], 13, 13),
        ],
        ids=["unknown", "told", "deleted"],
    )
    def test_from_recording__change(self, between, low, high):
        """A change is when the value says, else when the key was deleted, else somewhere in between."""
        (change,) = from_recording([event(10.0, WRITE, digest="a"), *between], seed=1)
        assert change.is_change
        assert low <= change.at <= high

    def test_from_recording__the_same(self):
        """A value that was stored again as it was has not changed."""
        assert from_recording([event(at, WRITE, digest="a") for at in (1.0, 2.0, 3.0)], seed=1) == []


class TestUsage:
    @pytest.mark.parametrize("action", ["stop", "status", "save"])
    def test_command__none(self, site, action, tmp_path):
        """Without a recording the command says how to begin one."""
        with pytest.raises(CommandError, match="callcache_trace start") as refused:
            run(action, *([str(tmp_path / "x.csv")] if action == "save" else []))
        assert refused.value.returncode == 1

    def test_command__no_file(self, site):
        """Saving needs a file."""
        with pytest.raises(CommandError, match="Name the file"):
            run("save")

    def test_command__wrong_share(self, site):
        """A share is above 0 and at most 1."""
        with pytest.raises(CommandError, match="not a share"):
            call_command("callcache_trace", "start", "--share", "2")
