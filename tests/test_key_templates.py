from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum
from uuid import UUID

import pytest

from django_callcache.key_templates import KeyTemplate, text_of
from testproject.crm.models import Campaign


class Channel(Enum):
    """How somebody is called."""

    CELLULAR = "cellular"


class TestKeyTemplate:
    def test_render(self):
        """Fields are filled in; doubled braces are braces."""
        template = KeyTemplate("client:{client_id}:{{calls}}:{pk}")
        assert template.fields == ("client_id", "pk")
        assert template.literal == "client:"
        assert template.render({"client_id": 7, "pk": 1}.__getitem__) == "client:7:{calls}:1"

    def test_render__no_field(self):
        """A text without a field is itself."""
        template = KeyTemplate("campaigns")
        assert (template.fields, template.literal) == ((), "campaigns")
        assert template.render({}.__getitem__) == "campaigns"

    def test_render__attributes(self):
        """What stands in the braces reaches the caller whole."""
        assert KeyTemplate("{campaign.pk}").render(str.upper) == "CAMPAIGN.PK"

    @pytest.mark.parametrize("text", ["{", "}", "{}", "{0}", "{a b}", "{a[0]}", "{a!r}", "{a:>3}", "{a.}"])
    def test_init__wrong(self, text):
        """What is no name in braces is refused, with the text at fault."""
        with pytest.raises(ValueError, match=r"name|brace|encountered|expected"):
            KeyTemplate(text)

    def test_eq(self):
        """Templates of one text are one."""
        assert len({KeyTemplate("a:{b}"), KeyTemplate("a:{b}")}) == 1


class TestTextOf:
    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (7, "7"),
            ("7", "7"),
            (None, "None"),
            (True, "True"),
            (Decimal("1.50"), "1.50"),
            (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
            (date(2008, 5, 1), "2008-05-01"),
            (datetime(2008, 5, 1, 9, tzinfo=UTC), "2008-05-01T09:00:00+00:00"),
            (time(9), "09:00:00"),
            (Channel.CELLULAR, "cellular"),
            (Campaign(pk=7), "7"),
        ],
    )
    def test_text_of(self, value, text):
        """A value has the text that one would write."""
        assert text_of(value) == text

    @pytest.mark.parametrize("value", [object(), [1], Campaign(), b"7"])
    def test_text_of__none(self, value):
        """What has no text of its own is refused."""
        with pytest.raises(TypeError, match=type(value).__name__):
            text_of(value)
