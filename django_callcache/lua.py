"""A Lua script, the digest that Redis knows it by, and how work off the hot path runs it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import redis
from redis.exceptions import NoScriptError

Argument = bytes | str | int


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


def run_script(
    client: redis.Redis, script: Script, keys: Sequence[bytes], arguments: Sequence[Argument]
) -> Any:
    """Run a script through a blocking client; return its reply."""
    call: Any = client.execute_command
    try:
        return call("EVALSHA", script.sha1, len(keys), *keys, *arguments)
    except NoScriptError:
        return call("EVAL", script.text, len(keys), *keys, *arguments)


def run_scripts(
    client: redis.Redis, script: Script, calls: Sequence[tuple[Sequence[bytes], Sequence[Argument]]]
) -> list[Any]:
    """Run a script once for each pair of keys and arguments, in one round trip; return the replies.

    Raises:
        redis.RedisError: A run failed. Others may have been carried out.
    """
    with client.pipeline(transaction=False) as pipeline:
        for keys, arguments in calls:
            pipeline.execute_command("EVALSHA", script.sha1, len(keys), *keys, *arguments)  # type: ignore[no-untyped-call]
        replies = pipeline.execute(raise_on_error=False)
    for at, (keys, arguments) in enumerate(calls):
        if isinstance(replies[at], NoScriptError):
            replies[at] = run_script(client, script, keys, arguments)
    for reply in replies:
        if isinstance(reply, redis.RedisError):
            raise reply
    return replies
