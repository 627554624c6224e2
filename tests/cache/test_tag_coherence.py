"""Tags dropped in one process while others read, and compute, what has them."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.cache.near_process import STALENESS
from tests.cache.tag_process import TAGS

# A stale read is never put down to a busy machine.
pytestmark = pytest.mark.flaky(reruns=0)

STALENESS_NS = int(STALENESS * 1e9)


@pytest.fixture
def start(redis_url):
    """Start processes that read."""
    with ExitStack() as stack:

        def started(threads):
            process = subprocess.Popen(
                [
                    *(sys.executable, "-W", "ignore::DeprecationWarning"),
                    *("-m", "tests.cache.tag_process", redis_url, str(threads)),
                ],
                cwd=Path(__file__).parents[2],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            stack.callback(process.communicate)
            stack.callback(process.kill)
            return process

        yield started


class TestProcesses:
    def drop(self, start, cache, client, rounds):
        """Let processes read while the source changes and its tag is dropped, again and again."""
        client.set("t:source", 0)
        processes = [start(4) for _ in range(2)]
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        dropped_at = {}
        for number in range(1, rounds + 1):
            client.set("t:source", number)
            cache.delete_tags("red")
            dropped_at[number] = time.monotonic_ns()
            time.sleep(random.uniform(0, 0.04))
        time.sleep(1.5 * STALENESS)
        reports = []
        for process in processes:
            process.stdin.write("stop\n")
            process.stdin.flush()
            reports += json.loads(process.stdout.readline())
        return dropped_at, reports

    @pytest.mark.parametrize("rounds", [40, pytest.param(1000, marks=pytest.mark.long)])
    def test_get_or_set__tag_dropped_meanwhile(self, start, make_cache, redis_client, settings, rounds):
        """No read that begins after a tag was dropped finds what was computed before, in any process.

        Copies in a process are dropped when it hears of it, within ``MAX_STALENESS``.
        """
        settings.SECRET_KEY = "of processes that share a cache"
        dropped_at, reports = self.drop(start, make_cache(), redis_client, rounds)
        stale = [
            (key, number, began - dropped_at[int(number) + 1])
            for last, _ in reports
            for key in TAGS
            for number, began in last[key].items()
            if began > dropped_at.get(int(number) + 1, began) + STALENESS_NS * key.startswith("k:")
        ]
        assert stale == []
        assert [final for _, final in reports] == [dict.fromkeys(TAGS, rounds)] * len(reports)
        seen = {int(number) for last, _ in reports for number in last["plain"]}
        assert len(seen) > rounds / 10, "the processes have read in between"
