"""What redis-py's errors mean to a caller of the cache."""

from __future__ import annotations

from redis import exceptions as redis_errors

from django_callcache.cache.breaker import Breaker
from django_callcache.exceptions import (
    RedisFault,
    RedisMisconfigured,
    RedisRefused,
    RedisUnavailable,
    SyncError,
)


class Lost(redis_errors.ResponseError):
    """Stands for the reply of a node of a cluster that gave none, among those of nodes that did."""

    def __init__(self, fault: RedisFault) -> None:
        super().__init__(fault.message)
        self.fault = fault


_REFUSALS = ("MISCONF", "NOREPLICAS", "OOM")
_FAILOVER = ("READONLY", "MASTERDOWN", "CLUSTERDOWN")
_CONFIGURATION = ("NOAUTH", "WRONGPASS", "NOPERM", "unknown command", "SSL", "certificate")


def fault_of(error: BaseException, server: str, *, sent: bool) -> RedisFault:
    """The fault to raise for a call that got no answer.

    Args:
        error: What redis-py or the socket raised.
        server: How the server is called in messages.
        sent: Whether the command was sent.
    """
    if isinstance(error, RedisFault):
        return error
    if isinstance(error, redis_errors.RedisClusterException) and error.__cause__ is not None:
        return fault_of(error.__cause__, server, sent=sent)
    if isinstance(error, redis_errors.RedisClusterException) and _speaks_of(error, ("not enabled",)):
        return RedisMisconfigured(
            f"Redis at {server} is no cluster. Begin LOCATION with redis:// instead of redis+cluster://."
        )
    if isinstance(error, redis_errors.AuthenticationError) or _speaks_of(error, _CONFIGURATION):
        return RedisMisconfigured(
            f"Redis at {server} refuses this client ({type(error).__name__}). "
            "Check password, user, ACL and TLS settings."
        )
    if isinstance(error, redis_errors.TimeoutError | TimeoutError):
        return RedisUnavailable(f"Redis at {server} did not answer in time.", sent=sent)
    return RedisUnavailable(f"Redis at {server} cannot be reached ({type(error).__name__}).", sent=sent)


def noted_fault(breaker: Breaker, error: BaseException, *, sent: bool) -> RedisFault:
    """The fault, and the breaker told of it: once a connection, however many calls it takes along."""
    fault = fault_of(error, breaker.server, sent=sent)
    if isinstance(fault, RedisUnavailable):
        breaker.failed(timed_out=is_timeout(error))
    return fault


def fault_in(reply: redis_errors.ResponseError, server: str) -> RedisFault | None:
    """The fault that an error reply stands for; None where the key or the arguments are to blame.

    It is told by its words: redis-py knows an error by how it begins, and Redis 6 puts the script's
    name before those that a script meets. The reply's own text is not passed on: it may quote
    what was to be stored.
    """
    if isinstance(reply, Lost):
        return reply.fault
    if isinstance(reply, redis_errors.OutOfMemoryError) or _speaks_of(reply, _REFUSALS):
        return RedisRefused(f"Redis at {server} takes no writes now (memory or persistence).")
    failing_over = redis_errors.ReadOnlyError | redis_errors.ClusterDownError | redis_errors.MasterDownError
    if isinstance(reply, failing_over) or _speaks_of(reply, _FAILOVER):
        return RedisUnavailable(f"Redis at {server} is failing over.")
    if isinstance(reply, redis_errors.NoPermissionError) or _speaks_of(reply, _CONFIGURATION):
        return RedisMisconfigured(
            f"Redis at {server} refuses a command to this user. Check its ACL rules and the server's version."
        )
    return None


def refuses_command(reply: redis_errors.ResponseError) -> bool:
    """Tell a command that this server or its ACL does not have from one that it cannot run now.

    What is only so for now has a code of its own: BUSY, LOADING, TRYAGAIN.
    """
    if isinstance(reply, redis_errors.NoPermissionError):
        return True
    return type(reply) is redis_errors.ResponseError and not str(reply).split(" ")[0].isupper()


def is_demoted(reply: redis_errors.ResponseError) -> bool:
    """Tell whether the server that replied is no primary (any more)."""
    return isinstance(reply, redis_errors.ReadOnlyError) or _speaks_of(reply, ("READONLY",))


def bared(error: RedisFault | SyncError) -> RedisFault | SyncError:
    """Take the stack out of an error that a caller gets, and out of those behind it; messages stay.

    What lies on it are packed commands and passwords, which error pages and mails would show.
    """
    behind: BaseException | None = error
    seen: set[int] = set()
    while behind is not None and id(behind) not in seen:
        seen.add(id(behind))
        behind.__traceback__ = None
        behind = behind.__cause__ or behind.__context__
    return error


def may_repeat(error: BaseException) -> bool:
    """Tell whether a command that changes nothing is worth sending again, on a new connection."""
    return not is_timeout(error) and not isinstance(error, redis_errors.AuthenticationError)


def is_timeout(error: BaseException) -> bool:
    """Tell a server that is silent from one that is not there."""
    return isinstance(error, redis_errors.TimeoutError | TimeoutError)


def _speaks_of(error: BaseException, words: tuple[str, ...]) -> bool:
    text = str(error)
    return any(word in text for word in words)
