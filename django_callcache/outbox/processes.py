"""What each process says of itself every few seconds, so that any of them can speak for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import msgspec

from django_callcache.lua import Script
from django_callcache.outbox.stat_buckets import Command
from django_callcache.redis_keys import RedisKeys

REPORT_SECONDS = 10.0
"""Pause between two reports of a process."""

SILENT_SECONDS = 45.0
"""A process that has said nothing for so long is gone; one that ends takes its report along."""

FORGOTTEN_SECONDS = 3600
"""How long reports stay when nobody reports any more."""

REPORT = Script("""
local now = tonumber(redis.call('TIME')[1])
redis.call('HSET', KEYS[1], ARGV[1], string.format('%d|', now) .. ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[4])
if redis.call('HLEN', KEYS[1]) > 64 then
  local all = redis.call('HGETALL', KEYS[1])
  for i = 1, #all, 2 do
    if tonumber(string.match(all[i + 1], '^%d+')) < now - tonumber(ARGV[3]) then
      redis.call('HDEL', KEYS[1], all[i])
    end
  end
end
return now
""")
"""Keeps a report, and drops those of processes that were killed.

KEYS: processes. ARGV: who reports, the report, seconds after which a report is old, seconds to keep all.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessReport:
    """How one process does for one alias."""

    near_entries: int = 0
    near_bytes: int = 0
    lag_seconds: float | None = None
    """Seconds since Redis last confirmed that no copy is out of date; None where no copies are kept."""
    is_degraded: bool = False
    """Whether the process has given Redis up for now."""


def report_command(keys: RedisKeys, process_id: str, report: ProcessReport) -> Command:
    """Return the script call that keeps a report."""
    body = msgspec.json.encode(asdict(report))
    arguments = (process_id.encode(), body, int(SILENT_SECONDS), FORGOTTEN_SECONDS)
    return Command(REPORT, (keys.processes(),), arguments)


def read_reports(found: Mapping[bytes, bytes], now: float) -> tuple[ProcessReport, ...]:
    """Return the reports of the processes that live.

    Args:
        found: The hash in Redis.
        now: Unix seconds by the server's clock.
    """
    reports = []
    for kept in found.values():
        at, _, body = kept.partition(b"|")
        if at.isdigit() and now - int(at) <= SILENT_SECONDS:
            reports.append(msgspec.convert(_known(msgspec.json.decode(body)), ProcessReport))
    return tuple(reports)


def flat_pairs(reply: Sequence[Any]) -> dict[Any, Any]:
    """Return the hash that a reply to HGETALL lists, field after value."""
    return dict(zip(reply[::2], reply[1::2], strict=True))


def _known(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What another release may have added is left out."""
    return {name: facts[name] for name in ProcessReport.__slots__ if name in facts}
