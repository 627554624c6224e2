"""Round trips to the nodes of a Redis Cluster: each command goes to whoever has its slot.

Commands of one call go to their nodes side by side, those of a node in their order. Where a slot has moved,
or is on its way, the node says so, and what it did not carry out is sent to the other one; so that is safe
for writes too. A node that fails takes along only what concerns it: its replies are `faults.Lost`, unless
nothing else was asked for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from redis import exceptions as redis_errors

from django_callcache.cache import commands
from django_callcache.cache.callers import AsyncCaller, BlockingCaller
from django_callcache.cache.drivers import BlockingIo, FirstThings, Sent
from django_callcache.cache.faults import Lost, fault_of
from django_callcache.cache.multiplexer import AsyncIo
from django_callcache.cache.routing import SEVERAL, Part, joined, slot_of_command, words_of
from django_callcache.cache.topology import Node, Topology
from django_callcache.cache.tracking import KeyTracking
from django_callcache.cache.trip import Step, Trip
from django_callcache.exceptions import RedisFault, RedisUnavailable
from django_callcache.redis_keys import slot_of

ASKING = commands.command("ASKING")

TRY_AGAIN_SECONDS = 0.005
"""Pause where some of a command's keys have moved and others have not, or nodes send it to and fro."""

AT_ONCE = 3
"""How often a command is sent on without a pause."""

_REDIRECTION = redis_errors.AskError | redis_errors.TryAgainError
"""MOVED is a kind of ASK to redis-py."""


