"""Encoding says what is wrong with it."""

from __future__ import annotations

import dataclasses

import pytest

from django_callcache.codec import Encoding


class TestEncoding:
    def test_defaults(self):
        """The defaults are those of the documentation."""
        assert dataclasses.asdict(Encoding()) == {
            "serializer": "pickle",
            "compress": True,
            "compress_level": 3,
            "compress_threshold": 1024,
            "max_value_bytes": 8 * 1024 * 1024,
            "max_raw_bytes": 32 * 1024 * 1024,
        }

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("serializer", "marshal"),
            ("serializer", None),
            ("compress", 1),
            ("compress", "yes"),
            ("compress_level", 0),
            ("compress_level", 23),
            ("compress_level", 3.0),
            ("compress_level", True),
            ("compress_threshold", -1),
            ("max_value_bytes", 0),
            ("max_value_bytes", "8 MiB"),
            ("max_raw_bytes", 0),
            ("max_raw_bytes", 2**32),
        ],
    )
    def test_field__wrong(self, field, value):
        """A wrong field is refused by name and with the value."""
        with pytest.raises(ValueError, match=f"{field} must be .*{value!r}"):
            Encoding(**{field: value})

    def test_frozen(self):
        """Encodings do not change and can be keys of a dict."""
        encoding = Encoding()

        with pytest.raises(dataclasses.FrozenInstanceError):
            encoding.compress = False
        assert {encoding: 1}[Encoding()] == 1
