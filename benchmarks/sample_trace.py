"""The sample project's traffic as a trace for `manage.py callcache_simulate`.

    python -m benchmarks.sample_trace desks desks.csv       # what the demo's desks do around each call
    python -m benchmarks.sample_trace screens screens.csv   # what `benchmarks.ttl_live` plays, uncompressed

At the desks nearly every read comes just before or after the change of what is read; screens are read whether
anything changes or not.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import UTC, timedelta
from pathlib import Path

import django

from benchmarks.ttl_live import Event as Happening
from benchmarks.ttl_live import schedule

DAYS = 5
SCREEN_HOURS = 24.0
BEFORE, AFTER = 60.0, 30.0
"""Seconds around a call in which a desk looks at its records."""


def main() -> None:
    """Write the trace."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("traffic", choices=("desks", "screens"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--seed", type=int, default=7, help="for screens")
    options = parser.parse_args()
    django.setup()
    from django_callcache.stats.traces import write_trace
    from django_callcache.ttl.simulation import Event

    found = desks() if options.traffic == "desks" else screens(schedule(SCREEN_HOURS, options.seed))
    events = (Event(at, f"{key.partition(':')[0]}:", key, changes) for at, key, changes in found)
    write_trace(options.file, sorted(events))


def desks() -> Iterator[tuple[float, str, bool]]:
    """The first days of calls, with what a desk reads before, during and after each."""
    from testproject.crm.bank_calls import read_calls

    last = None
    for call in read_calls():
        started_at = call.started_at.replace(tzinfo=UTC)
        last = last or started_at + timedelta(days=DAYS)
        if started_at > last:
            return
        begins = started_at.timestamp()
        ends = begins + call.duration_seconds
        campaign, contact = f"campaign:{call.month.number}", f"contact:{call.contact}"
        for at, key in ((begins - BEFORE, campaign), (begins - BEFORE, contact), (begins, contact)):
            yield at, key, False
        for key in (campaign, contact, f"call:{call.number}"):
            yield ends, key, True
        for key in (f"call:{call.number}", f"call:{call.number}", contact, campaign):
            yield ends + AFTER, key, False


def screens(events: list[Happening]) -> Iterator[tuple[float, str, bool]]:
    """What is read and changed by the schedule of the live run."""
    begun = 0
    for event in events:
        if event.kind == "call":
            for key in (f"call:{begun}", f"campaign:{event.number}", f"contact:{event.other}"):
                yield event.at, key, True
            begun += 1
        elif event.kind == "update":
            yield event.at, f"call:{event.number}", True
        elif event.name != "call":
            yield event.at, f"{event.name}:{event.number}", False
        elif event.number < begun:
            yield event.at, f"call:{begun - 1 - event.number}", False


if __name__ == "__main__":
    main()
