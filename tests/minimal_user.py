"""The suite as the user that ``callcache_acl`` prints: what caches are given, and what they were refused.

``CALLCACHE_TEST_MINIMAL_USER=1`` makes the caches of the tests that user of the session's private Redis, and
a refusal fails the test it came in. The tests themselves look behind the caches as the administrator; caches
behind a proxy, and servers that tests start for themselves, stay as they are.
"""

from __future__ import annotations

import os

from django_callcache.acl import rules_of
from tests.topology import client_of, servers_of

IS_WANTED = os.environ.get("CALLCACHE_TEST_MINIMAL_USER") == "1"
NAME, PASSWORD = "minimal", "pw"
PREFIXES = (
    "",
    *"abdtux",
    "a{b}",
    "admintest",
    "bro",
    "bucket0test",
    "callcache@t",
    "crm",
    "default",
    "five",
    "hand",
    "one",
    "one-alias",
    "other",
    "per",
    "showcasetest",
    "two",
)
"""Each ``KEY_PREFIX`` of the tests' caches in that Redis."""
DISPENSABLE = ("setinfo", "maint_notifications", "slowlog")
"""What clients ask for of their own accord, and the page of the server and the doctor, and do without."""


def create(url):
    """Create the user; return the server's address with its name in it."""
    define(client_of(url), NAME, PREFIXES)
    return url.replace("//", f"//{NAME}:{PASSWORD}@", 1)


def define(admin, name, prefixes):
    """Give a user the rules for these prefixes, and nothing else."""
    servers = servers_of(admin)
    for server in servers:
        version = tuple(map(int, server.info("server")["redis_version"].split(".")[:2]))
        rules = rules_of(prefixes, version=version, clustered=len(servers) > 1)
        stated = ("reset", "resetchannels", "on", f">{PASSWORD}", *rules)
        server.execute_command("ACL", "SETUSER", name, *stated)
        server.execute_command("ACL", "LOG", "RESET")


def refusals(admin, name):
    """What the user was refused, bar what is dispensable.

    Redis 6 does not tell of CLIENT which subcommand it refused.
    """
    return [
        (entry["reason"], entry["object"])
        for server in servers_of(admin)
        for entry in server.acl_log(128)
        if entry["username"] == name
        and entry["object"] != "client"
        and not any(word in entry["object"] for word in DISPENSABLE)
    ]


def forget_refusals(admin):
    """Begin anew, so that each refusal fails one test."""
    for server in servers_of(admin):
        server.acl_log_reset()
