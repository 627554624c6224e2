from __future__ import annotations

import datetime
import decimal
import pickle
import random
import threading
import time
import tracemalloc
import uuid
from collections import OrderedDict
from itertools import accumulate

import pytest

from django_callcache.cache.counters import MISSES, NEAR_HITS, PrefixCounts
from django_callcache.cache.near import ENTRY_BYTES, NearCache, entry_of
from django_callcache.codec import Codec, Encoding, KeyRing

MISSING = object()
FOREVER = 2**62


class Plain:
    """Compares by what it holds; can be pickled."""

    def __init__(self, items):
        self.items = items

    def __eq__(self, other):
        return self.items == other.items

    def __repr__(self):
        return f"Plain({self.items!r})"

    __hash__ = None


def near_cache(entries=100, max_bytes=10**9, max_age=60.0):
    near = NearCache(lambda: entries, max_bytes, max_age)
    near.confirmed_until = FOREVER
    return near


def opened(blob, redis_key):
    return pickle.loads, blob


def entry(key, value="v", *, deadline=FOREVER, counts=None, blob=None):
    blob = pickle.dumps(value) if blob is None else blob
    return entry_of(key, b"", value, blob, opened, deadline, counts or PrefixCounts(100))


def fill(near, key, value="v", **arguments):
    near.fill([entry(key, value, **arguments)], near.begin())


def find(near, key, default=None):
    return near.get(key, default, MISSING)


class TestGet:
    def test_get__nothing_known(self):
        """Redis must be asked for a key that is not kept."""
        assert find(near_cache(), "a") is MISSING

    @pytest.mark.parametrize("value", [None, 0, "", False, b"", (), 1.5, [], {}])
    def test_get__falsy(self, value):
        """Falsy values, a stored None among them, are values."""
        near = near_cache()
        fill(near, "a", value)
        found = find(near, "a", "default")
        assert found == value
        assert type(found) is type(value)

    def test_get__known_absent(self):
        """A key known to be absent gives each caller's own default."""
        near = near_cache()
        near.fill([entry_of("a", b"", MISSING, None, opened, FOREVER, PrefixCounts(1))], near.begin())
        assert find(near, "a", "x") == "x"
        assert find(near, "a") is None

    def test_get__past_its_deadline(self):
        """A copy past its deadline is not served."""
        near = near_cache()
        fill(near, "a", deadline=time.monotonic_ns())
        assert find(near, "a") is MISSING

    def test_get__not_confirmed(self):
        """Nothing is served once the link's confirmation has run out."""
        near = near_cache()
        fill(near, "a")
        near.confirmed_until = time.monotonic_ns()
        assert find(near, "a") is MISSING
        near.confirmed_until = FOREVER
        assert find(near, "a") == "v"

    def test_get__value_that_cannot_be_loaded_any_more(self):
        """A copy that fails to load is dropped, and Redis asked; the caller sees no exception."""
        near = near_cache()
        fill(near, "a", {"nested": []}, blob=b"broken")
        assert find(near, "a") is MISSING
        assert len(near) == 0


class TestDeadline:
    @pytest.mark.parametrize(
        ("ttl_ms", "expected"), [(-1, 5_000), (0, 0), (1, 1), (4_999, 4_999), (5_000, 5_000), (10**15, 5_000)]
    )
    def test_deadline__ttl(self, ttl_ms, expected):
        """A copy is served for what was left of the TTL when the read began, or for the largest age."""
        assert near_cache(max_age=5).deadline(7_000_000, ttl_ms) == (7 + expected) * 1_000_000

    def test_limit_age__for_a_while(self):
        """A shorter largest age holds until it is lifted; a longer one changes nothing."""
        near = near_cache(max_age=5)
        near.limit_age(2)
        assert near.deadline(0, -1) == 2_000_000_000
        near.limit_age(60)
        assert near.deadline(0, -1) == 5_000_000_000
        near.limit_age(2)
        near.limit_age(None)
        assert near.deadline(0, -1) == 5_000_000_000


