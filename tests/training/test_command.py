"""``manage.py callcache_train``: what it prints, stores and refuses."""

from __future__ import annotations

import io
import json

import pytest
from django.core.management import CommandError, call_command

from django_callcache.models import CompressionDictionary
from tests.training.conftest import NUMBER
from tests.training.records import contacts

pytestmark = pytest.mark.django_db

HASH = "callcache@t:dictionaries"


def run(**options):
    out = io.StringIO()
    call_command("callcache_train", stdout=out, **options)
    return out.getvalue()


def train(**options):
    return run(prefix="contact:", samples=500, size=2048, **options)


class TestTrain:
    def test_train__tells_and_stores(self, site, redis_client):
        """The figures of the trial are printed; the dictionary is in Redis and in the database, in use."""
        text = train()
        row = CompressionDictionary.objects.get()

        assert "On 125 values that were held back" in text
        assert "% less" in text
        assert "in use for new values" in text
        assert (row.alias, row.prefix, row.samples, row.is_current) == ("default", "contact:", 375, True)
        assert redis_client.hget(HASH, row.dictionary_id) == bytes(row.record)
        plain = redis_client.strlen("t:1:contact:0")
        site.set("contact:0", contacts(NUMBER)[0])
        assert redis_client.strlen("t:1:contact:0") < plain / 2

    def test_train__json(self, site):
        """The same as one line of JSON."""
        facts = json.loads(train(as_json=True))

        assert facts["dictionary"] == CompressionDictionary.objects.get().dictionary_id
        assert (facts["alias"], facts["prefix"], facts["stored"]) == ("default", "contact:", True)
        assert facts["after"] < facts["before"]
        assert facts["payload_after"] < facts["payload_before"]
        assert 0 < facts["saved_percent"] < 100

    def test_train__dry_run(self, site, redis_client):
        """A dry run prints the figures and stores nothing."""
        assert "nothing was stored" in train(dry_run=True)
        assert json.loads(train(dry_run=True, as_json=True))["stored"] is False
        assert CompressionDictionary.objects.count() == 0
        assert not redis_client.exists(HASH)
        assert site.codec_for("contact:")._dictionary is None

    def test_train__too_few_values(self, site):
        """A refusal is one sentence, and exit code 1."""
        with pytest.raises(CommandError, match="0 values under 'call:' can be trained on") as caught:
            run(prefix="call:")
        assert caught.value.returncode == 1

    def test_train__unknown_alias(self, site):
        """A wrong alias is wrong usage."""
        with pytest.raises(CommandError, match="nowhere") as caught:
            run(prefix="contact:", alias="nowhere")
        assert caught.value.returncode == 2

    @pytest.mark.parametrize(
        "arguments",
        [
            [],
            ["--prefix", "a:", "--prune"],
            ["--prefix", "a:", "--size", "10"],
            ["--prefix", "a:", "--samples", "0"],
        ],
    )
    def test_train__wrong_usage(self, arguments):
        """Arguments that cannot be are told before anything is done."""
        with pytest.raises(CommandError):
            call_command("callcache_train", *arguments)

    def test_train__redis_down(self, make_cache, start_redis):
        """A Redis that is not there is told in a sentence."""
        server = start_redis()
        make_cache(server.url)
        server.kill()

        with pytest.raises(CommandError, match="Redis failed: ConnectionError") as caught:
            train()
        assert caught.value.returncode == 1


class TestPrune:
    def test_prune__nothing_to_do(self, site):
        """Without old dictionaries nothing is deleted."""
        train()

        assert run(prune=True) == "Deleted 0 dictionaries of default.\n"
        assert json.loads(run(prune=True, as_json=True))["pruned"] == []
