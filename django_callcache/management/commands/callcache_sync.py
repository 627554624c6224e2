"""Pause the sync of the loop, end the pause, or tell how it stands."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.cache import InvalidCacheBackendError
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from django_callcache import audit
from django_callcache.cache import CallCache
from django_callcache.live import FAULTS, LiveFacts, look, masked
from django_callcache.maintenance import cache_of
from django_callcache.management.account import account, moment
from django_callcache.models import CacheOperation
from django_callcache.sync.pause import pause, resume


class Command(BaseCommand):
    """What the page of sync does, from a shell."""

    help = (
        "Pause the sync of a cache, end the pause, or tell how it stands. A pause lies in Redis: every loop "
        "obeys it from its next pass on, until somebody ends it. Meanwhile writes wait in the outbox, and "
        "statistics are collected all the same. "
        "Exit codes: 0 done, 1 Redis failed, 2 wrong usage or configuration."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("act", choices=("status", "pause", "resume"), help="What to do.")
        parser.add_argument("--alias", default="default", help="Cache alias (default: %(default)s).")
        parser.add_argument("--reason", default="", metavar="TEXT", help="Why it is paused, for the others.")
        parser.add_argument("--json", action="store_true", dest="as_json", help="Print a line of JSON.")

    def handle(self, *, act: str, alias: str, reason: str, as_json: bool, **options: Any) -> None:
        try:
            cache = cache_of(alias)
        except (ImproperlyConfigured, InvalidCacheBackendError) as error:
            raise CommandError(str(error), returncode=2) from error
        try:
            if act != "status":
                self._change(cache, act, alias, reason)
            live = look(cache)
        except FAULTS as fault:
            raise CommandError(f"Redis failed: {masked(fault)}", returncode=1) from fault
        if live.fault:
            raise CommandError(f"Redis failed: {live.fault}", returncode=1)
        facts = facts_of(live)
        self.stdout.write(
            json.dumps(facts) if as_json else "\n".join(f"{name:<12} {facts[name]}" for name in facts)
        )

    def _change(self, cache: CallCache, act: str, alias: str, reason: str) -> None:
        """Do it, with its trace."""
        operation = CacheOperation.objects.create(
            username=account(),
            kind=CacheOperation.Kind.SYNC,
            scope=CacheOperation.Scope.ALIAS,
            alias=alias,
            reason=f"{act} {reason}".strip()[:500],
        )
        where = cache.redis_client(), cache.redis_keys
        try:
            done = pause(*where, by=account(), reason=reason) if act == "pause" else resume(*where)
        except FAULTS as fault:
            kind = type(fault).__name__
            audit.end(operation, CacheOperation.Outcome.FAILED, error_class=kind, error=masked(fault))
            raise
        if done:
            audit.end(operation, CacheOperation.Outcome.OK)
        else:
            audit.end(operation, CacheOperation.Outcome.FAILED, error_class="DecidedMeanwhile")


def facts_of(live: LiveFacts) -> dict[str, Any]:
    """Return how the sync of a cache stands."""
    paused = live.held
    return {
        "paused": paused is not None,
        "by": paused.by if paused else "",
        "since": moment(paused.since) if paused else "",
        "reason": paused.reason if paused else "",
        "backlog": live.backlog,
        "loop": moment(live.heartbeat.alive_at) if live.heartbeat else "never seen",
    }