class ClusterIo:
    """What both drivers of a cluster share; see `drivers.Io`.

    Args:
        topology: Knows who has which slot.
        io_of: Returns the driver that reaches a node.
        deadline: Seconds that one call may take, being sent on included.
        when_strange: Called when a node has answered that has no slot yet: nobody listens to it.
        recovery: What is made good before anything else.
    """

    def __init__(
        self,
        topology: Topology,
        io_of: Callable[[Node], Any],
        deadline: float,
        when_strange: Callable[[], None] | None = None,
        recovery: FirstThings | None = None,
    ) -> None:
        self._topology = topology
        self._io_of = io_of
        self._deadline_ns = int(deadline * 1e9)
        self._when_strange = when_strange
        self._recovery = recovery

    async def ask(self, command: bytes, started: int, *, reads: bool = False) -> Any:
        """See `drivers.Io.ask`."""
        slots, slot = self._topology.slots, slot_of_command(command)
        is_pending = self._recovery is not None and self._recovery.is_pending
        if slots is None or slot < 0 or is_pending or (node := slots[slot]) is None:
            return (await self.ask_many((command,), started, reads=reads))[0]
        try:
            reply = await self._io_of(node).ask(command, started, reads=reads)
        except RedisFault as fault:
            reply = Lost(fault)
        if not isinstance(reply, redis_errors.ResponseError):
            return reply
        step = Step(command, slot, node)
        step.reply = reply
        await self._carry([step] if await self._goes_on(step, started, reads) else [], started, reads)
        if isinstance(step.reply, Lost):
            raise step.reply.fault
        return step.reply

    async def ask_many(self, commands: Sequence[bytes], started: int, *, reads: bool = False) -> list[Any]:
        """See `drivers.Io.ask_many`."""
        recovery = self._recovery
        if recovery is None or not recovery.is_pending:
            return await self._ask_many(commands, started, reads=reads)
        trip = Trip(commands, await self._slots(started), self._topology)
        nodes = {step.node for step in trip.steps}

        def concerns(redis_key: bytes) -> bool:
            """Tell whether a key lies on a node that is asked anyhow: others may not be there."""
            slots = self._topology.slots
            return slots is not None and slots[slot_of(redis_key)] in nodes

        return await recovery.first(self._ask_many, commands, started, reads=reads, concerns=concerns)

    async def ask_tracked(
        self, commands: Sequence[bytes], started: int, tracking: KeyTracking
    ) -> tuple[list[Any], bool]:
        """See `drivers.Io.ask_tracked`: no node of a cluster remembers what is read."""
        return await self.ask_many(commands, started, reads=True), False

    async def landed(self, done: Future[Any], seconds: float) -> bool:
        """See `drivers.Io.landed`."""
        raise NotImplementedError

    async def pause(self, seconds: float) -> None:
        """See `drivers.Io.pause`."""
        raise NotImplementedError

    async def _exchange(
        self, asked: Sequence[tuple[Any, Sequence[bytes]]], started: int, reads: bool
    ) -> list[list[Any] | RedisFault]:
        """The replies of several nodes, which work side by side, or what was in the way."""
        raise NotImplementedError

    async def _ask_many(self, commands: Sequence[bytes], started: int, *, reads: bool = False) -> list[Any]:
        trip = Trip(commands, await self._slots(started), self._topology)
        await self._carry(trip.steps, started, reads)
        if trip.steps and all(isinstance(step.reply, Lost) for step in trip.steps):
            raise trip.steps[0].reply.fault
        return trip.replies()

    async def _slots(self, started: int) -> list[Node | None]:
        """Who has which slot; the first call of a process waits until that is known."""
        if self._topology.slots is None:
            await self._look(self._topology.look(), started)
        slots = self._topology.slots
        if slots is None:
            raise RedisUnavailable(f"Redis at {self._topology.label} did not answer in time.")
        return slots

    async def _look(self, looking: Future[None], started: int) -> None:
        if await self.landed(looking, self._left(started)) and (error := looking.exception()) is not None:
            raise fault_of(error, self._topology.label, sent=False) from error

    def _left(self, started: int) -> float:
        """Seconds until a call must be over."""
        return (started + self._deadline_ns - time.monotonic_ns()) * 1e-9

    async def _carry(self, steps: Sequence[Step], started: int, reads: bool) -> None:
        """Carry out steps, wherever they are sent on to; each has its reply then."""
        while steps:
            by_node: dict[Node, list[Step]] = {}
            for step in steps:
                if step.node is None:
                    step.reply = Lost(
                        RedisUnavailable(f"No node of Redis {self._topology.label} has it now.")
                    )
                    self._topology.look_soon()
                else:
                    by_node.setdefault(step.node, []).append(step)
            # In one order for all callers: who holds a connection and waits for another waits for nobody
            # that waits for the first.
            nodes = sorted(by_node)
            asked = [(self._io_of(node), _sent(by_node[node])) for node in nodes]
            outcomes = await self._exchange(asked, started, reads) if asked else []
            for node, outcome in zip(nodes, outcomes, strict=True):
                _received(by_node[node], outcome)
            steps = [
                step
                for node in nodes
                for step in by_node[node]
                if isinstance(step.reply, redis_errors.ResponseError)
                and await self._goes_on(step, started, reads)
            ]

    async def _goes_on(self, step: Step, started: int, reads: bool) -> bool:
        """Tell whether a step is to be sent on, and whereto; its reply is final otherwise."""
        reply = step.reply
        if isinstance(reply, Lost):
            return await self._has_successor(step, reply.fault, started, reads)
        if isinstance(reply, redis_errors.ClusterDownError):
            self._topology.look_soon()
        if not isinstance(reply, _REDIRECTION) or step.slot < 0:
            return False
        if self._left(started) <= 0:
            step.reply = Lost(RedisUnavailable(f"Redis {self._topology.label} is moving these keys."))
            return False
        step.sent_on += 1
        if step.sent_on > AT_ONCE or isinstance(reply, redis_errors.TryAgainError):
            await self.pause(TRY_AGAIN_SECONDS)
        if isinstance(reply, redis_errors.TryAgainError):
            if slot_of_command(step.packed) != SEVERAL:
                return True
            step.reply = await self._key_by_key(step.packed, started, reads)
            return False
        node = Node(reply.host or (step.node.host if step.node else ""), reply.port)
        step.node, step.asks = node, not isinstance(reply, redis_errors.MovedError)
        if not step.asks:
            self._topology.moved(step.slot, node)
        elif self._when_strange is not None and node not in self._topology.primaries:
            self._when_strange()
        return True

    async def _key_by_key(self, packed: bytes, started: int, reads: bool) -> Any:
        """The reply to a command of keys alone, some of which have moved with their slot."""
        name, *keys = words_of(packed)
        steps = [Step(commands.of_keys(name, (key,)), slot_of(key), None) for key in keys]
        for step in steps:
            step.node = None if self._topology.slots is None else self._topology.slots[step.slot]
        await self._carry(steps, started, reads)
        parts = [Part(step.packed, step.slot, (place,)) for place, step in enumerate(steps)]
        return joined(name, parts, [step.reply for step in steps])

    async def _has_successor(self, step: Step, fault: RedisFault, started: int, reads: bool) -> bool:
        """Tell whether another node has taken the place of one that failed, and may be asked instead."""
        looking = self._topology.look_soon()
        if looking is None or step.slot < 0 or (fault.sent and not reads):
            return False
        if not await self.landed(looking, self._left(started)) or self._topology.slots is None:
            return False
        successor = self._topology.slots[step.slot]
        has_moved = successor not in (None, step.node)
        step.node = successor
        return has_moved


