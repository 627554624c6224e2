from __future__ import annotations

import inspect

from django_callcache.cache import CallCache
from django_callcache.cache.operations import Operations


def operations():
    """What reaches Redis; what only reckons is a plain function, the same to both faces."""
    for name in dir(Operations):
        operation = getattr(Operations, name)
        reaches = inspect.iscoroutinefunction(operation) or inspect.isasyncgenfunction(operation)
        if reaches and not name.startswith("_") and name not in {"read", "fetch"}:
            yield name, operation


class TestFaces:
    def test_faces__every_operation_has_both(self):
        """Each operation is a method of the cache, blocking and asyncio, under its own name."""
        for name, operation in operations():
            blocking, native = vars(CallCache)[name], vars(CallCache)[f"a{name}"]
            assert blocking.__name__ == name
            assert native.__name__ == f"a{name}"
            assert not inspect.iscoroutinefunction(blocking)
            assert inspect.iscoroutinefunction(native) != inspect.isasyncgenfunction(operation)

    def test_faces__signatures_and_docstrings(self):
        """Help shows the operation's own arguments and manual, on both faces."""
        for name, operation in operations():
            for face in (vars(CallCache)[name], vars(CallCache)[f"a{name}"]):
                assert inspect.signature(face) == inspect.signature(operation)
                assert face.__doc__ == operation.__doc__

    def test_faces__get(self):
        """Get, which is spelled out for speed, takes what Django's does."""
        for face in (CallCache.get, CallCache.aget):
            assert list(inspect.signature(face).parameters) == ["self", "key", "default", "version"]
