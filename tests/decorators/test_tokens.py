from __future__ import annotations

import subprocess
import sys
from collections import OrderedDict, defaultdict, namedtuple
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import IntEnum
from pathlib import PurePosixPath
from uuid import UUID

import pytest
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy
from hypothesis import given
from hypothesis import strategies as st

from django_callcache.decorators.tokens import shortened, token_of
from testproject.crm.models import Campaign

HERE = __name__


class Level(IntEnum):
    LOW = 1


@dataclass
class Span:
    first: date
    last: date
    note: str = field(default="", compare=False)


Point = namedtuple("Point", "x y")


class Opaque:
    """Something whose text holds an address."""


class Money(Decimal):
    """A number that is more than its digits."""


class TestTokenOf:
    @pytest.mark.parametrize(
        ("value", "token"),
        [
            (None, "None"),
            (True, "True"),
            (7, "7"),
            (0.1, "0.1"),
            ("7", "'7'"),
            ("a b'c~d\n", "'a%20b%27c%7Ed%0A'"),
            ("ñ\udc80", "'%C3%B1%ED%B2%80'"),
            (mark_safe("a"), "'a'"),
            (gettext_lazy("a"), "'a'"),
            (b"\x00a", "b'0061'"),
            (Decimal("1.50"), "Decimal(1.50)"),
            (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
            (date(2008, 5, 1), "2008-05-01"),
            (datetime(2008, 5, 1, 9, tzinfo=UTC), "2008-05-01T09:00:00+00:00"),
            (time(9), "09:00:00"),
            (timedelta(days=-1, microseconds=1), "-86399999999us"),
            ((1, "a"), "(1,'a')"),
            ([1, [2]], "[1,[2]]"),
            ({"b": 1, "a": 2}, "{'a':2,'b':1}"),
            (OrderedDict(a=1), "{'a':1}"),
            (defaultdict(list, a=[1]), "{'a':[1]}"),
            ({"b", "a"}, "{'a','b'}"),
            (frozenset({2, 1}), "{1,2}"),
            (PurePosixPath("/a/b"), "Path('/a/b')"),
            (Level.LOW, f"{HERE}.Level.LOW"),
            (Span(date(2008, 5, 1), date(2008, 6, 1), "x"), f"{HERE}.Span(first=2008-05-01,last=2008-06-01)"),
            (Point(1, 2), f"{HERE}.Point(1,2)"),
            (Opaque, f"{HERE}.Opaque"),
            (Campaign(pk=7), "crm.Campaign(7)"),
        ],
    )
    def test_token_of(self, value, token):
        """Each kind of value has a readable token, safe in any cache key."""
        assert token_of(value) == token
        assert token.isascii()
        assert not any(character.isspace() for character in token)

    @pytest.mark.parametrize(
        ("value", "words"),
        [
            (Opaque(), "is a Opaque"),
            ([Opaque()], "is a Opaque"),
            (Money(1), "is a Money"),
            (Campaign(), "is not saved"),
            (lambda: 1, "is a function"),
            (range(3), "is a range"),
        ],
    )
    def test_token_of__refused(self, value, words):
        """What has no text that is the same everywhere is refused, by its type's name."""
        with pytest.raises(TypeError, match=words):
            token_of(value)

    @given(st.lists(st.one_of(st.text(), st.integers(), st.booleans(), st.none(), st.binary()), max_size=4))
    def test_token_of__tells_values_apart(self, values):
        """Lists of different values, or of different kinds, have different tokens."""
        changed = [*values[:-1], str(values[-1]) + "x"] if values else [""]
        assert token_of(values) != token_of(changed)
        assert token_of(values) != token_of(tuple(values))
        assert token_of([token_of(values)]) != token_of([values])

    def test_token_of__other_process(self):
        """A set of texts has one token, whatever the seed of the process's hashes."""
        program = "from django_callcache.decorators.tokens import token_of; print(token_of({'a','b','c'}))"
        for seed in ("1", "2"):
            done = subprocess.run(
                [sys.executable, "-c", program],
                env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
                capture_output=True,
                text=True,
                check=True,
            )
            assert done.stdout.strip() == "{'a','b','c'}"


class TestShortened:
    def test_shortened(self):
        """A long text keeps its beginning and is told by a digest."""
        assert shortened("a" * 80, 80) == "a" * 80
        long, other = shortened("a" * 81, 80), shortened("a" * 82, 80)
        assert len(long) == len(other) == 80
        assert long.startswith("aaaa")
        assert long != other
        assert long[47] == "~"

    def test_shortened__forged(self):
        """No argument can be written that has the token of a longer one."""
        short = shortened(token_of("a" * 200), 100)
        assert "~" in short
        assert "~" not in token_of(short)
