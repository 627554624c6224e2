from __future__ import annotations

import math
import traceback
from dataclasses import FrozenInstanceError, dataclass

import pytest
from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from django_callcache.conf import UNSET, CacheOptions, Settings, get_settings, parse_cache_options
from django_callcache.conf.parsing import Seconds, parse, read

SECRET = "do-not-show-me"


def settings(**stated):
    """The settings that CALLCACHE makes."""
    with override_settings(CALLCACHE=stated):
        return get_settings()


def refusal(**stated):
    """The message with which CALLCACHE is refused."""
    with pytest.raises(ImproperlyConfigured) as caught:
        settings(**stated)
    return str(caught.value)


def options(timeout=UNSET, **stated):
    """The options that OPTIONS makes."""
    return parse_cache_options({"OPTIONS": stated} | ({} if timeout is UNSET else {"TIMEOUT": timeout}))


def refused_options(timeout=UNSET, **stated):
    """The message with which OPTIONS is refused, after the path of the alias."""
    with pytest.raises(ImproperlyConfigured) as caught:
        options(timeout, **stated)
    return str(caught.value).removeprefix("CACHES[...]")


class TestGetSettings:
    def test_get_settings__nothing_stated(self):
        """Without CALLCACHE everything has its default, which is the specification's where it has one."""
        found = settings()
        assert (found.ttl.default_ttl, found.ttl.peak_ttl, found.ttl.usage_threshold) == (3600, 1800, 50)
        assert (found.ttl.default_cache_size, found.ttl.peak_cache_size) == (1000, 2000)
        assert (found.sync.remote, found.sync.interval, found.sync.batch) == (None, 300, 500)
        assert found.stats.enabled
        assert not found.admin.read_only

    def test_get_settings__no_such_setting(self):
        """A site without the setting has the defaults too."""
        with override_settings():
            del django_settings.CALLCACHE
            get_settings.cache_clear()
            assert get_settings().retention.cache_stat == 90
        get_settings.cache_clear()

    def test_get_settings__stated(self):
        """Stated values win, whatever the case of their names."""
        found = settings(SYNC={"REMOTE": "postgres", "batch": 100}, Release="1.2")
        assert (found.sync.remote, found.sync.batch, found.release) == ("postgres", 100, "1.2")

    def test_get_settings__once(self):
        """Settings are parsed once, until a test overrides one that they are made of."""
        assert get_settings() is get_settings()
        before = get_settings()
        with override_settings(TIME_ZONE="Europe/Madrid"):
            assert get_settings().ttl.time_zone == "Europe/Madrid"
        assert get_settings() == before

    def test_get_settings__frozen(self):
        """Nobody changes a setting in passing."""
        with pytest.raises(FrozenInstanceError):
            get_settings().sync.batch = 1

    def test_ttl__parameters(self):
        """The policies get what the settings say."""
        parameters = settings(TTL={"DEFAULT_TTL": 60, "TIME_ZONE": "Asia/Tokyo"}).ttl.parameters
        assert (parameters.default_ttl, parameters.time_zone) == (60, "Asia/Tokyo")

    def test_ttl__peak_ttl_left_out(self):
        """A peak TTL that nobody stated is never longer than the default TTL that somebody did."""
        assert settings(TTL={"DEFAULT_TTL": 600}).ttl.peak_ttl == 600
        assert settings(TTL={"DEFAULT_TTL": 600, "PEAK_TTL": 1800}).ttl.peak_ttl == 1800
        assert settings(TTL={"DEFAULT_TTL": 7200}).ttl.peak_ttl == 1800

    def test_ttl__time_zone_left_out(self):
        """The time zone is Django's, or UTC where Django has none."""
        with override_settings(TIME_ZONE="Europe/Madrid"):
            assert settings().ttl.time_zone == "Europe/Madrid"
        with override_settings(TIME_ZONE=None):
            assert settings().ttl.time_zone == "UTC"

    def test_admin__callable(self):
        """The rule for aliases may be a callable or the path of one."""

        def may_see(user, alias):
            return True

        assert settings(ADMIN={"CAN_ACCESS_ALIAS": may_see}).admin.can_access_alias is may_see
        assert settings(ADMIN={"CAN_ACCESS_ALIAS": "crm.may_see"}).admin.can_access_alias == "crm.may_see"


