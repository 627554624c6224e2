from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import FrozenInstanceError

import pytest

from django_callcache.ttl import (
    POLICIES,
    FixedTtl,
    HourlyProfile,
    Observation,
    PeakHour,
    TtlParameters,
    explicit_timeout,
    make_policy,
)

NOW = Observation(now=1_800_000_000.0)


class TestFixedTtl:
    @pytest.mark.parametrize("ttl_seconds", [0, 0.5, 60, None])
    def test_decide(self, ttl_seconds):
        """The answer is always the one TTL, for ever."""
        decision = FixedTtl(ttl_seconds).decide(NOW)
        assert (decision.ttl_seconds, decision.policy, decision.valid_until) == (
            ttl_seconds,
            "fixed",
            math.inf,
        )

    @pytest.mark.parametrize("ttl_seconds", [-1, math.nan])
    def test_init__negative(self, ttl_seconds):
        """A TTL below 0 is refused."""
        with pytest.raises(ValueError, match="at least 0"):
            FixedTtl(ttl_seconds)


class TestMakePolicy:
    @pytest.mark.parametrize(("spec", "ttl_seconds"), [(60, 60), (0.25, 0.25), (None, None), ("fixed", 700)])
    def test_make_policy__fixed(self, spec, ttl_seconds):
        """Seconds, None and the name of the policy make a fixed TTL."""
        assert make_policy(spec, TtlParameters(default_ttl=700)).decide(NOW).ttl_seconds == ttl_seconds

    @pytest.mark.parametrize("name", POLICIES)
    def test_make_policy__by_name(self, name):
        """Each policy is made by the name that it answers with."""
        policy = make_policy(name, TtlParameters())
        assert (policy.name, policy.decide(NOW).policy) == (name, name)

    def test_make_policy__unknown_name(self):
        """An unknown name is refused with a list of the known ones."""
        with pytest.raises(ValueError, match=r"'peek' is no TTL policy: give one of 'fixed', 'peak-hour'"):
            make_policy("peek", TtlParameters())

    def test_explicit_timeout(self):
        """A timeout given by the caller is the answer as it is."""
        decision = explicit_timeout(None)
        assert (decision.ttl_seconds, decision.policy) == (None, "explicit")


class TestTtlParameters:
    @pytest.mark.parametrize(
        "wrong",
        [{"default_ttl": 0}, {"peak_ttl": math.inf}, {"usage_threshold": -1}, {"warmup_hours": math.nan}],
    )
    def test_init__impossible(self, wrong):
        """A parameter that cannot be is refused by name."""
        with pytest.raises(ValueError, match=next(iter(wrong))):
            TtlParameters(**wrong)


class TestHourlyProfile:
    def test_counts__caller_goes_on_counting(self):
        """A profile does not change when the counts that it was made of do."""
        counts = {500_000: 1}
        profile = HourlyProfile(counts)
        counts[500_001] = 2
        assert (profile.counts, profile.hours) == ({500_000: 1}, (500_000,))

    def test_counts__replaced(self):
        """A profile is frozen."""
        with pytest.raises(FrozenInstanceError):
            HourlyProfile().counts = {}

    @pytest.mark.parametrize(("start", "first"), [(0, 3), (3 * 3600, 3), (3 * 3600 + 1, 7), (8 * 3600, None)])
    def test_first_hour(self, start, first):
        """The first recorded hour that begins at a moment or later is found."""
        assert HourlyProfile({7: 1, 3: 1}).first_hour(start, 9 * 3600) == first


class TestIndependence:
    def test_import__without_django_and_redis(self):
        """The policies work where neither Django nor Redis is installed."""
        program = (
            "import sys\n"
            "for blocked in ('django', 'redis', 'django_redis', 'environ'): sys.modules[blocked] = None\n"
            "from django_callcache.ttl import *\n"
            "print(make_policy('peak-hour', TtlParameters()).decide(Observation(now=36000.0)).ttl_seconds)\n"
            "print(PeakHour.name)"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout.split() == ["1800.0", PeakHour.name]
