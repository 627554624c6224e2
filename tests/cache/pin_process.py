"""A process that uses a cache: prints the TTL that a write gets whenever a line comes in."""

from __future__ import annotations

import json
import sys

import django
from django.conf import settings


def main():
    settings.configure(
        SECRET_KEY="the same in all processes",
        CACHES={"default": json.loads(sys.argv[1])},
        CALLCACHE={"STATS": {"FLUSH_INTERVAL": 0.1}},
    )
    django.setup()
    from django.core.cache import caches

    cache = caches["default"]
    for key in map(str.strip, sys.stdin):
        cache.set(key, "value")
        sys.stdout.write(f"{cache.pttl(key)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
