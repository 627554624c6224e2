"""What one load costs a TTL policy in Python: learning from it and deciding. The bar is 40 us.

python -m benchmarks.ttl_cost
"""

from __future__ import annotations

import random
import statistics
import sys
import time

from django_callcache.ttl import POLICIES, HourlyProfile, Learner, Load, TtlParameters, make_policy

BAR = 40.0
KEYS, LOADS, ROUNDS = 500, 20_000, 7


def main() -> int:
    """Measure, print, and return 0 if the bar holds."""
    slowest = 0.0
    for name in POLICIES:
        spent = [microseconds(name) for _ in range(ROUNDS)]
        middle = statistics.median(spent)
        slowest = max(slowest, middle)
        print(f"{name:22}{middle:7.1f} us a load   ({min(spent):.1f} .. {max(spent):.1f} in {ROUNDS} rounds)")
    print(f"The bar of {BAR:g} us {'holds' if slowest <= BAR else 'does not hold'}.")
    return 0 if slowest <= BAR else 1


def microseconds(name: str) -> float:
    """Microseconds of one load, on loads that are made beforehand."""
    parameters, draw, profile = TtlParameters(), random.Random(1), HourlyProfile()
    learner = Learner(make_policy(name, parameters), parameters, jitter=0.1)
    records, now, began = {}, 1.8e9, 0.0
    steps = [
        (draw.randrange(KEYS), draw.expovariate(1.0), draw.random() < 0.3, draw.expovariate(1 / 600))
        for _ in range(2 * LOADS)
    ]
    for number, (key, pause, changed, age) in enumerate(steps):
        if number == LOADS:
            began = time.process_time()
        now += pause
        previous = records.get(key)
        digest = b"12345678" if previous is None or changed else previous.digest
        load = Load(now=now, digest=digest, updated_at=now - age if changed else None, previous=previous)
        records[key] = learner.take(load, profile).record
    return (time.process_time() - began) / LOADS * 1e6


if __name__ == "__main__":
    sys.exit(main())
