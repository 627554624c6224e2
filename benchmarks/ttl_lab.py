"""The TTL policies of this package in a lab that counts origin loads against stale reads.

    python -m benchmarks.ttl_lab PATH_OF_THE_LAB --data FOLDER_FOR_TRACES

The lab is a folder with ``simulate.py`` (replays a trace through a policy) and ``build_traces.py`` (makes the
traces; needs numpy, and only for traces that are not in the folder yet). Its traces S1 and S2 and two further
seeds of each are run; no constant of the policies was chosen on any of them.

What must hold, for ``adaptive`` over a range of ``eta``, on every trace:

* at 2 % stale reads at least 28 % fewer loads than the best fixed TTL, 48 % where rows that changed are
  deleted from the cache every 300 s;
* at the loads of the peak rule at most a third (S1) or a fifth (S2) of its stale reads.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import math
import sys
import time
from bisect import bisect_left
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from django_callcache.ttl import HourlyProfile, KeyRecord, Learner, Load, TtlParameters, make_policy

MONDAY = 345_600.0
"""Unix seconds of a Monday 00:00 UTC: the lab's time 0."""
LONGEST = 86_400.0
"""The lab's fixed TTLs reach this far, so the policies may too."""
FIXED = (2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)
ETA = (25, 12, 6, 3, 1.7)
STALE = 0.02
SYNC_SECONDS = 300.0
BARS = {"S1": (0.28, 0.48, 1 / 3), "S2": (0.28, 0.48, 1 / 5)}
"""Fewer loads at 2 % stale, the same with sync, and the share of the peak rule's stale reads."""


class LabPolicy:
    """A policy of this package as the lab wants one.

    Args:
        trace: The lab's.
        name: Of the policy.
        parameters: What it is tuned with.
    """

    def __init__(self, trace: Any, name: str, parameters: TtlParameters) -> None:
        self._learners = [Learner(make_policy(name, parameters), parameters) for _ in trace.names]
        self._records: dict[int, KeyRecord] = {}
        self._changes = _changes_of(trace)
        self._profile = HourlyProfile()
        self.loads = 0

    def ttl(self, prefix: int, key: int, now: float, history: tuple[Any, ...]) -> float:
        """Seconds for one load; the history is what a cache knows of the key at that moment."""
        loaded_at, expired_at, has_changed, updated_at = history
        now += MONDAY
        self.loads += 1
        previous = self._records.get(key) if loaded_at is not None else None
        if previous is not None and now > previous.kept_until:
            previous = None  # as Redis would have forgotten it
        digest = b"same" if previous is None else previous.digest
        if has_changed:
            digest = b"even" if digest == b"odd" else b"odd"
        was_synced = loaded_at is not None and expired_at is None
        load = Load(
            now=now,
            digest=digest,
            updated_at=None if updated_at is None else updated_at + MONDAY,
            previous=previous,
            removed_at=self._removed_at(key, loaded_at) if was_synced else None,
            is_polled=was_synced,
        )
        verdict = self._learners[prefix].take(load, self._profile)
        self._records[key] = verdict.record
        return verdict.ttl_seconds

    def _removed_at(self, key: int, loaded_at: float) -> float:
        """When the sync deleted the copy: at its first turn after the first change of the row."""
        changes = self._changes[key]
        changed_at = changes[bisect_left(changes, loaded_at)]
        return MONDAY + math.ceil(changed_at / SYNC_SECONDS) * SYNC_SECONDS


def _changes_of(trace: Any) -> dict[int, list[float]]:
    changes: dict[int, list[float]] = {}
    for at, operation, key in zip(trace.t, trace.op, trace.key, strict=True):
        if operation:
            changes.setdefault(key, []).append(at)
    return changes


def main() -> int:
    """Run, print, and return 0 if every bar holds."""
    options = _options()
    lab = _module(options.lab / "simulate.py")
    holds = True
    for kind in options.kinds:
        for seed in (None, *options.seeds):
            name = f"{kind}_lab" if seed is None else f"{kind}_seed{seed}"
            trace = lab.Trace(name, str(_trace(options.lab, options.data, kind, name, seed)))
            holds &= Judgement(lab, trace, kind, options).print()
    print("\nEvery bar holds." if holds else "\nNot every bar holds.")
    return 0 if holds else 1


