"""A Lua script and the digest that Redis knows it by."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Script:
    """A script run by EVALSHA, and by EVAL where the server has not seen it yet."""

    source: str
    text: bytes = field(init=False, repr=False)
    sha1: bytes = field(init=False)

    def __post_init__(self) -> None:
        text = self.source.encode()
        object.__setattr__(self, "text", text)
        # Redis names scripts by SHA-1; nothing here relies on its strength.
        digest = hashlib.sha1(text, usedforsecurity=False).hexdigest().encode()
        object.__setattr__(self, "sha1", digest)
