"""``cached()`` over the real cache."""

from __future__ import annotations

import asyncio
import functools
import inspect
import pickle
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

import pytest
from asgiref.sync import iscoroutinefunction
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured

from django_callcache.decorators import cached
from testproject.crm.models import Campaign
from tests.cache.waiting import wait_until

HERE = __name__
calls = []


@pytest.fixture(autouse=True)
def _no_calls():
    calls.clear()


@pytest.fixture(autouse=True)
def _cache(make_caches, redis_url):
    """The default cache, and others by their prefixes and backends."""
    quiet = {"OPTIONS": {"CALLCACHE": {"STATS": False, "DEADLINE": 10}}}
    make_caches(
        {
            "default": {"LOCATION": redis_url, "KEY_PREFIX": "t", **quiet},
            "other": {"LOCATION": redis_url, "KEY_PREFIX": "u", **quiet},
            "local": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": HERE},
            "dummy": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"},
        }
    )
    caches["local"].clear()


@cached(ttl=60)
def figures(campaign_id, *, since=None):
    """Figures of a campaign."""
    calls.append((campaign_id, since))
    return {"campaign": campaign_id, "call": len(calls)}


@cached(ttl=60)
async def afigures(campaign_id):
    calls.append(campaign_id)
    await asyncio.sleep(0)
    return {"campaign": campaign_id, "call": len(calls)}


@cached(exclude=["token"])
def fetched(path, token, **options):
    calls.append(path)
    return token


@dataclass(frozen=True)
class Office:
    city: str

    @cached(ttl=60)
    def staff(self, year):
        calls.append((self.city, year))
        return len(calls)

    @cached(ttl=60)
    async def astaff(self, year):
        calls.append((self.city, year))
        return len(calls)

    @cached(ttl=60)
    @classmethod
    def kind(cls, number):
        calls.append((cls, number))
        return cls.__name__

    @cached(ttl=60)
    @staticmethod
    def fixed(number):
        calls.append(number)
        return number

    @staticmethod
    @cached(ttl=60)
    async def afixed(number):
        calls.append(number)
        return number


class Branch(Office):
    pass


class Service:
    def __init__(self):
        self.connection = object()

    @cached(exclude=("self",))
    def one(self, number):
        calls.append(number)
        return number

    @cached()
    def two(self, number):
        return number

    @classmethod
    @cached()
    def below(cls, number=1):
        return number


