"""Addresses of Redis servers, parted from the credentials in them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

from django.core.exceptions import ImproperlyConfigured

SCHEMES = {"redis": "redis", "rediss": "rediss", "unix": "unix", "valkey": "redis", "valkeys": "rediss"}
"""What an address may begin with, and what redis-py calls it."""

UNREADABLE = (
    "cannot be read as an address (it may hold a password and is not shown here): give redis://host:6379/0, "
    "with '%40' for '@', '%2F' for '/' and '%23' for '#' in a password, or state the password apart"
)


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """One server's address, and the credentials that stood in it."""

    url: str
    """The address without credentials."""
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)


def as_redis_url(url: str) -> str:
    """Write ``valkey://`` and ``valkeys://`` as the schemes that redis-py knows; the rest stays as it is."""
    scheme, separator, rest = url.partition("://")
    known = SCHEMES.get(scheme.lower()) if separator else None
    return f"{known}://{rest}" if known else url


def split_addresses(urls: str) -> list[str]:
    """Part the addresses of a primary and its replicas, which commas separate as in django-redis."""
    return re.split(r",(?=\w+://)", urls)


def part_credentials(url: str, where: str) -> RedisAddress:
    """Part an address from the user name and the password in it, percent-encoding undone.

    Raises:
        ImproperlyConfigured: If it is no address of a Redis server. The message does not show it.
    """
    parts = _split(as_redis_url(url.strip()), where)
    query = parse_qsl(parts.query, keep_blank_values=True)
    in_query = dict(query)
    host = parts.netloc.rpartition("@")[2]
    rest = urlencode([(name, value) for name, value in query if name not in ("username", "password")])
    # redis-py lets the query win over what stands before the host.
    return RedisAddress(
        url=f"{parts.scheme}://{host}{parts.path}{rest and '?' + rest}",
        username=in_query.get("username") or unquote(parts.username or ""),
        password=in_query.get("password") or unquote(parts.password or ""),
    )


def _split(url: str, where: str) -> SplitResult:
    known = url.partition("://")[0] in SCHEMES.values()
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        known = False
    if not known or parts.fragment or port == 0 or (parts.scheme != "unix" and not _is_database(parts.path)):
        # Outside the handler: the message of urllib quotes what it could not read.
        raise ImproperlyConfigured(f"{where} {UNREADABLE}.")
    return parts


def _is_database(path: str) -> bool:
    return path in ("", "/") or path.removeprefix("/").removesuffix("/").isdecimal()
