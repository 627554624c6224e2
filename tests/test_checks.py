from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import redis
from django.conf import settings as django_settings
from django.core import checks
from django.db import connections
from django.test import override_settings

from django_callcache.cache import CallCache
from django_callcache.checks import CHECKS, DEPLOY_CHECKS, register_checks

ROOT = Path(__file__).parents[1]
OURS = "django_callcache.cache.CallCache"
URL = "redis://127.0.0.1:6379/1"


class SubclassedCache(CallCache):
    """A backend of the user's own."""


class RemoteStore:
    """Something that a dotted path leads to."""


def make_key(key, key_prefix, version):
    """A key function of the user's own."""
    return f"{key_prefix}/{version}/{key}"


def alias(url=URL, *, backend=OURS, prefix="", options=(), own=(), **stated):
    """The settings of one alias, with a TIMEOUT unless it says otherwise."""
    cache = {"BACKEND": backend, "LOCATION": url, "KEY_PREFIX": prefix, "TIMEOUT": 300, **stated}
    return cache | {"OPTIONS": dict(options) | ({"CALLCACHE": dict(own)} if own else {})}


def synced(**stated):
    return alias(own={"RULES": {"call:": {"sync": "lww"}}, **stated})


def messages(caches=None, settings=(), deploy=False):
    """What the checks say about some settings."""
    with override_settings(CACHES=caches or {"default": alias()}, CALLCACHE=dict(settings)):
        chosen = DEPLOY_CHECKS if deploy else CHECKS
        return [message for check in chosen for message in check(app_configs=None)]


def ids(caches=None, settings=(), deploy=False):
    return [message.id.removeprefix("callcache.") for message in messages(caches, settings, deploy)]