class TestSecrets:
    def test_secrets__left_out(self):
        """The secrets are Django's: SECRET_KEY, then the fallbacks."""
        with override_settings(SECRET_KEY="new", SECRET_KEY_FALLBACKS=["old", "older"]):
            assert settings().secrets == ("new", "old", "older")

    def test_secrets__stated(self):
        """Stated secrets take their place, so SECRET_KEY can change without a cold cache."""
        assert settings(SECRETS=["a", "b"]).secrets == ("a", "b")

    def test_repr(self):
        """No secret shows in a repr."""
        shown = repr(settings(SECRETS=[SECRET], SYNC={"SUPABASE_KEY": SECRET}))
        assert SECRET not in shown

    @pytest.mark.parametrize(
        "stated",
        [
            {"SECRETS": []},
            {"SECRETS": SECRET},
            {"SECRETS": [SECRET, ""]},
            {"SECRETS": {SECRET: 1}},
            {"SECRETS": [SECRET, 5]},
            {"SYNC": {"SUPABASE_KEY": [SECRET]}},
            {"SYNC": {"SUPABASE_KEY": SECRET.encode()}},
            {"SYNC": {"SUPABASE_KEY": SECRET, "BATCH": "many"}},
            {"SYNC": SECRET},
            {"SYNC": [SECRET]},
        ],
    )
    def test_refusal__shows_no_secret(self, stated):
        """An error names the setting but shows no secret, nor do the variables of its frames."""
        with (
            pytest.raises(ImproperlyConfigured, match="CALLCACHE") as caught,
            override_settings(CALLCACHE=stated),
        ):
            get_settings()
        shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        frames = [frame for frame in shown.stack if "django_callcache" in frame.filename]
        assert frames
        assert not any(SECRET in str(frame.locals) for frame in frames)
        assert SECRET not in str(caught.value)
        assert caught.value.__context__ is None

    def test_callcache__no_dict(self):
        """CALLCACHE that is no dict is refused without showing it."""
        with override_settings(CALLCACHE=SECRET), pytest.raises(ImproperlyConfigured) as caught:
            get_settings()
        assert str(caught.value) == "CALLCACHE is of type str: give a dict."


