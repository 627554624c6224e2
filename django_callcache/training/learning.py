"""Samples of a prefix, a dictionary made of them, and a trial on values that it has not seen."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import cast

from django_callcache.codec import Codec, Dictionary
from django_callcache.codec import blob as layout
from django_callcache.codec.compression import decompress, train
from django_callcache.codec.shrinking import DICTIONARY_REACH
from django_callcache.exceptions import TrainingRefused, Undecodable
from django_callcache.models import PREFIX_LENGTH, CompressionDictionary
from django_callcache.training.subject import Subject

MIN_SAMPLES = 100
"""Values below which nothing is trained: their dictionary would know them and no others."""

HELD_BACK = 4
"""One value in so many is kept from training, and tried afterwards."""

MIN_SAVED = 0.1
"""The part of the bytes that a dictionary must save; values pay for it with a microsecond or two."""

MIN_GAIN = 0.02
"""How much smaller than with the present dictionary values must be for a new one to take its place."""

MAX_SAMPLE_BYTES = 64 * 1024 * 1024
"""Bytes of samples held in memory at most."""

READ_CHUNK = 200
"""Values read in one round trip."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What a dictionary made of values that were held back from its training."""

    dictionary: Dictionary
    samples: int
    """Values it was trained on."""
    held_back: int
    """Values it was tried on."""
    raw_bytes: int
    """Their serialized bytes."""
    payload_bytes: int
    """The same compressed with it."""
    bytes_before: int
    """What they take in Redis without a dictionary, header and seal included."""
    bytes_after: int
    """What they take with it."""
    bytes_now: int | None
    """What they take with the prefix's present dictionary, if it has one."""
    microseconds_before: float
    """Time to compress and decompress one value without a dictionary, which short values are not."""
    microseconds_after: float
    """The same with it."""

    @property
    def saved(self) -> float:
        """The part of the bytes in Redis that it saves."""
        return 1 - self.bytes_after / self.bytes_before


def learn(cache: Subject, prefix: str, *, limit: int, size: int) -> Trial:
    """Train a dictionary on values of a prefix that are in Redis now, and try it. Nothing is stored.

    Args:
        cache: Where the values are.
        prefix: Beginning of the keys: a rule's, or the text up to the first colon.
        limit: Values to look at, at most.
        size: Bytes that the dictionary may have.

    Raises:
        TrainingRefused: The prefix cannot have a dictionary, there are too few values, or it does not help.
        redis.RedisError: The values cannot be read.
    """
    codec = cache.codec_for(prefix)
    _refuse_prefix(cache, prefix, codec)
    cache.read_dictionaries()
    payloads = list(islice(_payloads(cache, prefix, codec, limit), limit))
    if len(payloads) < MIN_SAMPLES:
        raise TrainingRefused(
            f"{len(payloads)} values under {prefix!r} can be trained on, and {MIN_SAMPLES} are needed. "
            "Integers, values of more than 64 KiB and values that cannot be decoded do not count."
        )
    held_back = payloads[::HELD_BACK]
    training = [payload for number, payload in enumerate(payloads) if number % HELD_BACK]
    try:
        dictionary = train(training, size)
    except ValueError as error:
        raise TrainingRefused(
            f"The values under {prefix!r} have too little in common, or are all the same: {error}."
        ) from error
    trial = _try(codec, dictionary, len(training), held_back, _present(cache, prefix))
    _refuse_useless(trial, prefix)
    return trial


def _refuse_prefix(cache: Subject, prefix: str, codec: Codec) -> None:
    if not codec.encoding.compress:
        raise TrainingRefused(f"Compression is switched off for {prefix!r}: COMPRESS, or its rule, says so.")
    if codec.is_sensitive:
        raise TrainingRefused(
            f"{prefix!r} is a sensitive prefix: a dictionary would hold pieces of its values in clear."
        )
    if len(prefix) > PREFIX_LENGTH:
        raise TrainingRefused(f"The prefix is longer than {PREFIX_LENGTH} characters.")
    group = cache.prefix_of(prefix)
    if group != prefix:
        raise TrainingRefused(
            f"Keys that begin with {prefix!r} are handled together with others, as {group!r}. "
            "Train for that prefix, or give this one a rule of its own."
        )


