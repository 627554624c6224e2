from __future__ import annotations

import threading

import pytest

from django_callcache.cache.counters import (
    DISTINCT_TTLS,
    HITS,
    LAST_SLOT,
    MISSES,
    READ_LATENCY,
    SETS,
    CountsReader,
    PrefixCounts,
)
from django_callcache.outbox.stat_buckets import FIELDS


class TestPrefixCounts:
    @pytest.mark.parametrize(
        ("nanoseconds", "slot"),
        [(0, 0), (1023, 0), (1024, 1), (2047, 1), (2048, 2), (10**6, 10), (10**9, 20), (10**18, LAST_SLOT)],
    )
    def test_slots(self, nanoseconds, slot):
        """Times fall into slots of doubling width, the last of which has no end."""
        counts = PrefixCounts(10)
        counts.read("a", HITS, nanoseconds)
        counts.wrote(SETS, nanoseconds)
        named = {name: count for name, count in zip(FIELDS, counts.slots, strict=True) if count}
        assert named == {"hits": 1, "sets": 1, f"r{slot}": 1, f"w{slot}": 1}

    @pytest.mark.parametrize(
        ("px", "band"),
        [(b"1", 0), (b"1000", 0), (b"1001", 1), (b"60000", 2), (b"1800000", 5), (b"1800001", 6),
         (b"604800000", 10), (b"604800001", 11), (b"", 12)],
    )  # fmt: skip
    def test_keeps__bands(self, px, band):
        """A time to live is counted in the band that it ends in; for ever is a band of its own."""
        counts = PrefixCounts(10)
        counts.keeps(px)
        counts.settle()
        counts.settle()
        named = {name: count for name, count in zip(FIELDS, counts.slots, strict=True) if count}
        assert named == {f"t{band}": 1}

    def test_keeps__many_different(self):
        """However many different times there are between two looks, each is counted once."""
        counts = PrefixCounts(10)
        for number in range(2 * DISTINCT_TTLS):
            counts.keeps(b"%d" % (1000 + number))
        counts.settle()
        assert sum(counts.slots) == 2 * DISTINCT_TTLS

    def test_reads__bounded(self):
        """Beyond the bound new keys are counted, but not told apart."""
        counts = PrefixCounts(2)
        for key in "abcabc":
            counts.read(key, MISSES, 0)
        assert counts.reads == {"a": 2, "b": 2}
        assert counts.slots[MISSES] == 6

    def test_read__eight_threads(self):
        """Threads that count at once lose nothing worth mentioning, and nothing breaks."""
        counts = PrefixCounts(10)

        def work():
            for _ in range(5000):
                counts.read("a", HITS, 0)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert 39_000 <= counts.slots[HITS] <= 40_000


class TestCountsReader:
    def test_growth__since_the_last_confirmation(self):
        """What was not confirmed is reported again, with what has come since; what was is not."""
        counts = PrefixCounts(10)
        reader = CountsReader()
        counts.read("a", HITS, 0)
        assert reader.growth({"p:": counts}).counts == {"p:": {"hits": 1, "r0": 1}}
        counts.read("a", HITS, 0)
        assert reader.growth({"p:": counts}).counts == {"p:": {"hits": 2, "r0": 2}}
        reader.confirm()
        assert not reader.growth({"p:": counts})
        counts.read("a", HITS, 0)
        assert reader.growth({"p:": counts}).counts == {"p:": {"hits": 1, "r0": 1}}

    def test_growth__counted_while_it_travels(self):
        """What is counted between reading and confirming belongs to the next growth."""
        counts = PrefixCounts(10)
        reader = CountsReader()
        counts.read("a", HITS, 0)
        reader.growth({"p:": counts})
        counts.read("a", HITS, 0)
        reader.confirm()
        assert reader.growth({"p:": counts}).counts == {"p:": {"hits": 1, "r0": 1}}

    def test_growth__readers_do_not_rob_each_other(self):
        """Each reader has a mark of its own."""
        counts = PrefixCounts(10)
        one, other = CountsReader(), CountsReader()
        counts.read("a", HITS, 0)
        one.growth({"p:": counts})
        one.confirm()
        assert other.growth({"p:": counts}).counts == {"p:": {"hits": 1, "r0": 1}}

    def test_growth__reads_by_key(self):
        """Which keys were read is handed out once."""
        counts = PrefixCounts(10)
        reader = CountsReader()
        for key in "aab":
            counts.read(key, HITS, 0)
        assert reader.growth({"p:": counts}).reads == {"p:": {"a": 2, "b": 1}}
        assert reader.growth({"p:": counts}).reads == {}

    def test_growth__while_others_count(self):
        """Reading while other threads count raises nothing, and no count is reported twice."""
        counts = PrefixCounts(100_000)
        reader = CountsReader()
        is_over = threading.Event()

        def work():
            number = 0
            while not is_over.is_set():
                counts.read(str(number := number + 1), HITS, 0)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        reported = 0
        for _ in range(200):
            reported += reader.growth({"p:": counts}).counts.get("p:", {}).get("hits", 0)
            reader.confirm()
        is_over.set()
        for thread in threads:
            thread.join()
        reported += reader.growth({"p:": counts}).counts.get("p:", {}).get("hits", 0)
        assert reported == counts.slots[HITS] == sum(counts.slots[READ_LATENCY : READ_LATENCY + 24])

    def test_forget(self):
        """A child process counts from nothing."""
        counts = PrefixCounts(10)
        counts.read("a", HITS, 0)
        counts.forget()
        assert counts.slots == [0] * len(FIELDS)
        assert counts.reads == {}
