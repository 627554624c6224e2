"""Loaders: where the records of a prefix come from. A registry by prefix, filled from above.

The hot side knows no model and no remote store; it asks what has been registered.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

from asgiref.sync import async_to_sync, iscoroutinefunction, sync_to_async

Records: TypeAlias = Mapping[str, Any]


class Loader(Protocol):
    """Reads records.

    It may be a coroutine function. A plain one is called in a thread of its own where an event
    loop runs: in the one that Django's database wants, or, if it has an attribute
    ``thread_sensitive`` that is False, in any, several at a time.
    """

    def __call__(self, names: Sequence[str], /) -> Records | Awaitable[Records]:
        """Read records by their names: what their keys have behind the prefix.

        Args:
            names: Each once.

        Returns:
            The records by their names. One that is left out, or None, does not exist.
        """
        ...


class Source(NamedTuple):
    """A loader and the prefix whose keys it knows."""

    prefix: str
    loader: Loader

    def name_of(self, key: str) -> str:
        """What a key has behind the prefix."""
        return key[len(self.prefix) :]

    def read(self, names: Sequence[str]) -> Records:
        """Call the loader in this thread."""
        loader: Any = self.loader
        records: Records = async_to_sync(loader)(names) if self.is_coroutine else loader(names)
        return records

    async def aread(self, names: Sequence[str]) -> Records:
        """Call the loader from an event loop."""
        loader: Any = self.loader
        if not self.is_coroutine:
            loader = sync_to_async(loader, thread_sensitive=getattr(loader, "thread_sensitive", True))
        records: Records = await loader(names)
        return records

    @property
    def is_coroutine(self) -> bool:
        """Whether the loader is a coroutine function."""
        return iscoroutinefunction(self.loader) or iscoroutinefunction(self.loader.__call__)


class Sources:
    """The loaders of this process, by the names of caches and by prefixes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_alias: dict[str, tuple[Source, ...]] = {}
        self._stated: dict[str, list[tuple[str, str]]] = {}
        """Aliases and prefixes of the loaders that settings ask for, by the kind of source."""

    def add(self, alias: str, prefix: str, loader: Loader) -> None:
        """Let a loader know the keys with a prefix, in place of the one that did."""
        with self._lock:
            others = self._others(alias, prefix)
            # Longest first: the first that fits is the nearest.
            ordered = sorted((*others, Source(prefix, loader)), key=lambda each: -len(each.prefix))
            self._by_alias[alias] = tuple(ordered)

    def state(self, kind: str, loaders: Iterable[tuple[str, str, Loader]]) -> None:
        """Let loaders that settings ask for be known, in place of those that they asked for before.

        Args:
            kind: What sort of source they read.
            loaders: Names of caches, prefixes and loaders.
        """
        for alias, prefix in self._stated.pop(kind, ()):
            self.remove(alias, prefix)
        for alias, prefix, loader in loaders:
            register_loader(prefix, loader, alias=alias)
            self._stated.setdefault(kind, []).append((alias, prefix))

    def remove(self, alias: str, prefix: str) -> None:
        """Forget the loader of a prefix."""
        with self._lock:
            self._by_alias[alias] = self._others(alias, prefix)

    def of(self, alias: str, key: str) -> Source:
        """The source of a key.

        Raises:
            LookupError: No loader knows it.
        """
        source = self.find(alias, key)
        if source is not None:
            return source
        known = ", ".join(repr(each.prefix) for each in self._by_alias.get(alias, ())) or "none"
        raise LookupError(
            f"No loader knows the key {key!r} of the cache {alias!r}. Prefixes with one: {known}. "
            "Give the prefix a source, or call register_loader()."
        )

    def find(self, alias: str, key: str) -> Source | None:
        """The source of a key, if some loader knows it."""
        for source in self._by_alias.get(alias, ()):
            if key.startswith(source.prefix):
                return source
        return None

    def prefixes(self, alias: str) -> tuple[str, ...]:
        """The prefixes that have a loader, longest first."""
        return tuple(source.prefix for source in self._by_alias.get(alias, ()))

    def _others(self, alias: str, prefix: str) -> tuple[Source, ...]:
        return tuple(each for each in self._by_alias.get(alias, ()) if each.prefix != prefix)


sources = Sources()


def register_loader(prefix: str, loader: Loader, *, alias: str = "default") -> None:
    """Say where the records come from whose keys begin with a prefix: for `load` and its kin.

    Args:
        prefix: What the keys begin with, such as ``"campaign:"``.
        loader: See `Loader`.
        alias: The cache, by the name that statistics know it by: ``ALIAS``, or its alias in ``CACHES``.

    Raises:
        ValueError: The prefix is empty.
        TypeError: The loader cannot be called.
    """
    if not prefix:
        raise ValueError("A loader needs a prefix: what its keys begin with, such as 'campaign:'.")
    if not callable(loader):
        raise TypeError(f"The loader of {prefix!r} is a {type(loader).__name__}: give what can be called.")
    sources.add(alias, prefix, loader)
