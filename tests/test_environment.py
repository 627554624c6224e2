from __future__ import annotations

from urllib.parse import quote

import pytest
import redis
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from django.views.debug import SafeExceptionReporterFilter
from redis.connection import parse_url

from django_callcache.conf import as_redis_url, from_environment, parse_cache_options
from django_callcache.conf.environment import SETTINGS, edits
from testproject.parts.missing import PartMissing
from testproject.parts.redis_server import RedisServer
from tests.conftest import require

URL = "redis://127.0.0.1:6379/1"


def read(**variables):
    return from_environment({"REDIS_URL": URL, **variables})


def refusal(**variables):
    """The message with which variables are refused; those that are None are not set."""
    stated = {name: value for name, value in {"REDIS_URL": URL, **variables}.items() if value is not None}
    with pytest.raises(ImproperlyConfigured) as caught:
        from_environment(stated)
    error = caught.value
    assert error.__cause__ is None or isinstance(error.__cause__, OSError)
    assert error.__context__ is error.__cause__
    return str(error)


def options(**variables):
    return read(**variables).caches["default"]["OPTIONS"]


class TestDefaults:
    def test_from_environment__only_the_address(self):
        """The address alone suffices; the rest has the specification's defaults."""
        environment = read()
        cache = environment.caches["default"]
        assert (cache["BACKEND"], cache["LOCATION"]) == ("django_callcache.cache.CallCache", URL)
        parsed = parse_cache_options(cache)
        assert (parsed.max_connections, parsed.pool_timeout) == (10, 30.0)
        assert environment.callcache["TTL"]["DEFAULT_TTL"] == 3600
        assert environment.callcache["SYNC"] == {"INTERVAL": 300.0, "NAMESPACE": ""}

    def test_from_environment__every_variable(self):
        """Each variable of the specification becomes its setting."""
        environment = read(
            REDIS_PASSWORD="s3cret",
            REDIS_CACHE_TTL="600",
            REDIS_MAX_CONNECTIONS="4",
            REDIS_POOL_TIMEOUT="1.5",
            REDIS_SYNC_INTERVAL="60",
            SUPABASE_URL="https://abc.supabase.co",
            SUPABASE_KEY="service",
        )
        parsed = parse_cache_options(environment.caches["default"])
        assert (parsed.max_connections, parsed.pool_timeout) == (4, 1.5)
        assert environment.caches["default"]["OPTIONS"]["PASSWORD"] == "s3cret"
        assert environment.callcache == {
            "TTL": {"DEFAULT_TTL": 600.0},
            "SYNC": {
                "INTERVAL": 60.0,
                "NAMESPACE": "",
                "REMOTE": "supabase",
                "SUPABASE_URL": "https://abc.supabase.co",
                "SUPABASE_KEY": "service",
            },
        }

    def test_from_environment__the_rest_by_argument(self):
        """What the environment cannot say is said by arguments."""
        environment = from_environment(
            {"REDIS_URL": URL},
            alias="calls",
            key_prefix="crm",
            namespace="crm-test",
            rules={"call:": {"ttl": 60}},
        )
        cache = environment.caches["calls"]
        assert cache["KEY_PREFIX"] == "crm"
        assert [rule.prefix for rule in parse_cache_options(cache).rules] == ["call:"]
        assert environment.callcache["SYNC"]["NAMESPACE"] == "crm-test"

    def test_from_environment__process(self):
        """Without an argument it is the process's environment."""
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("REDIS_URL", "redis://elsewhere:1/2")
            assert from_environment().caches["default"]["LOCATION"] == "redis://elsewhere:1/2"

    def test_from_environment__other_programs(self):
        """Variables of other programs are left alone, those that begin with REDIS included."""
        foreign = [
            "REDIS_HOST",
            "REDIS_PORT",
            "REDIS_DB",
            "REDIS_SSL",
            "REDIS_TLS",
            "REDIS_TTL",
            "REDIS_TLS_URL",
        ]
        foreign += [
            "REDIS_USER",
            "REDIS_TIMEOUT",
            "SUPABASE_ANON_KEY",
            "SUPABASE_DB_URL",
            "REDISCLOUD_URL",
            "PATH",
        ]
        assert read(**dict.fromkeys(foreign, "x")).caches == read().caches

    def test_from_environment__another_variable(self):
        """As django-environ has it, "$NAME" is another variable's value."""
        environment = from_environment({"REDIS_URL": "$REDISCLOUD_URL", "REDISCLOUD_URL": URL})
        assert environment.caches["default"]["LOCATION"] == URL

    def test_repr__secrets(self):
        """What was read does not show in a repr."""
        shown = repr(
            read(REDIS_PASSWORD="s3cret", SUPABASE_URL="https://x.supabase.co", SUPABASE_KEY="service")
        )
        assert "s3cret" not in shown
        assert "service" not in shown


