"""Coherence of near caches between real processes, over links that are cut, silent or slow."""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from django_callcache.cache import invalidation
from tests.cache.linked import confirm_anew, connect_link, is_near, near_of, until
from tests.cache.near_process import STALENESS

# A stale read is never put down to a busy machine.
pytestmark = pytest.mark.flaky(reruns=0)

STALENESS_NS = int(STALENESS * 1e9)
OPTIONS = {"RULES": {"k:": {"ttl": 600}}, "NEAR_TTL": 3600, "MAX_STALENESS": STALENESS, "DEADLINE": 20}


class NearProcess:
    """A process of its own, see `near_process`."""

    def __init__(self, url, link):
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore::DeprecationWarning", "-m", "tests.cache.near_process", url, link],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.communicate()

    def tell(self, name, *arguments):
        """Give an order, without waiting for the reply."""
        self._process.stdin.write(json.dumps([name, arguments]) + "\n")
        self._process.stdin.flush()

    def hear(self):
        """The reply to the oldest order."""
        reply = self._process.stdout.readline()
        assert reply, "the process has died"
        return json.loads(reply)

    def ask(self, name, *arguments):
        """Give an order and wait for the reply."""
        self.tell(name, *arguments)
        return self.hear()


@pytest.fixture(params=["broadcast", pytest.param("per-key", marks=pytest.mark.long)])
def link_mode(request):
    """The option ``LINK`` of all caches."""
    return request.param


both_links = pytest.mark.parametrize("link_mode", ["broadcast", "per-key"], indirect=True)


@pytest.fixture
def start(redis_url, link_mode):
    """Start processes."""
    with ExitStack() as stack:
        yield lambda number: [stack.enter_context(NearProcess(redis_url, link_mode)) for _ in range(number)]


@pytest.fixture
def reader(make_cache, wire, settings, link_mode):
    """A cache in this process that reaches Redis through the proxy, as the processes would."""
    settings.SECRET_KEY = "of processes that share a cache"
    return connect_link(make_cache(location=wire.url, LINK=link_mode, **OPTIONS))


def staleness_of(replies):
    """How long after its acknowledgement each write was still unseen by each other process, in ms."""
    acknowledged = {key: times for reply in replies for key, times in reply["acknowledged"].items()}
    late = []
    for reply in replies:
        for key, seen in reply["seen"].items():
            if key in reply["acknowledged"]:
                continue
            # What any read of an older number saw last tells for how long the write was unseen.
            newest = -1
            for number, at in enumerate(acknowledged[key]):
                newest = max(newest, seen.get(str(number - 1), -1))
                late.append(max(newest - at, 0) / 1e6)
    return late


