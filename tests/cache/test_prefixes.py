from __future__ import annotations

import itertools

import pytest

from django_callcache.cache.counters import PrefixCounts
from django_callcache.cache.prefixes import LONGEST_PX, Prefix, Prefixes, TtlClock, milliseconds
from django_callcache.codec import Codec, Encoding, KeyRing
from django_callcache.conf import PrefixRule
from django_callcache.outbox.stat_buckets import OTHER
from django_callcache.ttl import Decision, FixedTtl, HourlyProfile

CODEC = Codec("tests", KeyRing(["secret"]), Encoding())


def make(name, rule):
    clock = TtlClock(FixedTtl(rule.ttl if rule else 60.0), lambda: HourlyProfile({}))
    return Prefix(name, rule, clock, CODEC, PrefixCounts(10), is_near=False)


def prefixes(*rules, limit=100):
    """Prefixes with rules, each given by its prefix and told from the others by its TTL."""
    stated = [PrefixRule(prefix=name, ttl=float(ttl)) for ttl, name in enumerate(rules, start=1)]
    return Prefixes(sorted(stated, key=lambda rule: -len(rule.prefix)), make, limit)


def ruled_by(found):
    return found.rule.prefix if found.rule else None


class TestOf:
    @pytest.mark.parametrize(
        ("key", "rule"),
        [
            ("call:7", "call:"),
            ("call:", "call:"),
            ("call", None),
            ("calling:7", None),
            ("call:recent:7", "call:recent:"),
            ("call:recent", "call:"),
            ("call:recent:", "call:recent:"),
            ("call:recently:1", "call:"),
            ("report", "rep"),
            ("report:1", "rep"),
            ("report:1:2", "rep"),
            ("re", None),
            ("rep", "rep"),
            ("deep:er:x", None),
            ("deep:er:est:x", "deep:er:est:"),
            ("other:1", None),
            ("", None),
            (":", None),
            ("::", None),
        ],
    )
    def test_of__longest_rule(self, key, rule):
        """The longest prefix that has a rule decides, wherever its colons are, in any order of asking."""
        rules = ("call:", "call:recent:", "rep", "deep:er:est:")
        keys = ["call:1", "call:recent:1", "report:2", "deep:x", key]
        for order in itertools.permutations(keys, 3):
            found = prefixes(*rules)
            for asked in order:
                found.of(asked)
            assert ruled_by(found.of(key)) == rule

    def test_of__rule_for_everything(self):
        """The empty prefix is a rule for every key, with a colon or without."""
        found = prefixes("", "call:")
        assert ruled_by(found.of("x")) == ruled_by(found.of("x:1")) == ruled_by(found.of("")) == ""
        assert ruled_by(found.of("call:1")) == "call:"

    def test_of__same_object(self):
        """What holds for a prefix is decided once."""
        found = prefixes("call:")
        assert found.of("call:1") is found.of("call:2")
        assert found.of("free:1") is found.of("free:2")
        assert found.of("free:1") is not found.of("loose:1")

    def test_of__bound(self):
        """Beyond the bound prefixes without a rule count as others; rules hold all the same."""
        found = prefixes("late:", "rep", "deep:er:", limit=3)
        for number in range(50):
            found.of(f"head{number}:x")
        assert found.of("head0:x").name == "head0:"
        assert found.of("head49:x").name == OTHER
        assert ruled_by(found.of("late:x")) == "late:"
        assert ruled_by(found.of("report:x")) == "rep"
        assert ruled_by(found.of("deep:er:x")) == "deep:er:"
        assert found.of("deep:x").rule is None

    def test_of__memory_is_bounded(self):
        """A hundred thousand heads make no more objects than the bound allows."""
        found = prefixes(limit=10)
        distinct = {id(found.of(f"user{number}:x")) for number in range(100_000)}
        assert len(distinct) <= 11


class TestCounts:
    def test_counts__by_rule_or_head(self):
        """A rule's keys are counted together, others by their text up to the colon, the rest as others."""
        found = prefixes("call:", "call:recent:", "rep")
        for key in ("call:1", "call:x:1", "call:recent:1", "report:1", "report", "free:1", "bare", ""):
            found.of(key).counts.slots[0] += 1
        hits = {name: counts.slots[0] for name, counts in found.counts().items() if counts.slots[0]}
        assert hits == {"call:": 2, "call:recent:": 1, "rep": 2, "free:": 1, OTHER: 2}


class TestTtlClock:
    def test_px__asked_when_it_may_have_changed(self):
        """The policy is asked at first, when its answer has ended, and when it is told to forget."""
        now = 100.0
        answers = iter([(10.0, 160.0), (20.0, 500.0), (30.0, 600.0)])

        class Policy:
            name = "test"

            def decide(self, observation):
                ttl, until = next(answers)
                return Decision(ttl, self.name, "because", valid_until=until)

        clock = TtlClock(Policy(), lambda: HourlyProfile({}), lambda: now)
        assert clock.px() == clock.px() == b"10000"
        now = 160.0
        assert clock.px() == clock.px() == b"20000"
        clock.forget()
        assert clock.px() == b"30000"


class TestMilliseconds:
    @pytest.mark.parametrize(
        ("seconds", "px"),
        [
            (None, b""),
            (1, b"1000"),
            (0.4, b"400"),
            (0.0001, b"1"),
            (10**20, b"%d" % LONGEST_PX),
            (1e300, b"%d" % LONGEST_PX),
            (float("inf"), b"%d" % LONGEST_PX),
        ],
    )
    def test_milliseconds__what_redis_takes(self, seconds, px):
        """Fractions are kept, and no TTL is too long."""
        assert milliseconds(seconds) == px