class TestConfiguration:
    def test_check__nothing_wrong(self):
        """A plain alias gives no message."""
        assert ids() == []

    def test_check__sample_project(self):
        """The sample project's settings are in order."""
        found = [message for check in CHECKS for message in check(app_configs=None)]
        assert not [message for message in found if message.is_serious()]

    def test_check_settings(self):
        """Settings that cannot be read are an error with the parser's message."""
        (error,) = messages(settings={"SINC": {}})
        assert (error.id, error.level) == ("callcache.E001", checks.ERROR)
        assert "Did you mean 'SYNC'?" in error.msg

    def test_check_options(self):
        """Options that cannot be read are an error that names the alias."""
        (error,) = messages({"default": alias(own={"DEADLIN": 1})})
        assert error.id == "callcache.E002"
        assert error.msg.startswith('CACHES["default"]["OPTIONS"]["CALLCACHE"] has no setting')

    @pytest.mark.parametrize("url", ["", None, "127.0.0.1:6379", "http://:s3cret@h", [], [5], "redis://h:x"])
    def test_check_options__location(self, url):
        """A missing or impossible address is an error that does not show it."""
        (error,) = messages({"default": alias(url)})
        assert error.id == "callcache.E003"
        assert "s3cret" not in error.msg

    def test_check__backends_of_others(self):
        """Aliases of other backends are not our business, nor are backends that do not exist."""
        caches = {
            "default": alias(
                backend="django.core.cache.backends.locmem.LocMemCache", options={"CALLCACHE": 5}
            ),
            "other": alias(backend="gone.Gone"),
            "none": {},
        }
        assert ids(caches) == []

    def test_check__subclasses(self):
        """A subclass of the backend is checked like the backend."""
        assert ids({"default": alias(backend="tests.test_checks.SubclassedCache", own={"X": 1})}) == ["E002"]

    def test_check_ttl__no_timeout(self):
        """An alias that leaves the TTL to the policy is told what changes."""
        silent = alias()
        del silent["TIMEOUT"]
        (warning,) = messages({"default": silent})
        assert warning.id == "callcache.W002"
        assert "300 seconds then, this one for 3600, in peak hours 1800" in warning.msg

    @pytest.mark.parametrize(
        ("stated", "settings"),
        [
            ({"TIMEOUT": None}, {}),
            ({"own": {"RULES": {"a:": {"ttl": 60}}}}, {}),
            ({}, {"TTL": {}}),
            ({}, {"ttl": {"DEFAULT_TTL": 60}}),
        ],
    )
    def test_check_ttl__stated(self, stated, settings):
        """A TIMEOUT, a rule with a TTL or settings of the TTL silence that."""
        silent = alias(**stated)
        if "TIMEOUT" not in stated:
            del silent["TIMEOUT"]
        assert ids({"default": silent}, settings) == []

    def test_check_ttl__longer_in_peak_hours(self):
        """A peak TTL above the default one is probably meant the other way."""
        assert ids(settings={"TTL": {"DEFAULT_TTL": 60, "PEAK_TTL": 600}}) == ["W003"]

    def test_check_bounds(self):
        """A least TTL above the longest one cannot be meant."""
        assert ids(settings={"TTL": {"MIN_TTL": 60, "MAX_TTL": 6}}) == ["E030"]

    @pytest.mark.parametrize(
        ("rule", "found"),
        [
            ({"ttl": "heuristic-freshness"}, ["W030"]),
            ({"ttl": "heuristic-freshness", "updated_at": "changed"}, []),
            ({"ttl": "adaptive", "eta": 3, "max_ttl": 600, "updated_at": "changed"}, []),
            ({"ttl": "adaptive", "max_ttl": 0.5}, []),
            ({"ttl": "peak-hour", "updated_at": "changed"}, ["W031"]),
            ({"ttl": 60, "eta": 3}, ["W031"]),
            ({"eta": 3}, ["W031"]),
            ({"ttl": "adaptive", "stale_target": 0.02}, []),
            ({"ttl": 60, "stale_target": 0.02}, ["W031"]),
            ({"ttl": 60, "revalidate": 0.02}, []),
        ],
    )
    def test_check_rules__learning(self, rule, found):
        """What a rule says of learning needs a policy that learns, and the age of rows a name."""
        assert ids({"default": alias(own={"RULES": {"row:": rule}})}) == found

    def test_check_key_function(self):
        """A key function that nothing undoes is a warning."""
        function = "tests.test_checks.make_key"
        assert ids({"default": alias(KEY_FUNCTION=function)}) == ["W004"]
        assert ids({"default": alias(KEY_FUNCTION=function, REVERSE_KEY_FUNCTION=function)}) == []

    def test_check_app(self):
        """Counting without the app that keeps the counts is a warning, unless it is switched off."""
        with override_settings(INSTALLED_APPS=["django.contrib.contenttypes"]):
            assert ids() == ["W001"]
            assert ids(settings={"STATS": {"ENABLED": False}}) == []
            assert ids({"default": alias(own={"STATS": False})}) == []


class TestKeyPrefixes:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (URL, URL),
            (URL, "redis://localhost:6379/1"),
            (URL, "valkey://localhost/1"),
            (URL, "redis://LOCALHOST?db=1"),
            (URL, f"redis://elsewhere/1,{URL}"),
            (URL, ["redis://elsewhere/1", URL]),
            ("unix:///run/redis.sock?db=1", "unix:///run/redis.sock?db=1"),
            ("redis://h", "redis://H:6379/0"),
        ],
    )
    def test_check_key_prefixes__the_same(self, one, other):
        """Two aliases with one prefix in one database are an error, however the address is written."""
        assert ids({"default": alias(one, prefix="crm"), "other": alias(other, prefix="crm")}) == ["E004"]

    @pytest.mark.parametrize("other", ["redis://127.0.0.1/2", "redis://127.0.0.1:6380/1", "redis://away/1"])
    def test_check_key_prefixes__another_database(self, other):
        """The same prefix elsewhere is no trouble."""
        assert ids({"default": alias(), "other": alias(other)}) == []

    @pytest.mark.parametrize(("one", "other"), [("crm", "crm:1"), ("crm:eu:1", "crm:eu"), ("", ":1")])
    def test_check_key_prefixes__ambiguous(self, one, other):
        """Prefixes of which one goes on after the other's colon can make the same keys."""
        assert ids({"default": alias(prefix=one), "other": alias(prefix=other)}) == ["E005"]

    @pytest.mark.parametrize(("one", "other"), [("crm", "crm2"), ("crm", "crm-eu"), ("", "crm")])
    def test_check_key_prefixes__different(self, one, other):
        """Prefixes that merely begin alike cannot."""
        assert ids({"default": alias(prefix=one), "other": alias(prefix=other)}) == []

    def test_check_key_prefixes__ours(self):
        """A prefix that begins as internal keys do is an error."""
        assert ids({"default": alias(prefix="callcache@crm")}) == ["E006"]

    def test_check_other_backends(self):
        """Another backend on the same keys is a warning."""
        other = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": URL}
        assert ids({"default": alias(), "other": other}) == ["W006"]
        assert ids({"default": alias(prefix="crm"), "other": other}) == []

    def test_check_names(self):
        """Two aliases that statistics and sync cannot tell apart are an error."""
        caches = {"default": alias(), "calls": alias(prefix="calls", own={"ALIAS": "default"})}
        assert ids(caches) == ["E012"]


