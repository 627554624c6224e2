"""Sampling, training and the trial: what is trained, and what is refused."""

from __future__ import annotations

import os

import pytest

from django_callcache.exceptions import TrainingRefused
from django_callcache.models import CompressionDictionary
from django_callcache.training import keep, learn
from tests.training.conftest import NUMBER
from tests.training.records import leads

pytestmark = pytest.mark.django_db


class TestLearn:
    def test_learn__varied_records(self, site):
        """A trial tells what values that were held back take, and nothing is stored."""
        trial = learn(site, "contact:", limit=500, size=2048)

        assert (trial.samples, trial.held_back) == (375, 125)
        assert len(trial.dictionary.data) <= 2048
        assert trial.payload_bytes < trial.raw_bytes / 3
        assert trial.bytes_after < trial.bytes_before
        assert trial.saved == 1 - trial.bytes_after / trial.bytes_before
        assert trial.bytes_now is None
        assert trial.microseconds_after > 0
        assert CompressionDictionary.objects.count() == 0
        assert not site.redis_client().exists(site.redis_keys.dictionaries())

    def test_learn__what_is_no_sample(self, site):
        """Integers, sets, large values and what cannot be decoded are passed over."""
        site.set_many({f"contact:n{number}": number for number in range(50)})
        site.set("contact:large", "x y z " * 20_000)
        site.sadd("contact:set", "member")
        site.redis_client().set("t:1:contact:foreign", b"\x80\x05N.")
        site.set_many({f"contacts:{number}": "another prefix" for number in range(50)})

        trial = learn(site, "contact:", limit=10_000, size=2048)
        assert trial.samples + trial.held_back == NUMBER

    def test_learn__too_few_values(self, make_cache):
        """With too few values nothing is trained."""
        cache = make_cache()
        cache.set_many({f"lead:{number}": record for number, record in enumerate(leads(99))})

        with pytest.raises(TrainingRefused, match=r"99 values under 'lead:' .* 100 are needed"):
            learn(cache, "lead:", limit=3000, size=4096)
        with pytest.raises(TrainingRefused, match="0 values"):
            learn(cache, "empty:", limit=3000, size=4096)

    def test_learn__does_not_help(self, make_cache):
        """Where nothing is saved, or there is nothing to learn, the reason is told."""
        cache = make_cache()
        cache.set_many({f"noise:{number}": os.urandom(200) for number in range(200)})
        cache.set_many({f"same:{number}": "the same" for number in range(200)})

        with pytest.raises(TrainingRefused, match=r"would save|in common"):
            learn(cache, "noise:", limit=3000, size=4096)
        with pytest.raises(TrainingRefused, match=r"would save|in common"):
            learn(cache, "same:", limit=3000, size=4096)

    def test_learn__no_better_than_the_present(self, site):
        """A dictionary that gains nothing over the present one does not take its place."""
        keep(site, "contact:", learn(site, "contact:", limit=500, size=2048))
        site.set_many({f"contact:{number}": site.get(f"contact:{number}") for number in range(NUMBER)})

        with pytest.raises(TrainingRefused, match=r"present dictionary .* does as well"):
            learn(site, "contact:", limit=500, size=2048)

    @pytest.mark.parametrize("prefix", ["contact:a", "cont", "", "contact"])
    def test_learn__part_of_a_prefix(self, site, prefix):
        """Only what is told apart by a rule or by its first colon can have a dictionary."""
        with pytest.raises(TrainingRefused, match="handled together"):
            learn(site, prefix, limit=500, size=2048)

    def test_learn__prefix_of_a_rule(self, make_cache):
        """A rule's prefix is trained on its own values, and what is special to a glob is nothing here."""
        cache = make_cache(RULES={"lead:[a-z]?:": {}})
        cache.set_many({f"lead:[a-z]?:{number}": record for number, record in enumerate(leads(120))})
        cache.set_many({f"lead:ab:{number}": record for number, record in enumerate(leads(120))})

        trial = learn(cache, "lead:[a-z]?:", limit=1000, size=2048)
        assert trial.samples + trial.held_back == 120

    def test_learn__compression_off(self, make_cache):
        """Where compression is off there is nothing to train for."""
        cache = make_cache(RULES={"contact:": {"compress": False}})

        with pytest.raises(TrainingRefused, match="switched off"):
            learn(cache, "contact:", limit=500, size=2048)
