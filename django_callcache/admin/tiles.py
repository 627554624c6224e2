"""The key figures of the overview, written out: the page and what refreshes it show the same words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.template.defaultfilters import filesizeformat
from django.utils.timesince import timesince
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from django_callcache.admin.numbers import NOTHING, duration, number, percent, rate, signed
from django_callcache.admin.overview import Overview


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure, in the language of the request."""

    name: str
    """As the refresh knows it."""
    label: str
    figure: str
    note: str
    definition: str
    """What exactly is counted, and over which time."""
    look: str = ""
    """"main", "bad" or "words", for the style sheet."""


def tiles_of(overview: Overview) -> Iterator[Tile]:
    """Yield the figures of a cache, those of traffic first."""
    yield from _traffic(overview)
    yield from _server(overview)
    if overview.is_synced:
        yield from _sync(overview)


def _traffic(overview: Overview) -> Iterator[Tile]:
    figures, period = overview.figures, overview.period
    compared = {"change": signed(figures.ratio_change), "before": period.before}
    yield Tile(
        "hit_ratio",
        _("Hit ratio"),
        percent(figures.totals.hit_ratio),
        _("nothing to compare with yet")
        if figures.ratio_change is None
        else _("%(change)s points on %(before)s") % compared,
        _("Share of gets that found a value, in Redis or in the memory of a process."),
        "main",
    )
    yield Tile(
        "gets_per_second",
        _("Gets per second"),
        rate(figures.gets_per_second),
        _("%(amount)s in all") % {"amount": number(figures.totals.gets)},
        _("Reads a second over the hours that were counted."),
    )
    yield Tile(
        "near_share",
        _("Near share"),
        percent(figures.totals.near_share),
        _("of the hits"),
        _(
            "Share of the hits that were answered from the memory of a process, without a round trip "
            "to Redis."
        ),
    )
    is_day = period.step == "day" or period.name == "7d"
    yield Tile(
        "read_p95",
        _("Read time, p95"),
        duration(figures.p95_seconds),
        _("of the last 24 hours") if is_day else _("estimate"),
        _(
            "Time within which 95 of 100 reads were answered. An estimate from intervals that double: "
            "the truth is at most twice as much or half of it."
        ),
    )
    yield Tile(
        "errors",
        _("Errors"),
        number(figures.totals.errors),
        _("in this period"),
        _("Calls that Redis did not answer in time or refused."),
        "bad" if figures.totals.errors else "",
    )


def _server(overview: Overview) -> Iterator[Tile]:
    live = overview.live
    silent = _("Redis does not answer")
    limit = (
        _("of %(limit)s") % {"limit": filesizeformat(live.max_memory)}
        if live.max_memory
        else _("no limit set")
    )
    yield Tile(
        "memory",
        _("Memory"),
        NOTHING if live.used_memory is None else filesizeformat(live.used_memory),
        limit if live.is_reachable else silent,
        _("Memory that Redis uses now, for everything in it."),
    )
    yield Tile(
        "keys",
        _("Keys"),
        number(live.keys),
        _("in the database") if live.is_reachable else silent,
        _("Keys in the Redis database now, those of other applications and our own internal ones included."),
    )


def _sync(overview: Overview) -> Iterator[Tile]:
    yield Tile(
        "backlog",
        _("Backlog"),
        number(overview.live.backlog),
        _("waiting for the remote store"),
        _("Written here and not yet taken by the remote store."),
    )
    last = overview.last_run
    note = _("none yet")
    if last is not None:
        form = ngettext(
            "ago, %(outcome)s, %(amount)s pushed", "ago, %(outcome)s, %(amount)s pushed", last.pushed
        )
        note = form % {"outcome": last.get_outcome_display(), "amount": number(last.pushed)}
    yield Tile(
        "last_sync",
        _("Last sync"),
        NOTHING if last is None else timesince(last.started_at),
        note,
        _("When the last sync pass began."),
        "words",
    )