class TestConnection:
    def test_check_connection__cluster(self):
        """A Redis Cluster is named by its address, and is not asked for what it does not have."""
        assert ids({"default": alias(options={"REDIS_CLIENT_CLASS": "redis.cluster.RedisCluster"})}) == [
            "E013"
        ]
        nodes = "redis+cluster://127.0.0.1:7000,127.0.0.1:7001"
        assert ids({"default": alias(nodes)}) == []
        assert ids({"default": alias(nodes, own={"LINK": "per-key"})}) == ["E013"]
        assert ids({"default": alias(nodes + "/2")}) == ["E003"]

    @pytest.mark.parametrize("wrong", [redis.asyncio.Connection, object, "redis.Connection"])
    def test_check_connection__class(self, wrong):
        """A connection class that calls cannot use is an error."""
        assert ids({"default": alias(options={"CONNECTION_POOL_KWARGS": {"connection_class": wrong}})}) == [
            "E014"
        ]

    def test_check_connection__subclass(self):
        """A connection class of redis-py is fine."""
        pool = {"connection_class": redis.SSLConnection}
        assert ids({"default": alias(options={"CONNECTION_POOL_KWARGS": pool})}) == []

    def test_check_connection__without_effect(self):
        """Options that nothing reads are a warning each."""
        options = {"PICKLE_VERSION": 4, "CLIENT_CLASS": "tests.test_checks.RemoteStore"}
        assert ids({"default": alias(options=options)}) == ["W005", "W005"]

    def test_check_guards__library(self, monkeypatch):
        """A sensitive prefix without the library that encrypts is an error that says what to install."""
        caches = {"default": alias(own={"RULES": {"contact:": {"sensitive": True}}})}
        assert ids(caches) == []
        monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
        monkeypatch.delitem(sys.modules, "django_callcache.codec.encryption", raising=False)
        (message,) = messages(caches)
        assert message.id == "callcache.E015"
        assert "django-callcache[crypto]" in message.msg

    @pytest.mark.parametrize("wrong", ["no.such.thing", "tests.test_checks.URL"])
    def test_check_guards__validate(self, wrong):
        """A rule that checks by what is not there, or checks nothing, is an error."""
        assert ids({"default": alias(own={"RULES": {"a:": {"validate": wrong}}})}) == ["E016"]

    def test_check_guards__validate_is_there(self):
        """A type or a function is fine."""
        for right in ("tests.test_checks.RemoteStore", "tests.test_checks.make_key", dict):
            assert ids({"default": alias(own={"RULES": {"a:": {"validate": right}}})}) == []


SYNC = {"REMOTE": "supabase", "NAMESPACE": "crm-test"}


