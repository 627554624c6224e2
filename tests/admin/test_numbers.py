"""Numbers as people read them."""

from __future__ import annotations

import pytest
from django.utils import translation

from django_callcache.admin import numbers
from django_callcache.admin.numbers import NOTHING


class TestNumbers:
    @pytest.mark.parametrize(
        ("write", "value", "text"),
        [
            (numbers.percent, None, NOTHING),
            (numbers.percent, 0, "0 %"),
            (numbers.percent, 1, "100 %"),
            (numbers.percent, 0.9996, "99.9 %"),
            (numbers.percent, 0.8651, "86.5 %"),
            (numbers.signed, 0.04, "±0.0"),
            (numbers.signed, -0.04, "±0.0"),
            (numbers.signed, 1.26, "+1.3"),
            (numbers.signed, -1.26, "\N{MINUS SIGN}1.3"),
            (numbers.signed, None, NOTHING),
            (numbers.number, 1234567, "1,234,567"),
            (numbers.number, None, NOTHING),
            (numbers.short, 0, "0"),
            (numbers.short, 2.5, "2.5"),
            (numbers.short, 999, "999"),
            (numbers.short, 15000, "15k"),
            (numbers.short, 1_200_000, "1.2M"),
            (numbers.short, None, NOTHING),
            (numbers.rate, 0, "0"),
            (numbers.rate, 0.034, "0.03"),
            (numbers.rate, 3.46, "3.5"),
            (numbers.rate, 1234.5, "1,234"),
            (numbers.rate, None, NOTHING),
            (numbers.duration, 0.0000005, "0.50 µs"),
            (numbers.duration, 0.000522, "522 µs"),
            (numbers.duration, 0.0123, "12.3 ms"),
            (numbers.duration, 2.5, "2.50 s"),
            (numbers.duration, None, NOTHING),
            (numbers.lifetime, None, "never expires"),
            (numbers.lifetime, 0, "0 s"),
            (numbers.lifetime, 45, "45 s"),
            (numbers.lifetime, 1800, "30 min"),
            (numbers.lifetime, 5400, "1 h 30 min"),
            (numbers.lifetime, 86400 * 3 + 5, "3 d"),
        ],
    )
    def test_write(self, write, value, text):
        """A number is written with as many digits as say something."""
        with translation.override("en"):
            assert write(value) == text

    def test_write__other_language(self):
        """Decimal signs are those of the language."""
        with translation.override("es"):
            assert numbers.percent(0.865) == "86,5 %"