class TestFill:
    @pytest.mark.parametrize("change", ["drop", "invalidate", "empty", "many"])
    def test_fill__changed_since_it_was_read(self, change):
        """A key that changed after the read began is not filled, even long after."""
        near = near_cache()
        token = near.begin()
        if change == "drop":
            near.drop("a")
        elif change == "invalidate":
            near.invalidate(["x", "a"])
        elif change == "empty":
            near.empty()
        else:
            near.drop("a")
            near.invalidate(f"other:{number}" for number in range(10_000))
        near.fill([entry("a")], token)
        assert find(near, "a") is MISSING

    def test_fill__changed_before_it_was_read(self):
        """A change that came before the read does not hinder it, nor does one of another key."""
        near = near_cache()
        near.drop("a")
        token = near.begin()
        near.drop("b")
        near.fill([entry("a")], token)
        assert find(near, "a") == "v"

    def test_fill__changes_remembered_are_bounded(self):
        """However many keys change, few are remembered."""
        near = near_cache()
        near.invalidate(str(number) for number in range(100_000))
        assert len(near._changed) <= 1024
        assert near.invalidations == 100_000

    def test_begin__not_confirmed(self):
        """No read may fill anything before the link has confirmed."""
        near = near_cache()
        near.confirmed_until = 0
        assert near.begin() is None

    def test_fill__two_reads_found_the_same(self):
        """Overlapping reads that found one value leave one copy."""
        near = near_cache()
        first, second = near.begin(), near.begin()
        near.fill([entry("a")], first)
        near.fill([entry("a")], second)
        assert find(near, "a") == "v"
        assert len(near) == 1

    def test_fill__two_reads_found_different_values(self):
        """Overlapping reads that found different values leave no copy: the later one cannot be told."""
        near = near_cache()
        tokens = [near.begin() for _ in range(3)]
        near.fill([entry("a", "new")], tokens[0])
        near.fill([entry("a", "old")], tokens[1])
        assert find(near, "a") is MISSING
        near.fill([entry("a", "old")], tokens[2])
        assert find(near, "a") is MISSING
        fill(near, "a", "new")
        assert find(near, "a") == "new"

    def test_fill__later_read(self):
        """A read that began after the copy was filled replaces it."""
        near = near_cache()
        fill(near, "a", "old")
        fill(near, "a", "new")
        assert find(near, "a") == "new"
        assert len(near) == 1

    def test_forget__in_a_child(self):
        """A forked child starts empty and unconfirmed, and reads that its parent began fill nothing."""
        near = near_cache()
        fill(near, "a")
        token, lookup = near.begin(), near.find
        near._lock.acquire()
        near.forget()
        assert near.begin() is None
        near.confirmed_until = FOREVER
        near.fill([entry("b")], token)
        assert len(near) == near.bytes == 0
        assert lookup("a") is None
        fill(near, "a")
        assert lookup("a") is not None


class TestCopies:
    @pytest.mark.parametrize(
        "value",
        [
            {"a": 1, "b": "x"},
            {("a", 1): None},
            [1, 2, 3],
            {1, 2},
            {"a": {"b": [1]}},
            [[1], [2]],
            ([],),
            {"a": datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC), "b": decimal.Decimal("1.5")},
            bytearray(b"abc"),
            Plain([1, {"x": 2}]),
            {"plain": Plain([1])},
            OrderedDict(a=[1]),
        ],
        ids=repr,
    )
    def test_get__changed_by_a_caller(self, value):
        """What a caller does to its value reaches neither the copy nor any other caller."""
        near, original = near_cache(), pickle.loads(pickle.dumps(value))
        fill(near, "a", value)
        spoil(value)
        for _ in range(3):
            found = find(near, "a")
            assert found == original
            assert type(found) is type(original)
            spoil(found)

    @pytest.mark.parametrize(
        "value", ["text", b"bytes", 7, (1, "x"), frozenset({1}), uuid.UUID(int=7), datetime.date(2025, 1, 1)]
    )
    def test_get__immutable(self, value):
        """What cannot be changed is handed out as it is."""
        near = near_cache()
        fill(near, "a", value)
        assert find(near, "a") is value

    def test_entry__keys_that_can_be_changed(self):
        """A dict whose keys could be changed is copied by decoding."""
        value = {(1, frozenset()): 1}
        assert entry("a", value).copy is pickle.loads
        assert entry("a", {"x": 1}).copy is dict.copy

    def test_entry__subclasses(self):
        """A subclass of an immutable type may hold anything, so it is copied by decoding."""
        assert entry("a", Text("x")).copy is pickle.loads
        assert entry("a", {"a": Text("x")}).copy is pickle.loads


class Text(str):
    pass


def spoil(value):
    """Change a value in every place that can be changed."""
    if isinstance(value, Plain):
        spoil(value.items)
    elif isinstance(value, dict):
        for item in value.values():
            spoil(item)
        value["spoilt"] = True
    elif isinstance(value, list | bytearray):
        for item in value if isinstance(value, list) else ():
            spoil(item)
        value.append(99)
    elif isinstance(value, set):
        value.add("spoilt")
    elif isinstance(value, tuple):
        for item in value:
            spoil(item)


