"""Where dictionaries are kept: in Redis, for the processes; in the database, for when Redis has lost them.

The database says what there is, and `restore` makes Redis agree, as often as it is called. So a dictionary is
first written here: a trainer that dies in between leaves the rest to the next pass of the loop.
"""

from __future__ import annotations

import datetime
import logging
from collections.abc import Iterator
from itertools import chain, islice
from typing import cast

from django.db import router, transaction
from django.utils import timezone

from django_callcache.codec import Dictionary
from django_callcache.codec.blob import START_BYTES, dictionary_id_of
from django_callcache.codec.dictionary_records import CURRENT
from django_callcache.exceptions import TrainingRefused, Undecodable
from django_callcache.lua import Script, run_scripts
from django_callcache.models import CompressionDictionary, CompressionDictionaryQuerySet
from django_callcache.outbox.dirty import DirtyEntries
from django_callcache.training.learning import Trial
from django_callcache.training.subject import Subject

logger = logging.getLogger(__name__)

PRUNE_AFTER = datetime.timedelta(days=1)
"""How long ago a dictionary must have been replaced: every process has long stopped writing with it."""

READ_CHUNK = 500
"""Values looked at in one round trip."""

START_OF_COPY = Script("return string.sub(redis.call('HGET', KEYS[1], 'g') or '', 1, ARGV[1])")
"""The first bytes of a stale copy, empty for none. KEYS: the side record. ARGV: how many."""


def keep(cache: Subject, prefix: str, trial: Trial) -> CompressionDictionary:
    """Let new values of a prefix be compressed with a dictionary; old values keep theirs.

    Raises:
        TrainingRefused: Another dictionary has the same id, as one pair in four billion does.
        redis.RedisError: The processes were not told; the next pass of the loop tells them.
    """
    dictionary, now = trial.dictionary, timezone.now()
    record, name = cache.dictionary_records.seal(dictionary), dictionary.id.hex()
    rows = _rows(cache)
    for other in rows.filter(dictionary_id=name):
        if _data_of(cache, other) not in (None, dictionary.data):
            raise TrainingRefused(f"Another dictionary is named {name} too: train with another --size.")
    with transaction.atomic(using=rows.db):
        present = rows.current().filter(prefix=prefix)
        present.exclude(dictionary_id=name).update(is_current=False, retired_at=now)
        row, _ = rows.update_or_create(
            alias=cache.alias,
            prefix=prefix,
            dictionary_id=name,
            defaults={
                "record": record,
                "size": len(dictionary.data),
                "samples": trial.samples,
                "bytes_before": trial.bytes_before,
                "bytes_after": trial.bytes_after,
                "trained_at": now,
                "is_current": True,
                "retired_at": None,
            },
        )
    restore(cache)
    return cast("CompressionDictionary", row)


def restore(cache: Subject) -> int:
    """Write to Redis what it lacks, or holds altered, of the dictionaries in the database.

    Records that were sealed with a secret which is being phased out are sealed anew. This process learns
    all dictionaries.

    Returns:
        How many fields were written.

    Raises:
        redis.RedisError: Redis cannot be read or written.
    """
    rows = list(_rows(cache).order_by("prefix", "pk"))
    for row in rows:
        _seal_anew(cache, row)
    wanted = {row.dictionary_id.encode(): bytes(row.record) for row in rows}
    client, name = cache.redis_client(), cache.redis_keys.dictionaries()
    held = cast("dict[bytes, bytes]", client.hgetall(name))
    current = {row.prefix: bytes.fromhex(row.dictionary_id) for row in rows if row.is_current}
    if current or CURRENT in held:
        wanted[CURRENT] = cache.dictionary_records.seal_current(current)
    missing = {field: record for field, record in wanted.items() if held.get(field) != record}
    if missing:
        client.hset(name, mapping=missing)
        logger.info("alias=%s dictionaries=written fields=%d", cache.alias, len(missing))
    if held or missing:
        cache.read_dictionaries()
    return len(missing)


def prune(cache: Subject, *, now: datetime.datetime | None = None) -> list[CompressionDictionary]:
    """Delete the dictionaries that nothing needs any more; return them.

    A dictionary goes when it was replaced a day ago or longer and no value of the alias, and no entry that
    waits for the remote store, names it. For that the first bytes of every value are read.

    Raises:
        TrainingRefused: The outbox holds entries of another release, which may need any.
        redis.RedisError: Redis cannot be read or written.
    """
    rows = _rows(cache)
    old = list(rows.filter(is_current=False, retired_at__lte=(now or timezone.now()) - PRUNE_AFTER))
    if not old:
        return []
    needed = set(_needed(cache))
    gone = [row for row in old if row.dictionary_id not in needed]
    others = rows.exclude(pk__in=[row.pk for row in gone]).values_list("dictionary_id", flat=True)
    fields = {row.dictionary_id for row in gone} - set(others)
    if fields:
        cache.redis_client().hdel(cache.redis_keys.dictionaries(), *fields)
    rows.filter(pk__in=[row.pk for row in gone]).delete()
    return gone


def _rows(cache: Subject) -> CompressionDictionaryQuerySet:
    # A replica may not have yet what was just written, and Redis would be told so.
    database = router.db_for_write(CompressionDictionary)
    return CompressionDictionary.objects.using(database).for_alias(cache.alias)


def _seal_anew(cache: Subject, row: CompressionDictionary) -> None:
    records, record = cache.dictionary_records, bytes(row.record)
    if records.is_sealed_by_the_newest_secret(record):
        return
    data = _data_of(cache, row)
    if data is None:
        logger.error("alias=%s dictionary=%s unreadable", cache.alias, row.dictionary_id)
        return
    row.record = records.seal(Dictionary(data))
    row.save(update_fields=("record",))


def _data_of(cache: Subject, row: CompressionDictionary) -> bytes | None:
    """The dictionary in a row; None where no secret of today opens it."""
    try:
        return cache.dictionary_records.open(bytes(row.record), bytes.fromhex(row.dictionary_id)).data
    except Undecodable:
        return None


def _needed(cache: Subject) -> Iterator[str]:
    """Yield the ids that values, stale copies and waiting entries name."""
    client = cache.redis_client()
    for start in chain(_starts_of_values(cache), _starts_of_copies(cache)):
        # Sets and hashes answer with an error; their members are written without dictionaries.
        dictionary_id = dictionary_id_of(start) if isinstance(start, bytes) else None
        if dictionary_id is not None:
            yield dictionary_id.hex()
    for blob in DirtyEntries(client, cache.redis_keys).blobs():
        if blob is None:
            raise TrainingRefused(
                "The outbox holds entries of another release, which may need any dictionary."
            )
        dictionary_id = dictionary_id_of(blob[:START_BYTES])
        if dictionary_id is not None:
            yield dictionary_id.hex()


def _starts_of_values(cache: Subject) -> Iterator[object]:
    client = cache.redis_client()
    scan = client.scan_iter(match=cache.glob, count=READ_CHUNK)
    while redis_keys := list(islice(scan, READ_CHUNK)):
        pipeline = client.pipeline(transaction=False)
        for redis_key in redis_keys:
            pipeline.getrange(redis_key, 0, START_BYTES - 1)
        yield from pipeline.execute(raise_on_error=False)


def _starts_of_copies(cache: Subject) -> Iterator[object]:
    client = cache.redis_client()
    scan = client.scan_iter(match=cache.redis_keys.sides(), count=READ_CHUNK)
    while sides := list(islice(scan, READ_CHUNK)):
        yield from run_scripts(client, START_OF_COPY, [((side,), (START_BYTES,)) for side in sides])