class Judgement:
    """One trace's runs and what they come to."""

    def __init__(self, lab: ModuleType, trace: Any, kind: str, options: argparse.Namespace) -> None:
        self._lab, self._trace, self._kind = lab, trace, kind
        self._policy = options.policy
        self._etas = options.eta

    def print(self) -> bool:
        """Run and print; tell whether the bars hold."""
        trace, lab = self._trace, self._lab
        fixed = self._runs((lab.Fixed(trace, seconds) for seconds in FIXED), {})
        print(f"\n{trace.name}: loads and stale reads of 100 reads")
        best = lab.interp(_points(fixed), STALE)
        print(f"  best fixed TTL at {STALE:.0%} stale{best * 100:31.1f}")
        rule = lab.run(trace, lab.Peak(trace))
        print(f"  peak rule as it is{_pair(rule):>40}")
        began = time.process_time()
        policies = [self._adaptive(eta) for eta in self._etas]
        plain = self._runs(policies, {})
        spent = time.process_time() - began
        synced = self._runs((self._adaptive(eta) for eta in self._etas), {"sync": SYNC_SECONDS})
        for title, runs in ((self._policy, plain), (f"{self._policy}, sync 300 s", synced)):
            for eta, run in zip(self._etas, runs, strict=True):
                print(f"  {title}, eta {eta:<6g}{_pair(run):>{56 - len(title) - 13}}")
        loads = sum(policy.loads for policy in policies)
        print(f"  the simulation took {spent / loads * 1e6:.0f} us a load, the lab's part included")
        fewer, fewer_synced, share = BARS[self._kind]
        at_rule = _stale_at(_points(plain), rule["load"])
        return all(
            [
                _held("loads at 2 % stale, change", lab.interp(_points(plain), STALE) / best - 1, -fewer),
                _held(
                    "the same with sync, change", lab.interp(_points(synced), STALE) / best - 1, -fewer_synced
                ),
                _held("stale reads at the rule's loads, share", at_rule / rule["stale"], share),
            ]
        )

    def _adaptive(self, eta: float) -> LabPolicy:
        return LabPolicy(self._trace, self._policy, TtlParameters(eta=eta, max_ttl=LONGEST))

    def _runs(self, policies: Iterable[Any], how: dict[str, float]) -> list[dict[str, Any]]:
        return [self._lab.run(self._trace, policy, **how) for policy in policies]


def _held(what: str, found: float, bar: float) -> bool:
    print(f"  {what:42}{found:16.3f}   {'within' if found <= bar else 'MISSES'} {bar:.3f}", flush=True)
    return found <= bar


def _points(runs: list[dict[str, Any]]) -> list[tuple[float, float]]:
    return [(run["stale"], run["load"]) for run in runs]


def _pair(run: dict[str, Any]) -> str:
    return f"{run['load'] * 100:.1f} loads {run['stale'] * 100:6.2f} stale"


def _stale_at(points: list[tuple[float, float]], load: float) -> float:
    """Stale reads where a policy makes as many loads, between its runs (linear in the logarithm of stale)."""
    points = sorted(points, key=lambda point: -point[1])
    for (stale, above), (next_stale, below) in itertools.pairwise(points):
        if below <= load <= above:
            part = (above - load) / (above - below)
            return math.exp(math.log(stale) + part * math.log(next_stale / stale))
    raise SystemExit(f"no eta reaches {load:.1%} loads: give further ones by --eta")


def _trace(lab: Path, data: Path, kind: str, name: str, seed: int | None) -> Path:
    """The file of a trace, which is built where it is missing."""
    file = data / f"{name}.npz"
    if not file.exists():
        builder = _module(lab / "build_traces.py")
        data.mkdir(parents=True, exist_ok=True)
        builder.OUT = f"{data}/"
        own_seed = {"S1": 1, "S2": 2}[kind]
        how = {} if kind == "S1" else {"diurnal": False, "call": False}
        builder.synth(name, own_seed if seed is None else seed, **how)
    return file


def _module(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None or not file.exists():
        raise SystemExit(f"{file} is missing: give the folder of the lab")
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    spec.loader.exec_module(module)
    return module


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("lab", type=Path, help="folder with simulate.py and build_traces.py")
    parser.add_argument("--data", type=Path, required=True, help="folder for the traces")
    parser.add_argument("--kinds", nargs="+", choices=BARS, default=list(BARS), help="traces to run")
    parser.add_argument("--seeds", nargs="*", type=int, default=[101, 202], help="further seeds of each")
    parser.add_argument("--policy", choices=("adaptive", "alex", "heuristic-freshness"), default="adaptive")
    parser.add_argument("--eta", nargs="+", type=float, default=ETA, help="what a stale read costs, in loads")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