class TestBounds:
    def test_fill__entries(self):
        """There are never more entries than the bound says, which may fall from one fill to the next."""
        limit = 50
        near = NearCache(lambda: limit, 10**9, 60)
        near.confirmed_until = FOREVER
        for number in range(200):
            fill(near, str(number))
            assert len(near) <= limit
        limit = 10
        fill(near, "one more")
        assert len(near) == 10
        assert near.evictions == 191
        assert linked(near) == set(near._entries)

    def test_fill__bytes(self):
        """There are never more bytes than the bound says, and removing gives them back."""
        near = near_cache(entries=10**6, max_bytes=100_000)
        chance = random.Random(1)
        for number in range(2_000):
            fill(near, f"key:{number % 300}", "x" * chance.randrange(9_000))
            assert near.bytes <= 100_000
            if number % 7 == 0:
                near.drop(f"key:{chance.randrange(300)}")
        assert near.bytes == sum(entry.size for entry in near._entries.values()) > 80_000
        assert linked(near) == set(near._entries)
        near.empty()
        assert near.bytes == 0

    def test_fill__too_large(self):
        """One value may not take more than its share; an older copy of it is gone all the same."""
        near = near_cache(max_bytes=80_000)
        fill(near, "a", "small")
        fill(near, "a", "x" * 10_001)
        assert find(near, "a") is MISSING
        assert near.bytes == 0

    @pytest.mark.parametrize(
        "make",
        [
            lambda number: {f"field {at}": f"value {number} {at}" for at in range(12)},
            lambda number: {f"f{at}": "x" * 60 + "\U0001f600" for at in range(8)},
            lambda number: {"text": "x" * 5_000 + str(number), "y" * 900: None},
            lambda number: [float(number + at) for at in range(30)],
            lambda number: "ü" * 300 + str(number),
            lambda number: {"nested": [number, {"deep": "x" * 200}]},
            lambda number: None,
        ],
        ids=["dict", "wide", "compressed", "list", "text", "nested", "None"],
    )
    def test_bytes__what_they_say(self, make):
        """The bytes counted are no less than the memory taken."""
        near = near_cache(entries=10**6)
        fill(near, "warm", make(0))
        codec = Codec("default", KeyRing(["secret"]), Encoding())
        blobs = [(f"key:{number}", codec.encode(make(number), b"")) for number in range(2_000)]
        counts = PrefixCounts(100)
        tracemalloc.start()
        try:
            for key, blob in blobs:
                value = codec.decode(blob, b"")
                near.fill(
                    [entry_of(key, b"", value, blob, codec.opened, time.monotonic_ns() + FOREVER, counts)],
                    near.begin(),
                )
            del value, blobs, key, blob
            taken, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert taken < near.bytes
        assert near.bytes < 5 * taken

    def test_bytes__absent_keys(self):
        """Keys known to be absent count too."""
        near = near_cache()
        near.fill([entry_of("a", b"", MISSING, None, opened, FOREVER, PrefixCounts(1))], near.begin())
        assert near.bytes == ENTRY_BYTES


def linked(near):
    """The keys in SIEVE's queue, which must be sound in both directions."""
    forwards, backwards = [], []
    each = near._oldest
    while each is not None:
        forwards.append(each.key)
        each = each.newer
    each = near._newest
    while each is not None:
        backwards.append(each.key)
        each = each.older
    assert forwards == backwards[::-1]
    return set(forwards)


class Sieve:
    """The algorithm as its paper gives it, over a plain list: slow and simple."""

    def __init__(self, size):
        self.size = size
        self.queue = []  # newest first
        self.visited = {}
        self.hand = None  # an index, counted from the end

    def access(self, key):
        if key in self.visited:
            self.visited[key] = True
            return True
        if len(self.queue) == self.size:
            self.evict()
        self.queue.insert(0, key)
        self.visited[key] = False
        return False

    def evict(self):
        at = len(self.queue) - 1 if self.hand is None else self.queue.index(self.hand)
        while self.visited[self.queue[at]]:
            self.visited[self.queue[at]] = False
            at = at - 1 if at else len(self.queue) - 1
        self.hand = self.queue[at - 1] if at else None
        del self.visited[self.queue[at]]
        del self.queue[at]


