"""Every error this app raises, bar wrong configuration (Django's ``ImproperlyConfigured``).

No message carries a cached value or a secret.
"""

from __future__ import annotations

import redis.exceptions
from django_redis.exceptions import ConnectionInterrupted


class CallCacheError(Exception):
    """Catch this to handle any error of this app in one place."""


class RedisFault(CallCacheError, ConnectionInterrupted):
    """Redis could not do what was asked.

    Also django-redis's ``ConnectionInterrupted``, and each kind below is redis-py's exception
    for it, so a change of backend changes no ``except``.
    """

    def __init__(self, message: str, *, sent: bool = False) -> None:
        ConnectionInterrupted.__init__(self, connection=None)
        self.message = message
        self.sent = sent
        """Whether the command was sent, so that Redis may have carried it out."""

    def __str__(self) -> str:
        return self.message

    def __repr__(self) -> str:
        # redis-py's own needs an attribute that only its own constructor sets.
        return f"{type(self).__name__}({self.message!r})"


class RedisUnavailable(RedisFault, redis.exceptions.ConnectionError, redis.exceptions.TimeoutError):
    """Redis is down, hung, starting or failing over; nothing was learnt in time."""


class Uncertain(CallCacheError):
    """Redis may or may not have carried out a write whose answer was lost; it was not sent again."""


class WriteUncertain(RedisUnavailable, Uncertain):
    """A write whose answer was lost, and that must not be repeated blindly, such as ``incr``."""


class RedisRefused(RedisFault, redis.exceptions.ResponseError):
    """Redis is there and refuses the write: out of memory, disk full, read-only replica."""


class RedisMisconfigured(RedisFault, redis.exceptions.AuthenticationError):
    """Redis refuses the client: password, ACL, TLS or an unknown command. Waiting does not help."""


class Undecodable(CallCacheError):
    """Bytes that cannot be verified or decoded; a reader treats them as a miss."""


class UnknownDictionary(Undecodable):
    """A value that is in order, but needs a zstd dictionary that is not known here."""

    def __init__(self, dictionary_id: bytes) -> None:
        super().__init__(f"the zstd dictionary {dictionary_id.hex()} is not known")
        self.dictionary_id = dictionary_id


class ValueTooLarge(CallCacheError, ValueError):
    """A value that would take more bytes than the cache allows; nothing was stored."""


class InvalidValue(CallCacheError, ValueError):
    """A value that its prefix does not take; nothing was stored."""


class TrainingRefused(CallCacheError):
    """A dictionary was not trained, or not kept, and nothing has changed; the message says why."""


class ChannelFailed(CallCacheError):
    """A channel did not take the notice of an alert; the message says why, without any secret."""


class LoaderFailed(CallCacheError):
    """A loader gave up by its context's ``fail``, and there is no stale value."""


class LoaderTimeout(CallCacheError, TimeoutError):
    """A loader took longer than ``hard_timeout``, without a stale value; it goes on in the background."""


class PinRefused(CallCacheError, ValueError):
    """A TTL was not pinned, or what adapts not paused, and nothing has changed; the message says why."""


class TraceRefused(CallCacheError):
    """There is nothing to simulate TTL policies on; the message says why."""


class SyncError(CallCacheError):
    """Something between this cache and its remote store went wrong."""


class RemoteUnavailable(SyncError):
    """The remote store cannot be reached now; try again later.

    Args:
        message: What happened.
        retry_after: Seconds to wait, where the store said so.
        is_limited: Whether it answers, and wants fewer requests.
    """

    def __init__(self, message: str, *, retry_after: float | None = None, is_limited: bool = False) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.is_limited = is_limited


class RemoteRefused(SyncError):
    """The remote store refuses us: credentials, permissions or a missing schema. A person has to act.

    Args:
        message: What happened.
        lacks_schema: Whether our tables and functions are missing there, or are of another release.
    """

    def __init__(self, message: str, *, lacks_schema: bool = False) -> None:
        super().__init__(message)
        self.lacks_schema = lacks_schema


class WrongEnvironment(RemoteRefused):
    """The Redis database or the namespace belongs to another environment; nothing was read or written."""


class RedisEmptied(SyncError):
    """Redis has lost what it held, and keys were written since: a person says whose values stay."""


class RemoteRejected(SyncError):
    """The remote store refuses a row for its data; other rows are not concerned."""


class SyncNotRecorded(SyncError):
    """A write meant for the remote store could not be recorded; it must be repeated."""


class SyncUncertain(SyncError, Uncertain):
    """A write meant for the remote store whose answer was lost: value and entry are there, or neither is."""


class BacklogFull(SyncError):
    """The outbox is at its bound; keys that are not in it yet are refused until it drains."""