class TestSync:
    def test_check_sync(self):
        """A rule with sync and all that it needs gives no message."""
        assert ids({"default": synced()}, {"SYNC": SYNC}) == []

    def test_check_sync__no_namespace(self):
        """Sync without a namespace is an error."""
        assert ids({"default": synced()}, {"SYNC": {"REMOTE": "supabase"}}) == ["E007"]

    def test_check_sync__no_remote(self):
        """Sync without a remote store is a warning: a developer may do without one."""
        assert ids({"default": synced()}, {"SYNC": {"NAMESPACE": "crm"}}) == ["W007"]

    def test_check_sync__without_rules(self):
        """Without such a rule neither is needed."""
        assert ids() == []

    @pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-lru", "noeviction"])
    def test_check_eviction(self, policy):
        """A policy that may take what waits for the remote store is an error, where something is synced."""
        expected = ["E019"] if policy == "allkeys-lru" else []
        assert ids({"default": synced(EXPECT_EVICTION_POLICY=policy)}, {"SYNC": SYNC}) == expected
        assert ids({"default": alias(own={"EXPECT_EVICTION_POLICY": policy})}, {"SYNC": SYNC}) == []

    def test_check_sync__long_namespace(self):
        """The name of an alias is part of its namespace in the remote store, which has a length."""
        settings = {"SYNC": {"REMOTE": "supabase", "NAMESPACE": "x" * 125}}
        assert ids({"default": synced()}, settings) == []
        assert ids({"calls": synced()}, settings) == ["E011"]

    @pytest.mark.parametrize(
        "path", ["no.such.merge", "tests.sync.merging.none", "tests.sync.merging.__doc__"]
    )
    def test_check_strategies(self, path):
        """A function that a rule names has to be there."""
        settings = {"SYNC": {"NAMESPACE": "crm", "REMOTE": "supabase"}}
        found = ids({"calls": synced(RULES={"call:": {"sync": path}})}, settings)
        assert found == ["E018"]
        assert ids({"calls": synced(ALIAS="default")}, settings) == []

    def test_check_remote__unknown_database(self):
        """A database alias that does not exist is an error that names those that do."""
        (error,) = messages(settings={"SYNC": {"REMOTE": "postgres", "DATABASE": "supabse"}})
        assert error.id == "callcache.E008"
        assert "'default'" in error.hint

    def test_check_remote__another_database(self):
        """A database that is no PostgreSQL is an error."""
        assert django_settings.DATABASES["default"]["ENGINE"].endswith("sqlite3")
        assert ids(settings={"SYNC": {"REMOTE": "postgres", "DATABASE": "default"}}) == ["E009"]

    def test_check_remote__no_driver(self, monkeypatch):
        """A PostgreSQL whose driver is not installed is the same error, which names what is missing."""
        for name in ("psycopg", "psycopg2"):
            monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.delitem(sys.modules, "django.db.backends.postgresql.base", raising=False)
        engine = {"ENGINE": "django.db.backends.postgresql"}
        monkeypatch.setitem(connections.settings, "supabase", {**connections.settings["default"], **engine})
        (error,) = messages(settings={"SYNC": {"REMOTE": "postgres", "DATABASE": "supabase"}})
        assert error.id == "callcache.E009"
        assert "'supabase'" in error.msg
        assert "psycopg" in error.msg

    def test_check_remote__dotted_path(self):
        """A remote store of the user's own must be importable."""
        assert ids(settings={"SYNC": {"REMOTE": "tests.test_checks.RemoteStore"}}) == []
        assert ids(settings={"SYNC": {"REMOTE": "tests.test_checks.Gone"}}) == ["E010"]


SECRETS = {"SECRETS": ["a"]}


