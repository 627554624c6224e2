"""Values that a rule checks before they are stored."""

from __future__ import annotations

import datetime
import decimal
import enum
import signal
from dataclasses import dataclass
from typing import Annotated, TypedDict

import msgspec
import pytest
from django.core.exceptions import ImproperlyConfigured

from django_callcache.cache.validation import Validator
from django_callcache.exceptions import CallCacheError, InvalidValue


class Contact(msgspec.Struct, forbid_unknown_fields=True):
    phone: str
    called_at: datetime.datetime | None = None


@dataclass
class Campaign:
    name: str
    budget: decimal.Decimal


class Call(TypedDict):
    contact: Contact
    seconds: int


class State(enum.Enum):
    OPEN = "open"


class Stated(msgspec.Struct):
    state: State


class Vehicle:
    """A class that no schema describes."""


def percent(value):
    """Refuse what is no percentage."""
    return 0 <= value <= 100


def strict(value):
    """Refuse everything, with the value in the message."""
    raise ValueError(f"private: {value}")


NOON = datetime.datetime(2026, 11, 22, 12, tzinfo=datetime.UTC)
RIGHT = [
    (Contact, Contact(phone="1", called_at=NOON)),
    (Contact, {"phone": "1"}),
    (Contact, {"phone": "1", "called_at": NOON}),
    (Campaign, Campaign("a", decimal.Decimal("1.5"))),
    (Campaign, {"name": "a", "budget": decimal.Decimal(2)}),
    (Call, {"contact": Contact(phone="1"), "seconds": 7}),
    (list[Contact], [{"phone": "1"}, Contact(phone="2")]),
    (Annotated[int, msgspec.Meta(ge=0)], 0),
    (Vehicle, Vehicle()),
    (dict, {"x": object()}),
    (percent, 55),
    (f"{__name__}.percent", 100),
    (f"{__name__}.Contact", {"phone": "1"}),
]
WRONG = [
    (Contact, {"phone": 41887766}, "$.phone"),
    (Contact, Contact(phone=41887766), "$.phone"),
    (Contact, {"phone": "1", "email": "x"}, "email"),
    (Contact, {}, "phone"),
    (Contact, "41887766", "`str`"),
    (Contact, None, "`null`"),
    (Contact, {"phone": "1", "called_at": object()}, "no schema"),
    (Campaign, Campaign("a", 1.5), "$.budget"),
    (Call, {"contact": {"phone": 1}, "seconds": 7}, "$.contact.phone"),
    (list[Contact], [{"phone": "1"}, {}], "$[1]"),
    (Annotated[int, msgspec.Meta(ge=0)], -41887766, ">= 0"),
    (Stated, {"state": "41887766"}, "$.state"),
    (Vehicle, {}, "dict"),
    (percent, 101, "False"),
    (percent, "x", "TypeError"),
    (strict, "41887766", "ValueError"),
]


def validator(wanted):
    return Validator(wanted, lambda redis_key: redis_key.decode().removeprefix("crm:1:"))


class TestValidator:
    @pytest.mark.parametrize(("wanted", "value"), RIGHT)
    def test_right(self, wanted, value):
        """A value that is what the rule says passes, as an object or as the plain data it is made of."""
        assert validator(wanted)(value, b"crm:1:contact:7") is None

    @pytest.mark.parametrize(("wanted", "value", "words"), WRONG)
    def test_wrong(self, wanted, value, words):
        """Any other is refused: the message names key, rule, field and cure, and no part of the value."""
        with pytest.raises(InvalidValue) as raised:
            validator(wanted)(value, b"crm:1:contact:7")
        message = str(raised.value)
        assert words in message
        assert "'contact:7'" in message
        assert "Nothing was stored" in message
        assert "41887766" not in message
        assert isinstance(raised.value, CallCacheError)
        assert isinstance(raised.value, ValueError)

    @pytest.mark.parametrize("wanted", ["no.such.module", f"{__name__}.nothing", f"{__name__}.NOON"])
    def test_path__wrong(self, wanted):
        """A path that leads nowhere, or to something that checks nothing, is wrong configuration."""
        with pytest.raises(ImproperlyConfigured, match=wanted):
            validator(wanted)

    def test_interrupted(self):
        """A time limit that strikes while a value is checked is no verdict on the value."""

        def limit(number, frame):
            raise TimeoutError("over")

        def checks(value):
            signal.raise_signal(signal.SIGUSR1)

        before = signal.signal(signal.SIGUSR1, limit)
        try:
            with pytest.raises(TimeoutError, match="over"):
                validator(checks)("x", b"k")
        finally:
            signal.signal(signal.SIGUSR1, before)


@pytest.fixture
def face(face_of, make_cache):
    """A cache with rules that check."""
    rules = {
        "contact:": {"validate": f"{__name__}.Contact"},
        "synced:": {"validate": Contact, "sync": "lww"},
        "percent:": {"validate": f"{__name__}.percent"},
        "rate:": {"validate": percent, "sync": "lww"},
    }
    return face_of(make_cache(RULES=rules))


GOOD, BAD = {"phone": "1"}, {"phone": 1}


class TestWrites:
    @pytest.mark.parametrize("prefix", ["contact:", "synced:"])
    @pytest.mark.parametrize(
        "write",
        [
            lambda face, key: face.set(key, BAD),
            lambda face, key: face.set(key, BAD, nx=True),
            lambda face, key: face.set(key, BAD, xx=True),
            lambda face, key: face.add(key, BAD),
            lambda face, key: face.get_or_set(key, lambda: BAD),
            lambda face, key: face.get_or_set(key, BAD),
            lambda face, key: face.set_many({f"{key}0": GOOD, key: BAD}),
        ],
        ids=["set", "nx", "xx", "add", "loader", "get_or_set", "set_many"],
    )
    async def test_write__refused(self, face, redis_client, prefix, write):
        """No way to write stores a value that the rule refuses, nor anything else of that call."""
        with pytest.raises(InvalidValue, match=f"{prefix}7.*phone"):
            await write(face, f"{prefix}7")
        assert redis_client.keys("t:*") == []
        assert redis_client.keys("callcache@t:*outbox*") == []

    @pytest.mark.parametrize("prefix", ["contact:", "synced:"])
    async def test_write__old_value_stays(self, face, prefix):
        """A refused value replaces nothing: the call was wrong, not the server."""
        assert await face.set(f"{prefix}7", GOOD) is True
        with pytest.raises(InvalidValue):
            await face.set(f"{prefix}7", BAD)
        assert await face.get(f"{prefix}7") == GOOD

    @pytest.mark.parametrize("prefix", ["percent:", "rate:"])
    async def test_incr__checked(self, face, prefix):
        """A sum is checked like any value."""
        assert await face.set(f"{prefix}a", 99) is True
        assert await face.incr(f"{prefix}a") == 100
        with pytest.raises(InvalidValue):
            await face.incr(f"{prefix}a")
        assert await face.get(f"{prefix}a") == 100
        assert await face.decr(f"{prefix}a", 1) == 99

    async def test_delete_and_read__free(self, face):
        """Only what is stored is checked."""
        assert await face.delete("contact:7") is False
        assert await face.get("contact:7", BAD) == BAD
        assert await face.set("other:7", BAD) is True