class TestRefusedSettings:
    def test_unknown__section(self):
        """An unknown name is refused with the nearest known one, and all of them."""
        assert refusal(SINC={}) == (
            "CALLCACHE has no setting 'SINC'. Did you mean 'SYNC'? "
            "Known: ADMIN, ALERTS, INVALIDATE, METRICS, PRELOAD, RELEASE, RETENTION, SECRETS, STATS, "
            "SYNC, TTL."
        )

    def test_unknown__name(self):
        """The path of the section is part of the message."""
        message = refusal(SYNC={"INTERVALL": 5})
        assert message.startswith(
            "CALLCACHE[\"SYNC\"] has no setting 'INTERVALL'. Did you mean 'INTERVAL'? Known: "
        )

    def test_unknown__nothing_near(self):
        """Where nothing is near, the known names remain."""
        assert "Did you mean" not in refusal(QQ=1)

    def test_unknown__no_text(self):
        """A name that is no text is unknown."""
        with override_settings(CALLCACHE={5: 1}), pytest.raises(ImproperlyConfigured, match="no setting 5"):
            get_settings()

    def test_twice(self):
        """One name in two cases is refused."""
        assert refusal(SYNC={}, sync={}) == "CALLCACHE has 'SYNC' and 'sync': keep one of them."

    @pytest.mark.parametrize(
        ("stated", "message"),
        [
            ({"SYNC": {"INTERVAL": "soon"}}, '["SYNC"]["INTERVAL"] is \'soon\': give a number.'),
            ({"SYNC": {"INTERVAL": 0}}, '["SYNC"]["INTERVAL"] is 0: give a number that is above 0.'),
            ({"SYNC": {"INTERVAL": True}}, '["SYNC"]["INTERVAL"] is True: give a number.'),
            ({"SYNC": {"INTERVAL": None}}, '["SYNC"]["INTERVAL"] is None: give a number.'),
            ({"SYNC": {"INTERVAL": math.nan}}, '["SYNC"]["INTERVAL"] is nan: give a number.'),
            ({"SYNC": {"BATCH": 2.5}}, '["SYNC"]["BATCH"] is 2.5: give a whole number.'),
            (
                {"SYNC": {"BATCH": 0}},
                '["SYNC"]["BATCH"] is 0: give a number that is at least 1 and at most 1,000.',
            ),
            ({"SYNC": {"DATABASE": 5}}, '["SYNC"]["DATABASE"] is 5: give a text.'),
            ({"STATS": {"ENABLED": "perhaps"}}, '["STATS"]["ENABLED"] is \'perhaps\': give True or False.'),
            ({"STATS": {"ENABLED": 2}}, '["STATS"]["ENABLED"] is 2: give True or False.'),
            (
                {"ADMIN": {"KEY_DENY": "a*"}},
                '["ADMIN"]["KEY_DENY"] is \'a*\': give a list of texts that are not empty.',
            ),
            ({"TTL": None}, '["TTL"] is of type NoneType: give a dict.'),
        ],
    )
    def test_wrong_value(self, stated, message):
        """A value that cannot be is refused with the setting's path, the value and the cure."""
        assert refusal(**stated) == f"CALLCACHE{message}"

    def test_wrong_namespace(self):
        """A namespace fits into the remote store's column, counted in bytes."""
        assert settings(SYNC={"NAMESPACE": "x" * 128}).sync.namespace
        assert "at most 128" in refusal(SYNC={"NAMESPACE": "ñ" * 65})

    def test_wrong_remote(self):
        """A remote store is one of ours or a dotted path."""
        message = refusal(SYNC={"REMOTE": "supbase"})
        assert message.endswith(
            "the dotted path of a RemoteStore, or None for no sync. Did you mean 'supabase'?"
        )
        assert settings(SYNC={"REMOTE": "crm.remote.Store"}).sync.remote == "crm.remote.Store"
        assert "give 'supabase'" in refusal(SYNC={"REMOTE": 5})

    @pytest.mark.parametrize("zone", ["America/Macondo", "../etc/passwd", "", 5, None])
    def test_wrong_time_zone(self, zone):
        """A time zone is one that zoneinfo knows."""
        assert refusal(TTL={"TIME_ZONE": zone}).startswith(
            f'CALLCACHE["TTL"]["TIME_ZONE"] is {zone!r}: give a time zone'
        )

    def test_wrong_rule_for_aliases(self):
        """The rule for aliases is nothing but a callable or a path."""
        assert "give a callable" in refusal(ADMIN={"CAN_ACCESS_ALIAS": 5})


class TestTexts:
    """URLs and environments carry nothing but texts."""

    @pytest.mark.parametrize(
        ("kind", "text", "value"),
        [
            (bool, "true", True),
            (bool, "On", True),
            (bool, "1", True),
            (bool, 1, True),
            (bool, "off", False),
            (bool, "0", False),
            (int, "60", 60),
            (int, 60.0, 60),
            (float, "0.25", 0.25),
            (Seconds, "1e2", 100),
        ],
    )
    def test_read(self, kind, text, value):
        """Texts become the values they spell."""
        found = read(kind, text, "HERE")
        assert (found, type(found)) == (value, type(value) if kind in (bool, int) else float)

    def test_parse__any_dataclass(self):
        """One parser reads every dataclass by its annotations."""

        @dataclass(frozen=True)
        class Inner:
            size: int = 3

        found = parse(CacheOptions, {"DEADLINE": "0.5", "SERIALIZER": "JSON", "STATS": "no"}, "HERE")
        assert (found.deadline, found.serializer, found.stats) == (0.5, "json", False)
        assert parse(Inner, {"SIZE": "7"}, "HERE") == Inner(7)