class TestDeploy:
    def ids_of(self, url, **options):
        found = ids({"default": alias(url, options=options)}, SECRETS, deploy=True)
        return [name for name in found if name != "W106"]  # of addresses, not of transport

    @pytest.mark.parametrize(
        "url", [URL, "redis://localhost", "redis://[::1]:1", "unix:///r.sock", "redis://"]
    )
    def test_check_transport__this_machine(self, url):
        """A server on this machine needs neither TLS nor a password."""
        assert self.ids_of(url) == []

    @pytest.mark.parametrize(
        ("url", "found"),
        [
            ("redis://elsewhere", ["W101", "W102"]),
            ("redis://:s3cret@elsewhere", ["W101"]),
            ("rediss://elsewhere", ["W102"]),
            ("valkeys://:s3cret@elsewhere", []),
            ("rediss://:s3cret@elsewhere?ssl_cert_reqs=none", ["W103"]),
            (f"{URL},redis://:s3cret@elsewhere", ["W101"]),
        ],
    )
    def test_check_transport__network(self, url, found):
        """Across a network encryption, certificates and a password are asked for."""
        assert self.ids_of(url) == found

    def test_check_transport__stated_apart(self):
        """What the pool is told counts as well."""
        assert self.ids_of("rediss://elsewhere", PASSWORD="s3cret") == []
        pool = {"password": "s3cret", "ssl_cert_reqs": None}
        assert self.ids_of("rediss://elsewhere", CONNECTION_POOL_KWARGS=pool) == ["W103"]

    @pytest.mark.parametrize(
        ("own", "found"),
        [({}, []), ({"READ_LEGACY": "safe"}, ["I102"]), ({"READ_LEGACY": "pickle"}, ["W107"])],
    )
    def test_check_legacy(self, own, found):
        """Values that nobody has sealed are worth a word, those that run code a warning."""
        assert ids({"default": alias(URL, own=own)}, SECRETS, deploy=True) == found

    def test_check_transport__shows_no_password(self):
        """No message shows the password."""
        found = messages({"default": alias("redis://:s3cret@elsewhere")}, SECRETS, deploy=True)
        assert not any("s3cret" in str(message) for message in found)

    @pytest.mark.parametrize(
        ("url", "found"),
        [
            ("http://supabase.example.com/x", ["W104"]),
            ("https://supabase.example.com", []),
            ("http://localhost:54321", []),
            ("http://127.0.0.1:54321", []),
        ],
    )
    def test_check_supabase_transport(self, url, found):
        """The service key is not sent in clear to another machine."""
        settings = SECRETS | {"SYNC": {"REMOTE": "supabase", "SUPABASE_URL": url}}
        assert ids(settings=settings, deploy=True) == found

    @pytest.mark.parametrize(
        ("location", "found"),
        [
            ("redis://:planted@localhost/1", ["W106"]),
            ("redis://user:planted@localhost/1", ["W106"]),
            (["redis://localhost/1", "redis://:planted@localhost:6380/1"], ["W106"]),
            ("redis://user@localhost/1", []),
            ("redis://localhost:6379/1", []),
        ],
    )
    def test_check_addresses(self, location, found):
        """A password in an address is shown by error pages; the message does not repeat it."""
        caches = {"default": alias(location)}
        assert ids(caches, SECRETS, deploy=True) == found
        assert "planted" not in str(messages(caches, SECRETS, deploy=True))

    def test_check_secrets(self):
        """Seals that hang on SECRET_KEY are worth a word, unless the cache is not used."""
        assert ids(deploy=True) == ["I101"]
        assert ids(settings=SECRETS, deploy=True) == []

    def test_check_secrets__sensitive(self):
        """Encryption whose key is made of SECRET_KEY is a warning."""
        caches = {"default": alias(own={"RULES": {"contact:": {"sensitive": True}}})}
        assert ids(caches, deploy=True) == ["W105", "I101"]
        assert ids(caches, SECRETS, deploy=True) == []
        assert (
            ids({"default": alias(backend="django.core.cache.backends.dummy.DummyCache")}, deploy=True) == []
        )


