"""Writes to a synced prefix, as the cache records them."""

from __future__ import annotations

from django_callcache.outbox.dirty import RECORD_WRITE
from django_callcache.redis_keys import RedisKeys
from tests.topology import IS_CLUSTER

KEYS = RedisKeys("crm", clustered=IS_CLUSTER)
KEY = b"crm:1:call:7"


def record(client, op, key=KEY, *, px="", blob=b"", max_keys=1000, max_bytes=1 << 28, keys=KEYS):
    """Run RECORD_WRITE on a key such as ``crm:1:call:7``, whose remote key is ``1:call:7``."""
    names = (key, keys.side(key), keys.lease(key), *keys.outbox(key))
    remote_key = key.partition(b":")[2]
    arguments = (op, px, blob, remote_key, max_keys, max_bytes)
    return client.execute_command("EVAL", RECORD_WRITE.text, len(names), *names, *arguments)
