"""What django-redis's options mean under this backend.

Options that choose a connection (LOCATION, USERNAME, PASSWORD, SENTINELS, CONNECTION_FACTORY and so on)
keep their meaning and are left to it. Here are those that say what this backend has a name of its own for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from django_callcache.conf.parsing import Count, Seconds, did_you_mean, item, read

DJANGO_REDIS_OPTIONS = frozenset(
    {
        "CLIENT_CLASS",
        "CLOSE_CONNECTION",
        "COMPRESSOR",
        "CONNECTION_FACTORY",
        "CONNECTION_POOL_CLASS",
        "CONNECTION_POOL_KWARGS",
        "IGNORE_EXCEPTIONS",
        "PARSER_CLASS",
        "PASSWORD",
        "PICKLE_VERSION",
        "REDIS_CLIENT_CLASS",
        "REDIS_CLIENT_KWARGS",
        "REPLICA_READ_ONLY",
        "SENTINEL_KWARGS",
        "SENTINELS",
        "SERIALIZER",
        "SOCKET_CONNECT_TIMEOUT",
        "SOCKET_TIMEOUT",
        "USERNAME",
    }
)

SERIALIZERS = {
    "django_redis.serializers.pickle.PickleSerializer": "pickle",
    "django_redis.serializers.json.JSONSerializer": "json",
    "django_redis.serializers.msgpack.MSGPackSerializer": "msgpack",
}
COMPRESSORS = {
    "django_redis.compressors.identity.IdentityCompressor": False,
    "django_redis.compressors.gzip.GzipCompressor": True,
    "django_redis.compressors.lz4.Lz4Compressor": True,
    "django_redis.compressors.lzma.LzmaCompressor": True,
    "django_redis.compressors.zlib.ZlibCompressor": True,
    "django_redis.compressors.zstd.ZStdCompressor": True,
}
REFUSED_CLIENTS = {
    "ShardClient": "let a Redis Cluster spread the keys, or use one alias for each server",
    "HerdClient": "remove it: get_or_set() lets one caller compute a value",
}


@dataclass(frozen=True, slots=True)
class Meaning:
    """What django-redis's options say in terms of ``CacheOptions``."""

    as_stated: dict[str, Any] = field(default_factory=dict)
    """Values that our own name must not contradict."""
    unless_stated: dict[str, Any] = field(default_factory=dict)
    """Values that our own name overrides."""


def translate(options: Mapping[str, Any], where: str) -> Meaning:
    """Translate django-redis's options.

    Raises:
        ImproperlyConfigured: For a value that has no meaning here; the message says what replaces it.
    """
    _refuse_clients(options, where)
    meaning = Meaning()
    if "IGNORE_EXCEPTIONS" in options:
        ignores = read(bool, options["IGNORE_EXCEPTIONS"], item(where, "IGNORE_EXCEPTIONS"))
        meaning.as_stated["on_error"] = "degrade" if ignores else "raise"
    elif (ignores := getattr(settings, "DJANGO_REDIS_IGNORE_EXCEPTIONS", None)) is not None:
        meaning.unless_stated["on_error"] = "degrade" if ignores else "raise"
    if "SERIALIZER" in options:
        meaning.as_stated["serializer"] = _same_codec(options, "SERIALIZER", SERIALIZERS, where)
    if "COMPRESSOR" in options:
        meaning.as_stated["compress"] = _same_codec(options, "COMPRESSOR", COMPRESSORS, where)
    pool = options.get("CONNECTION_POOL_KWARGS") or {}
    if not isinstance(pool, Mapping):
        raise ImproperlyConfigured(f"{item(where, 'CONNECTION_POOL_KWARGS')} is no dict: give one.")
    if pool.get("max_connections") is not None:
        where_maximum = item(item(where, "CONNECTION_POOL_KWARGS"), "max_connections")
        meaning.unless_stated["max_connections"] = read(Count, pool["max_connections"], where_maximum)
    if options.get("SOCKET_TIMEOUT") is not None:
        where_timeout = item(where, "SOCKET_TIMEOUT")
        meaning.unless_stated["deadline"] = read(Seconds, options["SOCKET_TIMEOUT"], where_timeout)
    return meaning


def _refuse_clients(options: Mapping[str, Any], where: str) -> None:
    name = str(options.get("CLIENT_CLASS", "")).rpartition(".")[2]
    if name in REFUSED_CLIENTS:
        raise ImproperlyConfigured(
            f"{item(where, 'CLIENT_CLASS')} is {name}, which is not supported: {REFUSED_CLIENTS[name]}."
        )


def _same_codec(options: Mapping[str, Any], name: str, known: Mapping[str, Any], where: str) -> Any:
    path = options[name]
    if path in known:
        return known[path]
    if name == "SERIALIZER" and path in known.values():
        return path
    hint = did_you_mean(path, known) if isinstance(path, str) else ""
    raise ImproperlyConfigured(
        f"{item(where, name)} is {path!r}: only django-redis's own classes have a meaning here.{hint} "
        f"Remove it, and state SERIALIZER or COMPRESS in {item(where, 'CALLCACHE')}."
    )
