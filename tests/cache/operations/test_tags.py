"""Entries with tags: found, by whatever call, while none of their tags was dropped."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from django_callcache.cache.drivers import BlockingIo
from django_callcache.cache.multiplexer import AsyncIo
from django_callcache.cache.tags import DROP, LATELY_MET, MAX_TAGS, tag_ids
from tests.cache.linked import OPTIONS, confirm_anew, connect_link, is_near
from tests.cache.waiting import wait_until

VALUES = [None, 0, 7, 2**70, "", {"a": [1]}, "x" * 5000]


def tag_key(cache, tag):
    """The Redis key of a tag."""
    return cache.redis_keys.tag(*tag_ids([tag]))


@pytest.fixture
def round_trips(monkeypatch):
    """A list that grows with every round trip of either driver."""
    made = []

    def counted(method):
        def ask(self, commands, started, *, reads=False):
            made.append(commands)
            return method(self, commands, started, reads=reads)

        return ask

    for driver in (BlockingIo, AsyncIo):
        for name in ("ask", "ask_many"):
            monkeypatch.setattr(driver, name, counted(getattr(driver, name)))
    return made


class TestReading:
    @pytest.mark.parametrize("value", VALUES)
    async def test_get__while_tags_hold(self, face, value):
        """An entry with tags is found as it was stored, until one of them is dropped."""
        assert await face.set("a", value, tags=["red", "round"]) is True
        for _ in range(3):
            assert await face.get("a", "nothing") == value
        assert await face.get_many(["a", "b"]) == {"a": value}
        assert await face.delete_tags("round") == 1
        assert await face.get("a", "nothing") == "nothing"
        assert await face.get_many(["a", "b"]) == {}

    async def test_get__others_stay(self, face):
        """Only entries with the tag are dropped: not those with others, not those without any."""
        await face.set("both", 1, tags=["red", "round"])
        await face.set("one", 2, tags=["red"])
        await face.set("none", 3)
        assert await face.delete_tags("round", "never used") == 1
        assert await face.get_many(["both", "one", "none"]) == {"one": 2, "none": 3}

    async def test_get__tag_used_again(self, face):
        """What was dropped stays dropped when its tag is used again."""
        await face.set("old", 1, tags=["red"])
        await face.get("old")
        for number in range(3):
            await face.delete_tags("red")
            await face.set("new", number, tags=["red"])
            assert await face.get("old") is None
            assert await face.get_many(["old", "new"]) == {"new": number}

    async def test_get__other_tags_at_the_same_key(self, face):
        """An entry that is stored anew has the tags of its last write alone."""
        await face.set("a", 1, tags=["red"])
        await face.get("a")
        await face.set("a", 2, tags=["blue", "green"])
        assert await face.get("a") == 2
        await face.delete_tags("red")
        assert await face.get("a") == 2
        await face.set("a", 3)
        await face.delete_tags("blue", "green")
        assert [await face.get("a") for _ in range(2)] == [3, 3]

    @pytest.mark.parametrize("loss", ["expired", "overwritten"])
    async def test_get__lost_tag_key(self, face, redis_client, loss):
        """A tag key that is lost, or holds something else, makes misses and nothing worse."""
        await face.set("a", 1, tags=["red"])
        key = tag_key(face.cache, "red")
        if loss == "overwritten":
            redis_client.set(key, b"foreign")
        else:
            redis_client.unlink(key)
        assert await face.get("a") is None
        await face.set("a", 2, tags=["red"])
        assert await face.get("a") == 2

    @pytest.mark.parametrize("loss", ["tag", "epoch"])
    async def test_get__lost_after_it_was_met(self, face, redis_client, loss):
        """What is lost after an entry was found valid lets nothing dropped be found."""
        await face.set("a", 1, tags=["red"])
        for _ in range(2):
            assert await face.get("a") == 1
        lost = tag_key(face.cache, "red") if loss == "tag" else face.cache.redis_keys.tag_epoch()
        assert redis_client.unlink(lost) == 1
        await face.set("b", 2, tags=["red"])
        await face.get("b")
        await face.delete_tags("red")
        assert await face.get_many(["a", "b"]) == {}
        assert await face.get("a") is await face.get("b") is None

    async def test_get__many_entries(self, face):
        """More entries with tags than are remembered are all found, and all dropped."""
        names = [f"k{number}" for number in range(LATELY_MET + 100)]
        await face.set_many(dict.fromkeys(names, 1), tags=["all"])
        for name in names:
            assert await face.get(name) == 1
        assert len(face.cache._runtime.prefixes.of("k1").tagged) <= LATELY_MET
        await face.delete_tags("all")
        assert await face.get_many(names) == {}

    async def test_get__versions(self, face):
        """A tag drops entries of every version."""
        await face.set("a", 1, tags=["red"])
        await face.set("a", 2, version=2, tags=["red"])
        assert await face.get("a", version=2) == 2
        await face.delete_tags("red")
        assert await face.get("a") is await face.get("a", version=2) is None

    async def test_get__aliases(self, make_caches, face_of, redis_url):
        """Each alias has tags of its own."""
        one, other = make_caches(
            {name: {"LOCATION": redis_url, "KEY_PREFIX": name} for name in ("default", "other")}
        )
        for cache in (one, other):
            await face_of(cache).set("a", 1, tags=["red"])
        assert await face_of(one).delete_tags("red") == 1
        assert await face_of(one).get("a") is None
        assert await face_of(other).get("a") == 1

    async def test_get__compressed_and_all_tags(self, face):
        """A compressed value with as many tags as there may be is found and dropped."""
        tags = [f"tag {number}" for number in range(MAX_TAGS)]
        await face.set("a", "text " * 10_000, tags=tags)
        assert await face.get("a") == "text " * 10_000
        assert await face.has_key("a") is True
        assert await face.touch("a", 100) is True
        await face.delete_tags(tags[-1])
        assert await face.has_key("a") is False
        assert await face.get("a") is None


class TestRoundTrips:
    @pytest.mark.needs_server("counts round trips to one server")
    async def test_get__one_where_tags_are_known(self, face, round_trips):
        """Once met, an entry with tags is read in one round trip like any other."""
        await face.set("a", 1, tags=["red", "round"])
        await face.get("a")
        round_trips.clear()
        assert [await face.get("a") for _ in range(10)] == [1] * 10
        assert len(round_trips) == 10
        for _ in range(3):
            await face.delete_tags("something else")
        round_trips.clear()
        assert [await face.get("a") for _ in range(3)] == [1] * 3
        assert len(round_trips) == 4, "the epoch has ended, which is seen once"
        await face.delete_tags("red")
        round_trips.clear()
        assert [await face.get("a") for _ in range(3)] == [None] * 3
        assert len(round_trips) <= 4

    @pytest.mark.needs_server("counts round trips to one server")
    async def test_get_many__two(self, face, round_trips):
        """A batch checks the tags of all its entries in one further round trip."""
        data = {f"k{number}": number for number in range(200)}
        for number in range(4):
            part = dict(list(data.items())[number::4])
            await face.set_many(part, tags=[f"t{number}", "all"])
        round_trips.clear()
        assert await face.get_many(data) == data
        assert len(round_trips) == 2
        await face.delete_tags("t1")
        assert await face.get_many(data) == {key: n for key, n in data.items() if n % 4 != 1}

    @pytest.mark.needs_server("counts round trips to one server")
    async def test_set__one_more(self, face, round_trips):
        """A write with tags takes one round trip more than one without, a batch too."""
        await face.set("a", 1, tags=["red"])  # from here on the server knows the script
        for expected, call in ((2, face.set("a", 1, tags=["red", "blue"])), (1, face.set("a", 1))):
            round_trips.clear()
            await call
            assert len(round_trips) == expected
        round_trips.clear()
        await face.set_many(dict.fromkeys(map(str, range(100)), 1), tags=["red"])
        assert len(round_trips) == 2


class TestWriting:
    @pytest.mark.parametrize("write", ["set", "add", "set_many"])
    @pytest.mark.parametrize("tags", ["red", ["x"] * 40 + [3], [""], ["x" * 129], list(map(str, range(33)))])
    async def test_write__refused_tags(self, face, redis_client, write, tags):
        """Tags that cannot be taken are refused before anything is written."""
        arguments = ({"a": 1},) if write == "set_many" else ("a", 1)
        with pytest.raises((TypeError, ValueError)):
            await getattr(face, write)(*arguments, tags=tags)
        assert redis_client.dbsize() == 0

    @pytest.mark.parametrize("write", ["set", "add", "set_many"])
    async def test_write__synced(self, face_of, make_cache, redis_client, write):
        """A synced prefix takes no tags, and says so; without any it is written."""
        face = face_of(make_cache(RULES={"s:": {"sync": "lww"}}))
        arguments = ({"a": 1, "s:1": 1},) if write == "set_many" else ("s:1", 1)
        with pytest.raises(ValueError, match=r"'s:' are synced and take no tags"):
            await getattr(face, write)(*arguments, tags=iter(["red"]))
        assert redis_client.dbsize() == 0
        await getattr(face, write)(*arguments, tags=[])
        assert await face.get("s:1") == 1

    async def test_set__timeout_of_zero(self, face, redis_client):
        """What is not kept at all leaves no tag behind."""
        assert await face.set("a", 1, 0, tags=["red"]) is True
        assert await face.set_many({"a": 1}, -1, tags=["red"]) == []
        assert await face.add("a", 1, 0, tags=["red"]) is True
        assert redis_client.dbsize() == 0

    async def test_set_many__generator(self, face):
        """Tags may come from a generator, whatever prefixes the keys have."""
        assert await face.set_many({"a:1": 1, "b:1": 2}, tags=(tag for tag in ["red", "round"])) == []
        assert await face.get_many(["a:1", "b:1"]) == {"a:1": 1, "b:1": 2}
        await face.delete_tags("round")
        assert await face.get_many(["a:1", "b:1"]) == {}

    async def test_add__over_a_dropped_entry(self, face):
        """An entry whose tag was dropped is no entry: something can be added in its place, once."""
        await face.set("a", 1, tags=["red"])
        assert await face.add("a", 2, tags=["red"]) is False
        assert await face.add("a", 2, 0) is False
        await face.delete_tags("red")
        assert await face.add("a", 2, 0) is True
        assert await face.add("a", 3, tags=["red"]) is True
        assert await face.add("a", 4) is False
        assert await face.get("a") == 3

    async def test_add__over_other_things(self, face):
        """What is no value at all is not replaced."""
        await face.hset("hash", "field", 1)
        assert await face.add("hash", 2) is False
        assert await face.hget("hash", "field") == 1

    async def test_set__present_only(self, face):
        """With `xx` and `nx` tags go along."""
        assert await face.set("a", 1, xx=True, tags=["red"]) is False
        assert await face.set("a", 1, nx=True, tags=["red"]) is True
        assert await face.set("a", 2, xx=True, tags=["blue"]) is True
        await face.delete_tags("red")
        assert await face.get("a") == 2
        await face.delete_tags("blue")
        assert await face.get("a") is None


class TestOtherCalls:
    async def test_has_key__dropped(self, face):
        """An entry whose tag was dropped does not exist."""
        await face.set("a", 1, tags=["red"])
        assert await face.has_key("a") is True
        await face.delete_tags("red")
        assert await face.has_key("a") is False

    @pytest.mark.parametrize("value", [5, 2**70, 1.5])
    async def test_incr__keeps_tags(self, face, value):
        """A number keeps its tags when it is counted on; dropped, it is missing."""
        await face.set("a", value, 100, tags=["red"])
        assert await face.incr("a", 2) == value + 2
        assert await face.decr("a") == value + 1
        assert await face.get("a") == value + 1
        assert 0 < await face.ttl("a") <= 100
        await face.delete_tags("red")
        with pytest.raises(ValueError, match="not found"):
            await face.incr("a")
        assert await face.incr("a", 3, ignore_key_check=True) == 3
        assert await face.get("a") == 3

    async def test_incr_version__keeps_tags(self, face):
        """A value that moves to another version takes its tags along; dropped, it is missing."""
        await face.set("a", "x", tags=["red"])
        assert await face.incr_version("a") == 2
        assert await face.get("a", version=2) == "x"
        await face.delete_tags("red")
        assert await face.get("a", version=2) is None
        with pytest.raises(ValueError, match="not found"):
            await face.decr_version("a", version=2)

    @pytest.mark.parametrize(
        ("call", "arguments"),
        [
            ("touch", ("a", 999_999)),
            ("touch", ("a", None)),
            ("persist", ("a",)),
            ("expire", ("a", 999_999)),
            ("pexpire", ("a", 999_999_000)),
            ("pexpire_at", ("a", 32_503_680_000_000)),
            ("touch_many", (["a", "b"], 999_999)),
        ],
    )
    async def test_retime__tags_live_as_long(self, face, redis_client, call, arguments):
        """An entry that is given more time keeps its tags as long; dropped, there is nothing to be given."""
        await face.set("a", 1, 60, tags=["red"])
        assert redis_client.ttl(tag_key(face.cache, "red")) <= 3600
        assert await getattr(face, call)(*arguments)
        left, of_tag = redis_client.pttl("t:1:a"), redis_client.pttl(tag_key(face.cache, "red"))
        assert of_tag == -1 if left == -1 else of_tag > left > 900_000_000
        assert await face.get("a") == 1
        await face.delete_tags("red")
        assert not await getattr(face, call)(*arguments)
        assert await face.get("a") is None

    async def test_ttl__dropped(self, face):
        """What looks at keys alone still sees an entry whose tag was dropped, until it expires."""
        await face.set("a", 1, 60, tags=["red"])
        await face.delete_tags("red")
        assert await face.ttl("a") > 0
        assert await face.keys() == ["a"]
        assert await face.delete("a") is True


class TestTagKeys:
    async def test_stamp__lifetime(self, face, redis_client):
        """A tag lives longer than any entry written with it, and is not shortened by a shorter one."""
        key = tag_key(face.cache, "red")
        await face.set("a", 1, 10_000, tags=["red"])
        assert 19_000 < redis_client.ttl(key) <= 20_000
        await face.set("b", 1, 5, tags=["red"])
        assert 19_000 < redis_client.ttl(key) <= 20_000
        await face.set_many({"c": 1, "d": 1}, 50_000, tags=["red"])
        assert 99_000 < redis_client.ttl(key) <= 100_000
        await face.add("e", 1, None, tags=["red"])
        assert redis_client.ttl(key) == -1
        await face.set("a", 2, 10, tags=["red"])
        assert redis_client.ttl(key) == -1
        assert await face.get_many("abcde") == {"a": 2, "b": 1, "c": 1, "d": 1, "e": 1}

    async def test_delete_tags__number(self, face):
        """The answer is how many of the tags were in use."""
        await face.set("a", 1, tags=["red", "round"])
        assert await face.delete_tags() == 0
        assert await face.delete_tags("red", "red", "blue") == 1
        assert await face.delete_tags("red", "round") == 1

    async def test_delete_tags__very_many(self, face, redis_client):
        """Any number of tags can be dropped in one call."""
        tags = [f"tag {number}" for number in range(2500)]
        for at in range(0, 2500, 32):
            await face.set("a", 1, tags=tags[at : at + 32])
        assert await face.delete_tags(*tags) == 2500
        assert redis_client.keys("callcache@*") == []

    @pytest.mark.parametrize("tags", [(["red"],), (1,), ("",), ("x" * 129,)])
    async def test_delete_tags__refused(self, face, tags):
        """Names that no tag can have are refused rather than found unused."""
        with pytest.raises((TypeError, ValueError)):
            await face.delete_tags(*tags)

    async def test_listing__without_tag_keys(self, face):
        """The keys of tags are internal: they are never listed, and `clear` does not need them."""
        await face.set("a", 1, tags=["red"])
        assert await face.keys() == ["a"]
        await face.clear()
        assert await face.get("a") is None

    async def test_stamp__redis_is_down(self, face_of, make_cache, start_redis):
        """Without Redis writes with tags fail as others do, and dropping a tag says that none was in use."""
        server = start_redis()
        face = face_of(make_cache(location=server.url, DEADLINE=5))
        await face.set("a", 1, tags=["red"])
        server.kill()
        assert await face.set("a", 1, tags=["red"]) is False
        assert await face.add("b", 1, tags=["red"]) is False
        assert await face.set_many({"a": 1, "b": 2}, tags=["red"]) == ["a", "b"]
        assert await face.delete_tags("red") == 0
        assert await face.get("a") is None


class TestComputed:
    async def test_get_or_set__tags(self, face):
        """What is computed has the tags of the call that stored it."""
        assert await face.get_or_set("a", lambda: {"n": 1}, tags=["red", "round"]) == {"n": 1}
        assert await face.get_or_set("a", lambda: {"n": 2}, tags=["blue"]) == {"n": 1}
        await face.delete_tags("blue")
        assert await face.get("a") == {"n": 1}
        await face.delete_tags("round")
        assert await face.get_or_set("a", lambda: {"n": 3}, tags=["red"]) == {"n": 3}
        assert await face.get("a") == {"n": 3}

    async def test_get_or_set__given(self, face):
        """A default that is no callable is stored with its tags too."""
        assert await face.get_or_set("a", 5, tags=["red"]) == 5
        assert await face.get("a") == 5
        await face.delete_tags("red")
        assert await face.get("a") is None

    @pytest.mark.parametrize("tag", ["red", "other"])
    async def test_get_or_set__dropped_meanwhile(self, face, make_cache, tag):
        """A value whose tag is dropped while it is computed is its caller's alone."""
        calls = []

        def load():
            calls.append(1)
            if len(calls) == 1:
                assert face.cache.delete_tags(tag) == (tag == "red")
            return len(calls)

        assert await face.get_or_set("a", load, tags=["red"]) == 1
        found = None if tag == "red" else 1
        assert await face.get("a") == found
        assert await face.get_or_set("a", load, tags=["red"]) == (2 if tag == "red" else 1)
        assert await face.get("a") == len(calls)

    async def test_get_or_set__stale_copy(self, face):
        """A value whose tag was dropped is not served stale either, within its grace."""
        assert await face.get_or_set("a", lambda: 1, 0.05, grace=600, tags=["red"]) == 1
        await face.delete_tags("red")

        def fail():
            raise LookupError

        with pytest.raises(LookupError):
            await face.get_or_set("a", fail, grace=600, tags=["red"])

    async def test_get_or_set__context_gives_more_time(self, face, redis_client):
        """A loader that lengthens its value's life lengthens its tags' too."""

        def load(context):
            context.set_options(timeout=999_999)
            return 1

        assert await face.get_or_set("a", load, 5, tags=["red"]) == 1
        assert redis_client.ttl(tag_key(face.cache, "red")) > 999_999
        assert await face.get("a") == 1

    async def test_fill__tags(self, face):
        """The token of `get_for_fill` knows the tags as they were before the value was computed."""
        value, token = await face.get_for_fill("a", tags=["red"])
        assert value is None
        assert await face.fill("a", 1, token) is True
        assert (await face.get_for_fill("a", tags=["red"])).value == 1
        await face.delete_tags("red")
        value, token = await face.get_for_fill("a", tags=["red"])
        assert value is None
        await face.delete_tags("red")
        assert await face.fill("a", 2, token) is False
        assert await face.get("a") is None

    @pytest.mark.parametrize("tags", ["red", [""], list(map(str, range(33)))])
    async def test_get_or_set__refused_tags(self, face, tags):
        """Tags that cannot be taken are refused before anything is computed."""
        with pytest.raises((TypeError, ValueError)):
            await face.get_or_set("a", lambda: pytest.fail("computed"), tags=tags)
        with pytest.raises((TypeError, ValueError)):
            await face.get_for_fill("a", tags=tags)

    def test_get_or_set__others_join_after_the_drop(self, make_cache):
        """Who asks after a tag was dropped gets nothing of a computation that began before."""
        cache = make_cache()
        may_load, is_loading = threading.Event(), threading.Event()
        source = {"n": 1}

        def load():
            found = source["n"]
            is_loading.set()
            assert may_load.wait(30)
            return found

        with ThreadPoolExecutor(2) as threads:
            early = threads.submit(cache.get_or_set, "a", load, tags=["red"])
            assert is_loading.wait(30)
            source["n"] = 2
            cache.delete_tags("red")
            late = threads.submit(cache.get_or_set, "a", load, tags=["red"])
            wait_until(late.running)
            may_load.set()
            assert early.result(30) == 1
            assert late.result(30) == 2
        assert cache.get("a") == 2