class TestMissingAndWrong:
    def test_from_environment__no_address(self):
        """A missing address is refused with an example of one."""
        assert (
            refusal(REDIS_URL=None)
            == "REDIS_URL is not set: give the server's address, as redis://127.0.0.1:6379/0."
        )

    @pytest.mark.parametrize("name", SETTINGS)
    @pytest.mark.parametrize("empty", ["", "  "])
    def test_from_environment__empty(self, name, empty):
        """A variable that is set but empty is refused: somebody meant something."""
        assert refusal(**{name: empty}) == f"{name} is set but empty: give it a value or unset it."

    @pytest.mark.parametrize(
        "name", ["REDIS_CACHE_TTL", "REDIS_MAX_CONNECTIONS", "REDIS_POOL_TIMEOUT", "REDIS_SYNC_INTERVAL"]
    )
    @pytest.mark.parametrize("value", ["an hour", "12 s", "-1", "nan", "inf", "1e999", "0x10", "true"])
    def test_from_environment__wrong_number(self, name, value):
        """What is no number, or a negative one, is refused with its name and value."""
        assert refusal(**{name: value}).startswith(f"{name} is {value!r}: give a")

    @pytest.mark.parametrize("name", ["REDIS_CACHE_TTL", "REDIS_MAX_CONNECTIONS", "REDIS_SYNC_INTERVAL"])
    def test_from_environment__zero(self, name):
        """Zero is refused where it would mean nothing."""
        assert refusal(**{name: "0"}).startswith(f"{name} is '0': give a number that is")

    def test_from_environment__no_wait_for_a_connection(self):
        """Zero seconds to wait for a connection is a choice."""
        assert options(REDIS_POOL_TIMEOUT="0")["CALLCACHE"]["POOL_TIMEOUT"] == 0

    def test_from_environment__half_a_connection(self):
        """A number of connections is a whole one."""
        assert refusal(REDIS_MAX_CONNECTIONS="2.5") == "REDIS_MAX_CONNECTIONS is '2.5': give a whole number."

    @pytest.mark.parametrize(
        ("written", "meant"),
        [
            ("REDIS_CACHE_TLL", "REDIS_CACHE_TTL"),
            ("REDIS_CACHE_TTLS", "REDIS_CACHE_TTL"),
            ("REDIS_MAX_CONNECTION", "REDIS_MAX_CONNECTIONS"),
            ("REDIS_MAXCONNECTIONS", "REDIS_MAX_CONNECTIONS"),
            ("REDIS_PASSWROD", "REDIS_PASSWORD"),
            ("REDIS_SYNC_INTREVAL", "REDIS_SYNC_INTERVAL"),
            ("REDIS_POOL_TIME_OUT", "REDIS_POOL_TIMEOUT"),
            ("SUPABASE_KEYS", "SUPABASE_KEY"),
            ("SUPBASE_URL", "SUPABASE_URL"),
        ],
    )
    def test_from_environment__misspelt(self, written, meant):
        """A name that resembles one of ours is refused with the one that was meant."""
        assert refusal(**{written: "60"}) == f"{written} is set, which nothing reads: did you mean {meant}?"

    def test_from_environment__misspelt_address(self):
        """A misspelt address is named rather than called missing."""
        assert "did you mean REDIS_URL?" in refusal(REDIS_URL=None, REDIS_URI=URL)

    def test_from_environment__similar_name_of_another_program(self):
        """A name that resembles one that is set belongs to another program."""
        assert read(REDIS_URI="x", REDIS_URLS="y").caches == read().caches

    @pytest.mark.parametrize("name", ["SUPABASE_URL", "SUPABASE_KEY"])
    def test_from_environment__half_of_supabase(self, name):
        """Address and key of Supabase come together."""
        message = refusal(**{name: "https://x.supabase.co"})
        assert message.startswith(f"{name} is set without SUPABASE_")
        assert "https" not in message

    @pytest.mark.parametrize(
        ("one", "other", "number"),
        [
            ("", "", 0),
            ("a", "", 1),
            ("abc", "abc", 0),
            ("abc", "acb", 1),
            ("abc", "xbcd", 2),
            ("TTL", "URL", 2),
        ],
    )
    def test_edits(self, one, other, number):
        """Insertions, deletions, substitutions and swaps of neighbours are counted."""
        assert edits(one, other) == number