class TestFunction:
    def test_call(self):
        """A function is called once for each set of arguments, however they are passed."""
        assert figures(7) == figures(7) == figures(campaign_id=7) == figures(7, since=None)
        assert calls == [(7, None)]
        figures(8)
        figures(7, since=1)
        assert calls == [(7, None), (8, None), (7, 1)]

    def test_call__none(self):
        """A result of None is kept."""

        @cached()
        def nothing():
            calls.append(1)

        assert nothing() is None
        assert nothing() is None
        assert len(calls) == 1

    def test_call__exception(self):
        """An exception is the caller's, and nothing is kept."""

        @cached()
        def failing():
            calls.append(1)
            raise LookupError("no")

        for _ in range(2):
            with pytest.raises(LookupError, match="no"):
                failing()
        assert len(calls) == 2

    def test_call__wrong_arguments(self):
        """Arguments that the function does not take are refused as the function would."""
        with pytest.raises(TypeError, match="missing a required argument: 'campaign_id'"):
            figures()
        with pytest.raises(TypeError, match="unexpected keyword argument 'yaer'"):
            figures(7, yaer=1)
        with pytest.raises(TypeError, match="multiple values for argument 'campaign_id'"):
            figures(7, campaign_id=7)
        with pytest.raises(TypeError, match="too many positional arguments"):
            figures(7, 8)
        assert calls == []

    def test_call__no_arguments(self):
        """A function without parameters has one result; a call with some is refused."""

        @cached()
        def everything():
            calls.append(1)

        everything()
        everything()
        assert len(calls) == 1
        with pytest.raises(TypeError, match="too many positional arguments"):
            everything(1)

    def test_call__any_arguments(self):
        """A function that takes whatever comes is told by all of it, and by nothing else."""

        @cached(key="{args}:{kwargs}")
        def rendered(*args, **kwargs):
            return args

        @cached()
        def anything(first, /, *args, **kwargs):
            return first, args, kwargs

        assert anything(1, 2, b=3) == (1, (2,), {"b": 3})
        assert anything.key(1, 2, b=3).endswith("anything:first=1,args=(2),kwargs={'b':3}")
        for arguments in ((), (1,)):
            with pytest.raises(TypeError, match="a tuple has no text"):
                rendered(*arguments)

    def test_key(self):
        """The key names the function and its arguments, in the signature's order, defaults included."""
        assert figures.key(7) == f"{HERE}.figures:campaign_id=7,since=None"
        figures(7)
        assert caches["default"].get(figures.key(7)) == {"campaign": 7, "call": 1}
        assert figures.key(since="x", campaign_id=7) == f"{HERE}.figures:campaign_id=7,since='x'"

    def test_key__long(self):
        """A long key is cut, and told by a digest."""
        keys = {figures.key("a" * 500), figures.key("a" * 501)}
        assert len(keys) == 2
        assert {len(key) for key in keys} == {200}
        assert all(key.startswith(f"{HERE}.figures:campaign_id='aaa") for key in keys)

    def test_get(self):
        """What is kept is had without calling the function."""
        assert figures.get(7) is None
        figures(7)
        assert figures.get(7) == {"campaign": 7, "call": 1}
        assert len(calls) == 1

    def test_invalidate(self):
        """An invalidated result is computed anew; the others stay."""
        figures(7)
        figures(8)
        assert figures.invalidate(7) is True
        assert figures.invalidate(7) is False
        assert figures(7)["call"] == 3
        assert figures(8)["call"] == 2

    def test_refresh(self):
        """A refresh calls the function whatever is kept, and keeps its result."""
        figures(7)
        assert figures.refresh(7)["call"] == 2
        assert figures(7)["call"] == 2

    def test_refresh__invalidated_meanwhile(self):
        """A result that was invalidated while it was computed anew is returned and not kept."""

        @cached(key="refreshed:{number}")
        def doubled(number):
            if doubled.get(number) is not None:
                doubled.invalidate(number)
            return 2 * number

        assert doubled(4) == doubled.refresh(4) == 8
        assert doubled.get(4) is None

    def test_wrapped(self):
        """The function keeps its name, text and signature, and can be pickled by its name."""
        assert (figures.__name__, figures.__doc__) == ("figures", "Figures of a campaign.")
        assert str(inspect.signature(figures)) == "(campaign_id, *, since=None)"
        assert repr(figures) == f"<cached {HERE}.figures>"
        assert pickle.loads(pickle.dumps(figures)) is figures

    def test_exclude(self):
        """What the result does not depend on is no part of the key, among keyword arguments too."""
        assert fetched.key("/a", "s3cret") == f"{HERE}.fetched:path='/a',options={{}}"
        assert fetched("/a", "one") == fetched("/a", "two") == "one"
        assert fetched.key("/a", "s", b=1, a=2).endswith("options={'a':2,'b':1}")


