"""TTL policies on the sample project: a real Redis, a real database, rows that change, time compressed.

    python -m benchmarks.ttl_live                     # eight hours in eight minutes
    python -m benchmarks.ttl_live --hours 4 --factor 20

Calls are recorded past the cache, as another system would; each changes its campaign, its contact and,
while it lasts, its own row. Screens read campaigns, contacts and calls through one cache for each policy, all
at the same moments. A read is stale if it is not what the database holds. The schedule is drawn from a seed.

All TTLs are divided by the factor. Hours of the day are not, so the traffic has no rhythm: the rule of peak
hours is in a peak hour all the time, and what `adaptive` knows of hours is left out.

The cost is loads + eta * stale reads, of 100 reads, after a quarter of the time as warm-up. It must fall in
this order: fixed TTL, peak-hour, adaptive, adaptive with a poll that deletes what has changed.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import sys
import tempfile
import time
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from itertools import accumulate
from typing import Any

import django
from django.conf import settings
from django.core.cache import caches
from django.core.management import call_command
from django.db.models import F
from django.utils import timezone

from testproject.parts.redis_server import RedisServer

HOUR = 3600.0
ETA = 12.0
SYNC_SECONDS = 300.0
CAMPAIGNS, CONTACTS = 26, 800
CALLS_AN_HOUR, READS_AN_HOUR = 60, 2400
CALL_SECONDS, CALL_UPDATES = 300.0, 3
WARM_UP = 0.25
ORDER = ("fixed", "peak-hour", "adaptive", "adaptive + sync")

Record = dict[str, Any]


@dataclass
class Screen:
    """One policy's cache, and what came of reading through it."""

    name: str
    alias: str
    is_synced: bool = False
    reads: int = 0
    loads: int = 0
    stale: int = 0

    @property
    def cost(self) -> float:
        """Of 100 reads."""
        return 100 * (self.loads + ETA * self.stale) / max(self.reads, 1)


SCREENS = {
    "fixed": HOUR,
    "fixed 600 s": 600.0,
    "fixed 60 s": 60.0,
    "peak-hour": "peak-hour",
    "adaptive": "adaptive",
    "adaptive + sync": "adaptive",
}
"""TTL of each cache: seconds before they are divided, or a policy."""


@dataclass(order=True)
class Event:
    """Something that happens, in seconds before they are divided."""

    at: float
    kind: str = field(compare=False)
    """``call``, ``update`` of a call, or ``read``."""
    name: str = field(compare=False, default="")
    """What is read."""
    number: int = field(compare=False, default=0)
    other: int = field(compare=False, default=0)


def main() -> int:
    """Run, print, and return 0 if the order holds."""
    options = _options()
    with ExitStack() as stack:
        server = stack.enter_context(RedisServer())
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        _set_up(server.url, folder, options.factor)
        screens = [
            Screen(name, f"screen{number}", name.endswith("sync")) for number, name in enumerate(SCREENS)
        ]
        site = Site(screens, options.factor)
        began = time.monotonic()
        lag = site.play(schedule(options.hours, options.seed), options.hours)
        taken = time.monotonic() - began
    print(
        f"{options.hours:g} hours at a factor of {options.factor:g}, seed {options.seed}; "
        f"delayed by {lag:.0f} s, on average {options.hours * HOUR / taken:.1f} times as fast\n"
    )
    for screen in screens:
        share = 100 / screen.reads
        print(
            f"{screen.name:18}{screen.loads * share:7.1f} loads{screen.stale * share:8.2f} stale"
            f"{screen.cost:9.1f} cost   of 100 reads, {screen.reads} in all"
        )
    costs = [next(screen.cost for screen in screens if screen.name == name) for name in ORDER]
    holds = costs == sorted(costs, reverse=True)
    print(f"\nThe order {' > '.join(ORDER)} {'holds' if holds else 'does not hold'} by cost, eta {ETA:g}.")
    return 0 if holds else 1