class TestAddress:
    @pytest.mark.parametrize(
        ("url", "location"),
        [
            ("valkey://h:1/2", "redis://h:1/2"),
            ("valkeys://h:1/2", "rediss://h:1/2"),
            ("VALKEY://h:1/2", "redis://h:1/2"),
            ("rediss://h:1/2?ssl_cert_reqs=required", "rediss://h:1/2?ssl_cert_reqs=required"),
            ("redis://[::1]:6379", "redis://[::1]:6379"),
            ("unix:///run/redis.sock?db=1", "unix:///run/redis.sock?db=1"),
            (f" {URL} ", URL),
        ],
    )
    def test_from_environment__schemes(self, url, location):
        """Addresses of Redis and Valkey, with TLS and without, become what redis-py knows."""
        assert read(REDIS_URL=url).caches["default"]["LOCATION"] == location

    def test_from_environment__primary_and_replica(self):
        """Several addresses, with commas between, become a list."""
        environment = read(REDIS_URL="redis://:a,b@one:1/0,valkey://:a,b@two:1/0")
        assert environment.caches["default"]["LOCATION"] == ["redis://one:1/0", "redis://two:1/0"]
        assert environment.caches["default"]["OPTIONS"]["PASSWORD"] == "a,b"

    @pytest.mark.parametrize(
        "url",
        [
            "127.0.0.1:6379",
            "http://h:1",
            "memcached://h:1",
            "redis:/h:1",
            "redis://:pa#ss@h:1/0",
            "redis://:pa/ss@h:1/0",
            "redis://:s3cret@h:port/0",
            "redis://:s3cret@h:99999/0",
            "redis://:s3cret@h/zero",
            "redis://:s3cret@[::1/0",
        ],
    )
    def test_from_environment__no_address(self, url):
        """What is no address is refused without showing it, since it may hold a password."""
        message = refusal(REDIS_URL=url)
        assert message.startswith("REDIS_URL cannot be read as an address")
        assert not any(
            part in message for part in ("s3cret", "pa#ss", "#ss", "pa/ss", "/ss", "zero", "99999")
        )

    def test_as_redis_url__anything_else(self):
        """An address that is not Valkey's stays as it is."""
        assert [as_redis_url(url) for url in ("rediss://h", "h:1", "x://h")] == ["rediss://h", "h:1", "x://h"]


