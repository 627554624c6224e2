"""Print the Redis user that the caches need."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from django_callcache.acl import rules_of
from django_callcache.maintenance import cache_of, own_aliases


def server_version(text: str) -> tuple[int, int]:
    """Read a version of Redis, such as 7.0."""
    major, _, minor = text.partition(".")
    if not major.isdecimal() or not (minor or "0").partition(".")[0].isdecimal():
        raise ArgumentTypeError(f"{text!r} is no version of Redis, such as 7.0")
    return int(major), int((minor or "0").partition(".")[0])


class Command(BaseCommand):
    """Prints the rules of a user who may do what the caches need, on their own keys, and nothing else."""

    help = (
        "Print the ACL of a Redis user for the caches of this backend: reads, writes and scripts on their "
        "own keys, no administration, no keys of others. Nothing is sent to Redis; enter the line there "
        "yourself, with a password in place of PASSWORD. Exit codes: 0 done, 2 wrong usage or configuration."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--alias", help="Cache alias (default: every alias of this backend).")
        parser.add_argument("--user", default="callcache", help="Name of the user (default: %(default)s).")
        parser.add_argument(
            "--server-version",
            type=server_version,
            default=(7, 2),
            metavar="VERSION",
            help="Version of the server, as 6.2; older ones know fewer rules (default: 7.2).",
        )

    def handle(
        self, *, alias: str | None, user: str, server_version: tuple[int, int], **options: Any
    ) -> None:
        try:
            caches = [cache_of(name) for name in ([alias] if alias else own_aliases())]
            clustered = any(cache.redis_keys.is_clustered for cache in caches)
            prefixes = [cache.key_prefix for cache in caches]
            rules = rules_of(prefixes, version=server_version, clustered=clustered)
        except (ImproperlyConfigured, ValueError, KeyError) as error:
            raise CommandError(str(error), returncode=2) from error
        self.stdout.write(f"ACL SETUSER {user} on >PASSWORD resetkeys resetchannels {' '.join(rules)}")