class TestCacheOptions:
    def test_parse__nothing_stated(self):
        """An alias without options has the defaults."""
        found = parse_cache_options({})
        assert found == CacheOptions()
        assert (found.on_error, found.deadline, found.max_connections, found.pool_timeout) == (
            "degrade",
            0.25,
            10,
            30,
        )
        assert (found.serializer, found.compress, found.rules, found.alias) == ("pickle", True, (), None)

    def test_parse__stated(self):
        """Our options stand in a dict of their own."""
        found = options(
            CALLCACHE={"ON_ERROR": "raise", "MAX_CONNECTIONS": 3, "COMPRESS": False, "ALIAS": "crm"}
        )
        assert (found.on_error, found.max_connections, found.compress, found.alias) == (
            "raise",
            3,
            False,
            "crm",
        )

    def test_parse__from_a_cache_url(self):
        """Single values may stand in OPTIONS itself, as texts, where a cache URL puts them."""
        found = options(ON_ERROR="raise", DEADLINE="0.5", compress="off", MAX_CONNECTIONS=5)
        assert (found.on_error, found.deadline, found.compress, found.max_connections) == (
            "raise",
            0.5,
            False,
            5,
        )

    def test_parse__both_places_agree(self):
        """The same said twice is no contradiction."""
        assert options(DEADLINE="0.5", CALLCACHE={"DEADLINE": 0.5}).deadline == 0.5

    def test_parse__both_places_disagree(self):
        """Two different values for one option are refused."""
        message = refused_options(DEADLINE=1, CALLCACHE={"DEADLINE": 2})
        assert message.startswith('["OPTIONS"] says twice, and differently, what DEADLINE is: 1.0 and 2.0.')

    def test_parse__alias_in_messages(self):
        """Where the alias is known, messages name it."""
        with pytest.raises(
            ImproperlyConfigured, match=r'^CACHES\["crm"\]\["OPTIONS"\]\["CALLCACHE"\]\["STATS"\] is 5'
        ):
            parse_cache_options({"OPTIONS": {"CALLCACHE": {"STATS": 5}}}, alias="crm")

    @pytest.mark.parametrize(
        ("stated", "message"),
        [
            ({"CALLCACHE": {"DEADLIN": 1}}, "Did you mean 'DEADLINE'?"),
            ({"CALLCACHE": {"STATED_TIMEOUT": 1}}, "has no setting 'STATED_TIMEOUT'"),
            ({"CALLCACHES": {}}, "[\"OPTIONS\"] has no 'CALLCACHES': did you mean 'CALLCACHE'?"),
            ({"CALL_CACHE": {}}, "did you mean 'CALLCACHE'?"),
            ({"RULE": {}}, 'did you mean \'RULES\', in CACHES[...]["OPTIONS"]["CALLCACHE"]?'),
            ({"ON_EROR": "raise"}, "did you mean 'ON_ERROR'"),
            ({"CALLCACHE": {"ON_ERROR": "ignore"}}, "give one of 'degrade', 'raise'."),
            ({"CALLCACHE": {"SERIALIZER": "msgpck"}}, "Did you mean 'msgpack'?"),
            ({"CALLCACHE": {"COMPRESS_LEVEL": 23}}, "give a number that is at least -7 and at most 22."),
            ({"CALLCACHE": {"WRITE_LEGACY": True}}, "state READ_LEGACY, 'pickle', or nobody could read"),
            ({"WRITE_LEGACY": True, "READ_LEGACY": "safe"}, "WRITE_LEGACY and the serializer 'pickle'"),
            ({"CALLCACHE": []}, '["OPTIONS"]["CALLCACHE"] is of type list: give a dict.'),
        ],
    )
    def test_parse__refused(self, stated, message):
        """Unknown names and values that cannot be are refused."""
        assert message in refused_options(**stated)

    @pytest.mark.parametrize(
        "foreign", ["PARSER_CLASS", "MY_FACTORY_OPTION", "db", "MAX_ENTRIES", "socket_keepalive"]
    )
    def test_parse__options_of_others(self, foreign):
        """Options of Django, django-redis and connection factories are left alone."""
        assert options(**{foreign: "x"}) == CacheOptions()


