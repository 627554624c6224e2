"""Interleaved rounds: every contender runs a block of calls a round, in a turning order.

What disturbs a machine for a second then disturbs all alike, and a ratio is taken between blocks that
ran side by side, round by round.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

Block = Callable[[int], object]
"""Runs a number of calls."""


@dataclass(frozen=True, slots=True)
class Spread:
    """The middle and the quartiles of some samples."""

    first_quartile: float
    median: float
    third_quartile: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> Spread:
        """Summarise at least two samples."""
        return cls(*statistics.quantiles(samples, n=4, method="inclusive"))


@dataclass(slots=True)
class Samples:
    """One contender's blocks: microseconds a call, one number a round."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    """Time on a CPU of this process, all its threads; the server's is not in it."""

    def ratio_to(self, other: Samples) -> Spread:
        """Compare wall time round by round."""
        return Spread.of([mine / theirs for mine, theirs in zip(self.wall, other.wall, strict=True)])

    def difference_to(self, other: Samples) -> Spread:
        """Subtract wall time round by round, in microseconds."""
        return Spread.of([mine - theirs for mine, theirs in zip(self.wall, other.wall, strict=True)])


def measure(
    blocks: Mapping[str, Block],
    calls: int,
    rounds: int,
    *,
    between: Callable[[], object] = lambda: None,
) -> dict[str, Samples]:
    """Run the rounds of one workload.

    Args:
        blocks: What each contender does, by its name.
        calls: Calls in a block.
        rounds: Rounds that count; one more is run before them and thrown away.
        between: Called before every round.
    """
    samples = {name: Samples() for name in blocks}
    names = list(blocks)
    with _no_collections():
        for number in range(rounds + 1):
            between()
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                gc.collect()
                wall, cpu = time.perf_counter(), time.process_time()
                blocks[name](calls)
                cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
                if number:
                    samples[name].wall.append(wall / calls * 1e6)
                    samples[name].cpu.append(cpu / calls * 1e6)
    return samples


@contextmanager
def _no_collections() -> Iterator[None]:
    """Keep the collector from running in the middle of somebody's block."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
