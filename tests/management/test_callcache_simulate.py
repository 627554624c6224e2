from __future__ import annotations

import io
import json
import random
from datetime import timedelta
from xml.etree import ElementTree

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from django_callcache.models import CacheStat
from django_callcache.stats.traces import from_hours, read_trace, write_trace
from django_callcache.ttl.simulation import Event

RULES = {"row:": {"ttl": "adaptive"}}
NOON = 1_767_614_400.0


@pytest.fixture
def trace(tmp_path):
    """A file of two days in which half of the rows change often and half hardly ever."""
    rng = random.Random(4)
    events = []
    for number in range(12):
        for rate, is_change in ((1 / 300, False), (1 / 600 if number % 2 else 1 / 200_000, True)):
            at = NOON + rng.expovariate(rate)
            while at < NOON + 2 * 86400:
                events.append(Event(at, "row:", f"row:{number}", is_change))
                at += rng.expovariate(rate)
    path = tmp_path / "trace.csv"
    write_trace(path, sorted(events))
    return path


def run(**options):
    out = io.StringIO()
    call_command("callcache_simulate", stdout=out, **options)
    return out.getvalue()


def lines(**options):
    return [json.loads(line) for line in run(as_json=True, **options).splitlines()]


@pytest.mark.usefixtures("undisturbed")
class TestTrace:
    def test_simulate__table(self, make_cache, trace):
        """Policies and settings are printed with what they would cost, and called a simulation."""
        make_cache(RULES=RULES)
        text = run(trace=trace)
        assert text.startswith("Simulated, of 100 reads")
        assert [line.split()[0] for line in text.splitlines()[2:]].count("adaptive") == 5

    def test_simulate__trade_off(self, make_cache, trace):
        """The longer a TTL, the fewer loads and the more stale reads; eta does the reverse."""
        make_cache(RULES=RULES)
        found = lines(trace=trace, policy=["fixed", "adaptive"], eta=[1.5, 12, 100])
        for policy, is_ascending in (("fixed", False), ("adaptive", True)):
            loads = [line["loads"] for line in found if line["policy"] == policy]
            stale = [line["stale"] for line in found if line["policy"] == policy]
            assert loads == sorted(loads, reverse=not is_ascending)
            assert stale == sorted(stale, reverse=is_ascending)

    def test_simulate__adaptive_tells_rows_apart(self, make_cache, trace):
        """Where rows differ, adaptive makes fewer reads stale than a fixed TTL, at no more loads."""
        make_cache(RULES=RULES)
        found = lines(trace=trace, policy=["fixed", "adaptive"], eta=[3, 6, 12])
        fixed = next(line for line in found if line["setting"] == "300 s")
        better = [line for line in found if line["policy"] == "adaptive" and line["loads"] <= fixed["loads"]]
        assert min(line["stale"] for line in better) < 0.8 * fixed["stale"]

    def test_simulate__sync(self, make_cache, trace):
        """Where something deletes what has changed, no read is stale for longer than that takes."""
        make_cache(RULES=RULES)
        (line,) = lines(trace=trace, policy=["peak-hour"], sync=300.0)
        (plain,) = lines(trace=trace, policy=["peak-hour"])
        assert line["longest"] <= 300 < plain["longest"]

    @pytest.mark.parametrize("policy", ["alex", "heuristic-freshness", "peak-hour"])
    def test_simulate__every_policy(self, make_cache, trace, policy):
        """Each policy can be simulated, with rows that say when they changed and without."""
        make_cache(RULES=RULES)
        (line,) = lines(trace=trace, policy=[policy], without_updated_at=True)
        assert 0 < line["loads"] < line["reads"]

    def test_simulate__drawing(self, make_cache, trace, tmp_path):
        """The drawing is SVG with a point for each setting."""
        make_cache(RULES=RULES)
        run(trace=trace, svg=tmp_path / "plot.svg")
        root = ElementTree.parse(tmp_path / "plot.svg").getroot()  # noqa: S314
        assert len(root.findall("{http://www.w3.org/2000/svg}circle")) == 11

    def test_simulate__other_prefix(self, make_cache, trace):
        """Without reads of the prefix there is nothing to simulate."""
        make_cache(RULES=RULES)
        with pytest.raises(CommandError, match="no reads") as refused:
            run(trace=trace, prefix="other:")
        assert refused.value.returncode == 1

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("a,b\n1,2\n", "must be at,event,prefix,key"),
            ("at,event,prefix,key\nnow,read,p,k\n", "line 2"),
            ("at,event,prefix,key\n1,write,p,k\n", "line 2"),
            ("at,event,prefix,key\nnan,read,p,k\n", "line 2"),
            ("at,event,prefix,key\n1,read,p\n", "line 2"),
        ],
    )
    def test_simulate__no_trace(self, make_cache, tmp_path, text, message):
        """What is no trace is refused with its line."""
        make_cache(RULES=RULES)
        path = tmp_path / "wrong.csv"
        path.write_text(text)
        with pytest.raises(CommandError, match=message) as refused:
            run(trace=path)
        assert refused.value.returncode == 2

    def test_read_trace__round_trip(self, trace):
        """A trace that was written is read as it was, in order of time."""
        events = read_trace(trace)
        assert events == sorted(events, key=lambda event: event.at)
        write_trace(trace, events)
        assert read_trace(trace) == events


@pytest.mark.django_db
@pytest.mark.usefixtures("undisturbed")
class TestHours:
    def rows(self, hours=6):
        now = timezone.now().replace(minute=0, second=0, microsecond=0)
        for back in range(hours):
            CacheStat.objects.create(
                alias="default",
                prefix="row:",
                hour=now - timedelta(hours=back + 1),
                hits=80,
                misses=20,
                distinct_keys=4,
                hot_keys=[["row:1", 50], ["row:2", 30]],
            )

    def test_simulate__recorded_hours(self, make_cache):
        """Recorded hours are replayed with their reads, and the same seed draws the same."""
        make_cache(RULES=RULES)
        self.rows()
        found = lines(days=1.0, changes=2.0)
        assert found == lines(days=1.0, changes=2.0)
        assert 300 < found[0]["reads"] < 600
        assert any(line["stale"] for line in found)

    def test_simulate__changes_unknown(self, make_cache):
        """Hours do not tell how often rows change: where nothing has learnt it, it must be stated."""
        make_cache(RULES=RULES)
        self.rows()
        with pytest.raises(CommandError, match="'row:' change: give --changes"):
            run(days=1.0)

    def test_simulate__changes_learnt(self, make_cache):
        """What the prefix's policy has learnt is taken."""
        cache = make_cache(RULES=RULES)
        learner = cache._runtime.learners()["row:"]
        learner.tables.added[102] = 10.0  # changes
        learner.tables.added[103] = 3600.0  # seconds
        assert cache.changes_an_hour() == {"row:": 10}
        self.rows()
        assert any(line["stale"] for line in lines(days=1.0))

    def test_from_hours__reads(self):
        """Hot keys get their own reads, the rest is spread over the others."""
        self.rows(hours=1)
        events = from_hours(CacheStat.objects.all(), {"row:": 3.0}, seed=1)
        reads = [event.key for event in events if not event.is_change]
        assert (len(reads), reads.count("row:1"), reads.count("row:2")) == (100, 50, 30)
        assert any(event.is_change for event in events)