class TestExpectedMemory:
    @pytest.mark.parametrize(
        ("stated", "found"),
        [(None, None), (0, 0), ("512mb", 512 * 2**20), ("2GB", 2**31), ("1k", 1000), (4096, 4096)],
    )
    def test_read(self, stated, found):
        """An amount of memory is written as in Redis's own configuration."""
        assert options(EXPECT_MAXMEMORY=stated).expect_maxmemory == found

    @pytest.mark.parametrize("stated", ["much", -1, True, "1.5gb", "1tb"])
    def test_read__refused(self, stated):
        """What is no amount is refused by an example."""
        assert '"512mb"' in refused_options(EXPECT_MAXMEMORY=stated)

    def test_policy__unknown(self):
        """A policy that Redis does not have is refused."""
        assert "allkeys-lru" in refused_options(EXPECT_EVICTION_POLICY="lru")


class TestTimeout:
    @pytest.mark.parametrize(
        ("timeout", "found"), [(None, None), (60, 60.0), ("60", 60.0), (0.5, 0.5), (0, 0.0)]
    )
    def test_stated_timeout(self, timeout, found):
        """The alias's TIMEOUT is known, None included."""
        assert options(timeout).stated_timeout == found

    def test_stated_timeout__left_out(self):
        """An alias without TIMEOUT has stated none; Django's 300 seconds are not meant."""
        assert options().stated_timeout is UNSET

    def test_stated_timeout__lower_case(self):
        """Django takes the lower case as well."""
        assert parse_cache_options({"timeout": 5, "TIMEOUT": 6}).stated_timeout == 5

    @pytest.mark.parametrize("timeout", [-1, "soon", True])
    def test_stated_timeout__wrong(self, timeout):
        """A TIMEOUT that cannot be is refused, where Django would take 300 seconds."""
        message = (
            f'["TIMEOUT"] is {timeout!r}: give seconds (0: nothing is kept), or None (entries never expire).'
        )
        assert refused_options(timeout) == message