def _payloads(cache: Subject, prefix: str, codec: Codec, limit: int) -> Iterator[bytes]:
    """Yield serialized values in the order of SCAN, which is as good as chance."""
    taken = 0
    for redis_keys in _chunks(_redis_keys(cache, prefix), min(READ_CHUNK, limit)):
        blobs = cast("list[bytes | None]", cache.redis_client().mget(redis_keys))
        for redis_key, blob in zip(redis_keys, blobs, strict=True):
            payload = None if blob is None else _payload(codec, blob, redis_key)
            if payload is not None and len(payload) <= DICTIONARY_REACH:
                taken += len(payload)
                if taken > MAX_SAMPLE_BYTES:
                    return
                yield payload


def _redis_keys(cache: Subject, prefix: str) -> Iterator[bytes]:
    # What a glob would take for a pattern is left open in it; the comparison is exact.
    for key in cache.iter_keys(re.sub(r"[\\*?\[\]]", "?", prefix) + "*"):
        if key.startswith(prefix) and cache.prefix_of(key) == prefix:
            yield str(cache.make_key(key)).encode()


def _payload(codec: Codec, blob: bytes, redis_key: bytes) -> bytes | None:
    try:
        return codec.serialized(blob, redis_key)
    except Undecodable:
        return None


def _present(cache: Subject, prefix: str) -> Dictionary | None:
    row = CompressionDictionary.objects.for_alias(cache.alias).current().filter(prefix=prefix).first()
    if row is None:
        return None
    try:
        return cache.dictionary_records.open(bytes(row.record), bytes.fromhex(row.dictionary_id))
    except Undecodable:
        return None


def _try(
    codec: Codec, dictionary: Dictionary, samples: int, held_back: Sequence[bytes], present: Dictionary | None
) -> Trial:
    def stored(with_dictionary: Dictionary | None) -> int:
        return sum(codec.compressed(payload, with_dictionary).stored_bytes for payload in held_back)

    return Trial(
        dictionary=dictionary,
        samples=samples,
        held_back=len(held_back),
        raw_bytes=sum(map(len, held_back)),
        payload_bytes=sum(len(codec.compressed(payload, dictionary).payload) for payload in held_back),
        bytes_before=stored(None),
        bytes_after=stored(dictionary),
        bytes_now=stored(present) if present is not None else None,
        microseconds_before=_microseconds(codec, None, held_back),
        microseconds_after=_microseconds(codec, dictionary, held_back),
    )


def _microseconds(codec: Codec, dictionary: Dictionary | None, payloads: Sequence[bytes]) -> float:
    """Time that compressing a value and decompressing it takes, at its best of three."""
    flags = layout.ZSTD if dictionary is None else layout.DICTIONARY
    frames = [
        (compressed.payload, len(payload))
        for payload in payloads
        if (compressed := codec.compressed(payload, dictionary)).flags & flags
    ]
    opened = decompress if dictionary is None else dictionary.decompress
    there = _best_of_three(lambda: [codec.compressed(payload, dictionary) for payload in payloads])
    back = _best_of_three(lambda: [opened(frame, raw_length) for frame, raw_length in frames])
    return (there + back) / len(payloads) * 1e6


def _best_of_three(work: Callable[[], object]) -> float:
    spent = []
    for _ in range(3):
        began = time.perf_counter()
        work()
        spent.append(time.perf_counter() - began)
    return min(spent)


def _refuse_useless(trial: Trial, prefix: str) -> None:
    if trial.saved < MIN_SAVED:
        raise TrainingRefused(
            f"A dictionary would save {trial.saved:.1%} of what the values under {prefix!r} take, "
            f"less than {MIN_SAVED:.0%}: nothing is stored."
        )
    if trial.bytes_now is not None and trial.bytes_after > trial.bytes_now * (1 - MIN_GAIN):
        raise TrainingRefused(
            f"The present dictionary of {prefix!r} does as well: the values held back take "
            f"{trial.bytes_now:,} bytes with it and {trial.bytes_after:,} with a new one. It stays."
        )


def _chunks(items: Iterable[bytes], size: int) -> Iterator[list[bytes]]:
    items = iter(items)
    while chunk := list(islice(items, size)):
        yield chunk
