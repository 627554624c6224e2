"""Reads and changes as TTL policies are simulated on: from a file, or drawn from recorded hours."""

from __future__ import annotations

import csv
import math
import random
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from django_callcache.exceptions import TraceRefused
from django_callcache.models import CacheStat
from django_callcache.outbox.trace_log import READ, REMOVAL, TraceEvent
from django_callcache.ttl.profile import HOUR
from django_callcache.ttl.simulation import Event

COLUMNS = ("at", "event", "prefix", "key")
"""Of a trace file: unix seconds; ``read`` or ``change``; prefix and key, however spelt."""


def read_trace(path: Path) -> list[Event]:
    """The events in a CSV file, in order of time.

    Raises:
        TraceRefused: The file cannot be read, or is no trace.
    """
    try:
        with path.open(newline="") as file:
            rows = csv.DictReader(file)
            if tuple(rows.fieldnames or ()) != COLUMNS:
                raise TraceRefused(f"{path} is no trace: its first line must be {','.join(COLUMNS)}.")
            events = [_event(path, number, row) for number, row in enumerate(rows, start=2)]
    except (OSError, UnicodeDecodeError) as error:
        raise TraceRefused(f"{path} cannot be read: {error}.") from error
    return sorted(events, key=lambda event: event.at)


def write_trace(path: Path, events: Iterable[Event]) -> None:
    """Write a trace file."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        for event in events:
            kind = "change" if event.is_change else "read"
            rows.writerow((f"{event.at:.3f}", kind, event.prefix, event.key))


def from_hours(rows: Iterable[CacheStat], changes_an_hour: Mapping[str, float], seed: int) -> list[Event]:
    """Draw events that have the recorded number of reads, by hour, prefix and hot key.

    When within its hour a read falls, which of the keys that are not hot it is of, and when a row changes
    is drawn at random: the last as often as stated, alike for all keys of a prefix.

    Args:
        rows: The hours.
        changes_an_hour: Of one key, by prefix.
        seed: The same seed draws the same events.
    """
    draw = random.Random(seed)  # noqa: S311
    events: list[Event] = []
    for row in sorted(rows, key=lambda row: (row.hour, row.prefix)):
        starts = row.hour.timestamp()
        hot = {str(key): int(reads) for key, reads in row.hot_keys}
        others = max(row.distinct_keys - len(hot), 1)
        rest = max(row.gets - sum(hot.values()), 0)
        names = [name for name, reads in hot.items() for _ in range(reads)]
        names += [f"{row.prefix}#{draw.randrange(others)}" for _ in range(rest)]
        events += [Event(starts + draw.uniform(0, HOUR), row.prefix, name, False) for name in names]
        for name in set(names):
            for at in _poisson(draw, changes_an_hour.get(row.prefix, 0.0)):
                events.append(Event(starts + at * HOUR, row.prefix, name, True))
    return sorted(events, key=lambda event: event.at)


def from_recording(recorded: Iterable[TraceEvent], seed: int) -> list[Event]:
    """Turn what was recorded into reads and changes.

    Reads that were counted together are spread over the seconds in which they came. A value that differs from
    the one stored before has changed when it says so; else when its key was deleted in between; else at a
    random moment in between. Of several changes between two writes one alone is seen.

    Args:
        recorded: In any order.
        seed: The same seed gives the same events.
    """
    draw = random.Random(seed)  # noqa: S311
    events: list[Event] = []
    last: dict[str, TraceEvent] = {}
    removed: dict[str, float] = {}
    for each in sorted(recorded, key=lambda event: event.at):
        if each.kind == READ:
            events += [
                Event(each.at + draw.uniform(0, each.span), each.prefix, each.key, False)
                for _ in range(each.number)
            ]
        elif each.kind == REMOVAL:
            removed.setdefault(each.key, each.at)
        else:
            before, removed_at = last.get(each.key), removed.pop(each.key, None)
            if before is not None and before.digest != each.digest:
                at = _changed_at(before.at, each, removed_at, draw)
                events.append(Event(at, each.prefix, each.key, True))
            last[each.key] = each
    return sorted(events, key=lambda event: event.at)


def _changed_at(since: float, write: TraceEvent, removed_at: float | None, draw: random.Random) -> float:
    if write.updated_at is not None and since < write.updated_at <= write.at:
        return write.updated_at
    return draw.uniform(since, write.at) if removed_at is None else removed_at


def _poisson(draw: random.Random, number: float) -> Iterator[float]:
    """Moments between 0 and 1, so many on average."""
    at = draw.expovariate(number) if number > 0 else math.inf
    while at < 1:
        yield at
        at += draw.expovariate(number)


def _event(path: Path, number: int, row: Mapping[str, str]) -> Event:
    try:
        at = float(row["at"])
    except (TypeError, ValueError):
        at = math.nan
    if not math.isfinite(at) or row["event"] not in ("read", "change") or not row["key"]:
        raise TraceRefused(f"{path}, line {number}: give seconds, 'read' or 'change', a prefix and a key.")
    return Event(at, row["prefix"], row["key"], row["event"] == "change")
