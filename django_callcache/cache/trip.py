"""The commands of one call, taken apart by the nodes that they concern, and their replies put together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from redis import exceptions as redis_errors

from django_callcache.cache import commands
from django_callcache.cache.routing import (
    OF_EVERY_NODE,
    OF_NODES_ASKED,
    SEVERAL,
    joined,
    name_of,
    parts_of,
    slot_of_command,
    words_of,
)
from django_callcache.cache.topology import Node, Topology

LOOK_SECONDS = 1.0
"""How often a walk looks whether slots have moved."""

_INNER = (1 << 64) - 1
_PLACE = (1 << 16) - 1


class Step:
    """A command, or a part of one, for one node."""

    __slots__ = ("asks", "node", "packed", "reply", "sent_on", "slot")

    def __init__(self, packed: bytes, slot: int, node: Node | None) -> None:
        self.packed = packed
        self.slot = slot
        self.node = node
        """Who is asked; None where nobody has the slot."""
        self.asks = False
        """Whether the node is to be told that the slot is on its way to it."""
        self.sent_on = 0
        """How often another node was named, or another time."""
        self.reply: Any = None


Ending = tuple[Sequence[Step], Callable[[Sequence[Any]], Any] | None]
"""The steps of a command, and what makes one reply of theirs; None where there is one step."""


class Trip:
    """The steps of some commands, in the order in which each node is to get them.

    Args:
        packed: The commands.
        slots: Who has which slot.
        topology: Knows the primaries, and how often slots have moved.
    """

    def __init__(self, packed: Sequence[bytes], slots: Sequence[Node | None], topology: Topology) -> None:
        self._topology = topology
        self._slots = slots
        self._endings: list[Ending] = [((), None)] * len(packed)
        later = [at for at, each in enumerate(packed) if not self._routed(at, each)]
        nodes = {step.node for steps, _ in self._endings for step in steps}
        asked = sorted(node for node in nodes if node is not None) or list(topology.primaries[:1])
        for at in later:
            self._endings[at] = self._of_nodes(packed[at], asked)
        self.steps = [step for steps, _ in self._endings for step in steps]

    def replies(self) -> list[Any]:
        """One reply for each command."""
        return [_reply(*ending) for ending in self._endings]

    def _routed(self, at: int, packed: bytes) -> bool:
        """Find the steps of a command with a key; tell whether it has one."""
        slot = slot_of_command(packed)
        if slot >= 0:
            self._endings[at] = [Step(packed, slot, self._slots[slot])], None
        elif slot == SEVERAL:
            name, parts = name_of(packed), parts_of(packed)
            steps = [Step(part.packed, part.slot, self._slots[part.slot]) for part in parts]
            merge = None if len(steps) == 1 else lambda replies: joined(name, parts, replies)
            self._endings[at] = steps, merge
        else:
            return False
        return True

    def _of_nodes(self, packed: bytes, asked: Sequence[Node]) -> Ending:
        """The steps of a command without a key, where these nodes have something to do anyhow."""
        name = name_of(packed)
        if name == b"SCAN":
            return self._scan(packed)
        if name in OF_EVERY_NODE:
            return [Step(packed, -1, node) for node in self._topology.primaries], OF_EVERY_NODE[name]
        if name in OF_NODES_ASKED:
            return [Step(packed, -1, node) for node in asked], OF_NODES_ASKED[name]
        return [Step(packed, -1, asked[0])], None

    def _scan(self, packed: bytes) -> Ending:
        """A step of a walk over all primaries, one after the other.

        The cursor is a number that tells the cursor of a node, the node's place, and which slots were whose
        when the walk began: where that has changed it begins again, for a slot may have got behind it.
        """
        self._topology.look_soon(LOOK_SECONDS)
        _, cursor, *rest = words_of(packed)
        primaries, mark = self._topology.primaries, self._topology.mark
        inner, place = int(cursor) & _INNER, int(cursor) >> 64 & _PLACE
        if int(cursor) >> 80 != mark or place >= len(primaries):
            inner = place = 0
        step = Step(commands.command("SCAN", inner, *rest), -1, primaries[place])

        def merge(replies: Sequence[Any]) -> Any:
            (reply,) = replies
            if isinstance(reply, redis_errors.ResponseError):
                return reply
            following = int(reply[0])
            behind = place + (not following)
            if behind == len(primaries) and self._topology.mark == mark:
                return [b"0", reply[1]]
            return [b"%d" % (mark << 80 | behind << 64 | following), reply[1]]

        return [step], merge


def _reply(steps: Sequence[Step], merge: Callable[[Sequence[Any]], Any] | None) -> Any:
    replies = [step.reply for step in steps]
    return replies[0] if merge is None else merge(replies)