class TestProcesses:
    def run(self, start, writes, rounds):
        processes = start(4)
        own = [[f"k:{process}:{key}" for key in range(5)] for process in range(4)]
        for process in processes:
            process.tell("connect")
        for process in processes:
            process.hear()
        for process, keys in zip(processes, own, strict=True):
            others = [key for each in own if each is not keys for key in each]
            process.tell("mix", keys, others, writes // 4, rounds)
        replies = [process.hear() for process in processes]
        assert [reply["unread"] for reply in replies] == [0] * 4
        assert [reply["backwards"] for reply in replies] == [0] * 4
        late = staleness_of(replies)
        assert max(late) <= STALENESS * 1000
        for process in processes:
            process.tell("confirm")
        for process in processes:
            process.hear()
        last = {key: len(times) - 1 for reply in replies for key, times in reply["acknowledged"].items()}
        for process in processes:
            assert process.ask("read", list(last)) == last
            counted = process.ask("counted")
            assert counted["near_hits"] > counted["hits"]
        return late

    @both_links
    def test_mix__four_processes(self, start, record_property):
        """Of 2,000 writes none stays unseen beyond MAX_STALENESS, and none by its writer at all (F-K2)."""
        late = self.run(start, 2_000, 3)
        record_property("p99_ms", statistics.quantiles(late, n=100)[98])
        record_property("max_ms", max(late))

    @pytest.mark.long
    def test_mix__bounds_of_a_healthy_machine(self, start):
        """On a machine that is not busy, the 99th percentile is 50 ms at most, and the worst 250 ms."""
        late = self.run(start, 8_000, 6)
        assert statistics.quantiles(late, n=100)[98] <= 50
        assert max(late) <= 250

    def test_read__after_a_round_trip_of_the_link(self, start):
        """Once a write is acknowledged and the reader's link has made a round trip, the new value is read."""
        writer, *readers = start(3)
        keys = [f"k:{number}" for number in range(100)]
        writer.ask("connect")
        for number in range(3):
            writer.ask("write", dict.fromkeys(keys, number))
            for reader in readers:
                reader.tell("connect" if number == 0 else "confirm")
            for reader in readers:
                reader.hear()
                assert reader.ask("read", keys) == dict.fromkeys(keys, number)


class TestLink:
    def run(self, reader, start, keys, disturb, seconds):
        """Read while another process writes and something disturbs; return the worst staleness in ns."""
        (writer,) = start(1)
        reads = []
        writer.tell("stream", keys, seconds)
        until(lambda: reader.get(keys[-1]))
        finished = threading.Event()

        def read():
            while not finished.is_set():
                for key in keys:
                    began = time.monotonic_ns()
                    reads.append((key, reader.get(key)["n"], began))
                time.sleep(0.0005)

        reading = threading.Thread(target=read)
        reading.start()
        disturb()
        acknowledged = writer.hear()
        finished.set()
        reading.join()
        worst = 0
        for key, number, began in reads:
            # The oldest write that this read missed, if any had been acknowledged when it began.
            times = acknowledged[key]
            if number + 1 < len(times) and times[number + 1] < began:
                worst = max(worst, began - times[number + 1])
        confirm_anew(reader)
        for key in keys:
            assert reader.get(key)["n"] == len(acknowledged[key]) - 1
        assert reader.counted()["k:"]["near_hits"] > 0
        return worst

    @both_links
    @pytest.mark.parametrize("seconds", [2, pytest.param(20, marks=pytest.mark.long)])
    def test_cut__twenty_times(self, reader, wire, start, monkeypatch, seconds):
        """However often the link is cut during writes, no read is staler than MAX_STALENESS (F-K3)."""
        monkeypatch.setattr(invalidation, "RECONNECT_SECONDS", (0.005, seconds / 60))
        keys = [f"k:{number}" for number in range(20)]
        cuts = []

        def disturb():
            for _ in range(20):
                time.sleep(seconds / 40)
                until(lambda: cuts.append(wire.cut(links=True)) or cuts[-1])

        assert self.run(reader, start, keys, disturb, seconds) <= STALENESS_NS
        assert sum(map(bool, cuts)) == 20

    def test_silent__while_writes_go_on(self, reader, wire, start, monkeypatch):
        """A link that says nothing for a while makes no read staler than MAX_STALENESS."""
        monkeypatch.setattr(invalidation, "RECONNECT_SECONDS", (0.005, 0.05))
        keys = [f"k:{number}" for number in range(20)]

        def disturb():
            for pause in (0.1, 1.5):
                until(lambda: near_of(reader).confirmed_until)
                time.sleep(0.2)
                wire.is_link_silent = True
                time.sleep(pause)
                wire.is_link_silent = False
                wire.cut(links=True)  # what it swallowed is missing from it for ever

        assert self.run(reader, start, keys, disturb, 3) <= STALENESS_NS


@pytest.mark.usefixtures("undisturbed")  # a hand-over of statistics would be held like a read
class TestFillRace:
    @both_links
    @pytest.mark.parametrize("rounds", [100, pytest.param(1_000, marks=pytest.mark.long)])
    @pytest.mark.parametrize("many", [False, True], ids=["get", "get_many"])
    def test_fill__slow_reply_and_fast_invalidation(
        self, wire, make_caches, redis_url, monkeypatch, rounds, many, link_mode
    ):
        """A reply that was overtaken by the invalidation of its key is not kept (F-K7)."""
        monkeypatch.setattr(invalidation, "PING_NS", 5_000_000)
        stated = {
            "KEY_PREFIX": "t",
            "OPTIONS": {"CALLCACHE": {**OPTIONS, "ALIAS": "default", "LINK": link_mode}},
        }
        slow, fast = make_caches(
            {"default": {**stated, "LOCATION": wire.url}, "fast": {**stated, "LOCATION": redis_url}}
        )
        connect_link(slow)
        stale = kept = 0
        found = []

        def read(key):
            found.append(slow.get_many([key])[key] if many else slow.get(key))

        for number in range(rounds):
            key = f"k:{number}"
            fast.set(key, "old")
            confirm_anew(slow)
            wire.replies.clear()
            reading = threading.Thread(target=read, args=(key,))
            reading.start()
            wire.held.acquire()  # Redis has answered with the old value
            fast.set(key, "new")
            confirm_anew(slow)
            wire.replies.set()
            reading.join()
            kept += is_near(slow, key)
            stale += slow.get(key) != "new"
        assert (stale, kept) == (0, 0)
        assert set(found) == {"old"}


class TestThreads:
    @pytest.mark.parametrize("operations", [400, pytest.param(10_000, marks=pytest.mark.long)])
    def test_mix__own_keys(self, make_cache, operations, link_mode):
        """Each of sixteen threads reads its own last write, whatever the others do (F-K1)."""
        cache = connect_link(make_cache(LINK=link_mode, **OPTIONS))
        problems = []

        def work(number):
            chance = random.Random(number)
            written = {}
            try:
                for turn in range(operations):
                    key = f"k:{number}:{chance.randrange(5)}"
                    what = chance.random()
                    if what < 0.2:
                        written[key] = chance.choice([turn, [turn], {"turn": {"is": turn}}, str(turn)])
                        cache.set(key, written[key])
                    elif what < 0.25:
                        cache.delete(key)
                        written.pop(key, None)
                    elif what < 0.3 and type(written.get(key)) is int:
                        written[key] += 1
                        assert cache.incr(key) == written[key]
                    elif what < 0.35:
                        added = cache.add(key, turn)
                        assert added == (key not in written)
                        written.setdefault(key, turn)
                    elif what < 0.4:
                        keys = [f"k:{number}:{each}" for each in range(5)]
                        assert cache.get_many(keys) == written
                    else:
                        assert cache.get(key, "none") == written.get(key, "none")
            except BaseException as problem:
                problems.append((number, problem))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert problems == []


class TestFork:
    def test_fork__warmed_parent(self, start, redis_client):
        """Of a warmed parent's four children none serves what the parent held, and each has its own link."""
        writer, parent = start(2)
        keys = [f"k:{number}" for number in range(30)]
        writer.ask("connect")
        writer.ask("write", dict.fromkeys(keys, 0))
        assert parent.ask("fork", 4, keys) >= 30
        writer.ask("write", dict.fromkeys(keys, 1))
        for reply in parent.ask("step"):
            assert (reply["kept"], reply["found"]) == (0, dict.fromkeys(keys, 1))
        for reply in parent.ask("step"):
            assert reply["near"] >= 30
        until(lambda: len(redis_client.client_list(_type="pubsub")) == 1 + 1 + 4)
        writer.ask("write", dict.fromkeys(keys, 2))
        parent.ask("confirm")
        assert parent.ask("read", keys) == dict.fromkeys(keys, 2)
        for reply in parent.ask("step"):
            assert reply["found"] == dict.fromkeys(keys, 2)
