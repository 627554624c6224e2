"""Sentences for people, made of a template and its values, so that whoever shows one may translate it."""

from __future__ import annotations

from typing import Any, Self


def gettext_noop(template: str) -> str:
    """The template as it is. Tools that collect texts for translation know it by this function's name."""
    return template


class Sentence(str):
    """A sentence in English that remembers what it was made of.

    Args:
        template: Names its values in braces, as `str.format` takes them.
        values: By name. One may itself be a sentence.
    """

    __slots__ = ("template", "values")
    template: str
    values: dict[str, Any]

    def __new__(cls, template: str, /, **values: Any) -> Self:
        sentence = super().__new__(cls, template.format(**values))
        sentence.template, sentence.values = template, values
        return sentence
