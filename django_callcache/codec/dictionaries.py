"""The zstd dictionaries that one cache knows in this process."""

from __future__ import annotations

import time
from collections.abc import Callable

from django_callcache.codec.compression import Dictionary
from django_callcache.exceptions import UnknownDictionary

ASK_AGAIN_SECONDS = 60.0
"""How long a dictionary that could not be had is not asked for again."""


class Dictionaries:
    """Dictionaries by id, and the ids that values were met with in vain. Any number of threads may share one.

    Nothing is forgotten: dictionaries are few, made by hand, and old values need the old ones.

    Args:
        clock: Monotonic seconds.
    """

    __slots__ = ("_clock", "_known", "_missing_until", "wanted")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.wanted: set[bytes] = set()
        """Ids to ask for now; empty, as a rule."""
        self._clock = clock
        self._known: dict[bytes, Dictionary] = {}
        self._missing_until: dict[bytes, float] = {}

    def __contains__(self, dictionary_id: bytes) -> bool:
        return dictionary_id in self._known

    def get(self, dictionary_id: bytes) -> Dictionary | None:
        """Return a dictionary that is known, without wanting one that is not."""
        return self._known.get(dictionary_id)

    def find(self, dictionary_id: bytes) -> Dictionary:
        """Return the dictionary that a value needs.

        Raises:
            UnknownDictionary: It is not known; from now on it is wanted, unless it was asked for lately.
        """
        dictionary = self._known.get(dictionary_id)
        if dictionary is None:
            if self._missing_until.get(dictionary_id, 0.0) <= self._clock():
                self.wanted.add(dictionary_id)
            raise UnknownDictionary(dictionary_id)
        return dictionary

    def learn(self, dictionary: Dictionary) -> None:
        """Take a dictionary in."""
        self._known[dictionary.id] = dictionary
        self._missing_until.pop(dictionary.id, None)
        self.wanted.discard(dictionary.id)

    def give_up(self, dictionary_id: bytes) -> None:
        """Remember for a while that a dictionary cannot be had."""
        self._missing_until[dictionary_id] = self._clock() + ASK_AGAIN_SECONDS
        self.wanted.discard(dictionary_id)