class TestRules:
    def test_rules__longest_prefix_first(self):
        """The first rule that matches is the right one."""
        found = options(CALLCACHE={"RULES": {"a:": {}, "": {"ttl": 9}, "a:b:": {"ttl": 60}, "c:": {}}})
        assert [rule.prefix for rule in found.rules] == ["a:b:", "a:", "c:", ""]

    def test_rules__left_out(self):
        """What a rule does not say is as the alias says."""
        (rule,) = options(CALLCACHE={"RULES": {"a:": {}}}).rules
        assert (rule.ttl, rule.sync, rule.serializer, rule.compress) == (UNSET, None, None, None)

    def test_rules__stated(self):
        """A rule's names may be in any case."""
        stated = {
            "TTL": "30",
            "sync": "LWW",
            "serializer": "json",
            "compress": "off",
            "compress_threshold": 0,
        }
        (rule,) = options(CALLCACHE={"RULES": {"a:": stated}}).rules
        assert (rule.ttl, rule.sync, rule.serializer, rule.compress, rule.compress_threshold) == (
            30.0,
            "lww",
            "json",
            False,
            0,
        )

    @pytest.mark.parametrize(
        ("stated", "share"),
        [({}, 0.0), ({"stale_target": 0.1}, 0.02), ({"stale_target": 0.1, "revalidate": 0.5}, 0.5)],
    )
    def test_rules__checked_share(self, stated, share):
        """Hits are compared with their origin where a rule says so, or states how many may be stale."""
        assert options(CALLCACHE={"RULES": {"a:": stated}}).rules[0].checked_share == share

    @pytest.mark.parametrize(
        ("ttl", "found"), [("fixed", "fixed"), ("peak-hour", "peak-hour"), (None, None), (1, 1.0)]
    )
    def test_rules__ttl(self, ttl, found):
        """A TTL is the name of a policy, seconds, or None: it never expires."""
        assert options(CALLCACHE={"RULES": {"a:": {"ttl": ttl}}}).rules[0].ttl == found

    @pytest.mark.parametrize(
        ("rules", "message"),
        [
            ([], "is []: give a dict of key prefixes"),
            ({"a:": 60}, '["a:"] is 60: give a dict, such as {"ttl": 60}.'),
            ({"a:*": {}}, "has the prefix 'a:*': give the text that keys begin with, without '*'."),
            ({5: {}}, "has the prefix 5"),
            ({"a:": {"tll": 5}}, "[\"a:\"] has no setting 'tll'. Did you mean 'TTL'?"),
            ({"a:": {"prefix": "b:"}}, "has no setting 'prefix'"),
            ({"a:": {"tags": True}}, "has no setting 'tags'"),
            ({"a:": {"ttl": 0}}, '["a:"]["ttl"] is 0: give seconds above 0, None'),
            ({"a:": {"ttl": True}}, '["ttl"] is True: give seconds above 0, None'),
            ({"a:": {"ttl": "peak"}}, "'adaptive'). Did you mean 'peak-hour'?"),
            ({"a:": {"sync": "manul"}}, "[\"sync\"] is 'manul': give one of 'lww', 'local', 'remote'"),
            ({"a:": {"sync": "manul"}}, "Did you mean 'manual'?"),
            ({"a:": {"sync": True}}, "[\"sync\"] is True: give one of 'lww', 'local', 'remote'"),
            (
                {"a:": {"revalidate": 1.5}},
                "is 1.5: give a number that is at least 0 and at most 1",
            ),
            (
                {"a:": {"stale_target": 0}},
                "is 0: give a number that is above 0 and at most 0.5",
            ),
            (
                {"a:": {"stale_target": 0.02, "revalidate": 0}},
                'has "stale_target": 0.02 and "revalidate": 0, but only comparisons tell what is stale',
            ),
        ],
    )
    def test_rules__refused(self, rules, message):
        """A rule that cannot be is refused with its place in the table."""
        assert message in refused_options(CALLCACHE={"RULES": rules})