class TestSieve:
    @pytest.mark.parametrize("exponent", [0.7, 0.99, 1.2])
    def test_evict__like_the_paper(self, exponent):
        """On a Zipf trace every access hits or misses as in a plain rendering of the algorithm."""
        chance = random.Random(7)
        weights = list(accumulate(1 / rank**exponent for rank in range(1, 3_001)))
        trace = chance.choices(range(3_000), cum_weights=weights, k=20_000)
        near, paper = near_cache(entries=300), Sieve(300)
        ours = theirs = 0
        for key in map(str, trace):
            hit = find(near, key) is not MISSING
            if not hit:
                fill(near, key)
            ours += hit
            theirs += paper.access(key)
        assert ours == theirs
        assert set(near._entries) == set(paper.queue)

    def test_evict__expired_first(self):
        """A copy past its deadline is not kept for having been popular."""
        near = near_cache(entries=2)
        fill(near, "old", deadline=time.monotonic_ns() + 10**10)
        find(near, "old")
        fill(near, "fresh")
        near._entries["old"].deadline = 0
        find(near, "fresh")
        fill(near, "new")
        assert set(near._entries) == {"fresh", "new"}

    def test_hand__of_a_dropped_entry(self):
        """The hand moves on when the entry it points at is dropped."""
        near = near_cache(entries=3)
        for key in "abc":
            fill(near, key)
            find(near, key)
        fill(near, "d")  # the hand has passed all three and evicted a; it points at b
        near.drop("b")
        fill(near, "e")
        fill(near, "f")
        assert set(near._entries) == {"d", "e", "f"}
        assert linked(near) == set(near._entries)


class TestCounts:
    def test_collect__each_hit_once(self):
        """Hits reach the counts once, by whichever way the entry leaves; absent keys count as misses."""
        counts, near = PrefixCounts(100), near_cache(entries=3)
        for key in ("dropped", "emptied", "replaced"):
            fill(near, key, counts=counts)
        for _ in range(5):
            for key in ("dropped", "emptied", "replaced"):
                find(near, key)
        near.collect()
        near.collect()
        assert counts.slots[NEAR_HITS] == 15
        for key in ("dropped", "emptied", "replaced"):
            find(near, key)
        near.drop("dropped")
        fill(near, "replaced", counts=counts)
        near.empty()
        near.collect()
        assert counts.slots[NEAR_HITS] == 18
        assert counts.reads == {"dropped": 6, "emptied": 6, "replaced": 6}
        near.fill([entry_of("absent", b"", MISSING, None, opened, FOREVER, counts)], near.begin())
        find(near, "absent")
        near.empty()
        assert (counts.slots[NEAR_HITS], counts.slots[MISSES]) == (18, 1)

    def test_collect__evicted(self):
        """What is evicted is counted on its way out."""
        counts, near = PrefixCounts(10_000), near_cache(entries=10)
        hits = 0
        chance = random.Random(3)
        for _ in range(5_000):
            key = str(int(chance.paretovariate(0.5)) % 200)
            if find(near, key) is MISSING:
                fill(near, key, counts=counts)
            else:
                hits += 1
        near.collect()
        assert counts.slots[NEAR_HITS] == hits == sum(counts.reads.values())

    def test_forget__not_the_childs(self):
        """Hits of before a fork are for the parent to report."""
        counts, near = PrefixCounts(10), near_cache()
        fill(near, "a", counts=counts)
        find(near, "a")
        near.forget()
        near.collect()
        assert counts.slots[NEAR_HITS] == 0


class TestThreads:
    def test_fill__many_threads(self):
        """Threads that read, fill, drop and collect at once leave a sound queue within its bounds."""
        near = near_cache(entries=40, max_bytes=60_000)
        counts = PrefixCounts(1000)
        problems = []

        def work(seed):
            chance = random.Random(seed)
            try:
                for _ in range(4_000):
                    key = str(chance.randrange(120))
                    if find(near, key) is MISSING:
                        token = near.begin()
                        near.fill([entry(key, key * 50, counts=counts)], token)
                    elif chance.random() < 0.1:
                        near.drop(key)
                    elif chance.random() < 0.002:
                        near.collect()
                    found = find(near, key)
                    assert found is MISSING or found == key * 50
                    assert len(near) <= 40
            except BaseException as problem:
                problems.append(problem)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert problems == []
        assert linked(near) == set(near._entries)
        assert near.bytes == sum(each.size for each in near._entries.values()) <= 60_000