class TestKeyOption:
    def test_key__text(self):
        """A text with parameters is the key that one would write by hand."""

        @cached(key="campaign:{campaign_id}:{since}")
        def record(campaign_id, since="ever"):
            return campaign_id

        assert record.key(7) == record.key("7") == "campaign:7:ever"
        assert record(7) == 7
        assert caches["default"].get("campaign:7:ever") == 7

    def test_key__attribute(self):
        """A parameter's attribute can be named; a model is its primary key."""

        @cached(key="{campaign}:{campaign.name}")
        def record(campaign):
            return 1

        assert record.key(Campaign(pk=7, name="May")) == "7:May"
        with pytest.raises(TypeError, match=r"record: '\{campaign\}:\{campaign.name\}': a list has no text"):
            record.key([1])

    def test_key__callable(self):
        """A callable makes the key of the arguments as they were passed."""

        @cached(key=lambda campaign_id, since=1: f"c:{campaign_id}:{since}")
        def record(campaign_id, since=1):
            return campaign_id

        assert record.key(7) == record.key(campaign_id=7) == "c:7:1"
        assert record(7) == caches["default"].get("c:7:1") == 7

    def test_key__callable_returns_no_text(self):
        """A key that is no text is refused."""

        @cached(key=lambda number: number)
        def record(number):
            return number

        with pytest.raises(TypeError, match=r"key\(\) returned a int: return a text"):
            record(1)

    @pytest.mark.parametrize("text", ["{campain_id}", "{campain_id.pk}"])
    def test_key__unknown_parameter(self, text):
        """A parameter that is not there is refused when the function is decorated, with the nearest."""
        with pytest.raises(
            ImproperlyConfigured, match=r"key names 'campain_id'.* Did you mean 'campaign_id'"
        ):

            @cached(key=text)
            def record(campaign_id):
                return campaign_id

    def test_exclude__unknown_parameter(self):
        """So is one to be left out."""
        with pytest.raises(ImproperlyConfigured, match=r"exclude names 'tokn'.* Did you mean 'token'"):

            @cached(exclude=["tokn"])
            def record(token):
                return token

    def test_exclude__text(self):
        """A text in place of a list of names is refused."""
        with pytest.raises(ImproperlyConfigured, match="exclude is 'token': give a list"):

            @cached(exclude="token")
            def record(token):
                return token


class TestRefused:
    def test_call__unstable_argument(self):
        """An object whose text holds its address is refused, with the parameter and the cure."""
        with pytest.raises(TypeError, match=r"figures\(\) .* 'campaign_id': it is a object, .*exclude="):
            figures(object())
        assert calls == []

    def test_call__no_value_in_the_message(self):
        """No message shows an argument's value."""
        with pytest.raises(TypeError) as raised:
            figures([object(), "s3cret"])
        assert "s3cret" not in str(raised.value)

    def test_decorate__lambda(self):
        """A function without a name needs a key."""
        with pytest.raises(ImproperlyConfigured, match="<lambda> has no name"):
            cached()(lambda: 1)
        assert cached(key="one")(lambda: 1)() == 1

    def test_decorate__partial(self):
        """So does a partial, whose fixed arguments no key would show."""
        with pytest.raises(ImproperlyConfigured, match="has no name"):
            cached()(functools.partial(figures, 1))

    def test_decorate__closure(self):
        """A function that uses another's variables needs a key: they are no arguments."""

        def around(client):
            @cached()
            def within(number):
                return client, number

        with pytest.raises(ImproperlyConfigured, match="uses client of the function around it"):
            around(1)

    def test_decorate__without_parentheses(self):
        """The decorator written without its parentheses says so at once."""
        with pytest.raises(TypeError, match="positional argument"):

            @cached
            def record(number):
                return number

    @pytest.mark.parametrize("ttl", [0, -1, "60", True, timedelta(0)])
    def test_decorate__wrong_ttl(self, ttl):
        """A TTL that keeps nothing is refused."""
        with pytest.raises(ImproperlyConfigured, match=r"cached\(ttl="):
            cached(ttl=ttl)


class TestTtl:
    @pytest.mark.parametrize(
        ("ttl", "low", "high"), [(60, 1, 60), (timedelta(minutes=2), 61, 120), (None, None, None)]
    )
    def test_ttl(self, ttl, low, high):
        """A result lives as long as it is told to."""

        @cached(ttl=ttl)
        def record(number):
            return number

        record(1)
        left = caches["default"].ttl(record.key(1))
        assert left is None if low is None else low <= left <= high

    def test_ttl__left_out(self, make_cache):
        """Without one the rule of the key's prefix decides."""
        make_cache(RULES={"campaign:": {"ttl": 30}})

        @cached(key="campaign:{number}")
        def record(number):
            return number

        record(1)
        assert 0 < caches["default"].ttl("campaign:1") <= 30


