from __future__ import annotations

import warnings

import pytest
from django.core.cache.backends.base import CacheKeyWarning, InvalidCacheKey
from django_redis.util import CacheKey

from django_callcache.cache.value_keys import ValueKeys, escape_glob

HOSTILE = ["a", "a:b", ":", "*", "[x]", "\\", "a\\*b", "[!x]?", "ünï", "", "{tag}"]


def reversed_function(key, key_prefix, version):
    return f"{key}|{version}|{key_prefix}"


class TestRedisKey:
    @pytest.mark.parametrize("key", HOSTILE)
    @pytest.mark.parametrize("prefix", ["", "crm", "a:b"])
    def test_redis_key__django_form(self, key, prefix):
        """A key is what Django's other backends make of it."""
        assert ValueKeys(prefix, 3).redis_key(key) == f"{prefix}:3:{key}".encode()

    @pytest.mark.parametrize(
        ("key", "text"), [(1, "1"), ("1", "1"), (True, "True"), (1.0, "1.0"), (None, "None")]
    )
    def test_redis_key__text_form(self, key, text):
        """Whatever is no string goes by its text form."""
        assert ValueKeys("t", 1).redis_key(key) == f"t:1:{text}".encode()

    def test_redis_key__version_zero(self):
        """Version 0 is a version."""
        assert ValueKeys("t", 1).redis_key("a", 0) == b"t:0:a"
        assert ValueKeys("t", 0).redis_key("a") == b"t:0:a"

    def test_redis_key__key_function(self):
        """``KEY_FUNCTION`` makes the key."""
        assert ValueKeys("t", 1, reversed_function).redis_key("a", 2) == b"a|2|t"

    def test_redis_key__cache_key(self):
        """A key that django-redis has made already is taken as it is."""
        assert ValueKeys("t", 1).redis_key(CacheKey("t:9:a")) == b"t:9:a"

    @pytest.mark.parametrize("version", [None, 2])
    def test_redis_key__lone_surrogate(self, version):
        """What has no UTF-8 is an invalid key, not an encoding error."""
        with pytest.raises(InvalidCacheKey):
            ValueKeys("t", 1).redis_key("a\ud800", version)

    @pytest.mark.parametrize("key", ["with space", "line\nfeed", "nul\x00", "del\x7f", "x" * 247])
    def test_redis_key__warns(self, key):
        """Keys that memcached would refuse are taken, with Django's warning."""
        with pytest.warns(CacheKeyWarning):
            assert ValueKeys("t", 1).redis_key(key) == f"t:1:{key}".encode()

    @pytest.mark.parametrize("key", ["x" * 246, "ü" * 246, "!~"])
    def test_redis_key__no_warning(self, key):
        """Django counts characters, prefix and version included; up to 250 are silent."""
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            ValueKeys("t", 1).redis_key(key)


class TestCallerKey:
    @pytest.mark.parametrize("key", HOSTILE)
    @pytest.mark.parametrize("prefix", ["", "crm", "a:b", "a:1:", "[\\*"])
    def test_caller_key__round_trip(self, key, prefix):
        """The caller's key comes back, whatever colons prefix and key have."""
        keys = ValueKeys(prefix, 1)
        assert keys.caller_key(keys.redis_key(key, 12)) == key

    def test_caller_key__reverse_function(self):
        """``REVERSE_KEY_FUNCTION`` undoes ``KEY_FUNCTION``."""
        keys = ValueKeys("t", 1, reversed_function, lambda text: text.partition("|")[0])
        assert keys.caller_key(b"a|1|t") == "a"

    def test_caller_key__no_reverse_function(self):
        """Without it the whole Redis key is shown: nothing shorter can be told to be right."""
        assert ValueKeys("t", 1, reversed_function).caller_key(b"a|1|t") == "a|1|t"


class TestPattern:
    @pytest.mark.parametrize("text", ["*", "?", "[", "]", "\\", "a[^b]*\\?"])
    def test_escape_glob__literal(self, redis_client, text):
        """An escaped text matches itself and nothing else."""
        redis_client.mset({text: 1, "a": 1, "ab": 1, "\\" + text: 1})
        assert redis_client.keys(escape_glob(text)) == [text.encode()]

    def test_pattern__prefix_is_literal(self):
        """Only what the caller searches for is a pattern; prefix and version are not."""
        assert ValueKeys("a*", 1).pattern("b*") == b"a\\*:1:b*"

    def test_pattern__other_prefix_and_version(self):
        """Version and prefix can be chosen, and version 0 is a choice."""
        assert ValueKeys("t", 1).pattern("*", 0, "u[") == b"u\\[:0:*"

    def test_pattern__lone_surrogate(self):
        """A pattern that has no UTF-8 is an invalid key too."""
        with pytest.raises(InvalidCacheKey):
            ValueKeys("t", 1).pattern("\ud800*")

    def test_everything__all_versions(self):
        """All of an alias's own is one pattern."""
        assert ValueKeys("a?", 1).everything() == b"a\\?:*:*"


class TestRemoteKey:
    def test_remote_key__version_and_key(self):
        """The remote store knows an entry by version and key."""
        assert ValueKeys("t", 4).remote_key("call:7", None) == b"4:call:7"
        assert ValueKeys("t", 4).remote_key(7, 0) == b"0:7"