class TestInvalidation:
    """``CALLCACHE["INVALIDATE"]``."""

    @pytest.mark.parametrize(
        ("model", "rule", "found", "words"),
        [
            ("crm.Campaign", ["campaign:{pk}", "client:{name}"], [], ""),
            ("crm.Campain", ["campaign:{pk}"], ["E020"], "Did you mean 'crm.Campaign'?"),
            ("crm.Campaign", ["campaign:{nam}"], ["E020"], "Did you mean 'name'?"),
            ("crm.Campaign", ["campaign:{calls}"], ["E020"], "no column 'calls'"),
            ("django_callcache.CacheStat", ["s:{hot_keys}"], ["E020"], "no text that could stand in a key"),
            ("crm.Campaign", {"keys": ["a"], "alias": "defalt"}, ["E021"], "Did you mean 'default'?"),
            ("crm.Campaign", {"prefixes": ["a:{pk}:"], "alias": "dummy"}, ["E022"], "'dummy'"),
            ("crm.Campaign", {"tags": ["a"], "alias": "dummy"}, ["E022"], "'dummy'"),
            ("crm.Campaign", {"keys": ["a:{pk}"], "alias": "dummy"}, [], ""),
            ("crm.Call", {"tags": ["call:{pk}"]}, [], ""),
            ("crm.Call", ["call:{pk}"], ["E023"], "so would the remote store"),
            ("crm.Call", {"prefixes": ["call:{pk}:"]}, ["E023"], "so would the remote store"),
            ("Campaign", ["a"], ["E001"], "'crm.Campaign'"),
            ("crm.Campaign", "campaign:{pk}", ["E001"], "a list of keys"),
            ("crm.Campaign", [], ["E001"], "names nothing that becomes stale"),
            ("crm.Campaign", {"kyes": ["a"]}, ["E001"], "Did you mean 'KEYS'?"),
            ("crm.Campaign", ["a:{b"], ["E001"], "expected '}'"),
            ("crm.Campaign", ["a:{campaign.name}"], ["E001"], "fields of the row itself"),
            ("crm.Campaign", {"prefixes": ["{pk}:"]}, ["E001"], "begins with a text"),
            ("crm.Campaign", {"prefixes": ["a:{pk}"]}, ["E001"], "7 would mean the keys of 70"),
        ],
    )
    def test_check_models(self, model, rule, found, words):
        """What a rule names is there; a message names the nearest, or the cure."""
        caches = {
            "default": alias(own={"RULES": {"call:": {"sync": "lww"}}}),
            "dummy": alias(backend="django.core.cache.backends.dummy.DummyCache"),
        }
        settings = {"INVALIDATE": {model: rule}, "SYNC": {"NAMESPACE": "n", "REMOTE": "supabase"}}
        errors = messages(caches, settings)
        assert [error.id.removeprefix("callcache.") for error in errors] == found
        assert all(words in f"{error.msg} {error.hint}" for error in errors)

    def test_check_models__wildest_text(self):
        """A table that is none is refused."""
        assert ids(settings={"INVALIDATE": ["crm.Campaign"]}) == ["E001"]


class TestSources:
    """``source`` of a rule."""

    @pytest.mark.parametrize(
        ("source", "found", "words"),
        [
            ("crm.Campaign", [], ""),
            ({"model": "crm.Campaign", "fields": ["name"], "by": "id"}, [], ""),
            ({"model": "crm.Campaign", "record": "testproject.crm.records.campaign_record"}, [], ""),
            ("crm.Campain", ["E025"], "Did you mean 'crm.Campaign'?"),
            ({"model": "crm.Campaign", "fields": ["nam"]}, ["E025"], "Did you mean 'name'?"),
            ({"model": "crm.Campaign", "by": "name"}, ["E025"], "is not unique"),
            ({"model": "crm.Campaign", "record": "testproject.crm.records.nobody"}, ["E025"], "nobody"),
            ("Campaign", ["E026"], "the table 'Campaign' of the remote store"),
            ({"modle": "crm.Campaign"}, ["E002"], "Did you mean 'MODEL'?"),
            ({"tabel": "campaigns"}, ["E002"], "Did you mean 'TABLE'?"),
            ({"fields": ["name"]}, ["E002"], "either a model"),
            ({"model": "crm.Campaign", "table": "campaigns"}, ["E002"], "either a model"),
            ({"table": "sales.campaigns.x"}, ["E002"], "'sales.campaigns'"),
            ({"table": 'a"b'}, ["E002"], "a table by its name"),
            ({"table": "campaigns", "by": "id; drop"}, ["E002"], "a column by its name"),
            ({"table": "campaigns", "fields": "id"}, ["E002"], "a list of columns"),
            ({"table": "campaigns", "on_change": "reload"}, ["E002"], "one of 'delete', 'refetch'"),
            (7, ["E002"], "a table of the remote store such as"),
            ({"model": "crm.Campaign", "record": "f"}, ["E002"], "the dotted path"),
        ],
    )
    def test_check_sources(self, source, found, words):
        """What records are said to come from is there; a message names the nearest, or the cure."""
        errors = messages({"default": alias(own={"RULES": {"campaign:": {"source": source}}})})
        assert [error.id.removeprefix("callcache.") for error in errors] == found
        assert all(words in error.msg for error in errors)

    def test_check_sources__synced(self):
        """A prefix has one origin."""
        rules = {"campaign:": {"source": "crm.Campaign", "sync": "lww"}}
        settings = {"SYNC": {"NAMESPACE": "n", "REMOTE": "supabase"}}
        assert ids({"default": alias(own={"RULES": rules})}, settings) == ["E024"]

    def test_check_sources__table(self):
        """A table of a remote store that is set is in order."""
        settings = {"SYNC": {"NAMESPACE": "n", "REMOTE": "supabase"}}
        for source in ("campaigns", {"table": "sales.campaigns", "by": "code", "changed_at": "updated_at"}):
            rules = {"campaign:": {"source": source}}
            assert ids({"default": alias(own={"RULES": rules})}, settings) == []


