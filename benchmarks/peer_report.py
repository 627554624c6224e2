"""Figures of the peers as text and as the page of the documentation."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.rounds import Samples, Spread


@dataclass(slots=True)
class Figure:
    """What one peer did."""

    wall: float
    """Of a call: the median of the rounds, in the table's unit."""
    cpu: float | None = None
    """Of these, this process's time on a CPU."""
    ratio: float | None = None
    """To the base, paired by round: the median."""
    quartiles: tuple[float, float] | None = None
    p99: float | None = None
    """Microseconds that one call in a hundred exceeds."""
    note: str = ""

    @classmethod
    def of(
        cls,
        name: str,
        samples: Mapping[str, Samples],
        base: str,
        latencies: Mapping[str, Sequence[float]] | None = None,
    ) -> Figure:
        """Sum up one peer's rounds."""
        mine = samples[name]
        figure = cls(Spread.of(mine.wall).median, Spread.of(mine.cpu).median)
        if base in samples:
            ratio = mine.ratio_to(samples[base])
            figure.ratio, figure.quartiles = ratio.median, (ratio.first_quartile, ratio.third_quartile)
        if latencies is not None:
            figure.p99 = statistics.quantiles(latencies[name], n=100)[98] * 1e6
        return figure


@dataclass(slots=True)
class Table:
    """One workload."""

    title: str
    base: str
    figures: dict[str, Figure]
    unit: str = "us"


def as_text(table: Table) -> str:
    """One workload for the terminal."""
    rows = [f"{table.title:52}{table.unit:>9}{'cpu us':>9}{'x ' + table.base:>26}{'p99 us':>10}"]
    for name, each in table.figures.items():
        cpu = "" if each.cpu is None else f"{each.cpu:.1f}"
        p99 = "" if each.p99 is None else f"{each.p99:.0f}"
        rows.append(f"  {name:50}{each.wall:9.2f}{cpu:>9}{_ratio(each):>26}{p99:>10}  {each.note}".rstrip())
    return "\n".join(rows)


def as_markdown(machine: Mapping[str, Any], missing: Mapping[str, str], tables: Sequence[Table]) -> str:
    """The page of the documentation."""
    packages = {**machine["packages"], **machine["peers"]}
    versions = ", ".join(f"{name} {number}" for name, number in packages.items())
    parts = [
        HEAD,
        f"{machine['machine']}; load {machine['load']}; {machine['pinning']}; {machine['python']}; "
        f"Redis {machine['redis-server']}; {versions}. "
        f"{machine['rounds']} rounds, {machine['seconds']} seconds.",
    ]
    if missing:
        parts.append(f"Not installed, and left out: {', '.join(missing)}.")
    for table in tables:
        parts.append(_markdown(table))
    return "\n\n".join(parts) + "\n"


HEAD = """# Benchmarks

<!-- Written by `python -m benchmarks.peers --markdown docs/benchmarks.md`; changes by hand are lost. -->

```bash
python -m pip install --group benchmark
python -m benchmarks.peers --markdown docs/benchmarks.md
```

All caches ran in turn, block by block, against one Redis, in one process. A ratio is the median of
pairs of blocks that ran side by side, with its quartiles; below 1 is faster. Where client and server
share a CPU the figures show what the code costs; a network adds the same to all.

Values of django-callcache are sealed and its statistics are on; "near" has a near cache of 2,000
entries, the others have none. redis-py and redis.asyncio carry bytes that were serialized beforehand.
`--only` measures some groups, `--json` writes every figure.

## Machine"""


def _markdown(table: Table) -> str:
    has_p99 = any(each.p99 is not None for each in table.figures.values())
    has_note = any(each.note for each in table.figures.values())
    heads = [
        "",
        table.unit,
        f"x {table.base}",
        *(["p99, us"] if has_p99 else []),
        *([""] if has_note else []),
    ]
    rows = [heads, ["---", *["---:"] * (len(heads) - 1)]]
    for name, each in table.figures.items():
        row = [name, f"{each.wall:.2f}" if each.wall < 10 else f"{each.wall:.0f}", _ratio(each)]
        row += [f"{each.p99:.0f}" if each.p99 is not None else ""] if has_p99 else []
        row += [each.note] if has_note else []
        rows.append(row)
    return f"## {table.title}\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _ratio(figure: Figure) -> str:
    if figure.ratio is None:
        return ""
    if figure.quartiles is None:
        return f"{figure.ratio:.2f}"
    return f"{figure.ratio:.3f} ({figure.quartiles[0]:.3f} to {figure.quartiles[1]:.3f})"