class TestComputing:
    def test_call__at_once(self):
        """Threads that want one result at once have it computed once."""
        everybody = threading.Barrier(8)

        def ask(_):
            everybody.wait(30)
            return figures(7)

        with ThreadPoolExecutor(8) as pool:
            assert {result["call"] for result in pool.map(ask, range(8))} == {1}
        assert len(calls) == 1

    async def test_call__tasks_at_once(self):
        """So do tasks."""
        results = await asyncio.gather(*(afigures(7) for _ in range(8)))
        assert {result["call"] for result in results} == {1}

    def test_call__invalidated_meanwhile(self):
        """A result that is invalidated while it is computed is returned, and not kept."""

        @cached(key="overtaken:{number}")
        def overtaken(number):
            caches["default"].delete(f"overtaken:{number}")
            return number

        assert overtaken(1) == 1
        assert "overtaken:1" not in caches["default"]

    def test_condition(self):
        """A result that the condition refuses is returned, and not kept, nor does it replace one that is."""
        answers = iter([[], [1], []])

        @cached(key="some", condition=bool)
        def some():
            return next(answers)

        assert some() == []
        assert "some" not in caches["default"]
        assert some() == some() == [1]
        assert some.refresh() == []
        assert some() == [1]

    async def test_condition__coroutine(self):
        """The same for a coroutine function, and in another backend."""
        for alias in ("default", "local"):
            answers = iter([0, 1, 0])

            @cached(key="some", condition=bool, alias=alias)
            async def some(answers=answers):
                return next(answers)

            assert [await some(), await some(), await some()] == [0, 1, 1], alias
            assert await some.arefresh() == 0
            assert await some.aget() == 1

    @pytest.mark.parametrize(
        "tags",
        [["campaign-{campaign_id}", "all"], lambda campaign_id, day=1: [f"campaign-{campaign_id}", "all"]],
    )
    def test_tags(self, tags):
        """Results are dropped by their tags, refreshed ones too; those of other arguments stay."""

        @cached(key="report:{campaign_id}:{day}", tags=tags)
        def report(campaign_id, day=1):
            return day

        report(7)
        report.refresh(7, 2)
        report(8)
        caches["default"].delete_tags("campaign-7")
        assert [report.get(7), report.get(7, 2), report.get(8)] == [None, None, 1]
        caches["default"].delete_tags("all")
        assert report.get(8) is None

    async def test_tags__coroutine(self):
        """So are those of a coroutine function; a cache of another backend knows no tags."""
        for alias in ("default", "local"):

            @cached(key="report:{number}", tags=["reports"], alias=alias)
            async def report(number):
                return number

            assert (await report(1), await report.arefresh(1)) == (1, 1)
        await caches["default"].adelete_tags("reports")
        assert await caches["default"].aget("report:1") is None
        assert await caches["local"].aget("report:1") == 1

    @pytest.mark.parametrize("tags", [["{nobody}"], "reports", ["{"]])
    def test_tags__wrong(self, tags):
        """Tags that cannot be are refused when the function is decorated."""
        with pytest.raises(ImproperlyConfigured, match="tags"):

            @cached(tags=tags)
            def report(number):
                return number

    def test_grace(self):
        """Within its grace an old result is served where the function fails."""
        failing = []

        @cached(key="stale", ttl=0.05, grace=60)
        def stale():
            if failing:
                raise LookupError
            return "old"

        assert stale() == "old"
        failing.append(True)
        wait_until(lambda: "stale" not in caches["default"])
        assert stale() == "old"

    @pytest.mark.parametrize(
        ("option", "words"), [({"grace": -1}, "grace is -1"), ({"jitter": 2}, "jitter is 2")]
    )
    def test_options__wrong(self, option, words):
        """An option that cannot be is refused when the function is decorated."""
        with pytest.raises(ImproperlyConfigured, match=words):
            cached(**option)


class TestCoroutine:
    async def test_call(self):
        """A coroutine function is awaited once for each set of arguments."""
        assert await afigures(7) == await afigures(7) == {"campaign": 7, "call": 1}
        assert calls == [7]
        assert await caches["default"].aget(afigures.key(7)) == {"campaign": 7, "call": 1}

    async def test_methods(self):
        """The methods have asynchronous forms."""
        assert await afigures.aget(7) is None
        await afigures(7)
        assert await afigures.aget(7) == {"campaign": 7, "call": 1}
        assert (await afigures.arefresh(7))["call"] == 2
        assert (await afigures(7))["call"] == 2
        assert await afigures.ainvalidate(7) is True
        assert (await afigures(7))["call"] == 3

    async def test_seen_as_coroutine_function(self):
        """Django and asgiref see what it is."""
        assert iscoroutinefunction(afigures)
        assert not iscoroutinefunction(figures)
        assert iscoroutinefunction(Office("Bogota").astaff)

    def test_invalidate__blocking(self):
        """Blocking code can drop and look at what asynchronous code keeps."""
        asyncio.run(afigures(7))
        assert afigures.get(7) == {"campaign": 7, "call": 1}
        assert afigures.invalidate(7) is True
        assert afigures.get(7) is None


