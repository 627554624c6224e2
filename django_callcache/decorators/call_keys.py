"""The key of a call, of its function and its arguments or as ``key=`` says, and its tags."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from django.core.exceptions import ImproperlyConfigured

from django_callcache.conf.parsing import did_you_mean
from django_callcache.decorators.tokens import name_of, shortened, token_of
from django_callcache.key_templates import KeyTemplate

Tags: TypeAlias = Sequence[str] | Callable[..., Sequence[str]]
"""Texts with parameters in braces, or a callable that takes the arguments."""

NAME_LIMIT = 120
KEY_LIMIT = 200
"""Characters: Django's other backends take 250, of which ``KEY_PREFIX`` and version have their part."""


class CallKeys:
    """Makes the keys of one function's calls.

    Args:
        function: Whose calls.
        key: A text with parameters in braces, or a callable that takes the arguments.
        exclude: Names of parameters that the result does not depend on.
        tags: Of the results.

    Raises:
        ImproperlyConfigured: A name is no parameter's, or the function cannot be told by its name.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        key: str | Callable[..., str] | None,
        exclude: Sequence[str],
        tags: Tags = (),
    ) -> None:
        self.name = name_of(function if hasattr(function, "__qualname__") else type(function))
        if key is None:
            _require_name(function, self.name)
        self.signature = inspect.signature(function)
        parameters = self.signature.parameters.values()
        self._is_plain = all(
            each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY) for each in parameters
        )
        plain = list(parameters) if self._is_plain else []
        self._by_place = [each.name for each in plain if each.kind is each.POSITIONAL_OR_KEYWORD]
        self._defaults = {each.name: each.default for each in plain}
        self._required = {each.name for each in plain if each.default is each.empty}
        self._excluded = frozenset(exclude)
        self._template = self.template(key, "key") if isinstance(key, str) else None
        self._make = key if callable(key) else None
        for where, texts in (("exclude", exclude), ("tags", tags)):
            if isinstance(texts, str):
                raise ImproperlyConfigured(f"{self.name}: {where} is {texts!r}: give a list.")
        self._make_tags = tags if callable(tags) else None
        self._tags = () if callable(tags) else tuple(self.template(each, "tags") for each in tags)
        if not self._takes_any:
            for name in exclude:
                self._require(name, "exclude")

    @property
    def _takes_any(self) -> bool:
        return any(each.kind is each.VAR_KEYWORD for each in self.signature.parameters.values())

    def template(self, text: str, where: str) -> KeyTemplate:
        """Read a text with parameters in braces.

        Raises:
            ImproperlyConfigured: It cannot be read, or names what is no parameter.
        """
        try:
            template = KeyTemplate(text)
        except ValueError as error:
            raise ImproperlyConfigured(f"{self.name}: {where}: {error}") from error
        for field in template.fields:
            self._require(field.partition(".")[0], where)
        return template

    def _require(self, name: str, where: str) -> None:
        if name not in self.signature.parameters:
            hint = did_you_mean(name, self.signature.parameters)
            raise ImproperlyConfigured(f"{self.name}: {where} names {name!r}, which is no parameter.{hint}")

    def of(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        """The key of a call with these arguments.

        Raises:
            TypeError: The function does not take them, or one has no text that could stand in a key.
        """
        if self._make is not None:
            key = self._make(*args, **kwargs)
            if not isinstance(key, str):
                raise TypeError(f"{self.name}: key() returned a {type(key).__name__}: return a text.")
            return key
        arguments = self.arguments(args, kwargs)
        if self._template is not None:
            return self.rendered(self._template, arguments)
        name = shortened(self.name, NAME_LIMIT)
        tokens = (self._token(each, value) for each, value in arguments.items() if each not in self._excluded)
        return f"{name}:{shortened(','.join(tokens), KEY_LIMIT - len(name) - 1)}"

    def tags_of(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[str, ...]:
        """The tags of a call's result.

        Raises:
            TypeError: An argument has no text that could stand in a tag.
        """
        if self._make_tags is not None:
            return tuple(self._make_tags(*args, **kwargs))
        if not self._tags:
            return ()
        arguments = self.arguments(args, kwargs)
        return tuple(self.rendered(each, arguments) for each in self._tags)

    def arguments(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments by their parameters, in the signature's order, defaults included."""
        # What `bind` does, at a fifth of its cost; it is left to tell what is wrong with a call.
        given = {**dict(zip(self._by_place, args, strict=False)), **kwargs}
        is_each_once = self._is_plain and len(given) == len(args) + len(kwargs)
        if is_each_once and self._required <= given.keys() <= self._defaults.keys():
            return {**self._defaults, **given}
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return bound.arguments

    def rendered(self, template: KeyTemplate, arguments: Mapping[str, Any]) -> str:
        """A template's text for these arguments.

        Raises:
            TypeError: One of them has no text that could stand in a key.
        """

        def value_of(field: str) -> object:
            name, *attributes = field.split(".")
            value = arguments[name]
            for attribute in attributes:
                value = getattr(value, attribute)
            return value

        try:
            return template.render(value_of)
        except TypeError as error:
            raise TypeError(f"{self.name}: {template.text!r}: {error}.") from error

    def _token(self, name: str, value: Any) -> str:
        try:
            if name == "cls" and not isinstance(value, type):
                raise TypeError("is no class: write @cached() above @classmethod, not below it")
            if self.signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
                value = {each: item for each, item in value.items() if each not in self._excluded}
            return f"{name}={token_of(value)}"
        except TypeError as error:
            raise TypeError(
                f"{self.name}() cannot be told by its argument {name!r}: it {error}. Pass what identifies "
                f"it instead, give key=..., or exclude=({name!r},) if the result does not depend on it."
            ) from error


def _require_name(function: Callable[..., Any], name: str) -> None:
    """Refuse a function whose name does not tell what it computes."""
    if "<lambda>" in name or not hasattr(function, "__qualname__"):
        raise ImproperlyConfigured(f"{name} has no name to make keys of: give key=..., or use def.")
    if "<locals>" not in name or hasattr(function, "__wrapped__"):
        return
    free = getattr(getattr(function, "__code__", None), "co_freevars", ())
    around = [each for each in free if each != "__class__"]
    if around:
        raise ImproperlyConfigured(
            f"{name} uses {', '.join(around)} of the function around it, which no key would tell apart: "
            "pass it as an argument, or give key=..."
        )
