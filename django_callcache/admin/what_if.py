"""What another TTL would do to a prefix, as far as a recording or the hourly rows let anybody tell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from django_callcache.admin.aliases import Alias
from django_callcache.admin.prefixes import PrefixFacts
from django_callcache.conf import get_settings, parameters_of
from django_callcache.live import FAULTS
from django_callcache.models import CacheStat
from django_callcache.outbox.trace_log import TraceEvent, TraceLog
from django_callcache.stats.traces import from_recording
from django_callcache.ttl import TtlParameters
from django_callcache.ttl.forecast import Keys, cheapest, classes, expected, read_rate
from django_callcache.ttl.profile import HOUR
from django_callcache.ttl.simulation import Event, simulate

NEEDED_READS = 200
"""Below them nothing is said."""
MOST_LOOKED_AT = 40_000
"""Events of a recording that are looked at, of all prefixes."""
MOST_REPLAYED = 6_000
"""Events of the prefix that are replayed."""
LONGEST_TTL = 30 * 86400.0


class WhatIfForm(forms.Form):
    """What is to be tried."""

    ttl = forms.FloatField(label=_("TTL to try, in seconds"), min_value=1, max_value=LONGEST_TTL)
    changes = forms.FloatField(
        label=_("Changes of a key an hour"),
        min_value=0.0001,
        max_value=3600,
        required=False,
        help_text=_("Left empty, as the policy has learnt."),
    )
    eta = forms.FloatField(
        label=_("Loads that a stale read is worth"),
        min_value=0.01,
        max_value=10_000,
        required=False,
        help_text=_("Left empty, as the settings say."),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""
        for field in self.fields.values():
            field.widget.attrs |= {"dir": "ltr", "step": "any"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One TTL, or what was measured."""

    name: str
    ttl_seconds: float | None = None
    hit_ratio: float | None = None
    loads: float | None = None
    """Of the reads, as a share."""
    stale: float | None = None
    """Of the reads, as a share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What may be said."""

    basis: str
    """``recording``, ``hours``, or nothing where there is not enough."""
    reads: int
    lines: tuple[Line, ...] = ()
    changes_an_hour: float | None = None
    changes_from: str = ""
    """``stated``, ``learnt`` or ``recorded``."""
    eta: float = 0.0
    missing: int = 0
    """Reads that are missing for an answer."""


def what_if(alias: Alias, facts: PrefixFacts, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the form, and the answer where something was asked.

    Args:
        alias: Of the cache.
        facts: What is known of the prefix.
        asked: The parameters of the address.
    """
    if "ttl" not in asked:
        return {"what_if_form": WhatIfForm()}
    form = WhatIfForm(asked)
    if not form.is_valid():
        return {"what_if_form": form}
    return {"what_if_form": form, "what_if": answer(alias, facts, **form.cleaned_data)}


def answer(
    alias: Alias, facts: PrefixFacts, *, ttl: float, changes: float | None, eta: float | None
) -> Answer:
    """Say what a TTL would do: by a recording that knows enough of the prefix, else by the hourly rows."""
    parameters = parameters_of(get_settings().ttl, facts.rule)
    parameters = parameters if eta is None else replace(parameters, eta=eta)
    events = _recorded(alias, facts.prefix)
    reads = sum(not event.is_change for event in events)
    if reads >= NEEDED_READS:
        return _replayed(facts, events, reads, ttl, parameters)
    return _modelled(alias, facts, ttl, changes, parameters)


def _modelled(
    alias: Alias, facts: PrefixFacts, ttl: float, changes: float | None, parameters: TtlParameters
) -> Answer:
    reads = facts.totals.gets
    if reads < NEEDED_READS:
        return Answer(basis="", reads=reads, missing=NEEDED_READS - reads)
    rows = CacheStat.objects.for_alias(alias.cache.alias).filter(prefix=facts.prefix)
    keys = classes(_keys_of(rows.since(facts.period.start)))
    learnt = alias.cache.changes_an_hour().get(facts.prefix)
    known = changes if changes is not None else learnt
    a_second = None if known is None else known / HOUR
    tried = [("now", facts.decision.ttl_seconds), ("asked", ttl)]
    if a_second is not None:
        best = cheapest(keys, a_second, parameters.eta, parameters.min_ttl, parameters.max_ttl)
        tried.append(("cheapest", best))
    lines = [_measured(facts)]
    for name, seconds in tried:
        if seconds is not None:
            found = expected(keys, seconds, a_second)
            lines.append(_line(name, seconds, found.reads, found.loads, found.stale))
    source = "stated" if changes is not None else "learnt" if learnt is not None else ""
    return Answer(
        basis="hours",
        reads=reads,
        lines=tuple(lines),
        changes_an_hour=known,
        changes_from=source,
        eta=parameters.eta,
    )


def _replayed(
    facts: PrefixFacts, events: list[Event], reads: int, ttl: float, parameters: TtlParameters
) -> Answer:
    lines = [_measured(facts)]
    for name, seconds in (("now", facts.decision.ttl_seconds), ("asked", ttl)):
        if seconds is not None:
            found = simulate(events, seconds, parameters)
            lines.append(_line(name, seconds, found.reads, found.loads, found.stale))
    found = simulate(events, "adaptive", parameters)
    lines.append(_line("adaptive", None, found.reads, found.loads, found.stale))
    return Answer(
        basis="recording", reads=reads, lines=tuple(lines), changes_from="recorded", eta=parameters.eta
    )


def _measured(facts: PrefixFacts) -> Line:
    ratio, staleness = facts.totals.hit_ratio, facts.staleness
    stale = None if staleness is None or staleness.ratio is None or ratio is None else staleness.ratio * ratio
    loads = None if ratio is None else 1 - ratio
    return Line(name="measured", hit_ratio=ratio, loads=loads, stale=stale)


def _line(name: str, seconds: float | None, reads: float, loads: float, stale: float | None) -> Line:
    share = 1 / max(reads, 1)
    return Line(
        name=name,
        ttl_seconds=seconds,
        hit_ratio=1 - loads * share,
        loads=loads * share,
        stale=None if stale is None else stale * share,
    )


def _keys_of(rows: Any) -> Iterator[Keys]:
    """The keys of each hour: the most read ones by themselves, the others as if all alike."""
    names = ("hits", "near_hits", "misses", "distinct_keys", "hot_keys")
    for hits, near_hits, misses, distinct, hot in rows.order_by().values_list(*names):
        gets = hits + near_hits + misses
        counts = [min(int(reads), gets) for _, reads in hot]
        yield from (Keys(reads, read_rate(reads, 1, HOUR)) for reads in counts)
        rest = max(gets - sum(counts), 0)
        if rest:
            yield Keys(rest, read_rate(rest, max(distinct - len(counts), 1), HOUR))


def _recorded(alias: Alias, prefix: str) -> list[Event]:
    """The first events of a prefix in the recording, if there is one."""
    log = TraceLog(alias.cache.redis_client(), alias.cache.redis_keys)
    try:
        if log.recording() is None:
            return []
        found = _of_prefix(islice(log.events(), MOST_LOOKED_AT), prefix)
        return from_recording(found, seed=1)[:MOST_REPLAYED]
    except FAULTS:
        return []


def _of_prefix(events: Iterable[TraceEvent], prefix: str) -> Iterator[TraceEvent]:
    """Events of one prefix, not many more than are replayed: those of reads stand for several."""
    number = 0
    for event in events:
        if event.prefix == prefix:
            yield event
            number += event.number
            if number >= MOST_REPLAYED:
                return