class Site:
    """The database that changes, and the screens that show it."""

    def __init__(self, screens: list[Screen], factor: float) -> None:
        from testproject.crm import models, records  # Django must be set up first

        self._screens = screens
        self._factor = factor
        self._models, self._records = models, records
        self._calls: list[int] = []
        self._truth: dict[str, Record] = {}
        self._fill()

    def play(self, events: list[Event], hours: float) -> float:
        """Let everything happen at its time; return the seconds by which the machine delayed it in all.

        What comes late shifts all that follows: to catch up would be to let time go faster than stated.
        """
        began, delayed = time.monotonic(), 0.0
        next_sync = SYNC_SECONDS
        for event in events:
            if event.at >= next_sync:
                self._sync()
                next_sync += SYNC_SECONDS
            due = began + event.at / self._factor
            while (left := due - time.monotonic()) > 0:
                time.sleep(left)
            began, delayed = began - left, delayed - left
            if event.kind == "read":
                self._read(event, counts=event.at >= WARM_UP * hours * HOUR)
            else:
                getattr(self, f"_{event.kind}")(event)
        return delayed

    def _fill(self) -> None:
        """Take campaigns and contacts from the data set, with the counters that its calls give them."""
        call_command("loadcalls", stdout=io.StringIO())
        names = {"campaign": self._models.Campaign, "contact": self._models.Contact}
        keys = {
            name: list(model.objects.order_by("pk").values_list("pk", flat=True))
            for name, model in names.items()
        }
        self._keys = {"campaign": keys["campaign"], "contact": keys["contact"][:CONTACTS]}
        for name, numbers in self._keys.items():
            for pk in numbers:
                self._changed(name, pk)

    def _changed(self, name: str, pk: int) -> None:
        self._truth[f"{name}:{pk}"] = self._load(name, pk)

    def _load(self, name: str, pk: int) -> Record:
        model = getattr(self._models, name.capitalize())
        record: Record = getattr(self._records, f"{name}_record")(model.objects.get(pk=pk))
        return record

    def _call(self, event: Event) -> None:
        """A call begins: its own row is new, its campaign and contact count it."""
        campaign, contact = self._of("campaign", event.number), self._of("contact", event.other)
        models, now = self._models, timezone.now()
        call = models.Call.objects.create(
            campaign_id=campaign, contact_id=contact, started_at=now, duration_seconds=0, channel="cellular"
        )
        models.Campaign.objects.filter(pk=campaign).update(calls_made=F("calls_made") + 1)
        models.Contact.objects.filter(pk=contact).update(calls_made=F("calls_made") + 1, last_called_at=now)
        self._calls.append(call.pk)
        for name, pk in (("call", call.pk), ("campaign", campaign), ("contact", contact)):
            self._changed(name, pk)

    def _update(self, event: Event) -> None:
        """A call goes on."""
        pk = self._calls[event.number]
        self._models.Call.objects.filter(pk=pk).update(duration_seconds=F("duration_seconds") + event.other)
        self._changed("call", pk)

    def _read(self, event: Event, *, counts: bool) -> None:
        if event.name == "call":
            if event.number >= len(self._calls):
                return
            pk = self._calls[-1 - event.number]
        else:
            pk = self._of(event.name, event.number)
        key = f"{event.name}:{pk}"
        for screen in self._screens:
            cache = caches[screen.alias]
            value = cache.get(key)
            is_loaded = value is None
            if is_loaded:
                value = self._load(event.name, pk)
                cache.set(key, value)
            if counts:
                screen.reads += 1
                screen.loads += is_loaded
                screen.stale += value != self._truth[key]

    def _sync(self) -> None:
        """Ask the database what has changed since the last time, and delete that."""
        since = timezone.now() - timedelta(seconds=SYNC_SECONDS / self._factor * 1.1)
        lasting = timedelta(seconds=CALL_SECONDS / self._factor)
        calls = self._models.Call.objects.filter(started_at__gte=since - lasting)
        changed = {f"call:{pk}" for pk in calls.values_list("pk", flat=True)}
        for campaign, contact in calls.filter(started_at__gte=since).values_list("campaign_id", "contact_id"):
            changed |= {f"campaign:{campaign}", f"contact:{contact}"}
        for screen in self._screens:
            if screen.is_synced and changed:
                caches[screen.alias].delete_many(sorted(changed), polled=True)

    def _of(self, name: str, number: int) -> int:
        numbers = self._keys[name]
        return numbers[number % len(numbers)]