class TestNear:
    @pytest.fixture
    def near(self, make_cache):
        """A cache that keeps copies, and whose link will not be late on a busy machine."""
        return connect_link(make_cache(**OPTIONS, MAX_STALENESS=30))

    def keep(self, cache, *keys):
        """Read until this process holds copies: what is written just before is heard of a little later."""

        def are_near():
            for key in keys:
                cache.get(key)
            return all(is_near(cache, key) for key in keys)

        confirm_anew(cache)
        wait_until(are_near)

    @pytest.mark.parametrize("value", ["text", 5, {"n": [1]}])
    async def test_get__copies(self, near, face_of, value, round_trips):
        """Entries with tags are copied too; dropping any tag drops these copies, and those alone."""
        face = face_of(near)
        near.set("k:1", value, tags=["red"])
        near.set("k:2", value, tags=["blue"])
        near.set("k:3", value)
        self.keep(near, "k:1", "k:2", "k:3")
        round_trips.clear()
        assert [await face.get(f"k:{number}") for number in (1, 2, 3)] == [value] * 3
        assert round_trips == []
        await face.delete_tags("red")
        assert [is_near(near, f"k:{number}") for number in (1, 2, 3)] == [False, False, True]
        assert [await face.get(f"k:{number}") for number in (1, 2, 3)] == [None, value, value]
        self.keep(near, "k:2")
        assert [await face.get(f"k:{number}") for number in (1, 2, 3)] == [None, value, value]

    def test_get__dropped_elsewhere(self, near, redis_url, redis_client):
        """A tag that somebody else drops is heard of."""
        near.set("k:1", "old", tags=["red"])
        self.keep(near, "k:1")
        keys = near.redis_keys.tag_epoch(), tag_key(near, "red")
        assert redis_client.eval(DROP.source, 2, *keys) == 1
        wait_until(lambda: not is_near(near, "k:1"))
        assert near.get("k:1") is None

    def test_get__dropped_during_the_read(self, near, monkeypatch):
        """A read that was overtaken by the drop of a tag keeps no copy."""
        near.set("k:1", "old", tags=["red"])
        confirm_anew(near)
        fill = near._runtime.near.fill

        def late(entries, token):
            near.delete_tags("red")
            fill(entries, token)

        monkeypatch.setattr(near._runtime.near, "fill", late)
        wait_until(lambda: near.get("k:1") == "old" or near.get("k:1") is None)
        assert not is_near(near, "k:1")
        monkeypatch.undo()
        assert near.get("k:1") is None

    @pytest.mark.needs_server("LINK per-key")
    def test_get__per_key(self, make_cache):
        """Where Redis remembers what is read, entries with tags are read from it each time."""
        cache = connect_link(make_cache(**OPTIONS, MAX_STALENESS=30, LINK="per-key"))
        cache.set("k:1", "x", tags=["red"])
        confirm_anew(cache)
        assert [cache.get("k:1") for _ in range(3)] == ["x"] * 3
        assert not is_near(cache, "k:1")
        cache.delete_tags("red")
        assert cache.get("k:1") is None