class TestPassword:
    ODD = "p@ss:w/ö#r%d?&= $"
    ENCODED = "p%40ss%3Aw%2F%C3%B6%23r%25d%3F%26%3D%20%24"

    def test_from_environment__apart(self):
        """A password stated apart fills an address without one, every character as it is."""
        environment = read(REDIS_PASSWORD=self.ODD)
        assert environment.caches["default"]["LOCATION"] == URL
        assert environment.caches["default"]["OPTIONS"]["PASSWORD"] == self.ODD

    def test_from_environment__within(self):
        """A password within the address is decoded, and leaves the address: error pages show that."""
        environment = read(REDIS_URL=f"redis://crm:{self.ENCODED}@h:1/0")
        assert environment.caches["default"]["LOCATION"] == "redis://h:1/0"
        found = environment.caches["default"]["OPTIONS"]
        assert (found["USERNAME"], found["PASSWORD"]) == ("crm", self.ODD)

    @pytest.mark.parametrize(
        "url", [f"redis://crm:{ENCODED}@h:1/0", f"redis://h:1/0?username=crm&password={ENCODED}"]
    )
    def test_from_environment__as_redis_py(self, url):
        """The password is the one that redis-py would have found."""
        found = options(REDIS_URL=url)
        assert (found["USERNAME"], found["PASSWORD"]) == (
            parse_url(url)["username"],
            parse_url(url)["password"],
        )

    def test_from_environment__dollar(self):
        """A password that begins with a dollar sign is no name of another variable."""
        assert options(REDIS_PASSWORD="$HOME", HOME="/root")["PASSWORD"] == "$HOME"

    def test_from_environment__the_same_twice(self):
        """The same password in both places is no contradiction."""
        found = options(REDIS_URL=f"redis://:{self.ENCODED}@h:1/0", REDIS_PASSWORD=self.ODD)
        assert found["PASSWORD"] == self.ODD

    def test_from_environment__two_different(self):
        """Two different passwords are refused, and neither is shown."""
        message = refusal(REDIS_URL="redis://:first@h:1/0", REDIS_PASSWORD="second")
        assert message == "REDIS_PASSWORD is not the password in REDIS_URL: state one of them, once."

    def test_from_environment__two_different_addresses(self):
        """Addresses with different passwords or user names are refused."""
        assert "different passwords" in refusal(REDIS_URL="redis://:a@h:1,redis://:b@h:2")
        assert "different user names" in refusal(REDIS_URL="redis://a@h:1,redis://b@h:2")

    def test_from_environment__no_password(self):
        """Without a password none is stated."""
        assert set(options(REDIS_URL="redis://:@h:1/0")) == {"CALLCACHE"}

    def test_from_environment__from_a_file(self, tmp_path):
        """A password may lie in a file, as secrets of containers do; the line's end is not part of it."""
        file = tmp_path / "secret"
        file.write_text("s3cret\n")
        assert options(REDIS_PASSWORD_FILE=str(file))["PASSWORD"] == "s3cret"

    def test_from_environment__from_a_missing_file(self, tmp_path):
        """A file that cannot be read is refused by the variable's name."""
        message = refusal(REDIS_PASSWORD_FILE=str(tmp_path / "gone"))
        assert message == "REDIS_PASSWORD_FILE cannot be read: No such file or directory."

    def test_from_environment__error_pages(self):
        """Django's error pages hide what was read."""
        found = read(
            REDIS_URL="redis://:s3cret@h:1/0", SUPABASE_URL="https://x.supabase.co", SUPABASE_KEY="key5"
        )
        with override_settings(CACHES=found.caches, CALLCACHE=found.callcache):
            shown = str(SafeExceptionReporterFilter().get_safe_settings())
        assert "redis://h:1/0" in shown
        assert "s3cret" not in shown
        assert "key5" not in shown


ODD_PASSWORD = "p@ss:w/o#r%d?&="


@pytest.fixture(scope="module")
def guarded_server():
    """Address of a server that asks for an odd password."""
    try:
        with RedisServer() as server:
            with redis.Redis.from_url(server.url) as client:
                client.config_set("requirepass", ODD_PASSWORD)
            yield f"127.0.0.1:{server.port}/0"
    except PartMissing as missing:
        require(str(missing))


class TestRealServer:
    def test_from_environment__password_apart(self, guarded_server):
        """A server lets the cache in by a password stated apart."""
        self.use_cache({"REDIS_URL": f"valkey://{guarded_server}", "REDIS_PASSWORD": ODD_PASSWORD})

    def test_from_environment__password_within(self, guarded_server):
        """A server lets the cache in by a password within the address."""
        self.use_cache({"REDIS_URL": f"redis://:{quote(ODD_PASSWORD, safe='')}@{guarded_server}"})

    def use_cache(self, environ):
        found = from_environment(environ)
        with override_settings(CACHES=found.caches, CALLCACHE=found.callcache):
            caches["default"].set("key", "value", 60)
            assert caches["default"].get("key") == "value"