class TestDjangoRedisOptions:
    @pytest.mark.parametrize(
        ("ignores", "on_error"), [(True, "degrade"), (False, "raise"), ("true", "degrade")]
    )
    def test_ignore_exceptions(self, ignores, on_error):
        """IGNORE_EXCEPTIONS says what ON_ERROR says."""
        assert options(IGNORE_EXCEPTIONS=ignores).on_error == on_error

    def test_ignore_exceptions__contradicted(self):
        """IGNORE_EXCEPTIONS and ON_ERROR must agree."""
        assert options(IGNORE_EXCEPTIONS=True, CALLCACHE={"ON_ERROR": "degrade"}).on_error == "degrade"
        message = refused_options(IGNORE_EXCEPTIONS=True, CALLCACHE={"ON_ERROR": "raise"})
        assert "what ON_ERROR is: 'degrade' and 'raise'" in message

    def test_ignore_exceptions__of_all_aliases(self):
        """django-redis's setting for all aliases holds where nothing nearer is said."""
        with override_settings(DJANGO_REDIS_IGNORE_EXCEPTIONS=False):
            assert options().on_error == "raise"
            assert options(IGNORE_EXCEPTIONS=True).on_error == "degrade"
            assert options(CALLCACHE={"ON_ERROR": "degrade"}).on_error == "degrade"

    @pytest.mark.parametrize(
        ("path", "serializer"),
        [
            ("pickle.PickleSerializer", "pickle"),
            ("json.JSONSerializer", "json"),
            ("msgpack.MSGPackSerializer", "msgpack"),
        ],
    )
    def test_serializer(self, path, serializer):
        """A serializer of django-redis is the codec of the same name."""
        path = f"django_redis.serializers.{path}"
        assert options(SERIALIZER=path).serializer == serializer
        assert options(SERIALIZER=serializer).serializer == serializer
        assert options(SERIALIZER=path, CALLCACHE={"SERIALIZER": serializer}).serializer == serializer

    @pytest.mark.parametrize("name", ["zlib.Zlib", "gzip.Gzip", "lz4.Lz4", "lzma.Lzma", "zstd.ZStd"])
    def test_compressor(self, name):
        """Every compressor of django-redis means compression, which is zstd's here."""
        path = f"django_redis.compressors.{name}Compressor"
        assert options(COMPRESSOR=path).compress is True
        assert "what COMPRESS is" in refused_options(COMPRESSOR=path, CALLCACHE={"COMPRESS": False})

    def test_compressor__identity(self):
        """The compressor that does nothing means none."""
        assert options(COMPRESSOR="django_redis.compressors.identity.IdentityCompressor").compress is False

    @pytest.mark.parametrize("name", ["SERIALIZER", "COMPRESSOR"])
    @pytest.mark.parametrize("path", ["crm.codecs.Own", "django_redis.serializers.json.JSONSerialiser", 5])
    def test_own_classes(self, name, path):
        """A class of the user's own has no meaning here, and the message says where to look."""
        message = refused_options(**{name: path})
        assert message.startswith(f'["OPTIONS"]["{name}"] is {path!r}: only django-redis\'s own classes')

    @pytest.mark.parametrize("client", ["ShardClient", "HerdClient"])
    def test_client_class__refused(self, client):
        """The clients that shard and herd are refused with what replaces them."""
        message = refused_options(CLIENT_CLASS=f"django_redis.client.{client}")
        assert message.startswith(f'["OPTIONS"]["CLIENT_CLASS"] is {client}, which is not supported: ')

    def test_client_class__accepted(self):
        """The others are django-redis's business."""
        assert options(CLIENT_CLASS="django_redis.client.SentinelClient") == CacheOptions()

    def test_max_connections(self):
        """The size of the connection pool is honoured, unless our own name says another."""
        pool = {"max_connections": "20"}
        assert options(CONNECTION_POOL_KWARGS=pool).max_connections == 20
        assert options(CONNECTION_POOL_KWARGS=pool, CALLCACHE={"MAX_CONNECTIONS": 5}).max_connections == 5
        assert options(CONNECTION_POOL_KWARGS={"max_connections": None}).max_connections == 10

    def test_socket_timeout(self):
        """The socket's timeout is the deadline, unless our own name says another."""
        assert options(SOCKET_TIMEOUT=2).deadline == 2
        assert options(SOCKET_TIMEOUT=2, DEADLINE=1).deadline == 1

    @pytest.mark.parametrize(
        ("stated", "message"),
        [
            ({"SOCKET_TIMEOUT": 0}, '["SOCKET_TIMEOUT"] is 0: give a number that is above 0.'),
            (
                {"CONNECTION_POOL_KWARGS": {"max_connections": 0}},
                '["max_connections"] is 0: give a number that is at',
            ),
            ({"CONNECTION_POOL_KWARGS": [5]}, '["CONNECTION_POOL_KWARGS"] is no dict: give one.'),
            ({"IGNORE_EXCEPTIONS": "maybe"}, "[\"IGNORE_EXCEPTIONS\"] is 'maybe': give True or False."),
        ],
    )
    def test_wrong(self, stated, message):
        """Wrong values are refused by django-redis's names."""
        assert message in refused_options(**stated)

    def test_password__not_shown(self):
        """A message about options does not show the password among them."""
        assert SECRET not in refused_options(PASSWORD=SECRET, CALLCACHE={"STATS": 5})


class TestDefaultsOfDataclasses:
    def test_settings__as_documented(self):
        """The dataclasses alone have the same defaults, bar what Django's settings decide."""
        found = settings(TTL={"TIME_ZONE": "UTC"})
        assert found == Settings(secrets=found.secrets)