class TestMethods:
    def test_method(self):
        """A method's results are told by its object too."""
        assert Office("Bogota").staff(2008) == Office("Bogota").staff(2008)
        Office("Cali").staff(2008)
        assert calls == [("Bogota", 2008), ("Cali", 2008)]
        assert Office("Bogota").staff.key(2008) == Office.staff.key(Office("Bogota"), 2008)
        assert Office("Bogota").staff.invalidate(2008) is True
        assert Office("Bogota").staff.get(2008) is None

    async def test_method__coroutine(self):
        """So are those of a coroutine method."""
        await Office("Bogota").astaff(2008)
        await Office("Bogota").astaff(2008)
        assert calls == [("Bogota", 2008)]
        assert await Office("Bogota").astaff.ainvalidate(2008) is True

    def test_method__class(self):
        """A class method's results are kept by class."""
        assert [Office.kind(1), Branch.kind(1), Office("x").kind(1)] == ["Office", "Branch", "Office"]
        assert calls == [(Office, 1), (Branch, 1)]
        assert Branch.kind.key(1) == f"{HERE}.Office.kind:cls={HERE}.Branch,number=1"

    async def test_method__static(self):
        """Static methods have no object, whichever decorator stands above."""
        assert Office.fixed(1) == Office("x").fixed(1) == 1
        assert await Office.afixed(2) == await Office("x").afixed(2) == 2
        assert calls == [1, 2]
        assert Office.fixed.invalidate(1) is True

    def test_method__object_without_identity(self):
        """An object that cannot be told by itself is refused, and can be left out."""
        with pytest.raises(TypeError, match=r"argument 'self': it is a Service.*exclude=\('self',\)"):
            Service().two(1)
        assert Service().one(1) == Service().one(1)
        assert calls == [1]

    def test_method__below_classmethod(self):
        """In the wrong order no method makes keys that are not those of calls."""
        assert Service.below(1) == 1
        key = f"{HERE}.Service.below:cls={HERE}.Service,number=1"
        assert caches["default"].get(key) == 1
        # From Python 3.13 on the method's attributes are those of the function, without the class.
        if sys.version_info < (3, 13):
            assert Service.below.key(1) == key
        else:
            with pytest.raises(TypeError, match="above @classmethod"):
                Service.below.key(1)

    def test_method__model(self):
        """A model's method is told by its row."""

        class Report:
            @cached(key="report:{campaign}")
            def of(self, campaign):
                return campaign.name

        assert Report().of(Campaign(pk=7, name="May")) == "May"
        assert Report().of(Campaign(pk=7, name="June")) == "May"


class TestAlias:
    def test_alias(self):
        """Results are kept in the cache of the alias, under the version."""

        @cached(alias="other", version=3, key="n:{number}")
        def record(number):
            return number

        record(1)
        assert caches["other"].get("n:1", version=3) == 1
        assert caches["default"].get("n:1") is None
        assert record.invalidate(1) is True
        assert caches["other"].get("n:1", version=3) is None

    async def test_alias__other_backend(self):
        """Another backend keeps results too, those of coroutine functions included."""

        @cached(alias="local", key="n:{number}")
        async def record(number):
            calls.append(number)

        await record(1)
        await record(1)
        assert calls == [1]
        await record.arefresh(1)
        assert calls == [1, 1]

    def test_alias__dummy(self):
        """A dummy cache calls the function each time, as tests want it."""

        @cached(alias="dummy", key="n:{number}")
        def record(number):
            calls.append(number)
            return number

        assert [record(1), record(1)] == [1, 1]
        assert calls == [1, 1]