class TestUnreadable:
    @pytest.mark.parametrize("check", [*CHECKS, *DEPLOY_CHECKS])
    def test_check__everything_wrong(self, check):
        """No check stumbles over what another one reports."""
        caches = {"default": alias(own={"X": 1}), "other": alias(None), "third": {"BACKEND": OURS}}
        with override_settings(CACHES=caches, CALLCACHE={"SINC": 1}):
            assert {message.id for message in check(app_configs=None)} <= {
                "callcache.E001",
                "callcache.E002",
                "callcache.E003",
                "callcache.W006",
                "callcache.I101",
            }


class TestRegistration:
    def test_register_checks(self):
        """All checks are registered under the tag of caches, those for production apart."""
        program = (
            "from django.core.checks.registry import registry\n"
            "from django_callcache.checks import register_checks\n"
            "from django_callcache.checks import CHECKS, DEPLOY_CHECKS\n"
            "register_checks(); register_checks()\n"
            "assert set(CHECKS) <= registry.registered_checks\n"
            "assert set(DEPLOY_CHECKS) <= registry.deployment_checks\n"
            "assert all('caches' in check.tags for check in (*CHECKS, *DEPLOY_CHECKS))\n"
        )
        command = [sys.executable, "-c", f"import django; django.setup()\n{program}"]
        subprocess.run(command, check=True, cwd=ROOT)

    def test_register_checks__function(self):
        """Registering is done by one function, which the app calls when it is ready."""
        assert callable(register_checks)


class TestIds:
    """The table in the documentation is held against the code."""

    SOURCE = "\n".join(file.read_text() for file in (ROOT / "django_callcache/checks").glob("*.py"))
    TABLE = (ROOT / "docs/checks.md").read_text()

    def test_ids__documented(self):
        """Every id in the code is in the table once, and the other way round."""
        documented = re.findall(r"^\| `(callcache\.[EWI]\d+)` ", self.TABLE, re.MULTILINE)
        assert sorted(documented) == sorted(set(self.ids_in_code()))
        assert Counter(documented).most_common(1)[0][1] == 1

    def test_ids__each_expected(self):
        """Every id in the table is what a test above expects, or one of its cases."""
        module = ast.parse(Path(__file__).read_text())
        expecting = [
            test
            for group in module.body
            if isinstance(group, ast.ClassDef) and group.name != type(self).__name__
            for test in group.body
            if isinstance(test, ast.FunctionDef) and test.name.startswith("test_")
        ]
        expected = {
            str(node.value).removeprefix("callcache.")
            for test in expecting
            for node in ast.walk(test)
            if isinstance(node, ast.Constant)
        }
        documented = re.findall(r"^\| `callcache\.([EWI]\d+)` ", self.TABLE, re.MULTILINE)
        assert documented
        assert set(documented) - expected == set()

    def test_ids__each_for_one_thing(self):
        """No id stands for two things; what cannot be used has two causes."""
        repeated = {name for name, number in Counter(self.ids_in_code()).items() if number > 1}
        assert repeated == {"callcache.E009"}

    def test_ids__letter_and_level(self):
        """The letter of an id is that of its level."""
        call = r"checks\.([EWI])\w+\((?:(?!checks\.[EWI]).)*?\"callcache\.(\w)"
        found = re.findall(call, self.SOURCE, re.DOTALL)
        assert found
        assert all(level == letter for level, letter in found)

    def ids_in_code(self):
        return re.findall(r'id="(callcache\.\w+)"', self.SOURCE)