class BlockingClusterIo(BlockingCaller, ClusterIo):
    """Round trips in the caller's thread: all is sent before the first reply is read."""

    async def _exchange(
        self, asked: Sequence[tuple[BlockingIo, Sequence[bytes]]], started: int, reads: bool
    ) -> list[list[Any] | RedisFault]:
        begun: list[tuple[BlockingIo, Sent | RedisFault]] = []
        try:
            for io, packed in asked:
                try:
                    begun.append((io, io.send_many(packed, started, reads=reads)))
                except RedisFault as fault:
                    begun.append((io, fault))
            return [_outcome(io, sent) for io, sent in begun]
        except BaseException:
            for io, sent in begun:
                if isinstance(sent, Sent):
                    io.abandon(sent)
            raise


class AsyncClusterIo(AsyncCaller, ClusterIo):
    """Round trips of one event loop, over one connection to each node."""

    def __init__(self, *arguments: Any) -> None:
        AsyncCaller.__init__(self)
        ClusterIo.__init__(self, *arguments)

    async def close(self) -> None:
        """Close the connections; the next commands open others."""
        for node in self._topology.primaries:
            await self._io_of(node).close()

    async def _exchange(
        self, asked: Sequence[tuple[AsyncIo, Sequence[bytes]]], started: int, reads: bool
    ) -> list[list[Any] | RedisFault]:
        async def one(io: AsyncIo, packed: Sequence[bytes]) -> list[Any] | RedisFault:
            try:
                return await io.ask_many(packed, started, reads=reads)
            except RedisFault as fault:
                return fault

        if len(asked) == 1:
            return [await one(*asked[0])]
        return list(await asyncio.gather(*(one(*each) for each in asked)))


def _outcome(io: BlockingIo, sent: Sent | RedisFault) -> list[Any] | RedisFault:
    if isinstance(sent, RedisFault):
        return sent
    try:
        return io.receive_many(sent)
    except RedisFault as fault:
        return fault


def _sent(steps: Sequence[Step]) -> list[bytes]:
    return [packed for step in steps for packed in ((ASKING, step.packed) if step.asks else (step.packed,))]


def _received(steps: Sequence[Step], outcome: list[Any] | RedisFault) -> None:
    if isinstance(outcome, RedisFault):
        for step in steps:
            step.reply = Lost(outcome)
        return
    replies = iter(outcome)
    for step in steps:
        if step.asks:
            next(replies)
        step.reply = next(replies)