def schedule(hours: float, seed: int) -> list[Event]:
    """What happens, in order."""
    draw = random.Random(seed)
    events = []
    for call, at in enumerate(_times(draw, CALLS_AN_HOUR, hours)):
        events.append(Event(at, "call", number=_zipf(draw, CAMPAIGNS, 0.9), other=_zipf(draw, CONTACTS, 0.7)))
        for _ in range(CALL_UPDATES):
            at += draw.expovariate(CALL_UPDATES / CALL_SECONDS)
            events.append(Event(at, "update", number=call, other=draw.randint(10, 120)))
    for at in _times(draw, READS_AN_HOUR, hours):
        name = draw.choices(("campaign", "contact", "call"), (0.4, 0.4, 0.2))[0]
        number = {
            "campaign": lambda: _zipf(draw, CAMPAIGNS, 0.9),
            "contact": lambda: _zipf(draw, CONTACTS, 0.7),
            "call": lambda: int(draw.expovariate(1 / 20)),
        }[name]()
        events.append(Event(at, "read", name, number))
    return sorted(event for event in events if event.at < hours * HOUR)


def _times(draw: random.Random, an_hour: float, hours: float) -> Iterator[float]:
    at = draw.expovariate(an_hour / HOUR)
    while at < hours * HOUR:
        yield at
        at += draw.expovariate(an_hour / HOUR)


def _zipf(draw: random.Random, count: int, exponent: float) -> int:
    """One of so many, the first the likeliest."""
    return bisect_left(_shares(count, exponent), draw.random())


@cache
def _shares(count: int, exponent: float) -> tuple[float, ...]:
    weights = [1 / rank**exponent for rank in range(1, count + 1)]
    return tuple(total / sum(weights) for total in accumulate(weights))


def _set_up(redis_url: str, folder: str, factor: float) -> None:
    """The sample project on a database of its own, with a cache for each policy."""
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "testproject.settings",
        "SAMPLE_DATABASE": f"{folder}/live.sqlite3",
        "REDIS_URL": redis_url,
        "SAMPLE_LOG_LEVEL": "ERROR",  # the server is gone before the last counts are handed over
    }
    for number, ttl in enumerate(SCREENS.values()):
        rule = {"ttl": ttl / factor if isinstance(ttl, float) else ttl}
        own = {"RULES": {f"{name}:": rule for name in ("campaign", "contact", "call")}, "NEAR": False}
        settings.CACHES[f"screen{number}"] = {
            "BACKEND": "django_callcache.cache.CallCache",
            "LOCATION": redis_url,
            "KEY_PREFIX": f"screen{number}",
            "OPTIONS": {"CALLCACHE": {**own, "DEADLINE": 10}},
        }
    settings.CALLCACHE["TTL"] = {
        "DEFAULT_TTL": HOUR / factor,
        "PEAK_TTL": HOUR / 2 / factor,
        "MAX_TTL": HOUR / factor,
        "MIN_TTL": 1 / factor,
        "ETA": ETA,
        "USAGE_THRESHOLD": 0,
        "WARMUP_HOURS": 0,
    }
    django.setup()
    call_command("migrate", verbosity=0)
    for number in range(len(SCREENS)):
        screen = caches[f"screen{number}"]
        screen.get("any:1")
        screen.flush_stats()
        screen._runtime.read_profile()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--hours", type=float, default=8.0, help="hours of traffic")
    parser.add_argument("--factor", type=float, default=60.0, help="how much faster time goes")
    parser.add_argument("--seed", type=int, default=7, help="of the schedule")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
