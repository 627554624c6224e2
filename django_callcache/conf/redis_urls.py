"""Addresses of Redis servers, parted from the credentials in them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

from django.core.exceptions import ImproperlyConfigured

SCHEMES = {"redis": "redis", "rediss": "rediss", "unix": "unix", "valkey": "redis", "valkeys": "rediss"}
"""What an address may begin with, and what redis-py calls it."""

CLUSTER = "+cluster"
"""What follows the scheme where the servers named are nodes of a Redis Cluster."""

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
    return re.split(r",(?=[\w+]+://)", urls)


def is_cluster(location: object) -> bool:
    """Tell whether a ``LOCATION`` names nodes of a Redis Cluster."""
    several = location if isinstance(location, list | tuple | set) else (location,)
    return any(_scheme_of(str(url)).endswith(CLUSTER) for url in several)


def nodes_of_cluster(location: object) -> list[str]:
    """The addresses of the nodes that a ``LOCATION`` names, one of each, without ``+cluster``.

    ``redis+cluster://user:password@one:7000,two:7000`` names two; a list of such addresses does as well.

    Raises:
        ImproperlyConfigured: Not all of them are of a cluster, or one names a database. The message does
            not show them.
    """
    stated = location if isinstance(location, list | tuple | set) else split_addresses(str(location))
    return [node for url in stated for node in _nodes_in(str(url).strip())]


def part_credentials(url: str, where: str) -> RedisAddress:
    """Part an address from the user name and the password in it, percent-encoding undone.

    Raises:
        ImproperlyConfigured: If it is no address of a Redis server. The message does not show it.
    """
    if is_cluster(url):
        return _part_cluster([part_credentials(node, where) for node in nodes_of_cluster(url)])
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


def _nodes_in(url: str) -> Iterable[str]:
    scheme = _scheme_of(url)
    plain = SCHEMES.get(scheme.removesuffix(CLUSTER))
    rest = url.partition("://")[2]
    hosts, slash, tail = rest.partition("/") if "/" in rest else rest.partition("?")
    database = tail.partition("?")[0] if slash == "/" else ""
    if not scheme.endswith(CLUSTER) or plain in (None, "unix"):
        raise ImproperlyConfigured(
            "LOCATION names nodes of a Redis Cluster beside something else: begin each address with "
            "redis+cluster:// or rediss+cluster://, or none."
        )
    if database.strip("0"):
        raise ImproperlyConfigured(
            f"LOCATION names database {database} of a Redis Cluster, which has database 0 alone: leave it "
            "out, and tell aliases apart by KEY_PREFIX."
        )
    credentials, at, places = hosts.rpartition("@")
    for place in places.split(","):
        yield f"{plain}://{credentials}{at}{place}{slash}{tail}"


def _part_cluster(nodes: list[RedisAddress]) -> RedisAddress:
    """One address of several nodes, which share what was said of the first."""
    first = nodes[0]
    scheme, _, rest = first.url.partition("://")
    host, *_ = re.split(r"[/?]", rest, maxsplit=1)
    places = ",".join(re.split(r"[/?]", node.url.partition("://")[2], maxsplit=1)[0] for node in nodes)
    return RedisAddress(
        f"{scheme}{CLUSTER}://{places}{rest.removeprefix(host)}", first.username, first.password
    )


def _scheme_of(url: str) -> str:
    return url.partition("://")[0].strip().lower()


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
