"""Record reads and changes for `callcache_simulate`."""

from __future__ import annotations

import uuid
from argparse import ArgumentParser, ArgumentTypeError
from pathlib import Path
from typing import Any

import redis
from django.core.cache import InvalidCacheBackendError
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from django_callcache.maintenance import cache_of
from django_callcache.management.commands.callcache_simulate import positive
from django_callcache.outbox.trace_log import Recording, TraceLog
from django_callcache.stats.traces import from_recording, write_trace

MEGABYTE = 1 << 20


def share(text: str) -> float:
    """Read a share above 0, up to 1."""
    number = positive(text)
    if number > 1:
        raise ArgumentTypeError(f"{text!r} is not a share: give a number above 0 and at most 1")
    return number


class Command(BaseCommand):
    """Starts, stops and saves a recording."""

    help = (
        "Record which keys are read and when their values change, in all processes that use the cache, so "
        "that callcache_simulate can try TTL policies on it. Keys are recorded as keyed hashes, values not "
        "at all. Processes begin and end within seconds. 'start' begins a recording in place of the last "
        "one, 'stop' ends it, 'status' tells of it, 'save' writes it to a file, 'forget' deletes it; it is "
        "deleted by itself a week after its end. Exit codes: 0 done, 1 there is no recording or Redis "
        "failed, 2 wrong usage or configuration."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = ("start", "stop", "status", "save", "forget")
        parser.add_argument("action", choices=actions, help="What to do.")
        parser.add_argument("file", nargs="?", type=Path, help="With save: the CSV file that is written.")
        parser.add_argument("--alias", default="default", help="Cache alias (default: %(default)s).")
        parser.add_argument(
            "--share",
            type=share,
            default=0.1,
            help="With start: share of the keys, of which everything is recorded (default: %(default)s).",
        )
        parser.add_argument(
            "--hours", type=positive, default=24.0, help="With start: how long (default: %(default)s)."
        )
        parser.add_argument(
            "--megabytes",
            type=positive,
            default=16.0,
            help="With start: memory of Redis at which the recording ends (default: %(default)s).",
        )
        parser.add_argument("--prefix", default="", help="With start: only keys that begin so.")
        parser.add_argument(
            "--seed", type=int, default=1, help="With save: for moments nobody knows (default: %(default)s)."
        )

    def handle(self, **options: Any) -> None:
        try:
            cache = cache_of(options["alias"])
            log = TraceLog(cache.redis_client(), cache.redis_keys)
            getattr(self, f"_{options['action']}")(log, options)
        except (ImproperlyConfigured, InvalidCacheBackendError) as error:
            raise CommandError(str(error), returncode=2) from error
        except redis.RedisError as error:
            raise CommandError(f"Redis failed: {type(error).__name__}", returncode=1) from error

    def _start(self, log: TraceLog, options: dict[str, Any]) -> None:
        recording = log.start(
            uuid.uuid4().hex,
            seconds=options["hours"] * 3600,
            share=options["share"],
            most_bytes=int(options["megabytes"] * MEGABYTE),
            prefix=options["prefix"],
        )
        self._tell(log, recording)

    def _stop(self, log: TraceLog, options: dict[str, Any]) -> None:
        if not log.stop():
            raise CommandError(_NONE, returncode=1)
        self.stdout.write("The recording has ended; processes hear of it within seconds.")

    def _status(self, log: TraceLog, options: dict[str, Any]) -> None:
        self._tell(log, _found(log))

    def _save(self, log: TraceLog, options: dict[str, Any]) -> None:
        path = options["file"]
        if path is None:
            raise CommandError("Name the file: callcache_trace save trace.csv", returncode=2)
        _found(log)
        events = from_recording(tqdm(log.events(), "Reading", leave=False, disable=None), options["seed"])
        try:
            write_trace(path, events)
        except OSError as error:
            raise CommandError(f"Cannot write {path}: {error.strerror}", returncode=2) from error
        changes = sum(event.is_change for event in events)
        self.stdout.write(f"{len(events) - changes:,} reads and {changes:,} changes are in {path}.")

    def _forget(self, log: TraceLog, options: dict[str, Any]) -> None:
        log.forget()
        self.stdout.write("No recording is kept.")

    def _tell(self, log: TraceLog, recording: Recording) -> None:
        left = recording.until - log.now()
        state = "full" if recording.is_full else f"{left / 3600:.1f} hours left" if left > 0 else "ended"
        of = f"keys that begin with {recording.prefix!r}" if recording.prefix else "all keys"
        self.stdout.write(
            f"Recording: {state}; {recording.share:.2%} of {of}; "
            f"{recording.bytes / MEGABYTE:.1f} of {recording.most_bytes / MEGABYTE:.1f} MB."
        )


_NONE = "There is no recording. Begin one: manage.py callcache_trace start"


def _found(log: TraceLog) -> Recording:
    recording = log.recording()
    if recording is None:
        raise CommandError(_NONE, returncode=1)
    return recording
