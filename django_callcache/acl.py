"""The least that a Redis user needs to serve a cache: for an ``ACL SETUSER`` of one's own."""

from __future__ import annotations

from collections.abc import Iterable

from django_callcache.redis_keys import ROOT

COMMANDS = (
    *("-@all", "+@read", "+@write", "+@transaction", "-@dangerous", "-@blocking"),
    *("-migrate", "-randomkey", "-swapdb", "-move", "-copy"),
    *("+ping", "+echo", "+auth", "+hello", "+select", "+time", "+info"),
    *("+eval", "+evalsha", "+script|load", "+script|exists"),
    *("+subscribe", "+unsubscribe", "+publish"),
    *(
        "+client|id",
        "+client|list",
        "+client|tracking",
        "+client|caching",
        "+client|setname",
        "+client|setinfo",
    ),
)
"""Rules that Redis 6.2 knows too. ``client|list`` tells whether the connections are there that near copies
were read through; it names clients, not keys."""

SINCE_7 = frozenset({"+client|setinfo"})
"""Rules that Redis 6.2 refuses, for it has no such subcommand; clients do without."""


IN_A_CLUSTER = ("+cluster|slots", "+command", "+asking")
"""Who has which slot, which words of a command are keys, and to ask for a key whose slot is on its way."""


def rules_of(
    prefixes: Iterable[str], *, version: tuple[int, int] = (7, 2), clustered: bool = False
) -> list[str]:
    """Return the rules of a user of the caches with these key prefixes; a password is not among them.

    Args:
        prefixes: ``KEY_PREFIX`` of each alias.
        version: Of the server.
        clustered: Whether it is a node of a Redis Cluster.

    Raises:
        ValueError: A prefix cannot stand in a rule.
    """
    rules = [rule for rule in COMMANDS if version >= (7, 2) or rule not in SINCE_7]
    rules += IN_A_CLUSTER if clustered else ()
    for prefix in dict.fromkeys(prefixes):
        if any(character.isspace() or character in "*?[]\\" for character in prefix):
            raise ValueError(
                f"KEY_PREFIX {prefix!r} has a character that an ACL rule takes for something else"
            )
        own = f"{ROOT.decode()}{prefix}:*"
        rules += [f"~{prefix}:*", f"~{own}", f"&{own}"]
    return [*rules, "&__redis__:invalidate"]
