"""What all machines of a simulated world share; it knows none of them.

Time, chance, the state of the network, the coordination service, and the record of what was done.
"""

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Protocol

from ringkeep.coordination.memory import MemoryService
from ringkeep.core.protocol.types import Incarnation, Millis, NodeId
from ringkeep.sim.world import drawn_bounds
from ringkeep.sim.world.events import Events

REPLICATION = 3
USUAL_DELAY_MS = 4
"""The longest time that a frame takes while the network is not slow."""
LONG_AGO: Millis = -(1 << 40)


def has_stragglers(seed: int) -> bool:
    """Return whether in this seed's world much arrives late, or twice."""
    return seed % 16 == 15


def is_older_at_first(seed: int) -> bool:
    """Return whether this seed's world begins with nodes of an older version."""
    return seed % 16 == 6


def has_full_rooms(seed: int) -> bool:
    """Return whether in this seed's world requests wait for their primaries, one at a time."""
    return seed % 16 == 7


def has_operations(seed: int) -> bool:
    """Return whether in this seed's world clients try the operations, also on large values."""
    return seed % 8 == 6


def has_listers(seed: int) -> bool:
    """Return whether in this seed's world clients list keys, delete what they list, and send chains."""
    return seed % 16 == 14


class Named(Protocol):
    """The subject of a line of the trace."""

    name: str


class Environment:
    """Shared by the machines of one world. The same seed gives the same draws, whatever PYTHONHASHSEED is.

    `expect`: how many nodes form the cluster. `in_bytes`: whether messages pass through the codec.
    `stragglers`: whether much arrives late, or twice. `older_at_first`: whether it begins with nodes of an
    older version. `full_rooms`: whether one request may wait for its primary.
    `cut_until`: the last time at which two nodes could not reach each other, in at least one direction.
    `slow_until`: the last time at which the network was slow. `linked`: which life of one node had the last
    link to another.
    """

    def __init__(
        self,
        seed: int,
        expect: int,
        partitions: int,
        service: MemoryService,
        trace: Callable[[str], None] | None,
    ) -> None:
        self.seed = seed
        self.random = Random(seed)
        self._uniform = self.random.random
        self.events = Events()
        self.expect = expect
        self.partitions = partitions
        self.replication = REPLICATION
        self.service = service
        self.stragglers = has_stragglers(seed)
        self.full_rooms = has_full_rooms(seed)
        self.bounds = drawn_bounds.draw(seed, self.stragglers, self.full_rooms)
        self.in_bytes = seed % 8 == 3
        self.older_at_first = is_older_at_first(seed)
        self.counters: Counter[str] = Counter()
        self.traced = trace is not None
        self._trace = trace
        self._identities = 0
        self._slowest_ms = USUAL_DELAY_MS
        self._blocked: set[tuple[NodeId, NodeId]] = set()
        self.linked: dict[tuple[NodeId, NodeId], Incarnation] = {}
        self.cut_until: dict[frozenset[NodeId], Millis] = {}
        self.slow_until = LONG_AGO

    def new_id(self) -> NodeId:
        """Return a node id that was never used before."""
        self._identities += 1
        return NodeId(f"{self._identities:08x}{0:024x}")

    def draw(self, low: int, high: int) -> int:
        """Return a number from low to high. Cost: a third of `randint`, and it is drawn for every frame."""
        return low + int(self._uniform() * (high - low + 1))

    # --- the record -----------------------------------------------------------------------------------

    def count(self, name: str, by: int = 1) -> None:
        """Count an event of this world."""
        self.counters[name] += by

    def log(self, whom: Named | None, text: str) -> None:
        """Write a line of the trace, if there is one."""
        if self._trace is not None:
            self._trace(f"{self.events.now:>7} {whom.name if whom is not None else '':<4} {text}")

    # --- the network ----------------------------------------------------------------------------------

    def delay(self) -> Millis:
        """Draw how long a frame takes."""
        return self.draw(0, self._slowest_ms)

    def set_slowest(self, slowest_ms: Millis = USUAL_DELAY_MS) -> None:
        """From now on a frame takes up to so long; until now the network was slow, or becomes so."""
        self._slowest_ms = slowest_ms
        self.slow_until = self.events.now

    def blocked(self, sender: NodeId, receiver: NodeId) -> bool:
        """Whether nothing gets from `sender` to `receiver`."""
        return (sender, receiver) in self._blocked

    def block(self, sender: NodeId, receiver: NodeId) -> None:
        """Block this direction until `unblock`."""
        self._blocked.add((sender, receiver))

    def unblock(self, one: NodeId, other: NodeId) -> None:
        """Unblock both directions between these two."""
        self.cut_until[frozenset((one, other))] = self.events.now
        self._blocked -= {(one, other), (other, one)}

    def unblock_all(self) -> list[tuple[NodeId, NodeId]]:
        """Unblock all directions; return those that were blocked, in order."""
        blocked = sorted(self._blocked)
        self.cut_until.update((frozenset(pair), self.events.now) for pair in blocked)
        self._blocked.clear()
        return blocked
